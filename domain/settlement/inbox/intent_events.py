"""Stripe's webhooks about intents, and about fees that come late."""

from collections.abc import Sequence

from domain.coalescer import Coalescer
from domain.errors import Refused, Unavailable
from domain.following import FollowStep, follow_nobody
from domain.payments.model import DEAD, Payment
from domain.settlement.answers import Answer, Intent, IntentStatus, Refusal
from domain.settlement.charges import PAYABLE, cancel_declined
from domain.settlement.gateways import ChargeGateway
from domain.settlement.inbox.stripe_events import Statuses, Told
from domain.settlement.model import Outcome, StripeEventStatus
from domain.settlement.ports import SettlementTransaction
from domain.settlement.stripe_objects import UNREADABLE, read_intent, read_payment_id
from domain.settlement.together import all_of
from domain.transactions import Begin

INTENT_EVENTS = frozenset(
    {
        "payment_intent.succeeded",
        "payment_intent.payment_failed",
        "payment_intent.canceled",
        "payment_intent.requires_action",
        "payment_intent.amount_capturable_updated",
    }
)
CHARGE_UPDATED = "charge.updated"
"""Says that a charge's balance transaction, and with it the fee, is there now."""
CHARGE_EVENTS = INTENT_EVENTS | {CHARGE_UPDATED}
"""All events about the state of a payment's charge."""


class IntentEvents:
    """`domain.settlement.inbox.stripe_events.EventReader` of charges."""

    kinds = CHARGE_EVENTS

    def __init__(
        self,
        begin: Begin[SettlementTransaction],
        gateway: ChargeGateway,
        settle: Coalescer[Outcome, bool],
        *,
        follow: FollowStep[Payment] = follow_nobody,
    ) -> None:
        """Keep the collaborators; `settle` gathers the outcomes of all batches of this process."""
        self._begin = begin
        self._follow = follow
        self._gateway = gateway
        self._settle = settle

    async def read(self, told: Sequence[Told]) -> Statuses:
        """Settle what the events report; return what became of each, by id, without those to be read again."""
        wanted = {each.event.id: read_payment_id(each.raw) for each in told}
        async with self._begin() as tx:
            ids = {payment_id for payment_id in wanted.values() if payment_id is not None}
            payments = await tx.payment_work.by_ids(sorted(ids))
        of_event = {event_id: payments.get(payment_id) for event_id, payment_id in wanted.items() if payment_id}
        done = await all_of(self._settle_one(each, of_event.get(each.event.id)) for each in told)
        return {each.event.id: status for each, status in zip(told, done, strict=True) if status is not None}

    async def _settle_one(self, told: Told, payment: Payment | None) -> StripeEventStatus | None:
        if payment is None:
            return StripeEventStatus.UNMATCHED
        with self._follow(payment, told.event.type):
            try:
                answer = await self._answer(told, payment)
            except (*UNREADABLE, Refused):
                return StripeEventStatus.QUARANTINED
            except Unavailable:
                return None
            if answer is not None:
                await self._settle.submit(Outcome(payment.id, answer))
        return StripeEventStatus.PROCESSED

    async def _answer(self, told: Told, payment: Payment) -> Answer | None:
        """Return what the event says about its payment; None if that is known already.

        An event may be old. If it tells of a declined intent, that is retrieved, since the payer may have paid in
        another way meanwhile; so is one that succeeded by no charge. Errors: Unavailable `stripe_unavailable` if
        Stripe does not answer then; Refused `intent_not_shown` if it denies the intent of which it told.
        """
        if told.event.type == CHARGE_UPDATED:
            waits_for_fee = payment.captured_minor and payment.fee_minor is None
            if not waits_for_fee or payment.stripe_intent_id is None:
                return None
            return await self._gateway.retrieve(payment.stripe_intent_id)
        intent = read_intent(told.raw)
        if payment.fee_minor is not None and intent.intent_id == payment.stripe_intent_id:
            return None  # booked to the last cent
        over = bool(payment.captured_minor) or payment.status in DEAD
        if over and intent.status is not IntentStatus.SUCCEEDED:
            # An intent that turns up after its payment was given up must be cancelled, unless it is already.
            is_unknown = payment.stripe_intent_id is None and intent.status is not IntentStatus.CANCELED
            return intent if is_unknown else None
        # Endpoints of API versions before 2022-11-15 name it elsewhere (docs.stripe.com/webhooks/versioning).
        lacks_charge = intent.status is IntentStatus.SUCCEEDED and intent.charge_id is None
        if intent.status not in PAYABLE and not lacks_charge:
            return intent
        present = await self._gateway.retrieve(intent.intent_id)
        if isinstance(present, Refusal):
            # Of another account than our key's, perhaps: to ask again would bring the same for ever.
            raise Refused("Stripe does not show an intent that it told of", code="intent_not_shown")
        if not isinstance(present, Intent):
            raise Unavailable("Stripe does not say how the intent stands", code="stripe_unavailable")
        return await cancel_declined(self._gateway, present)
