"""Refunding against a scripted Stripe."""

from dataclasses import replace
from datetime import timedelta

import pytest

from domain.fulfilment.service import OrderService
from domain.ids import RefundId, uuid7
from domain.ledger.model import STRIPE_BALANCE, UNAPPLIED_CHARGES, Balance, JournalKind
from domain.ledger.postings import Part
from domain.orders.model import OrderStatus
from domain.payments.model import Payment
from domain.refunds.model import Refund, RefundOrigin, RefundStatus
from domain.settlement.answers import Absent, Refusal, Throttled, Unsure
from domain.settlement.model import Outcome, SettlementPolicy
from domain.settlement.refunds import RefundSender, RefundSettlement
from domain.settlement.service import SettlementService
from domain.work import Work
from tests.balances import all_balances
from tests.builders import NOW, Shop, a_requested_refund, principal
from tests.captured import captured, captured_late
from tests.domain.fakes import FakeClock, Memory, RecordingAnnouncer, ScriptedGateway
from tests.stripe_answers import refunded, succeeded

FAILED = RefundStatus.FAILED


@pytest.fixture
def refunds(memory: Memory, clock: FakeClock, policy: SettlementPolicy) -> RefundSettlement:
    return RefundSettlement(memory.begin, clock, policy)


@pytest.fixture
def sender(
    memory: Memory,
    gateway: ScriptedGateway,
    refunds: RefundSettlement,
    clock: FakeClock,
    policy: SettlementPolicy,
) -> RefundSender:
    return RefundSender(memory.begin, gateway, refunds, clock, policy)


@pytest.fixture
async def payment(shop: Shop) -> Payment:
    """A paid order of 19.99."""
    return await captured(shop, await shop.order())


@pytest.fixture
async def refund(memory: Memory, payment: Payment, shop: Shop) -> Refund:
    """A refund of 10.00 of it."""
    return await add(memory, a_requested_refund(payment, shop))


async def add(memory: Memory, refund: Refund) -> Refund:
    async with memory.begin() as tx:
        assert await tx.refunds.add([refund], publish_at=refund.created_at)
        await tx.commit()
    return refund


def all_of(payment: Payment, shop: Shop) -> Refund:
    return a_requested_refund(payment, shop, 1999, lines=(Part(1, shop.seller.id, 1999, 50),))


def now_of(memory: Memory, refund: Refund) -> Refund:
    return memory.state.refunds[refund.id]


def order_of(memory: Memory, payment: Payment) -> OrderStatus:
    assert payment.order_id is not None
    return memory.state.orders[payment.order_id].status


def told(memory: Memory, prefix: str) -> list[str]:
    return [event.type for event in memory.state.events if event.type.startswith(prefix)]


async def test_late_success_announces_its_refund(
    settlement: SettlementService, memory: Memory, announcer: RecordingAnnouncer, shop: Shop
) -> None:
    payment = await shop.payment()
    await settlement.settle([Outcome(payment.id, Refusal("expired_card"))])
    await settlement.settle([Outcome(payment.id, succeeded(payment, fee_minor=0))])

    (refund,) = memory.state.refunds.values()
    assert announcer.announced[Work.REFUNDS] == [refund.id]
    assert refund.origin is RefundOrigin.LATE_SUCCESS


async def test_money_that_paid_for_nothing_goes_back(
    sender: RefundSender, gateway: ScriptedGateway, memory: Memory, shop: Shop
) -> None:
    await captured_late(shop)
    (refund,) = memory.state.refunds.values()
    gateway.will("refund", refunded(refund))

    await sender.process([refund.id])

    async with memory.begin() as tx:
        assert await all_balances(tx) == [
            Balance(STRIPE_BALANCE, "USD", 0),
            Balance(UNAPPLIED_CHARGES, "USD", 0),
        ]
    assert now_of(memory, refund).status is RefundStatus.SUCCEEDED


