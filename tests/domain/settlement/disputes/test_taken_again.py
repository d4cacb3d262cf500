"""Disputes that were over and take money again, and appeals: nothing that is late ends or opens them."""

from dataclasses import replace
from datetime import timedelta
from itertools import permutations

import pytest

from domain.disputes.model import DisputeFunds, DisputeStatus
from domain.ledger.model import STRIPE_BALANCE, seller_payable
from domain.orders.model import OrderStatus
from domain.payments.model import Payment
from domain.settlement.disputes import DisputeSettlement
from domain.settlement.model import SettlementPolicy
from tests.builders import NOW, Shop, a_dispute
from tests.captured import captured
from tests.domain.fakes import FakeClock, Memory
from tests.domain.settlement.disputes.standing import LOST, NEEDS, REVIEW, WON, books, known, order_of, told
from tests.stripe_answers import disputed

APPEAL = DisputeStatus.APPEAL_UNDER_REVIEW
TAKEN, BACK, AGAIN, BACK_AGAIN = (-1999,), (-1999, 1999), (-1999, 1999, -1999), (-1999, 1999, -1999, 1999)


async def test_won_dispute_that_takes_money_again_can_be_lost(
    disputes: DisputeSettlement, memory: Memory, shop: Shop, payment: Payment
) -> None:
    dispute = a_dispute(payment)
    walk = []

    for status, moves in ((NEEDS, TAKEN), (WON, BACK), (NEEDS, AGAIN), (LOST, AGAIN)):
        assert await disputes.settle(payment.id, disputed(dispute, status, *moves))
        walk.append((known(memory).status, known(memory).funds, order_of(memory)))

    assert walk == [
        (NEEDS, DisputeFunds.WITHDRAWN, OrderStatus.DISPUTED),
        (WON, DisputeFunds.REINSTATED, OrderStatus.PAID),
        (NEEDS, DisputeFunds.WITHDRAWN, OrderStatus.DISPUTED),
        (LOST, DisputeFunds.LOST, OrderStatus.REFUNDED),
    ]
    # Each withdrawal bears its fee; share and commission are gone, and nothing is held.
    assert await books(memory) == {STRIPE_BALANCE: -3000, seller_payable(shop.seller.id): 3000}
    assert told(memory)[4:] == [
        "dispute.funds_withdrawn",
        "dispute.needs_response",
        "dispute.funds_lost",
        "dispute.lost",
    ]


@pytest.mark.parametrize(("end", "moves"), [(LOST, AGAIN), (WON, BACK_AGAIN)])
async def test_every_order_of_reports_of_two_rounds_comes_to_the_same_end(
    shop: Shop, memory: Memory, end: DisputeStatus, moves: tuple[int, ...]
) -> None:
    payment = await captured(shop, await shop.order())
    start = memory.state
    dispute = a_dispute(payment)
    reports = [
        disputed(dispute, NEEDS, *TAKEN),
        disputed(dispute, WON, *BACK),
        disputed(dispute, NEEDS, *AGAIN),
        disputed(dispute, REVIEW, *AGAIN),
        disputed(dispute, end, *moves),
    ]
    ends = set()

    for order in permutations(reports):
        memory.state = start.copy()
        disputes = DisputeSettlement(memory.begin, FakeClock(), SettlementPolicy())
        for report in (*order, *reversed(order)):
            await disputes.settle(payment.id, report)
        after = known(memory)
        ends.add((after.status, after.funds, order_of(memory), tuple(sorted((await books(memory)).items()))))

    assert len(ends) == 1
    assert ends.pop()[0] is end


@pytest.mark.parametrize("before", [NEEDS, REVIEW, LOST])
async def test_win_that_nobody_told_of_is_implied_by_the_next_withdrawal(
    disputes: DisputeSettlement, memory: Memory, payment: Payment, before: DisputeStatus
) -> None:
    dispute, later = a_dispute(payment), NOW + timedelta(days=30)
    await disputes.settle(payment.id, disputed(dispute, before, *TAKEN))

    assert await disputes.settle(payment.id, disputed(dispute, NEEDS, *AGAIN, evidence_due_at=later))

    after = known(memory)
    assert (after.status, after.funds, after.evidence_due_at) == (NEEDS, DisputeFunds.WITHDRAWN, later)
    assert order_of(memory) is OrderStatus.DISPUTED
    assert "dispute.won" in told(memory)
    assert not await disputes.settle(payment.id, disputed(dispute, NEEDS, *TAKEN))
    assert known(memory) == after


async def test_withdrawal_that_is_told_before_the_state_lets_the_state_follow(
    disputes: DisputeSettlement, memory: Memory, payment: Payment
) -> None:
    dispute = a_dispute(payment)
    for status, moves in ((WON, BACK), (WON, AGAIN), (NEEDS, AGAIN)):
        await disputes.settle(payment.id, disputed(dispute, status, *moves))

    assert (known(memory).status, known(memory).funds) == (NEEDS, DisputeFunds.WITHDRAWN)


