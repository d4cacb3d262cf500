"""Which rows are worked at while Stripe may not be asked about all of them."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from domain.payments.model import PaymentStatus
from domain.settlement.admission import Admission
from domain.work import Work
from tests.builders import NOW, Shop, a_refund
from tests.captured import captured
from tests.domain.fakes import FakeClock, Memory


class FakeEgress:
    """Lets as many through as it was told to, charges and urgent ones; the rest waits 10, 11, 12 … seconds."""

    def __init__(self) -> None:
        self.room = {False: 0, True: 0}
        self.asked: list[tuple[int, bool]] = []

    async def admit(self, count: int, *, urgent: bool) -> Sequence[float]:
        self.asked.append((count, urgent))
        going = min(self.room[urgent], count)
        self.room[urgent] -= going
        return [10.0 + place for place in range(count - going)]


@pytest.fixture
def egress() -> FakeEgress:
    return FakeEgress()


@pytest.fixture
def postponed() -> list[tuple[Work, int]]:
    return []


@pytest.fixture
def admission(memory: Memory, egress: FakeEgress, clock: FakeClock, postponed: list[Any]) -> Admission:
    return Admission(memory.begin, egress, clock, on_postponed=lambda work, count: postponed.append((work, count)))


async def four(shop: Shop, **changes: Any) -> list[Any]:
    return sorted([(await shop.payment(**changes)).id for _ in range(4)])


async def test_all_rows_go_while_there_is_room(
    admission: Admission, egress: FakeEgress, shop: Shop, postponed: list[Any]
) -> None:
    ids = await four(shop)
    egress.room[False] = 4

    assert await admission.admit(Work.CHARGES, ids) == ids

    assert egress.asked == [(4, False)]
    assert postponed == []


async def test_rows_without_room_wait_in_their_rows_and_count_as_untried(
    admission: Admission, egress: FakeEgress, memory: Memory, shop: Shop, clock: FakeClock, postponed: list[Any]
) -> None:
    ids = await four(shop)
    egress.room[False] = 1

    assert await admission.admit(Work.CHARGES, ids) == ids[:1]

    due = memory.state.due[Work.CHARGES]
    assert [due[row].due_at for row in ids] == [NOW, *(clock.now() + timedelta(seconds=s) for s in (10, 11, 12))]
    assert all(due[row].publish_at == due[row].due_at for row in ids[1:])
    assert all(due[row].locked_until is None for row in ids)
    assert {memory.state.payments[row].status for row in ids} == {PaymentStatus.PENDING}
    assert {memory.state.payments[row].attempts for row in ids} == {0}
    assert postponed == [(Work.CHARGES, 3)]


async def test_payments_that_were_tried_go_before_new_ones(
    admission: Admission, egress: FakeEgress, memory: Memory, shop: Shop, postponed: list[Any]
) -> None:
    ids = await four(shop)
    async with memory.begin() as tx:
        await tx.payment_work.lease([ids[3]], NOW, NOW)
        await tx.commit()
    egress.room = {False: 1, True: 5}

    assert await admission.admit(Work.CHARGES, ids) == [ids[0], ids[3]]

    assert egress.asked == [(4, False), (1, True)]
    assert postponed == [(Work.CHARGES, 2)]


async def test_tried_payments_wait_as_well_when_there_is_no_room_at_all(
    admission: Admission, egress: FakeEgress, memory: Memory, shop: Shop, clock: FakeClock
) -> None:
    ids = await four(shop)
    async with memory.begin() as tx:
        await tx.payment_work.lease(ids, NOW, NOW)
        await tx.commit()

    assert await admission.admit(Work.CHARGES, ids) == []

    assert all(memory.state.due[Work.CHARGES][row].due_at > clock.now() for row in ids)


async def test_everything_but_charges_is_urgent(
    admission: Admission, egress: FakeEgress, memory: Memory, shop: Shop
) -> None:
    refunds = [a_refund(await captured(shop)) for _ in range(2)]
    async with memory.begin() as tx:
        await tx.refunds.add(refunds, publish_at=NOW)
        await tx.commit()
    egress.room[True] = 1

    assert await admission.admit(Work.REFUNDS, [refund.id for refund in refunds]) == [refunds[0].id]

    assert egress.asked == [(2, True)]


async def test_row_that_somebody_holds_is_not_put_back(
    admission: Admission, memory: Memory, shop: Shop, clock: FakeClock
) -> None:
    (held, *_) = ids = await four(shop)
    until = clock.now() + timedelta(seconds=60)
    async with memory.begin() as tx:
        await tx.payment_work.lease([held], NOW, until)
        await tx.commit()

    await admission.admit(Work.CHARGES, ids)

    row = memory.state.due[Work.CHARGES][held]
    assert (row.due_at, row.locked_until) == (NOW, until)


async def test_no_rows_ask_for_nothing(admission: Admission, egress: FakeEgress) -> None:
    assert await admission.admit(Work.CHARGES, []) == []
    assert egress.asked == []
