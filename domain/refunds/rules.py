"""Who may refund what, and on which lines it falls. Pure; no I/O."""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from domain.disputes.model import GONE, Dispute
from domain.errors import Conflict, Invalid
from domain.identity.model import Principal, Role, require_role
from domain.ids import UserId
from domain.ledger.postings import Part, split_charge, take
from domain.money import movable
from domain.orders.model import Order, OrderStatus
from domain.payments.model import Payment, PaymentStatus
from domain.payments.shares import shares_of
from domain.refunds.model import Refund, RefundExceedsCaptured, RefundRequest, RefundStatus


@dataclass(frozen=True, slots=True)
class RefundPolicy:
    """The settings of accepting refunds, in seconds."""

    direct_hold_s: float
    republish_after_s: float


def check_may_refund(
    principal: Principal, payment: Payment, order: Order | None, now: datetime, policy: RefundPolicy
) -> None:
    """Refuse a caller whose place it is not, or too late, to refund a payment that it sees.

    The payer may before the order is shipped, or while a direct payment is held; a seller may of its
    own lines and finance of all at any time. Errors: Forbidden; Conflict `payment_not_refundable`,
    `order_not_refundable`, `hold_is_over`.
    """
    require_role(principal, Role.BUYER, Role.SELLER, Role.FINANCE)
    if not payment.captured_minor:
        raise Conflict(
            f"the payment is {payment.status}: nothing was captured",
            code="payment_not_refundable",
            payment_status=str(payment.status),
        )
    if payment.status is not PaymentStatus.SUCCEEDED and principal.role is not Role.FINANCE:
        raise Conflict("what the payment captured goes back by itself", code="payment_not_refundable")
    if principal.role is Role.BUYER:
        _check_in_time(payment, order, now, policy)


def parts_left(
    payment: Payment, order: Order | None, refunds: Sequence[Refund], disputes: Sequence[Dispute] = ()
) -> list[Part]:
    """Return what is left of each line after refunds that have not failed, and disputes that have the money.

    None where nothing was paid. One after the other they took in proportion of what was left then: so what takes
    the last of it takes every remainder. Where a refund has failed since, or a dispute taken again, that may not
    fit any more, and the refunds alone count.
    """
    if payment.status is not PaymentStatus.SUCCEEDED:
        return []
    left = split_charge(payment.captured_minor, shares_of(payment, order))
    takers: list[Refund | Dispute] = [*refunds, *disputes]
    for taker in sorted(takers, key=lambda each: each.id):
        left = _without(left, _taken(taker, left))
    fits = all(0 <= part.commission_minor <= part.amount_minor for part in left)
    return left if fits or not disputes else parts_left(payment, order, refunds)


def _taken(taker: Refund | Dispute, left: Sequence[Part]) -> Sequence[Part]:
    """Return what somebody took of what was left; a dispute of more than that has taken what went back before."""
    if isinstance(taker, Refund):
        return () if taker.status is RefundStatus.FAILED else taker.lines
    is_left = taker.withdrawn_minor <= sum(part.amount_minor for part in left)
    return take(taker.withdrawn_minor, left) if taker.funds in GONE and is_left else ()


def _without(left: Sequence[Part], taken: Sequence[Part]) -> list[Part]:
    by_number = {part.line: part for part in taken}
    return [
        replace(
            part,
            amount_minor=part.amount_minor - by_number[part.line].amount_minor,
            commission_minor=part.commission_minor - by_number[part.line].commission_minor,
        )
        if part.line in by_number
        else part
        for part in left
    ]


def parts_named(named: Sequence[tuple[int, int]], amount_minor: int, left: Sequence[Part]) -> list[Part]:
    """Return the parts of an amount by line as somebody outside names them: the number and amount of each.

    None where they do not add up to the amount, or are not left of lines that there are. What of each is
    commission nobody names: it follows from what is left.
    """
    by_number = {part.line: part for part in left}
    amounts = {
        line: minor for line, minor in named if line in by_number and 1 <= minor <= by_number[line].amount_minor
    }
    if len(amounts) != len(named) or sum(amounts.values()) != amount_minor:
        return []
    return [part for line, minor in sorted(amounts.items()) for part in take(minor, [by_number[line]])]


def sellers_left_nothing(order: Order, payment: Payment | None, refunds: Sequence[Refund]) -> frozenset[UserId]:
    """Return the sellers of whose part of an order's payment these refunds leave nothing, but for failed ones.

    Nothing is also what Stripe would not move: who gives back all that it can may keep up to 9 minor units in KWD.
    """
    if payment is None:
        return frozenset()
    refunded = {
        line.seller_id for refund in refunds if refund.status is not RefundStatus.FAILED for line in refund.lines
    }
    left_minor: Counter[UserId] = Counter()
    for part in parts_left(payment, order, refunds):
        left_minor[part.seller_id] += part.amount_minor
    return frozenset(seller for seller in refunded if not movable(left_minor[seller], payment.currency))


def parts_to_refund(
    principal: Principal,
    request: RefundRequest,
    order: Order | None,
    *,
    currency: str,
    left: Sequence[Part],
    shipped_by: Collection[UserId],
) -> list[Part]:
    """Return the part of each line that a request takes back.

    A seller's request falls on its own lines alone, a buyer's on those that are not shipped. Errors: Invalid
    `line_not_found`; RefundExceedsCaptured.
    """
    allowed = [part for part in left if _is_allowed(principal, part, shipped_by)]
    if request.lines:
        return _by_line(request, order, allowed, currency)
    amount_minor = check_left(request.amount_minor, sum(part.amount_minor for part in allowed), currency)
    return take(amount_minor, allowed)


def _is_allowed(principal: Principal, part: Part, shipped_by: Collection[UserId]) -> bool:
    match principal.role:
        case Role.BUYER:
            return part.seller_id not in shipped_by
        case Role.SELLER:
            return part.seller_id == principal.user_id
        case _:
            return True


def check_left(asked_minor: int | None, left_minor: int, currency: str) -> int:
    """Return the amount that is asked back, or all that is left and can be moved. Errors: RefundExceedsCaptured.

    A part of a part of an amount in KWD need not end in 0, as all do that Stripe moves.
    """
    amount_minor = movable(left_minor, currency) if asked_minor is None else asked_minor
    if not 1 <= amount_minor <= left_minor:
        raise RefundExceedsCaptured(
            f"at most {left_minor} minor units can be refunded", refundable_minor=left_minor
        )
    return amount_minor


def _by_line(request: RefundRequest, order: Order | None, allowed: Sequence[Part], currency: str) -> list[Part]:
    by_number = {part.line: part for part in allowed}
    numbers = {line.product_id: line.line for line in order.lines} if order is not None else {}
    parts = []
    for wanted in request.lines:
        part = by_number.get(numbers.get(wanted.product_id, 0))
        if part is None:
            raise Invalid(
                "there is no such line that you may refund", code="line_not_found", product_id=wanted.product_id
            )
        parts += take(check_left(wanted.amount_minor, part.amount_minor, currency), [part])
    return parts


def _check_in_time(payment: Payment, order: Order | None, now: datetime, policy: RefundPolicy) -> None:
    if order is None:
        # What was captured is not marked with its time; a payment is not older than its creation.
        if now - payment.created_at >= timedelta(seconds=policy.direct_hold_s):
            raise Conflict("the payment is held no longer; ask the seller", code="hold_is_over")
    elif order.status is not OrderStatus.PAID:
        raise Conflict(
            f"the order is {order.status}: ask the seller",
            code="order_not_refundable",
            order_status=str(order.status),
        )
