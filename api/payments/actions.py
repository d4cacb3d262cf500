"""`/v1/payments/{id}/capture` and `/cancellation`: accept what is asked for. Workers do it."""

from http import HTTPStatus
from uuid import UUID

from falcon.asgi import Request, Response

from api.operations import operation
from api.payments.schemas import CaptureBody, PaymentAnswer
from api.rendering import render_accepted
from domain.ids import PaymentId
from domain.payments.actions import PaymentActions
from domain.payments.model import Payment


class PaymentDecisions:
    """What people decide about payments that are not captured."""

    def __init__(self, actions: PaymentActions) -> None:
        """Keep the service."""
        self._actions = actions

    @operation(
        "Capture an authorized payment, in whole or in part",
        "payments",
        PaymentAnswer,
        status=HTTPStatus.ACCEPTED,
        body=CaptureBody,
        optional_body=True,
        location=True,
    )
    async def on_post_capture(self, req: Request, resp: Response, payment_id: UUID) -> None:
        """Accept a capture; safe to repeat."""
        body: CaptureBody = req.context.body
        payment = await self._actions.capture(
            req.context.principal,
            PaymentId(payment_id),
            body.amount_minor,
            request_id=req.context.request_id,
        )
        _render(req, resp, payment)

    @operation(
        "Cancel a payment that is not captured",
        "payments",
        PaymentAnswer,
        status=HTTPStatus.ACCEPTED,
        location=True,
    )
    async def on_post_cancellation(self, req: Request, resp: Response, payment_id: UUID) -> None:
        """Accept a cancellation; safe to repeat."""
        payment = await self._actions.cancel(
            req.context.principal, PaymentId(payment_id), request_id=req.context.request_id
        )
        _render(req, resp, payment)


def _render(req: Request, resp: Response, payment: Payment) -> None:
    render_accepted(
        resp,
        PaymentAnswer.of(payment, req.context.principal),
        HTTPStatus.ACCEPTED,
        location=f"/v1/payments/{payment.id}",
        replayed=False,
    )
