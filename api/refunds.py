"""`/v1/payments/{id}/refunds` and `/v1/refunds`: accept and tell. Refunding is the workers' task."""

from collections.abc import Sequence
from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Self
from uuid import UUID

from falcon.asgi import Request, Response
from pydantic import ConfigDict, Field, field_validator, model_validator

from api.metrics import IDEMPOTENT_REPLAYS
from api.operations import operation
from api.rendering import render, render_accepted
from api.requests import traceparent_of
from api.schemas import AmountMinor, AnswerModel, PageAnswer, PageQuery, RequestModel, Text
from domain.ids import PaymentId, ProductId, RefundId
from domain.refunds.model import Refund, RefundedLine, RefundRequest, RefundStatus
from domain.refunds.service import RefundService

_MAX_LINES = 100


class RefundedLineBody(RequestModel):
    """A product's line; all that is left of it where no amount is given."""

    product_id: UUID
    amount_minor: AmountMinor | None = None


class RefundBody(RequestModel):
    """What goes back: some lines, or an amount over all lines in proportion, or all that the caller may refund."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"reason": "requested_by_customer"},
                {"reason": "arrived_scratched", "amount_minor": 500},
                {"reason": "out_of_stock", "lines": [{"product_id": "01935b8e-7c00-7000-8000-2f1f9a3c5e15"}]},
            ]
        }
    )

    reason: Annotated[Text, Field(min_length=1, max_length=500, examples=["requested_by_customer"])]
    amount_minor: AmountMinor | None = None
    lines: Annotated[list[RefundedLineBody], Field(default_factory=list, min_length=1, max_length=_MAX_LINES)]

    @field_validator("lines")
    @classmethod
    def _each_product_once(cls, lines: list[RefundedLineBody]) -> list[RefundedLineBody]:
        if len({line.product_id for line in lines}) != len(lines):
            raise ValueError("a product stands in one line")
        return lines

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if self.lines and self.amount_minor is not None:
            raise ValueError("give amount_minor, or lines with amounts of their own")
        return self

    def request(
        self, payment_id: UUID, idempotency_key: str, *, traceparent: str | None, request_id: str
    ) -> RefundRequest:
        """Return what the caller asks for."""
        return RefundRequest(
            payment_id=PaymentId(payment_id),
            idempotency_key=idempotency_key,
            reason=self.reason,
            amount_minor=self.amount_minor,
            lines=[RefundedLine(ProductId(line.product_id), line.amount_minor) for line in self.lines],
            traceparent=traceparent,
            request_id=request_id,
        )


class RefundLineAnswer(AnswerModel):
    """What goes back of a line, counted from 1 as in the order."""

    line: int
    seller_id: UUID
    amount_minor: int


class RefundAnswer(AnswerModel):
    """A refund."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": "01935b8e-7c00-7000-8000-2f1f9a3c5e21",
                    "payment_id": "01935b8e-7c00-7000-8000-2f1f9a3c5e13",
                    "status": "succeeded",
                    "amount_minor": 500,
                    "currency": "USD",
                    "reason": "arrived_scratched",
                    "failure_code": None,
                    "lines": [
                        {"line": 1, "seller_id": "01935b8e-7c00-7000-8000-2f1f9a3c5e11", "amount_minor": 500}
                    ],
                    "created_at": "2026-11-27T10:05:00Z",
                    "updated_at": "2026-11-27T10:05:01Z",
                }
            ]
        }
    )

    id: UUID
    payment_id: UUID
    status: RefundStatus
    amount_minor: int
    currency: str
    reason: str
    failure_code: str | None
    lines: Sequence[RefundLineAnswer]
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, refund: Refund) -> "RefundAnswer":
        """Render a refund."""
        return cls(
            id=refund.id,
            payment_id=refund.payment_id,
            status=refund.status,
            amount_minor=refund.amount_minor,
            currency=refund.currency,
            reason=refund.reason,
            failure_code=refund.failure_code,
            lines=[RefundLineAnswer.model_validate(line, from_attributes=True) for line in refund.lines],
            created_at=refund.created_at,
            updated_at=refund.updated_at,
        )


class RefundPage(PageAnswer[RefundAnswer]):
    """A page of the refunds of a payment, oldest first."""


class Refunds:
    """The refunds."""

    def __init__(self, refunds: RefundService) -> None:
        """Keep the service."""
        self._refunds = refunds

    @operation(
        "Refund a payment, in whole or in part",
        "payments",
        RefundAnswer,
        status=HTTPStatus.ACCEPTED,
        body=RefundBody,
        idempotent=True,
        location=True,
    )
    async def on_post_payment(self, req: Request, resp: Response, payment_id: UUID) -> None:
        """Accept a refund: durable when this answers, sent by a worker soon after."""
        body: RefundBody = req.context.body
        accepted = await self._refunds.request(
            req.context.principal,
            body.request(
                payment_id,
                req.context.idempotency_key,
                traceparent=traceparent_of(req),
                request_id=req.context.request_id,
            ),
        )
        if accepted.replayed:
            IDEMPOTENT_REPLAYS.labels("refund").inc()
        render_accepted(
            resp,
            RefundAnswer.of(accepted.refund),
            HTTPStatus.ACCEPTED,
            location=f"/v1/refunds/{accepted.refund.id}",
            replayed=accepted.replayed,
        )

    @operation("List the refunds of a payment", "payments", RefundPage, query=PageQuery)
    async def on_get_payment(self, req: Request, resp: Response, payment_id: UUID) -> None:
        """List a payment's refunds, oldest first; a seller sees those of its own lines."""
        request = req.context.query.request()
        page = await self._refunds.of_payment(req.context.principal, PaymentId(payment_id), request)
        render(resp, RefundPage.of(page, RefundAnswer.of))

    @operation("Get a refund", "payments", RefundAnswer)
    async def on_get_one(self, req: Request, resp: Response, refund_id: UUID) -> None:
        """Get a refund."""
        render(resp, RefundAnswer.of(await self._refunds.get(req.context.principal, RefundId(refund_id))))
