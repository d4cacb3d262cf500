"""What Stripe's own record proves is booked by the paths that webhooks take, and by no other."""

from dataclasses import replace

import pytest

from domain.coalescer import Coalescer
from domain.disputes.model import DisputeStatus
from domain.ledger.model import JournalKind
from domain.payments.model import Payment, PaymentStatus
from domain.reconciliation.mending import Mending
from domain.reconciliation.rules import RULES
from domain.refunds.model import RefundStatus
from domain.settlement.answers import OwnPayout, Refusal, StripeDispute, StripeRefund, StripeTransaction, Unsure
from domain.settlement.disputes import DisputeSettlement
from domain.settlement.inbox.charge_owners import ChargeOwners
from domain.settlement.inbox.dispute_events import DisputeEvents
from domain.settlement.inbox.refund_events import RefundEvents
from domain.settlement.model import Outcome, SettlementPolicy
from domain.settlement.own_payouts import OwnPayouts
from domain.settlement.refunds import RefundSettlement
from domain.settlement.service import SettlementService
from tests.builders import Shop, a_dispute, a_line_of_stripe, a_refund, unique
from tests.captured import captured
from tests.domain.fakes import FakeClock, Memory, RecordingAnnouncer, ScriptedGateway
from tests.stripe_answers import disputed, refunded, succeeded


class KnownObjects:
    """The refunds and disputes at Stripe, which keeps what it was asked for."""

    def __init__(self) -> None:
        self.refunds: dict[str, StripeRefund] = {}
        self.disputes: dict[str, StripeDispute] = {}
        self.asked: list[str] = []

    async def refund(self, refund_id: str) -> StripeRefund | None:
        self.asked.append(refund_id)
        return self.refunds.get(refund_id)

    async def dispute(self, dispute_id: str) -> StripeDispute | None:
        self.asked.append(dispute_id)
        return self.disputes.get(dispute_id)


@pytest.fixture
def objects() -> KnownObjects:
    return KnownObjects()


@pytest.fixture
def mending(
    memory: Memory,
    gateway: ScriptedGateway,
    announcer: RecordingAnnouncer,
    clock: FakeClock,
    objects: KnownObjects,
) -> Mending:
    policy = SettlementPolicy()
    settle: Coalescer[Outcome, bool] = Coalescer(
        SettlementService(memory.begin, announcer, clock, policy).settle, max_batch=64
    )
    owners = ChargeOwners(memory.begin, gateway, settle)
    return Mending(
        gateway,
        settle,
        objects,
        RefundEvents(memory.begin, gateway, RefundSettlement(memory.begin, clock, policy), owners),
        DisputeEvents(DisputeSettlement(memory.begin, clock, policy), owners, gateway),
        own_payouts=OwnPayouts(memory.begin, gateway, clock),
    )


@pytest.fixture
async def payment(shop: Shop) -> Payment:
    """A payment of 19.99 that is booked."""
    return await captured(shop, await shop.order())


def kinds(memory: Memory) -> list[str]:
    return [journal.kind for journal in memory.state.journals]


async def test_charge_whose_webhook_is_lost_is_settled_once(
    mending: Mending, gateway: ScriptedGateway, memory: Memory, shop: Shop
) -> None:
    payment = await shop.payment(await shop.order())
    line = a_line_of_stripe(intent_id=f"pi_{payment.id}")
    gateway.will("identify", *[Outcome(payment.id, succeeded(payment))] * 2)

    assert [await mending.mend(line), await mending.mend(line)] == [True, False]

    assert memory.state.payments[payment.id].status is PaymentStatus.SUCCEEDED
    assert kinds(memory) == [JournalKind.CHARGE, JournalKind.STRIPE_FEE]


@pytest.mark.parametrize("answer", [None, Refusal("resource_missing"), Unsure("timeout")])
async def test_charge_of_an_intent_that_stripe_does_not_show_stays_broken(
    mending: Mending, gateway: ScriptedGateway, memory: Memory, answer: object
) -> None:
    gateway.will("identify", answer)

    assert await mending.mend(a_line_of_stripe(intent_id="pi_1")) is False

    assert memory.state.journals == []


async def test_charge_without_an_intent_is_none_of_ours(mending: Mending, gateway: ScriptedGateway) -> None:
    assert await mending.mend(a_line_of_stripe(intent_id=None)) is False

    assert gateway.intents == []