@pytest.mark.parametrize("answer", ["refused", "failed", "failed late"])
async def test_money_that_paid_for_nothing_and_does_not_go_back_waits_for_a_person(
    sender: RefundSender,
    refunds: RefundSettlement,
    gateway: ScriptedGateway,
    memory: Memory,
    shop: Shop,
    answer: str,
) -> None:
    """No order and no seller misses it: it would stay here for ever."""
    await captured_late(shop)
    (refund,) = memory.state.refunds.values()
    failed = refunded(refund, FAILED, failure_code="lost_or_stolen_card")
    sent = {"refused": Refusal("charge_disputed"), "failed": failed, "failed late": refunded(refund)}
    gateway.will("refund", sent[answer])

    await sender.process([refund.id])
    if answer == "failed late":
        assert memory.state.quarantined_refunds == {}
        await refunds.settle(refund.id, failed)

    code = "charge_disputed" if answer == "refused" else "lost_or_stolen_card"
    assert memory.state.quarantined_refunds == {refund.id: f"what paid for nothing did not go back: {code}"}
    assert told(memory, "refund.")[-2:] == ["refund.failed", "refund.quarantined"]


async def test_money_that_was_sent_back_at_stripe_before_waits_for_nobody(
    sender: RefundSender, gateway: ScriptedGateway, memory: Memory, shop: Shop
) -> None:
    await captured_late(shop)
    (refund,) = memory.state.refunds.values()
    gateway.will("refund", Refusal("charge_already_refunded"))

    await sender.process([refund.id])

    assert now_of(memory, refund).status is FAILED
    assert memory.state.quarantined_refunds == {}


async def test_refund_settles_once(
    sender: RefundSender, refunds: RefundSettlement, gateway: ScriptedGateway, memory: Memory, refund: Refund
) -> None:
    gateway.will("refund", refunded(refund))

    assert await sender.process([refund.id]) == 1
    assert await sender.process([refund.id]) == 0
    assert not await refunds.settle(refund.id, refunded(refund))

    after = now_of(memory, refund)
    assert (after.status, after.stripe_refund_id) == (RefundStatus.SUCCEEDED, f"re_{refund.id}")
    assert [journal.kind for journal in memory.state.journals] == [JournalKind.CHARGE, JournalKind.REFUND]
    assert told(memory, "refund.") == ["refund.succeeded"]
    assert gateway.keys == [f"refund-{refund.id}"]


@pytest.mark.parametrize("answer", ["refused", "failed"])
async def test_failed_refund_books_nothing_and_is_told(
    sender: RefundSender, gateway: ScriptedGateway, memory: Memory, refund: Refund, answer: str
) -> None:
    gateway.will("refund", Refusal("charge_disputed") if answer == "refused" else refunded(refund, FAILED))

    await sender.process([refund.id])

    assert now_of(memory, refund).status is FAILED
    assert memory.state.payments[refund.payment_id].refunded_minor == 0
    assert [journal.kind for journal in memory.state.journals] == [JournalKind.CHARGE]
    assert told(memory, "refund.") == ["refund.failed"]


async def test_refund_without_an_answer_is_sent_again_under_its_key(
    sender: RefundSender, gateway: ScriptedGateway, memory: Memory, clock: FakeClock, refund: Refund
) -> None:
    gateway.will("refund", Unsure("timeout"), Throttled("rate limit", 20), refunded(refund))

    await sender.process([refund.id])
    clock.advance(1)
    await sender.process([refund.id])
    clock.advance(19.5)
    assert await sender.process([refund.id]) == 0
    clock.advance(0.5)
    assert await sender.process([refund.id]) == 1

    assert gateway.keys == [f"refund-{refund.id}"] * 3
    assert now_of(memory, refund).status is RefundStatus.SUCCEEDED


async def test_refund_that_stripe_has_under_way_is_read_and_not_sent_again(
    sender: RefundSender, gateway: ScriptedGateway, memory: Memory, clock: FakeClock, refund: Refund
) -> None:
    gateway.will("refund", refunded(refund, RefundStatus.PENDING))
    gateway.will("retrieve_refund", Unsure("timeout"), Refusal("odd"), refunded(refund))

    for _ in range(4):
        await sender.process([refund.id])
        clock.advance(10)

    assert gateway.questions == ["refund", "retrieve_refund", "retrieve_refund", "retrieve_refund"]
    assert now_of(memory, refund).status is RefundStatus.SUCCEEDED


