"""What a dispute takes and gives back, who bears it, and what becomes of the order."""

from decimal import Decimal

import pytest

from domain.disputes.model import DisputeFunds, DisputeStatus
from domain.errors import Refused
from domain.ledger.model import (
    COMMISSION_REVENUE,
    DISPUTED_FUNDS,
    PROCESSING_FEES,
    STRIPE_BALANCE,
    UNAPPLIED_CHARGES,
    Entry,
    JournalKind,
    seller_disputed,
    seller_payable,
)
from domain.orders.model import OrderStatus
from domain.payments.model import Payment
from domain.settlement.answers import StripeTransaction
from domain.settlement.disputes import DisputeSettlement
from domain.settlement.model import SettlementPolicy
from tests.balances import all_balances
from tests.builders import Shop, a_dispute
from tests.captured import captured, captured_late
from tests.domain.fakes import FakeClock, Memory
from tests.domain.settlement.disputes.standing import LOST, NEEDS, REVIEW, WON, books, known, order_of, told
from tests.stripe_answers import disputed

TAKEN, BACK = (-1999,), (-1999, 1999)


async def test_opened_dispute_holds_the_money_and_takes_its_fee(
    disputes: DisputeSettlement, memory: Memory, shop: Shop, payment: Payment
) -> None:
    dispute = a_dispute(payment)

    assert await disputes.settle(payment.id, disputed(dispute, NEEDS, -1999))
    assert not await disputes.settle(payment.id, disputed(dispute, NEEDS, -1999))

    assert await books(memory) == {
        STRIPE_BALANCE: -1500,
        DISPUTED_FUNDS: 1999,
        seller_payable(shop.seller.id): 1500,
        seller_disputed(shop.seller.id): -1949,
        COMMISSION_REVENUE: -50,
    }
    after = known(memory)
    assert (after.status, after.funds, after.withdrawn_minor) == (NEEDS, DisputeFunds.WITHDRAWN, 1999)
    assert after.evidence_due_at == dispute.evidence_due_at
    assert order_of(memory) is OrderStatus.DISPUTED
    assert told(memory) == ["dispute.opened", "dispute.funds_withdrawn"]
    assert told(memory, "order.")[-1] == "order.disputed"
    assert dispute.evidence_due_at is not None
    assert memory.state.events[-2].data == {
        "dispute_id": str(after.id),
        "dispute_status": "needs_response",
        "amount_minor": 1999,
        "currency": "USD",
        "evidence_due_at": dispute.evidence_due_at.isoformat(),
    }


async def test_sellers_are_told_and_the_payer_is_not(
    disputes: DisputeSettlement, memory: Memory, shop: Shop, payment: Payment
) -> None:
    await disputes.settle(payment.id, disputed(a_dispute(payment)))

    assert [e.audience for e in memory.state.events if e.type == "dispute.opened"] == [(shop.seller.id,)]


async def test_seller_that_comes_to_owe_is_told(
    disputes: DisputeSettlement, memory: Memory, shop: Shop, payment: Payment
) -> None:
    """Its share is held, and the fee takes what it has not."""
    await disputes.settle(payment.id, disputed(a_dispute(payment), NEEDS, -1999))
    await disputes.settle(payment.id, disputed(a_dispute(payment, amount_minor=1), NEEDS, fee_minor=0))

    (event,) = [event for event in memory.state.events if event.type == "seller.balance_negative"]
    assert (event.subject_id, event.audience) == (shop.seller.id, (shop.seller.id,))
    assert event.data == {"owed_minor": 1500, "currency": "USD"}


async def test_steps_and_money_are_told_each_by_itself(
    disputes: DisputeSettlement, memory: Memory, payment: Payment, clock: FakeClock
) -> None:
    dispute = a_dispute(payment)
    news = []

    for status, moves in ((NEEDS, ()), (NEEDS, TAKEN), (REVIEW, TAKEN), (REVIEW, BACK), (WON, BACK)):
        clock.advance(60)
        before = len(memory.state.events)
        await disputes.settle(payment.id, disputed(dispute, status, *moves))
        news.append([event.type for event in memory.state.events[before:] if event.type.startswith("dispute.")])
        assert known(memory).updated_at == clock.now()

    assert news == [
        ["dispute.opened"],
        ["dispute.funds_withdrawn"],
        ["dispute.under_review"],
        ["dispute.funds_reinstated"],
        ["dispute.won"],
    ]


