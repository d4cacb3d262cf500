"""Disputes, from Stripe's reports to the books: the same end in whatever order and however often they come."""

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.coalescer import Coalescer
from domain.disputes.model import Dispute, DisputeFunds, DisputeStatus
from domain.errors import Conflict, Refused
from domain.identity.model import Principal, Role
from domain.ids import PaymentId, UserId, uuid7
from domain.ledger.model import (
    COMMISSION_REVENUE,
    DISPUTED_FUNDS,
    PROCESSING_FEES,
    STRIPE_BALANCE,
    UNAPPLIED_CHARGES,
    seller_disputed,
    seller_payable,
)
from domain.ledger.postings import Part
from domain.orders.model import OrderStatus
from domain.payments.model import Payment
from domain.refunds.model import RefundRequest
from domain.refunds.rules import RefundPolicy
from domain.refunds.service import RefundService
from domain.settlement.answers import Refusal, StripeTransaction, Unsure
from domain.settlement.charge_owners import ChargeOwners
from domain.settlement.dispute_events import DISPUTE_EVENTS, DisputeEvents
from domain.settlement.disputes import DisputeSettlement
from domain.settlement.model import Outcome, SettlementPolicy, StripeEvent, StripeEventStatus
from domain.settlement.refund_events import MAX_ATTEMPTS
from domain.settlement.refunds import RefundSettlement
from domain.settlement.stripe_events import StripeEventService
from tests.builders import NOW, Shop, a_dispute, a_requested_refund, a_stripe_event, disputed, refunded, unique
from tests.captured import captured, captured_late
from tests.domain.fakes import FakeClock, Memory, RecordingAnnouncer, ScriptedGateway

NEEDS, REVIEW = DisputeStatus.NEEDS_RESPONSE, DisputeStatus.UNDER_REVIEW
WON, LOST = DisputeStatus.WON, DisputeStatus.LOST
LINE = Part(1, UserId(uuid7()), 1999, 50)
FINANCE = Principal(UserId(uuid7()), Role.FINANCE)


@pytest.fixture
def disputes(memory: Memory, clock: FakeClock, policy: SettlementPolicy) -> DisputeSettlement:
    return DisputeSettlement(memory.begin, clock, policy)


@pytest.fixture
async def payment(shop: Shop) -> Payment:
    """A paid order of 19.99 of the shop's seller."""
    return await captured(shop, await shop.order())


@pytest.fixture
def refunds(memory: Memory, announcer: RecordingAnnouncer, clock: FakeClock) -> RefundService:
    return RefundService(memory.begin, announcer, clock, RefundPolicy(3600, 30))


async def books(memory: Memory) -> dict[str, int]:
    async with memory.begin() as tx:
        return {row.account: row.balance_minor for row in await tx.ledger.balances() if row.balance_minor}


def told(memory: Memory, prefix: str = "dispute.") -> list[str]:
    return [event.type for event in memory.state.events if event.type.startswith(prefix)]


def known(memory: Memory) -> Dispute:
    (dispute,) = memory.state.disputes.values()
    return dispute


def order_of(memory: Memory) -> OrderStatus:
    (order,) = memory.state.orders.values()
    return order.status


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
    due_at = memory.state.events[-2].data["evidence_due_at"]
    assert due_at == dispute.evidence_due_at.isoformat() if dispute.evidence_due_at else None


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


async def test_inquiry_moves_no_money_and_leaves_the_order_alone(
    disputes: DisputeSettlement, refunds: RefundService, memory: Memory, payment: Payment
) -> None:
    dispute = a_dispute(payment, status=DisputeStatus.WARNING_NEEDS_RESPONSE)
    before = await books(memory)

    for status in (DisputeStatus.WARNING_NEEDS_RESPONSE, DisputeStatus.WARNING_UNDER_REVIEW):
        await disputes.settle(payment.id, disputed(dispute, status))

    assert await books(memory) == before
    assert order_of(memory) is OrderStatus.PAID
    assert (await refunds.request(FINANCE, RefundRequest(payment.id, unique("key"), "x"))).refund
    await disputes.settle(payment.id, disputed(dispute, DisputeStatus.WARNING_CLOSED))
    assert told(memory) == [
        "dispute.opened",
        "dispute.warning_needs_response",
        "dispute.warning_under_review",
        "dispute.warning_closed",
    ]


async def test_inquiry_may_become_a_dispute(disputes: DisputeSettlement, memory: Memory, payment: Payment) -> None:
    dispute = a_dispute(payment, status=DisputeStatus.WARNING_UNDER_REVIEW)
    await disputes.settle(payment.id, disputed(dispute, DisputeStatus.WARNING_UNDER_REVIEW))

    await disputes.settle(payment.id, disputed(dispute, NEEDS, -1999))

    assert (known(memory).status, known(memory).funds) == (NEEDS, DisputeFunds.WITHDRAWN)
    assert order_of(memory) is OrderStatus.DISPUTED