async def test_refund_whose_key_brings_an_old_error_is_looked_up(
    sender: RefundSender, gateway: ScriptedGateway, memory: Memory, clock: FakeClock, refund: Refund
) -> None:
    gateway.will("refund", Unsure("status 500"), Unsure("replayed 500", lookup_only=True))
    gateway.will("find_refund", Unsure("timeout"), refunded(refund))

    for _ in range(4):
        await sender.process([refund.id])
        clock.advance(10)

    assert gateway.questions == ["refund", "refund", "find_refund", "find_refund"]
    assert now_of(memory, refund).status is RefundStatus.SUCCEEDED


async def test_refund_that_provably_never_arrived_is_sent_under_a_new_key(
    sender: RefundSender,
    gateway: ScriptedGateway,
    memory: Memory,
    clock: FakeClock,
    policy: SettlementPolicy,
    refund: Refund,
) -> None:
    gateway.will("refund", Unsure("replayed 500", lookup_only=True), refunded(refund))
    gateway.will("find_refund", Absent(), Absent())

    await sender.process([refund.id])
    clock.advance(policy.lookup_grace_s - 1)
    await sender.process([refund.id])
    clock.advance(10)
    await sender.process([refund.id])
    await sender.process([refund.id])

    assert gateway.questions == ["refund", "find_refund", "find_refund", "refund"]
    assert gateway.keys == [f"refund-{refund.id}", f"refund-{refund.id}-1"]
    assert now_of(memory, refund).status is RefundStatus.SUCCEEDED


async def test_key_that_stripe_may_have_forgotten_is_never_used_again(
    sender: RefundSender, gateway: ScriptedGateway, clock: FakeClock, policy: SettlementPolicy, refund: Refund
) -> None:
    gateway.will("refund", Unsure("timeout"))
    gateway.will("find_refund", Absent())

    await sender.process([refund.id])
    clock.advance(policy.stripe_key_lifetime_s)
    await sender.process([refund.id])

    assert gateway.questions == ["refund", "find_refund"]


async def test_refusal_of_a_repeated_attempt_is_looked_behind(
    sender: RefundSender, gateway: ScriptedGateway, memory: Memory, clock: FakeClock, refund: Refund
) -> None:
    """An earlier attempt may have arrived, and now the charge is refunded already."""
    gateway.will("refund", Unsure("timeout"), Refusal("charge_already_refunded"))
    gateway.will("find_refund", refunded(refund))

    await sender.process([refund.id])
    clock.advance(10)
    await sender.process([refund.id])

    assert now_of(memory, refund).status is RefundStatus.SUCCEEDED


async def test_refusal_of_a_repeated_attempt_stands_when_none_arrived(
    sender: RefundSender, gateway: ScriptedGateway, memory: Memory, clock: FakeClock, refund: Refund
) -> None:
    gateway.will("refund", Unsure("timeout"), Refusal("charge_disputed"))
    gateway.will("find_refund", Absent())

    await sender.process([refund.id])
    clock.advance(10)
    await sender.process([refund.id])

    after = now_of(memory, refund)
    assert (after.status, after.failure_code) == (FAILED, "charge_disputed")


async def test_answer_for_an_unknown_refund_is_no_news(refunds: RefundSettlement) -> None:
    assert not await refunds.settle(RefundId(uuid7()), Refusal("charge_disputed"))


async def test_order_is_refunded_when_all_of_it_went_back(
    refunds: RefundSettlement, memory: Memory, payment: Payment, shop: Shop, refund: Refund
) -> None:
    rest = await add(memory, a_requested_refund(payment, shop, 999))

    await refunds.settle(refund.id, refunded(refund))
    assert order_of(memory, payment) is OrderStatus.PAID
    await refunds.settle(rest.id, refunded(rest))

    assert order_of(memory, payment) is OrderStatus.REFUNDED
    assert told(memory, "order.") == ["order.paid", "order.refunded"]


