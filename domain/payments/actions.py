"""What people ask for once a payment is accepted: its capture, or its cancellation."""

from datetime import datetime, timedelta

from domain.clock import Clock
from domain.errors import Conflict, Forbidden, Invalid, NotFound
from domain.events import Event, event
from domain.identity.model import Principal, Role, require_role
from domain.ids import PaymentId
from domain.money import check_chargeable
from domain.orders.model import Order
from domain.payments.model import DEAD, Payment, PaymentStatus
from domain.payments.ports import PaymentsTransaction
from domain.transactions import Begin
from domain.work import Announcer, Work


class PaymentActions:
    """Accepts captures and cancellations: durable when it answers, done by a worker soon after.

    Each is safe to repeat: whoever asks for the same again gets the payment as it is now. Each locks the order,
    then the payment.
    """

    def __init__(
        self,
        begin: Begin[PaymentsTransaction],
        announcer: Announcer,
        clock: Clock,
        *,
        republish_after_s: float,
    ) -> None:
        """Keep the collaborators; after `republish_after_s` seconds the sweeper announces what is not done yet."""
        self._begin = begin
        self._announcer = announcer
        self._clock = clock
        self._republish_after = timedelta(seconds=republish_after_s)

    async def capture(
        self,
        principal: Principal,
        payment_id: PaymentId,
        amount_minor: int | None,
        *,
        request_id: str | None = None,
    ) -> Payment:
        """Ask for the capture of an authorized payment, or of a part of it; the rest is released.

        `amount_minor` is in minor units, None for all of it. Only the seller of all of it and finance may ask. The
        payment takes over `request_id`, for the logs. Errors: NotFound; Forbidden; Invalid
        `capture_exceeds_authorized`, `amount_not_chargeable`; Conflict `payment_not_capturable`,
        `capture_requested`, `cancellation_requested`.
        """
        now = self._clock.now()
        async with self._begin() as tx:
            order, payment = await _see(tx, principal, payment_id)
            _check_decides(principal, payment, order, Role.SELLER, Role.FINANCE)
            wanted_minor = _check_capture(payment, amount_minor)
            if payment.capture_minor == wanted_minor:
                return payment
            _check_undecided(payment)
            if payment.status is not PaymentStatus.REQUIRES_CAPTURE:
                raise _state_conflict(payment, "payment_not_capturable")
            await tx.payments.ask_for_capture(
                payment_id,
                wanted_minor,
                request_id=request_id,
                due_at=now,
                publish_at=now + self._republish_after,
            )
            asked = _asked("payment.capture_requested", principal, payment, order, now, amount_minor=wanted_minor)
            await tx.events.append([asked])
            payment = await tx.payments.lock(payment_id)
            await tx.commit()
        self._announcer.announce(Work.CHARGES, [payment_id])
        return payment

    async def cancel(
        self, principal: Principal, payment_id: PaymentId, *, request_id: str | None = None
    ) -> Payment:
        """Ask for the cancellation of a payment that is not captured; an authorization is released.

        Only the payer, the seller of all of it and finance may ask. A charge that is at Stripe by then may still
        succeed. `request_id` as for `capture`. Errors: NotFound; Forbidden; Conflict `payment_not_cancelable`,
        `capture_requested`.
        """
        now = self._clock.now()
        async with self._begin() as tx:
            order, payment = await _see(tx, principal, payment_id)
            _check_decides(principal, payment, order, Role.BUYER, Role.SELLER, Role.FINANCE)
            if payment.cancel_requested or payment.status is PaymentStatus.CANCELED:
                return payment
            if payment.status in DEAD | {PaymentStatus.SUCCEEDED}:
                raise _state_conflict(payment, "payment_not_cancelable")
            _check_undecided(payment)
            await tx.payments.ask_for_cancellation(
                payment_id, request_id=request_id, due_at=now, publish_at=now + self._republish_after
            )
            await tx.events.append([_asked("payment.cancellation_requested", principal, payment, order, now)])
            payment = await tx.payments.lock(payment_id)
            await tx.commit()
        self._announcer.announce(Work.CHARGES, [payment_id])
        return payment


async def _see(
    tx: PaymentsTransaction, principal: Principal, payment_id: PaymentId
) -> tuple[Order | None, Payment]:
    """Return a locked payment that the caller may see, and its order."""
    seen = (await tx.payments.visible([(principal, payment_id)]))[0]
    if seen is None:
        raise NotFound("there is no such payment", code="payment_not_found")
    orders = await tx.orders.lock([seen.order_id]) if seen.order_id is not None else {}
    payment = await tx.payments.lock(payment_id)
    return orders.get(seen.order_id) if seen.order_id is not None else None, payment


def _check_decides(principal: Principal, payment: Payment, order: Order | None, *roles: Role) -> None:
    """Refuse a caller who may see the payment but not decide on it, such as the seller of a part of it."""
    require_role(principal, *roles)
    if principal.role is Role.SELLER:
        sellers = order.sellers if order is not None else {payment.seller_id}
        if sellers != {principal.user_id}:
            raise Forbidden("a payment to several sellers is decided on by finance", code="role_not_allowed")


def _check_capture(payment: Payment, amount_minor: int | None) -> int:
    """Return what is to be captured, all of it by default."""
    wanted_minor = payment.amount_minor if amount_minor is None else amount_minor
    if wanted_minor > payment.amount_minor:
        raise Invalid(
            f"at most {payment.amount_minor} minor units are authorized",
            code="capture_exceeds_authorized",
            authorized_minor=payment.amount_minor,
        )
    check_chargeable(wanted_minor, payment.currency)
    return wanted_minor


def _check_undecided(payment: Payment) -> None:
    if payment.capture_minor is not None:
        raise Conflict("its capture was asked for", code="capture_requested", capture_minor=payment.capture_minor)
    if payment.cancel_requested:
        raise Conflict("its cancellation was asked for", code="cancellation_requested")


def _state_conflict(payment: Payment, code: str) -> Conflict:
    return Conflict(f"the payment is {payment.status}", code=code, payment_status=str(payment.status))


def _asked(
    kind: str, principal: Principal, payment: Payment, order: Order | None, now: datetime, **facts: object
) -> Event:
    return event(kind, payment.id, now, audience=payment.parties(order), by=principal.user_id, **facts)