async def test_win_that_is_told_before_its_money_comes_back_is_not_undone_by_what_is_late(
    disputes: DisputeSettlement, memory: Memory, payment: Payment
) -> None:
    dispute = a_dispute(payment)
    await disputes.settle(payment.id, disputed(dispute, WON, *TAKEN))

    assert not await disputes.settle(payment.id, disputed(dispute, NEEDS, *TAKEN))
    await disputes.settle(payment.id, disputed(dispute, WON, *BACK))

    assert (known(memory).status, known(memory).funds) == (WON, DisputeFunds.REINSTATED)


async def test_withdrawal_of_a_closed_inquiry_lets_the_state_follow(
    disputes: DisputeSettlement, memory: Memory, payment: Payment
) -> None:
    dispute, closed = a_dispute(payment), DisputeStatus.WARNING_CLOSED
    for status, moves in ((closed, ()), (closed, TAKEN), (NEEDS, TAKEN)):
        await disputes.settle(payment.id, disputed(dispute, status, *moves))

    assert (known(memory).status, known(memory).funds) == (NEEDS, DisputeFunds.WITHDRAWN)


@pytest.mark.parametrize("over", [DisputeStatus.WARNING_CLOSED, DisputeStatus.PREVENTED])
async def test_what_was_over_without_money_may_become_a_dispute(
    disputes: DisputeSettlement, memory: Memory, payment: Payment, over: DisputeStatus
) -> None:
    dispute = a_dispute(payment)
    await disputes.settle(payment.id, disputed(dispute, over))
    assert not await disputes.settle(payment.id, disputed(dispute, REVIEW))

    for status in (NEEDS, LOST):
        assert await disputes.settle(payment.id, disputed(dispute, status, *TAKEN))

    assert (known(memory).status, known(memory).funds) == (LOST, DisputeFunds.LOST)
    assert order_of(memory) is OrderStatus.REFUNDED


@pytest.mark.parametrize("late", [NEEDS, REVIEW, LOST, APPEAL])
async def test_report_that_brings_no_money_does_not_open_what_was_won(
    disputes: DisputeSettlement, memory: Memory, payment: Payment, late: DisputeStatus
) -> None:
    dispute = a_dispute(payment)
    await disputes.settle(payment.id, disputed(dispute, WON, *BACK))

    for moves in (TAKEN, BACK):
        assert not await disputes.settle(payment.id, disputed(dispute, late, *moves))

    assert (known(memory).status, order_of(memory)) == (WON, OrderStatus.PAID)


async def test_late_loss_does_not_end_an_appeal(
    disputes: DisputeSettlement, memory: Memory, payment: Payment
) -> None:
    dispute = a_dispute(payment)
    for status in (NEEDS, LOST, APPEAL):
        await disputes.settle(payment.id, disputed(dispute, status, *TAKEN))

    assert not await disputes.settle(payment.id, disputed(dispute, LOST, *TAKEN))

    assert (known(memory).status, order_of(memory)) == (APPEAL, OrderStatus.DISPUTED)


async def test_appeal_goes_on_to_its_review_without_money(
    disputes: DisputeSettlement, memory: Memory, payment: Payment
) -> None:
    dispute = a_dispute(payment)
    for status in (NEEDS, LOST, DisputeStatus.APPEAL_NEEDS_RESPONSE):
        await disputes.settle(payment.id, disputed(dispute, status, *TAKEN))

    assert await disputes.settle(payment.id, disputed(dispute, APPEAL, *TAKEN))

    assert (known(memory).status, order_of(memory)) == (APPEAL, OrderStatus.DISPUTED)


async def test_appeal_ends_by_money_that_moves_or_by_stripes_present_word(
    disputes: DisputeSettlement, memory: Memory, shop: Shop, payment: Payment
) -> None:
    dispute = a_dispute(payment)
    for status in (NEEDS, LOST, APPEAL):
        await disputes.settle(payment.id, disputed(dispute, status, *TAKEN))
    in_appeal = memory.state

    assert await disputes.settle(payment.id, disputed(dispute, LOST, *TAKEN), is_present=True)
    assert (known(memory).status, order_of(memory)) == (LOST, OrderStatus.REFUNDED)
    assert await books(memory) == {STRIPE_BALANCE: -1500, seller_payable(shop.seller.id): 1500}

    memory.state = in_appeal
    assert await disputes.settle(payment.id, disputed(dispute, WON, *BACK))
    assert (known(memory).status, order_of(memory)) == (WON, OrderStatus.PAID)


async def test_reports_about_appeals_are_doubtful_unless_money_tells_their_order(
    disputes: DisputeSettlement, payment: Payment
) -> None:
    dispute = a_dispute(payment)
    appeal, lost = disputed(dispute, APPEAL, *TAKEN), disputed(dispute, LOST, *TAKEN)
    assert not await disputes.is_doubtful(lost)
    await disputes.settle(payment.id, lost)
    assert await disputes.is_doubtful(appeal)
    assert not await disputes.is_doubtful(lost)

    await disputes.settle(payment.id, appeal)

    assert await disputes.is_doubtful(lost)
    assert not await disputes.is_doubtful(appeal)
    assert not await disputes.is_doubtful(disputed(dispute, WON, *BACK))
    assert not await disputes.is_doubtful(replace(lost, transactions=()))