async def test_refund_whose_webhook_is_lost_is_booked(
    mending: Mending, objects: KnownObjects, memory: Memory, payment: Payment
) -> None:
    objects.refunds["re_1"] = replace(refunded(a_refund(payment)), stripe_refund_id="re_1", refund_id=None)

    assert await mending.mend(a_line_of_stripe(category="refund", source="re_1")) is True

    assert kinds(memory) == [JournalKind.CHARGE, JournalKind.REFUND]
    assert await mending.mend(a_line_of_stripe(category="refund", source="re_other")) is False


async def test_failure_of_a_refund_is_booked_by_its_refund(
    mending: Mending, objects: KnownObjects, memory: Memory, payment: Payment
) -> None:
    sent = replace(refunded(a_refund(payment)), stripe_refund_id="re_1", refund_id=None)
    objects.refunds["re_1"] = sent
    await mending.mend(a_line_of_stripe(category="refund", source="re_1"))
    back = StripeTransaction("txn_back", sent.amount_minor, 0, "USD")
    objects.refunds["re_1"] = replace(
        sent, status=RefundStatus.FAILED, failure_transaction_id=back.id, failure_transaction=back
    )

    assert await mending.mend(a_line_of_stripe(category="refund_failure", source="re_1")) is True

    assert kinds(memory) == [JournalKind.CHARGE, JournalKind.REFUND, JournalKind.REFUND_FAILED]


async def test_refund_for_which_our_books_have_no_room_stays_broken(
    mending: Mending, objects: KnownObjects, memory: Memory, payment: Payment
) -> None:
    too_much = refunded(a_refund(payment, amount_minor=payment.amount_minor + 1))
    objects.refunds["re_1"] = replace(too_much, stripe_refund_id="re_1", refund_id=None)

    assert await mending.mend(a_line_of_stripe(category="refund", source="re_1")) is False

    assert kinds(memory) == [JournalKind.CHARGE]


async def test_dispute_is_booked_and_won_as_stripe_shows_it(
    mending: Mending, objects: KnownObjects, memory: Memory, payment: Payment
) -> None:
    dispute = a_dispute(payment)
    lines = [
        a_line_of_stripe(category=category, source=dispute.stripe_dispute_id)
        for category in ("dispute", "dispute_reversal")
    ]
    objects.disputes[dispute.stripe_dispute_id] = disputed(dispute, DisputeStatus.NEEDS_RESPONSE, -1999)
    assert await mending.mend(lines[0]) is True
    objects.disputes[dispute.stripe_dispute_id] = disputed(dispute, DisputeStatus.WON, -1999, 1999)
    assert await mending.mend(lines[1]) is True

    booked = [JournalKind.CHARGE, JournalKind.DISPUTE_OPENED, JournalKind.DISPUTE_FEE, JournalKind.DISPUTE_WON]
    assert sorted(kinds(memory)) == sorted(booked)
    assert await mending.mend(a_line_of_stripe(category="dispute", source="dp_other")) is False


async def test_payout_to_our_bank_and_what_came_back_of_it_are_booked(
    mending: Mending, gateway: ScriptedGateway, memory: Memory
) -> None:
    left = StripeTransaction("txn_left", -700, 0, "USD")
    sent = OwnPayout("po_1", left)
    gateway.will("own_payout", sent, replace(sent, returned=replace(left, id="txn_back", amount_minor=700)))

    for category in ("payout", "payout_reversal"):
        assert await mending.mend(a_line_of_stripe(category=category, source="po_1")) is True

    assert gateway.asked == [("own_payout", "po_1")] * 2
    assert kinds(memory) == [JournalKind.BANK_PAYOUT, JournalKind.BANK_PAYOUT_RETURNED]


async def test_payout_of_which_stripe_says_nothing_stays_broken(
    mending: Mending, gateway: ScriptedGateway
) -> None:
    gateway.will("own_payout", Unsure("timeout"))

    assert await mending.mend(a_line_of_stripe(category="payout", source="po_1")) is False


@pytest.mark.parametrize("category", ["transfer", "transfer_reversal", "topup"])
async def test_what_stripe_does_not_prove_is_left_to_a_person(
    mending: Mending, gateway: ScriptedGateway, objects: KnownObjects, category: str
) -> None:
    assert await mending.mend(a_line_of_stripe(category=category, intent_id="pi_1")) is False

    assert (gateway.intents, objects.asked) == ([], [])


@pytest.mark.parametrize("category", RULES)
async def test_line_that_names_no_object_is_not_asked_for(
    mending: Mending, gateway: ScriptedGateway, objects: KnownObjects, category: str
) -> None:
    line = a_line_of_stripe(category=category, source=None, intent_id=unique("pi"))

    assert await mending.mend(line) is False

    assert (gateway.intents, objects.asked) == ([], [])
