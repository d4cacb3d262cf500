"""Payments on the wire."""

from datetime import datetime
from typing import Annotated, Self
from uuid import UUID

from pydantic import ConfigDict, Field, model_validator

from api.schemas import (
    AmountMinor,
    AnswerModel,
    Currency,
    EventAnswer,
    PageAnswer,
    PageQuery,
    RequestModel,
)
from domain.identity.model import Principal
from domain.ids import OrderId, UserId
from domain.payments.model import Capture, Payment, PaymentRequest, PaymentStatus

PaymentMethod = Annotated[
    str, Field(pattern=r"^[A-Za-z0-9_]{1,255}$", examples=["pm_card_visa"], description="a Stripe PaymentMethod")
]


class PaymentBody(RequestModel):
    """An order's payment (`order_id`), or a direct one (`seller_id`, `amount_minor`, `currency`)."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"order_id": "01935b8e-7c00-7000-8000-2f1f9a3c5e14", "payment_method": "pm_card_visa"},
                {
                    "seller_id": "01935b8e-7c00-7000-8000-2f1f9a3c5e11",
                    "amount_minor": 1999,
                    "currency": "USD",
                    "payment_method": "pm_card_visa",
                    "capture": "manual",
                },
            ]
        }
    )

    payment_method: PaymentMethod
    capture: Capture = Capture.AUTOMATIC
    order_id: UUID | None = None
    seller_id: UUID | None = None
    amount_minor: AmountMinor | None = None
    currency: Currency | None = None

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        direct = (self.seller_id, self.amount_minor, self.currency)
        if self.order_id is not None and any(value is not None for value in direct):
            raise ValueError("an order's payment takes its amount and its sellers from the order")
        if self.order_id is None and any(value is None for value in direct):
            raise ValueError("give order_id, or seller_id with amount_minor and currency")
        return self

    def request(
        self, principal: Principal, idempotency_key: str, *, traceparent: str | None, request_id: str
    ) -> PaymentRequest:
        """Return what the payer asks for."""
        return PaymentRequest(
            payer_id=principal.user_id,
            payer_role=principal.role,
            idempotency_key=idempotency_key,
            payment_method=self.payment_method,
            capture=self.capture,
            order_id=OrderId(self.order_id) if self.order_id else None,
            seller_id=UserId(self.seller_id) if self.seller_id else None,
            amount_minor=self.amount_minor,
            currency=self.currency,
            traceparent=traceparent,
            request_id=request_id,
        )


class CaptureBody(RequestModel):
    """How much to capture: all that is authorized, or a part of it."""

    model_config = ConfigDict(json_schema_extra={"examples": [{}, {"amount_minor": 1499}]})

    amount_minor: AmountMinor | None = None


class PaymentAnswer(AnswerModel):
    """A payment. `client_secret` is for its payer alone, while it requires an action."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": "01935b8e-7c00-7000-8000-2f1f9a3c5e13",
                    "order_id": "01935b8e-7c00-7000-8000-2f1f9a3c5e14",
                    "seller_id": None,
                    "status": "succeeded",
                    "amount_minor": 1999,
                    "currency": "USD",
                    "capture": "manual",
                    "captured_minor": 1499,
                    "refunded_minor": 0,
                    "failure_code": None,
                    "client_secret": None,
                    "created_at": "2026-11-27T10:00:00Z",
                    "updated_at": "2026-11-27T10:00:01Z",
                }
            ]
        }
    )

    id: UUID
    order_id: UUID | None
    seller_id: UUID | None
    status: PaymentStatus
    amount_minor: int
    currency: str
    capture: Capture
    captured_minor: int
    refunded_minor: int
    failure_code: str | None
    client_secret: str | None = None
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, payment: Payment, principal: Principal) -> "PaymentAnswer":
        """Render a payment for a caller."""
        is_payer = payment.payer_id == principal.user_id
        return cls(
            id=payment.id,
            order_id=payment.order_id,
            seller_id=payment.seller_id,
            status=payment.status,
            amount_minor=payment.amount_minor,
            currency=payment.currency,
            capture=payment.capture,
            captured_minor=payment.captured_minor,
            refunded_minor=payment.refunded_minor,
            # A decline is told once it is final: while its intent may still be paid, nothing has failed.
            failure_code=payment.failure_code if payment.status is PaymentStatus.FAILED else None,
            client_secret=payment.client_secret if is_payer else None,
            created_at=payment.created_at,
            updated_at=payment.updated_at,
        )


class PaymentQuery(PageQuery):
    """Which payments."""

    order_id: UUID | None = Field(default=None, description="those of this order alone")


class PaymentPage(PageAnswer[PaymentAnswer]):
    """A page of payments."""


class PaymentEvents(PageAnswer[EventAnswer]):
    """A page of what happened to a payment, oldest first."""
