"""Stripe's reports of a dispute: the same end in whatever order and however often they come."""

from datetime import timedelta
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.disputes.model import DisputeFunds, DisputeStatus
from domain.ledger.model import DISPUTED_FUNDS, STRIPE_BALANCE
from domain.payments.model import Payment
from domain.settlement.disputes import DisputeSettlement
from domain.settlement.model import SettlementPolicy
from tests.builders import NOW, Shop, a_dispute
from tests.captured import captured
from tests.domain.fakes import FakeClock, Memory
from tests.domain.settlement.disputes.standing import LOST, NEEDS, REVIEW, WON, books, known, order_of
from tests.stripe_answers import disputed


@pytest.mark.parametrize("end", [WON, LOST])
async def test_every_order_of_reports_comes_to_the_same_end(
    shop: Shop, memory: Memory, end: DisputeStatus
) -> None:
    payment = await captured(shop, await shop.order())
    start = memory.state
    dispute = a_dispute(payment)
    back = (1999,) if end is WON else ()
    reports = [
        disputed(dispute, NEEDS),
        disputed(dispute, NEEDS, -1999),
        disputed(dispute, REVIEW, -1999),
        disputed(dispute, end, -1999, *back),
    ]
    ends = set()

    for order in permutations(reports):
        memory.state = start.copy()
        disputes = DisputeSettlement(memory.begin, FakeClock(), SettlementPolicy())
        for report in (*order, *order):
            await disputes.settle(payment.id, report)
        after = known(memory)
        ends.add((after.status, after.funds, order_of(memory), tuple(sorted((await books(memory)).items()))))

    assert len(ends) == 1
    assert ends.pop()[0] is end


STATUSES = sorted(DisputeStatus)


@given(st.lists(st.tuples(st.sampled_from(STATUSES), st.integers(0, 2)), max_size=12))
async def test_no_sequence_of_reports_books_twice(steps: list[tuple[DisputeStatus, int]]) -> None:
    memory = Memory()
    shop = await Shop(memory.begin).open()
    payment = await captured(shop, await shop.order())
    disputes = DisputeSettlement(memory.begin, FakeClock(), SettlementPolicy())
    dispute = a_dispute(payment)
    moves = (-1999, 1999)

    for status, count in steps:
        await disputes.settle(payment.id, disputed(dispute, status, *moves[:count]))

    seen = max((count for _, count in steps), default=0)
    assert (await books(memory)).get(STRIPE_BALANCE, 0) == 1999 + sum(moves[:seen]) - 1500 * (seen > 0)
    held = (await books(memory)).get(DISPUTED_FUNDS, 0)
    funds = [each.funds for each in memory.state.disputes.values()]
    assert held == (1999 if funds == [DisputeFunds.WITHDRAWN] else 0)
    sources = [(journal.kind, journal.source) for journal in memory.state.journals]
    assert len(set(sources)) == len(sources)


async def test_later_deadline_is_kept_and_an_older_report_does_not_take_it_back(
    disputes: DisputeSettlement, memory: Memory, payment: Payment
) -> None:
    dispute = a_dispute(payment)
    later = NOW + timedelta(days=20)
    await disputes.settle(payment.id, disputed(dispute, NEEDS, -1999))
    await disputes.settle(payment.id, disputed(dispute, REVIEW, -1999, evidence_due_at=later))

    assert not await disputes.settle(payment.id, disputed(dispute, NEEDS, -1999))

    assert known(memory).evidence_due_at == later