@pytest.mark.parametrize("end", ["withdrawn", "lost"])
async def test_no_refund_while_disputed_money_is_withdrawn(
    disputes: DisputeSettlement, refunds: RefundService, payment: Payment, end: str
) -> None:
    dispute = a_dispute(payment)
    await disputes.settle(payment.id, disputed(dispute, NEEDS if end == "withdrawn" else LOST, -1999))

    with pytest.raises(Conflict) as refusal:
        await refunds.request(FINANCE, RefundRequest(payment.id, unique("key"), "x"))

    assert refusal.value.code == "funds_disputed"


async def test_won_dispute_may_be_refunded(
    disputes: DisputeSettlement, refunds: RefundService, payment: Payment
) -> None:
    await disputes.settle(payment.id, disputed(a_dispute(payment), WON, -1999, 1999))

    accepted = await refunds.request(FINANCE, RefundRequest(payment.id, unique("key"), "x"))

    assert accepted.refund.amount_minor == 1999


async def test_dispute_of_what_refunds_have_left_falls_on_it(
    disputes: DisputeSettlement, memory: Memory, shop: Shop, clock: FakeClock, policy: SettlementPolicy
) -> None:
    payment = await captured(shop, await shop.order(shop.product, shop.other_product))
    refund = a_requested_refund(payment, shop, 1999, lines=(replace(LINE, seller_id=shop.seller.id),))
    async with memory.begin() as tx:
        await tx.refunds.add([refund], publish_at=NOW)
        await tx.commit()
    await RefundSettlement(memory.begin, clock, policy).settle(refund.id, refunded(refund))

    dispute = a_dispute(payment, amount_minor=501)
    await disputes.settle(payment.id, disputed(dispute, NEEDS, -501))

    after = await books(memory)
    assert after[seller_disputed(shop.other_seller.id)] == -488
    assert seller_disputed(shop.seller.id) not in after
    await disputes.settle(payment.id, disputed(dispute, LOST, -501))
    assert order_of(memory) is OrderStatus.REFUNDED


async def test_dispute_of_what_is_refunded_too_falls_on_all_lines(
    disputes: DisputeSettlement, memory: Memory, shop: Shop, clock: FakeClock, policy: SettlementPolicy
) -> None:
    """The bank takes it a second time until the dispute is won; both deductions are shown."""
    payment = await captured(shop)
    refund = a_requested_refund(payment, shop, 1999, lines=(replace(LINE, seller_id=shop.seller.id),))
    async with memory.begin() as tx:
        await tx.refunds.add([refund], publish_at=NOW)
        await tx.commit()
    await RefundSettlement(memory.begin, clock, policy).settle(refund.id, refunded(refund))

    await disputes.settle(payment.id, disputed(a_dispute(payment), NEEDS, -1999, fee_minor=0))

    after = await books(memory)
    assert (after[STRIPE_BALANCE], after[seller_payable(shop.seller.id)]) == (-1999, 1949)


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
        after = {(row.account, row.currency): row.balance_minor for row in await tx.ledger.balances()}
    assert after[STRIPE_BALANCE, "USD"] == (-1600 if end is WON else -3699)
    assert after[STRIPE_BALANCE, "EUR"] == 1999
    assert after[DISPUTED_FUNDS, "EUR"] == 0
    # What the seller is owed of the charge stays in euros; it loses, and gets back, its part of the dollars.
    owed = 2144 + 1500 - (2046 if end is WON else 0)
    assert after[seller_payable(shop.seller.id), "EUR"] == -1949
    assert after[seller_payable(shop.seller.id), "USD"] == owed
    assert after[seller_disputed(shop.seller.id), "EUR"] == 0


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


@pytest.mark.parametrize("moves", [(-1999, -1999), (1999,), (-1999, 1998)])
async def test_money_that_no_rule_can_book_is_refused(
    disputes: DisputeSettlement, payment: Payment, moves: tuple[int, ...]
) -> None:
    with pytest.raises(Refused):
        await disputes.settle(payment.id, disputed(a_dispute(payment), NEEDS, *moves))


async def test_later_deadline_is_kept_and_an_older_report_does_not_take_it_back(
    disputes: DisputeSettlement, memory: Memory, payment: Payment
) -> None:
    dispute = a_dispute(payment)
    later = NOW + timedelta(days=20)
    await disputes.settle(payment.id, disputed(dispute, NEEDS, -1999))
    await disputes.settle(payment.id, disputed(dispute, REVIEW, -1999, evidence_due_at=later))

    assert not await disputes.settle(payment.id, disputed(dispute, NEEDS, -1999))

    assert known(memory).evidence_due_at == later


