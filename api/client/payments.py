"""Payments, and what becomes of their money: refunds and disputes."""

import asyncio
import time
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from typing import Any, cast

from .errors import StillPending, Unanswered
from .models import SETTLED, Dispute, Event, Payment, PaymentStatus, Refund, RefundLine
from .noun import Noun, given
from .sending import Request, new_key

_LONGEST_WAIT_S = 30
_GRACE_S = 10.0
_NOT_MODIFIED = 304
_SHORT_S = 0.2


class Payments(Noun):
    """`/v1/payments`."""

    async def pay(self, order_id: str, payment_method: str, *, key: str | None = None, **more: Any) -> Payment:
        """Ask for the payment of an order; it is accepted when this returns, and settled a moment later."""
        body = {"order_id": order_id, "payment_method": payment_method, **more}
        return await self._pay(body, key)

    async def pay_seller(
        self,
        seller_id: str,
        amount_minor: int,
        currency: str,
        payment_method: str,
        *,
        key: str | None = None,
        **more: Any,
    ) -> Payment:
        """Ask for a direct payment to a seller."""
        terms = {"seller_id": seller_id, "amount_minor": amount_minor, "currency": currency}
        return await self._pay({**terms, "payment_method": payment_method, **more}, key)

    async def get(self, payment_id: str) -> Payment:
        """Return a payment as it is."""
        return cast("Payment", await self._ask("GET", f"/v1/payments/{payment_id}"))

    def list(self, **filters: Any) -> AsyncIterator[Payment]:
        """Yield the payments that the caller may see, newest first."""
        return self._pages("/v1/payments", filters)

    async def wait(
        self, payment_id: str, *, timeout_s: float = 60.0, until: Collection[PaymentStatus] = SETTLED
    ) -> Payment:
        """Return a payment as soon as it is settled, or has another of the wanted states.

        Over as many requests as that takes. Errors: StillPending when the time is over; Unanswered when nobody has
        answered by then. A server that is away is waited for ten seconds longer.
        """
        deadline = time.monotonic() + timeout_s
        payment: Payment | None = None
        tag: str | None = None
        while True:
            began = time.monotonic()
            left_s = max(deadline - began, 0.0)
            try:
                async with asyncio.timeout(left_s + _GRACE_S):
                    wait_s = min(left_s, _LONGEST_WAIT_S)
                    payment, tag = await self._look(payment_id, payment, tag, wait_s=wait_s)
            except TimeoutError:
                break
            if payment["status"] in until:
                return payment
            if not left_s:
                break
            if time.monotonic() - began < _SHORT_S:
                # The server lets nobody wait just now, or something else about the payment changed.
                await asyncio.sleep(min(_SHORT_S, left_s))
        if payment is None:
            raise Unanswered(f"payment {payment_id}: no answer within {timeout_s:g} s")
        raise StillPending(payment)

    async def events(self, payment_id: str) -> Sequence[Event]:
        """Return what happened to a payment, oldest first."""
        return [row async for row in self._pages(f"/v1/payments/{payment_id}/events", {})]

    async def capture(self, payment_id: str, amount_minor: int | None = None) -> Payment:
        """Take reserved money, all of it or less."""
        return await self._decide(payment_id, "capture", given(amount_minor=amount_minor))

    async def cancel(self, payment_id: str) -> Payment:
        """Give a payment up that waits or is reserved."""
        return await self._decide(payment_id, "cancellation")

    async def refund(
        self,
        payment_id: str,
        reason: str,
        *,
        amount_minor: int | None = None,
        lines: Sequence[RefundLine] | None = None,
        key: str | None = None,
    ) -> Refund:
        """Ask for money to go back: an amount, some lines, or all that the caller may refund."""
        body = {"reason": reason, **given(amount_minor=amount_minor, lines=lines)}
        answer = await self._ask("POST", f"/v1/payments/{payment_id}/refunds", body, key=key or new_key())
        return cast("Refund", answer)

    async def refunds(self, payment_id: str) -> Sequence[Refund]:
        """Return a payment's refunds that the caller may see, oldest first."""
        return [row async for row in self._pages(f"/v1/payments/{payment_id}/refunds", {})]

    async def _pay(self, body: Mapping[str, Any], key: str | None) -> Payment:
        return cast("Payment", await self._ask("POST", "/v1/payments", body, key=key or new_key()))

    async def _decide(self, payment_id: str, noun: str, body: Any = None) -> Payment:
        """Ask for what the server does once however often it is asked for."""
        answer = await self._ask("POST", f"/v1/payments/{payment_id}/{noun}", body, repeatable=True)
        return cast("Payment", answer)

    async def _look(
        self, payment_id: str, known: Payment | None, tag: str | None, *, wait_s: float
    ) -> tuple[Payment, str | None]:
        """Return a payment with its ETag: when it is settled and not as it is known, or when the time is over."""
        headers = {"If-None-Match": tag} if tag is not None else {}
        if whole_s := int(wait_s):
            headers["Prefer"] = f"wait={whole_s}"
        request = Request("GET", f"/v1/payments/{payment_id}", headers=headers, timeout_s=wait_s + _GRACE_S)
        answer = await self._client.send(request)
        if answer.status_code == _NOT_MODIFIED and known is not None:
            return known, tag
        return cast("Payment", answer.json()), answer.headers.get("ETag")


class Refunds(Noun):
    """`/v1/refunds`."""

    async def get(self, refund_id: str) -> Refund:
        """Return a refund."""
        return cast("Refund", await self._ask("GET", f"/v1/refunds/{refund_id}"))


class Disputes(Noun):
    """`/v1/disputes`: for sellers and finance."""

    async def get(self, dispute_id: str) -> Dispute:
        """Return a dispute."""
        return cast("Dispute", await self._ask("GET", f"/v1/disputes/{dispute_id}"))

    def list(self, **filters: Any) -> AsyncIterator[Dispute]:
        """Yield the disputes that the caller may see, newest first; of one `status`, if it is given."""
        return self._pages("/v1/disputes", filters)