async def test_won_dispute_gives_the_money_back_and_the_order_goes_on(
    disputes: DisputeSettlement, memory: Memory, shop: Shop, payment: Payment
) -> None:
    dispute = a_dispute(payment)
    await disputes.settle(payment.id, disputed(dispute, NEEDS, -1999))

    await disputes.settle(payment.id, disputed(dispute, WON, -1999, 1999))

    assert await books(memory) == {
        STRIPE_BALANCE: 1999 - 1500,
        seller_payable(shop.seller.id): -1949 + 1500,
        COMMISSION_REVENUE: -50,
    }
    assert known(memory).funds is DisputeFunds.REINSTATED
    assert order_of(memory) is OrderStatus.PAID
    assert told(memory)[2:] == ["dispute.funds_reinstated", "dispute.won"]
    assert told(memory, "order.") == ["order.paid", "order.disputed", "order.resumed"]
    steps = [event for event in memory.state.events if event.type.startswith("order.")][1:]
    assert [(step.data["by"], bool(step.data["reason"])) for step in steps] == [("system", True)] * 2
    assert [step.data["payment_id"] for step in steps] == [str(payment.id)] * 2


async def test_lost_dispute_costs_share_and_commission_and_the_order_counts_as_refunded(
    disputes: DisputeSettlement, memory: Memory, shop: Shop, payment: Payment
) -> None:
    dispute = a_dispute(payment)
    await disputes.settle(payment.id, disputed(dispute, NEEDS, -1999))

    await disputes.settle(payment.id, disputed(dispute, LOST, -1999))

    assert await books(memory) == {STRIPE_BALANCE: -1500, seller_payable(shop.seller.id): 1500}
    assert known(memory).funds is DisputeFunds.LOST
    assert order_of(memory) is OrderStatus.REFUNDED


async def test_dispute_that_is_won_after_all(
    disputes: DisputeSettlement, memory: Memory, shop: Shop, payment: Payment
) -> None:
    dispute = a_dispute(payment)
    await disputes.settle(payment.id, disputed(dispute, LOST, -1999))

    await disputes.settle(payment.id, disputed(dispute, WON, -1999, 1999))

    assert await books(memory) == {
        STRIPE_BALANCE: 1999 - 1500,
        seller_payable(shop.seller.id): -1949 + 1500,
        COMMISSION_REVENUE: -50,
    }
    assert order_of(memory) is OrderStatus.PAID


@pytest.mark.parametrize("first_ends", [WON, LOST])
async def test_charge_can_be_disputed_again_after_a_dispute_is_closed(
    disputes: DisputeSettlement, memory: Memory, shop: Shop, payment: Payment, first_ends: DisputeStatus
) -> None:
    """Another dispute takes money of its own; what a lost one took is not given back for it."""
    first, second = a_dispute(payment), a_dispute(payment)
    moves = (-1999, 1999) if first_ends is WON else (-1999,)
    await disputes.settle(payment.id, disputed(first, first_ends, *moves, fee_minor=0))

    for status in (NEEDS, LOST):
        assert await disputes.settle(payment.id, disputed(second, status, -1999, fee_minor=0))

    taken_twice = {STRIPE_BALANCE: -1999, seller_payable(shop.seller.id): 1949, COMMISSION_REVENUE: 50}
    assert await books(memory) == ({} if first_ends is WON else taken_twice)
    assert [dispute.funds for dispute in memory.state.disputes.values()][-1] is DisputeFunds.LOST


@pytest.mark.parametrize("part_minor", [20, 60, 1000])
async def test_parts_that_are_lost_one_after_the_other_cost_share_and_commission_to_the_cent(
    disputes: DisputeSettlement, memory: Memory, shop: Shop, part_minor: int
) -> None:
    payment = await captured(shop, amount_minor=2000)
    for amount_minor in (part_minor, 2000 - part_minor):
        dispute = a_dispute(payment, amount_minor=amount_minor)
        await disputes.settle(payment.id, disputed(dispute, LOST, -amount_minor, fee_minor=0))

    assert await books(memory) == {}