@pytest.fixture
def service(
    memory: Memory,
    gateway: ScriptedGateway,
    settle: Coalescer[Outcome, bool],
    disputes: DisputeSettlement,
    clock: FakeClock,
    policy: SettlementPolicy,
) -> StripeEventService:
    reader = DisputeEvents(disputes, ChargeOwners(memory.begin, gateway, settle))
    return StripeEventService(memory.begin, [reader], clock, policy)


def report(payment: Payment, kind: str = "charge.dispute.created", **raw: Any) -> StripeEvent:
    """Return Stripe's event about a dispute of 19.99."""
    withdrawal = {"id": f"txn_{payment.id}", "amount": -1999, "fee": 1500, "net": -3499, "currency": "usd"}
    found = {
        "id": f"dp_{payment.id}",
        "status": "needs_response",
        "amount": 1999,
        "currency": "usd",
        "reason": "fraudulent",
        "charge": payment.stripe_charge_id,
        "payment_intent": payment.stripe_intent_id,
        "created": 1_795_000_000,
        "evidence_details": {"due_by": 1_795_700_000},
        "balance_transactions": [withdrawal],
        **raw,
    }
    return a_stripe_event(kind, json.dumps({"data": {"object": found}}))


async def process(memory: Memory, service: StripeEventService, events: Sequence[StripeEvent]) -> list[str]:
    async with memory.begin() as tx:
        await tx.stripe_events.add(events, publish_at=NOW)
        await tx.commit()
    await service.process([event.id for event in events])
    return [str(memory.state.stripe_statuses[event.id]) for event in events]


async def test_webhooks_of_a_dispute_are_settled_in_any_order(
    service: StripeEventService, memory: Memory, payment: Payment
) -> None:
    closed = report(payment, "charge.dispute.closed", status="lost")
    created = report(payment, balance_transactions=[])
    withdrawn = report(payment, "charge.dispute.funds_withdrawn")

    for event in (closed, created, withdrawn):
        assert await process(memory, service, [event]) == ["processed"]

    after = known(memory)
    assert (after.status, after.funds) == (LOST, DisputeFunds.LOST)
    assert after.evidence_due_at is not None
    assert after.evidence_due_at.timestamp() == 1_795_700_000
    assert order_of(memory) is OrderStatus.REFUNDED


async def test_dispute_of_a_charge_that_is_not_ours_is_unmatched(
    service: StripeEventService, gateway: ScriptedGateway, memory: Memory, payment: Payment
) -> None:
    gateway.will("identify", None)

    assert await process(memory, service, [report(payment, charge="ch_2")]) == ["unmatched"]
    assert memory.state.disputes == {}


async def test_dispute_waits_for_stripe_and_for_its_charge(
    service: StripeEventService,
    gateway: ScriptedGateway,
    memory: Memory,
    clock: FakeClock,
    policy: SettlementPolicy,
    shop: Shop,
) -> None:
    payment = await shop.payment()
    event = report(payment, charge=f"ch_{payment.id}", payment_intent=f"pi_{payment.id}")
    gateway.will("identify", Unsure("timeout"))
    assert await process(memory, service, [event]) == ["received"]

    for _ in range(MAX_ATTEMPTS):
        gateway.will("identify", Outcome(payment.id, Unsure("not readable")))
        clock.advance(policy.lease_s)
        await service.process([event.id])

    assert memory.state.stripe_statuses[event.id] is StripeEventStatus.QUARANTINED


async def test_dispute_of_another_systems_payment_is_unmatched(
    service: StripeEventService, gateway: ScriptedGateway, memory: Memory, payment: Payment
) -> None:
    gateway.will("identify", Outcome(PaymentId(uuid7()), Refusal("x")))

    assert await process(memory, service, [report(payment, charge="ch_2")]) == ["unmatched"]


@pytest.mark.parametrize(
    "raw",
    [
        {"status": "melted"},
        {"charge": None},
        {"amount": "much"},
        {"created": 10**30},
        {"balance_transactions": [{}]},
        {"evidence_details": []},
        {"balance_transactions": 1},
    ],
)
async def test_dispute_that_cannot_be_read_is_quarantined(
    service: StripeEventService, memory: Memory, payment: Payment, raw: dict[str, Any]
) -> None:
    statuses = await process(memory, service, [report(payment, **raw)])

    assert statuses == (["processed"] if raw == {"evidence_details": []} else ["quarantined"])


def test_dispute_events_are_stripes_names() -> None:
    assert all(kind.startswith("charge.dispute.") for kind in DISPUTE_EVENTS)
