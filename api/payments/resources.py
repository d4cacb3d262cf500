"""`/v1/payments`: accept payments and show them. Workers charge them."""

import re
from datetime import datetime
from http import HTTPStatus
from uuid import UUID

from falcon.asgi import Request, Response

from api.metrics import IDEMPOTENT_REPLAYS
from api.operations import operation
from api.payments.rendered import Rendered, RenderedPayments
from api.payments.schemas import PaymentAnswer, PaymentBody, PaymentEvents, PaymentPage, PaymentQuery
from api.payments.waiting import PaymentReader
from api.rendering import has_tag, render, render_accepted, render_conditional
from api.requests import traceparent_of
from api.schemas import EventAnswer, PageQuery
from domain.clock import Clock
from domain.coalescer import Coalescer
from domain.identity.model import Principal
from domain.ids import OrderId, PaymentId
from domain.payments.model import AcceptedPayment, Payment, PaymentRequest
from domain.payments.service import PaymentService

_WAIT = re.compile(r"(?:^|,)\s*wait\s*=\s*\"?(\d{1,4})\"?\s*(?:[;,]|$)", re.IGNORECASE)
MAX_WAIT_S = 30
_MAX_RETRY_AFTER_S = 30


class Payments:
    """The payments."""

    def __init__(
        self,
        payments: PaymentService,
        accept: Coalescer[PaymentRequest, AcceptedPayment],
        reader: PaymentReader,
        clock: Clock,
    ) -> None:
        """Keep the service; `accept` and `reader` gather the requests of many clients into one statement."""
        self._payments = payments
        self._accept = accept
        self._reader = reader
        self._rendered = RenderedPayments(reader)
        self._clock = clock

    @operation(
        "Pay an order or a seller",
        "payments",
        PaymentAnswer,
        status=HTTPStatus.ACCEPTED,
        body=PaymentBody,
        idempotent=True,
        location=True,
    )
    async def on_post(self, req: Request, resp: Response) -> None:
        """Accept a payment: it is durable when this answers, and a worker charges it soon after."""
        principal, body = req.context.principal, req.context.body
        accepted = await self._accept.submit(
            body.request(
                principal,
                req.context.idempotency_key,
                traceparent=traceparent_of(req),
                request_id=req.context.request_id,
            )
        )
        if accepted.replayed:
            IDEMPOTENT_REPLAYS.labels("payment").inc()
        render_accepted(
            resp,
            PaymentAnswer.of(accepted.payment, principal),
            HTTPStatus.ACCEPTED,
            location=f"/v1/payments/{accepted.payment.id}",
            replayed=accepted.replayed,
        )

    @operation("List payments", "payments", PaymentPage, query=PaymentQuery)
    async def on_get(self, req: Request, resp: Response) -> None:
        """List the payments that the caller may see, newest first."""
        principal, query = req.context.principal, req.context.query
        order_id = OrderId(query.order_id) if query.order_id is not None else None
        page = await self._payments.page(principal, query.request(), order_id)
        render(resp, PaymentPage.of(page, lambda payment: PaymentAnswer.of(payment, principal)))

    @operation(
        "Get a payment; `Prefer: wait=N` waits until it is settled",
        "payments",
        PaymentAnswer,
        conditional=True,
        waits=True,
    )
    async def on_get_one(self, req: Request, resp: Response, payment_id: UUID) -> None:
        """Get a payment: at once, or with `Prefer: wait` once it is settled and new to the client."""
        principal = req.context.principal
        wait_s = read_wait_s(req.get_header("Prefer"))
        if wait_s and self._reader.can_wait:
            payment = await self._wait(req, PaymentId(payment_id), wait_s)
            rendered = Rendered.of(payment, principal)
            resp.set_header("Preference-Applied", f"wait={wait_s}")
        else:
            rendered = await self._rendered.get(principal, PaymentId(payment_id))
        if not rendered.is_settled:
            resp.set_header("Retry-After", str(retry_after_s(rendered.created_at, self._clock.now())))
        render_conditional(req, resp, rendered.body, rendered.tag)

    async def _wait(self, req: Request, payment_id: PaymentId, wait_s: int) -> Payment:
        principal: Principal = req.context.principal

        def is_news(payment: Payment) -> bool:
            return not has_tag(req, Rendered.of(payment, principal).tag)

        return await self._reader.settled(principal, payment_id, wait_s=wait_s, is_news=is_news)

    @operation("List what happened to a payment", "payments", PaymentEvents, query=PageQuery)
    async def on_get_events(self, req: Request, resp: Response, payment_id: UUID) -> None:
        """List a payment's events, oldest first."""
        request = req.context.query.request()
        page = await self._payments.events(req.context.principal, PaymentId(payment_id), request)
        render(resp, PaymentEvents.of(page, EventAnswer.of))


def read_wait_s(prefer: str | None) -> int:
    """Return for how many seconds a client prefers to wait (RFC 7240, section 4.3), at most 30; 0 for none."""
    found = _WAIT.search(prefer or "")
    return min(int(found.group(1)), MAX_WAIT_S) if found else 0


def retry_after_s(created_at: datetime, now: datetime) -> int:
    """Return after how many seconds to ask again for an unsettled payment: a quarter of its age, 1 to 30."""
    age_s = int((now - created_at).total_seconds())
    return min(max(age_s // 4, 1), _MAX_RETRY_AFTER_S)
