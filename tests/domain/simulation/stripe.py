"""A Stripe in memory that keeps money and keys as the real one does, behind the network."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from domain.ids import PaymentId
from domain.payments.model import Capture, Payment
from domain.refunds.model import Refund, RefundStatus
from domain.settlement.answers import (
    Absent,
    Answer,
    Intent,
    IntentStatus,
    Refusal,
    StripeRefund,
    Throttled,
    Unsure,
)
from domain.settlement.look_ups import LookUp
from domain.settlement.model import Outcome
from tests.domain.simulation.network import PERHAPS, Network
from tests.stripe_answers import an_intent, declined, refunded, succeeded

FEE_MINOR = 88
DECLINED, AUTHENTICATED = "pm_card_chargeDeclined", "pm_card_authenticationRequired"


@dataclass
class MadeIntent:
    """An intent at Stripe, and what was taken by it."""

    payment: Payment
    status: IntentStatus
    received_minor: int = 0


@dataclass
class SimulatedStripe:
    """`ChargeGateway` and `RefundGateway`, and the truth behind them."""

    network: Network
    intents: list[MadeIntent] = field(default_factory=list)
    refunds: list[StripeRefund] = field(default_factory=list)
    held: set[PaymentId] = field(default_factory=set)
    """Payments whose money was taken for a dispute: Stripe refunds nothing of it meanwhile."""
    _keys: dict[str, MadeIntent | StripeRefund | Refusal | None] = field(default_factory=dict)
    """What was made under each key; None where an error was recorded."""

    def of(self, payment_id: PaymentId) -> list[MadeIntent]:
        """Return all intents that were ever made for a payment."""
        return [made for made in self.intents if made.payment.id == payment_id]

    def refunded_minor(self, payment_id: PaymentId) -> int:
        """Return what went back of a payment."""
        return sum(r.amount_minor for r in self.refunds if r.charge_id == f"ch_{payment_id}")

    def act(self, *, pays: bool) -> None:
        """Let a payer pay an intent that it can pay with the client secret, or fail at it."""
        open_ones = [
            made
            for made in self.intents
            if made.status in {IntentStatus.REQUIRES_ACTION, IntentStatus.REQUIRES_PAYMENT_METHOD}
        ]
        if open_ones:
            made = self.network.rng.choice(open_ones)
            self._move(made, _paid(made.payment) if pays else IntentStatus.REQUIRES_PAYMENT_METHOD)

    def lapse(self, payment_ids: Collection[PaymentId]) -> None:
        """Let go what was authorized for payments and never captured, as Stripe does after a week."""
        for made in self.intents:
            if made.status is IntentStatus.REQUIRES_CAPTURE and made.payment.id in payment_ids:
                self._move(made, IntentStatus.CANCELED)

    async def charge(self, payment: Payment) -> Answer:
        return await self.network.carry("charge", lambda: self._charge(payment))

    async def retrieve(self, intent_id: str) -> Answer:
        return await self.network.carry("retrieve", lambda: self._told(self._made(intent_id)))

    async def capture(self, intent_id: str, amount_minor: int | None) -> Answer:
        return await self.network.carry("capture", lambda: self._capture(intent_id, amount_minor))

    async def cancel(self, intent_id: str) -> Answer:
        def cancelled() -> Answer:
            made = self._made(intent_id)
            if made.status not in {IntentStatus.SUCCEEDED, IntentStatus.CANCELED}:
                self._move(made, IntentStatus.CANCELED)
            return self._told(made)

        return await self.network.carry("cancel", cancelled)

    async def find(self, look_up: LookUp) -> Mapping[PaymentId, Answer]:
        def found() -> dict[PaymentId, Answer]:
            made = {payment.id: self.of(payment.id) for payment in look_up.payments}
            return {key: self._told(intents[0]) if intents else Absent() for key, intents in made.items()}

        answer = await self.network.carry("find", found)
        return answer if isinstance(answer, dict) else {payment.id: answer for payment in look_up.payments}

    async def identify(self, intent_id: str) -> Outcome | Refusal | Unsure | Throttled | None:
        def identified() -> Outcome | None:
            made = next((made for made in self.intents if f"pi_{made.payment.id}" == intent_id), None)
            return Outcome(made.payment.id, self._told(made)) if made is not None else None

        return await self.network.carry("identify", identified)

    async def refund(self, refund: Refund) -> StripeRefund | Refusal | Unsure | Throttled:
        return await self.network.carry("refund", lambda: self._refund(refund))

    async def retrieve_refund(self, refund: Refund) -> StripeRefund | Refusal | Unsure | Throttled:
        def read() -> StripeRefund:
            return next(one for one in self.refunds if one.stripe_refund_id == refund.stripe_refund_id)

        return await self.network.carry("retrieve refund", read)

    async def find_refund(self, refund: Refund) -> StripeRefund | Absent | Unsure | Throttled:
        def found() -> StripeRefund | Absent:
            return next((one for one in self.refunds if one.refund_id == refund.id), Absent())

        return await self.network.carry("find refund", found)

    async def refunds_of(self, charge_id: str) -> Sequence[StripeRefund] | Unsure | Throttled:
        return await self.network.carry(
            "list refunds", lambda: [r for r in self.refunds if r.charge_id == charge_id]
        )

    def _charge(self, payment: Payment) -> Answer:
        key = f"charge-{payment.id}"
        if key in self._keys:
            made = self._keys[key]
            # An error that was recorded is repeated for ever, whatever was done before it.
            return self._told(made) if isinstance(made, MadeIntent) else Unsure("replayed", lookup_only=True)
        is_error = self.network.breaks()
        if is_error and self.network.rng.random() < 1 / 2:
            self._keys[key] = None
            return Unsure("500")
        made = MadeIntent(payment, IntentStatus.PROCESSING)
        self.intents.append(made)
        self._keys[key] = None if is_error else made
        ends = {
            DECLINED: IntentStatus.REQUIRES_PAYMENT_METHOD,
            AUTHENTICATED: IntentStatus.REQUIRES_ACTION,
        }
        self._move(made, ends.get(payment.payment_method, _paid(payment)))
        return Unsure("500 after charging") if is_error else self._told(made)

    def _made(self, intent_id: str) -> MadeIntent:
        (made,) = (made for made in self.intents if f"pi_{made.payment.id}" == intent_id)
        return made

    def _capture(self, intent_id: str, amount_minor: int | None) -> Answer:
        """Take what is asked for, once, and let the rest go; who asks again is told how it stands."""
        made = self._made(intent_id)
        if made.status is IntentStatus.REQUIRES_CAPTURE:
            self._move(made, IntentStatus.SUCCEEDED, amount_minor)
        return Unsure("500 after capturing") if self.network.breaks() else self._told(made)

    def _refund(self, refund: Refund) -> StripeRefund | Refusal | Unsure:
        if refund.stripe_key in self._keys:
            made = self._keys[refund.stripe_key]
            return made if isinstance(made, StripeRefund) else Unsure("replayed", lookup_only=True)
        charge = next(made for made in self.intents if f"ch_{made.payment.id}" == refund.stripe_charge_id)
        if charge.payment.id in self.held:
            return Refusal("charge_disputed")
        if self.refunded_minor(charge.payment.id) + refund.amount_minor > charge.received_minor:
            return Refusal("charge_already_refunded")  # nothing is kept when validation fails
        is_error = self.network.breaks()
        if is_error and self.network.rng.random() < 1 / 2:
            self._keys[refund.stripe_key] = None
            return Unsure("500")
        made = refunded(refund, RefundStatus.SUCCEEDED, stripe_refund_id=f"re_{len(self.refunds)}_{refund.id}")
        self.refunds.append(made)
        self._keys[refund.stripe_key] = None if is_error else made
        return Unsure("500 after refunding") if is_error else made

    def _move(self, made: MadeIntent, status: IntentStatus, taken_minor: int | None = None) -> None:
        """Change an intent, take its money with success, and tell of it by webhook: never, once or twice."""
        made.status = status
        if status is IntentStatus.SUCCEEDED:
            made.received_minor += made.payment.amount_minor if taken_minor is None else taken_minor
        self.network.tell(_EVENTS[made.status], _about(made), PERHAPS)

    def _told(self, made: MadeIntent) -> Intent:
        """Tell how an intent stands; the balance transaction, and with it the fee, sometimes comes late."""
        if made.status is IntentStatus.SUCCEEDED:
            fee_minor = None if self.network.breaks() else FEE_MINOR
            return succeeded(made.payment, fee_minor, received_minor=made.received_minor)
        if made.status is IntentStatus.REQUIRES_PAYMENT_METHOD:
            return declined(made.payment)
        return an_intent(made.status, made.payment)


_EVENTS = {
    IntentStatus.SUCCEEDED: "payment_intent.succeeded",
    IntentStatus.REQUIRES_PAYMENT_METHOD: "payment_intent.payment_failed",
    IntentStatus.REQUIRES_ACTION: "payment_intent.requires_action",
    IntentStatus.REQUIRES_CAPTURE: "payment_intent.amount_capturable_updated",
    IntentStatus.CANCELED: "payment_intent.canceled",
}


def _paid(payment: Payment) -> IntentStatus:
    """Return what becomes of an intent that its payer pays: it waits where a person is to capture it."""
    is_automatic = payment.capture is Capture.AUTOMATIC
    return IntentStatus.SUCCEEDED if is_automatic else IntentStatus.REQUIRES_CAPTURE


def _about(made: MadeIntent) -> dict[str, object]:
    """Return what Stripe's events tell of an intent as it is now."""
    payment = made.payment
    return {
        "id": f"pi_{payment.id}",
        "status": made.status,
        "currency": payment.currency.lower(),
        "amount_received": made.received_minor,
        "latest_charge": f"ch_{payment.id}" if made.received_minor else None,
        "metadata": {"payment_id": str(payment.id)},
    }