async def test_order_is_shipped_when_who_had_yet_to_ship_is_refunded(
    sender: RefundSender, gateway: ScriptedGateway, memory: Memory, clock: FakeClock, shop: Shop
) -> None:
    payment = await captured(shop, await shop.order(shop.product, shop.other_product))
    assert payment.order_id is not None
    orders = OrderService(memory.begin, clock)
    part = Part(2, shop.other_seller.id, 501, 13)
    refund = await add(memory, a_requested_refund(payment, shop, 501, lines=(part,)))
    gateway.will("refund", refunded(refund))
    await orders.ship(principal(shop.seller), payment.order_id, carrier="DHL", tracking_number="1")
    assert order_of(memory, payment) is OrderStatus.PAID

    await sender.process([refund.id])

    assert order_of(memory, payment) is OrderStatus.SHIPPED
    assert memory.state.orders[payment.order_id].due_at == clock.now()
    assert told(memory, "order.")[-1] == "order.shipped"
    done = await orders.complete(principal(shop.buyer), payment.order_id)
    assert done.order.status is OrderStatus.COMPLETED


@pytest.mark.parametrize("status", [OrderStatus.PAID, OrderStatus.SHIPPED, OrderStatus.COMPLETED])
@pytest.mark.parametrize("is_due", [True, False])
async def test_refund_of_a_part_brings_no_step_forward(
    refunds: RefundSettlement,
    memory: Memory,
    payment: Payment,
    refund: Refund,
    status: OrderStatus,
    *,
    is_due: bool,
) -> None:
    """But for a shipped order that waits for a seller, who may be the one that is refunded."""
    assert payment.order_id is not None
    order = replace(
        memory.state.orders[payment.order_id], status=status, due_at=NOW + timedelta(days=1) if is_due else None
    )
    memory.state.orders[order.id] = order

    await refunds.settle(refund.id, refunded(refund))

    looked_at = status is OrderStatus.SHIPPED and not is_due
    assert memory.state.orders[order.id] == (replace(order, due_at=NOW) if looked_at else order)


async def test_order_goes_on_when_its_refund_failed_after_all(
    refunds: RefundSettlement, memory: Memory, payment: Payment, shop: Shop
) -> None:
    refund = await add(memory, all_of(payment, shop))
    await refunds.settle(refund.id, refunded(refund))

    assert await refunds.settle(refund.id, refunded(refund, FAILED))
    assert not await refunds.settle(refund.id, refunded(refund, FAILED))

    assert order_of(memory, payment) is OrderStatus.PAID
    assert told(memory, "order.") == ["order.paid", "order.refunded", "order.resumed"]
    steps = [event for event in memory.state.events if event.type.startswith("order.")][1:]
    assert [(step.data["by"], bool(step.data["reason"])) for step in steps] == [("system", True)] * 2
    assert [journal.kind for journal in memory.state.journals] == [
        JournalKind.CHARGE,
        JournalKind.REFUND,
        JournalKind.REFUND_FAILED,
    ]
    async with memory.begin() as tx:
        assert {row.account: row.balance_minor for row in await all_balances(tx)}[STRIPE_BALANCE] == 1999


async def test_refund_of_a_late_success_leaves_the_order_alone(
    refunds: RefundSettlement, settlement: SettlementService, memory: Memory, shop: Shop
) -> None:
    order = await shop.order()
    late = await shop.payment(order)
    await settlement.settle([Outcome(late.id, Refusal("expired_card"))])
    await captured(shop, order)
    await settlement.settle([Outcome(late.id, succeeded(late, fee_minor=0))])
    (refund,) = memory.state.refunds.values()

    await refunds.settle(refund.id, refunded(refund))

    assert memory.state.orders[order.id].status is OrderStatus.PAID


async def test_refund_that_no_rule_can_book_is_quarantined(
    sender: RefundSender, gateway: ScriptedGateway, memory: Memory, clock: FakeClock, refund: Refund
) -> None:
    gateway.will("refund", refunded(refund, amount_minor=1))

    await sender.process([refund.id])
    clock.advance(1000)
    assert await sender.process([refund.id]) == 0

    assert now_of(memory, refund).status is RefundStatus.PENDING
    assert memory.state.quarantined_refunds == {refund.id: "Stripe refunded another amount"}
    assert told(memory, "refund.") == ["refund.quarantined"]