async def test_part_that_is_lost_leaves_the_order_where_it_was(
    disputes: DisputeSettlement, memory: Memory, payment: Payment
) -> None:
    dispute = a_dispute(payment, amount_minor=1000)
    await disputes.settle(payment.id, disputed(dispute, NEEDS, -1000))
    assert order_of(memory) is OrderStatus.DISPUTED

    await disputes.settle(payment.id, disputed(dispute, LOST, -1000))

    assert order_of(memory) is OrderStatus.PAID


async def test_dispute_of_money_that_paid_for_nothing_is_borne_by_the_platform(
    disputes: DisputeSettlement, memory: Memory, shop: Shop
) -> None:
    payment = await captured_late(shop)

    await disputes.settle(payment.id, disputed(a_dispute(payment), LOST, -1999))

    assert await books(memory) == {STRIPE_BALANCE: -1500, PROCESSING_FEES: 1500}
    assert UNAPPLIED_CHARGES not in await books(memory)


async def test_platform_bears_the_fee_where_the_policy_says_so(
    memory: Memory, clock: FakeClock, payment: Payment
) -> None:
    disputes = DisputeSettlement(memory.begin, clock, SettlementPolicy(seller_bears_stripe_fee=False))

    await disputes.settle(payment.id, disputed(a_dispute(payment), NEEDS, -1999))

    assert (await books(memory))[PROCESSING_FEES] == 1500


@pytest.mark.parametrize("end", [WON, LOST])
async def test_dispute_that_stripe_settles_in_another_currency_is_exchanged(
    disputes: DisputeSettlement, memory: Memory, shop: Shop, end: DisputeStatus
) -> None:
    """Each movement at the rate of its day; the charge itself is settled as it was charged here."""
    payment = await captured(shop, currency="EUR")
    dispute = a_dispute(payment)
    taken = StripeTransaction("txn_1", -2199, 1500, "USD", Decimal("1.1"))
    back = StripeTransaction("txn_2", 2099, 0, "USD", Decimal("1.05"))
    moves = (taken, back) if end is WON else (taken,)

    await disputes.settle(payment.id, disputed(dispute, end, transactions=moves))

    async with memory.begin() as tx:
        after = {(row.account, row.currency): row.balance_minor for row in await all_balances(tx)}
    assert after[STRIPE_BALANCE, "USD"] == (-1600 if end is WON else -3699)
    assert after[STRIPE_BALANCE, "EUR"] == 1999
    assert after[DISPUTED_FUNDS, "EUR"] == 0
    # What the seller is owed of the charge stays in euros; it loses, and gets back, its part of the dollars.
    owed = 2144 + 1500 - (2046 if end is WON else 0)
    assert after[seller_payable(shop.seller.id), "EUR"] == -1949
    assert after[seller_payable(shop.seller.id), "USD"] == owed
    assert after[seller_disputed(shop.seller.id), "EUR"] == 0


@pytest.mark.parametrize("currency", ["USD", "EUR"])
async def test_fee_that_comes_by_itself_moves_nothing_else(
    disputes: DisputeSettlement, memory: Memory, shop: Shop, payment: Payment, currency: str
) -> None:
    fee = StripeTransaction("txn_fee", 0, 1500, currency)
    before = len(memory.state.journals)

    await disputes.settle(payment.id, disputed(a_dispute(payment), NEEDS, transactions=(fee,)))

    assert known(memory).funds is DisputeFunds.NONE
    (booked,) = memory.state.journals[before:]
    assert (booked.kind, booked.currency) == (JournalKind.DISPUTE_FEE, currency)
    assert booked.entries == (Entry(seller_payable(shop.seller.id), 1500), Entry(STRIPE_BALANCE, -1500))


@pytest.mark.parametrize("moves", [(-1999, -1999), (1999,), (-1999, 1998), (-1999, 1999, 1999)])
async def test_money_that_no_rule_can_book_is_refused(
    disputes: DisputeSettlement, payment: Payment, moves: tuple[int, ...]
) -> None:
    with pytest.raises(Refused):
        await disputes.settle(payment.id, disputed(a_dispute(payment), NEEDS, *moves))
