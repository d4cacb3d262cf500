"""What each type of event tells, as clients read it."""

from datetime import datetime
from uuid import UUID

from pydantic import BaseModel, ConfigDict

from domain.disputes.model import DisputeStatus
from domain.identity.model import Role
from domain.notifications.model import DisabledReason
from domain.orders.model import OrderStatus


class EventData(BaseModel):
    """What is told of an event; fields may be added."""

    model_config = ConfigDict(extra="allow", frozen=True)


class NoData(EventData):
    """The type of the event says all."""


class OrderPlacedData(EventData):
    """An order was placed."""

    buyer_id: UUID
    amount_minor: int
    currency: str
    by: UUID
    reason: str


class OrderData(EventData):
    """An order has a new status, which its type names: by whom, a user or `system`, and why."""

    by: str
    reason: str
    payment_id: UUID | None = None


class OrderResumedData(OrderData):
    """An order goes on where it was before its money was in dispute."""

    order_status: OrderStatus


class ShipmentData(EventData):
    """A seller sent its part of an order."""

    by: UUID
    reason: str
    carrier: str | None
    tracking_number: str | None


class PaymentAcceptedData(EventData):
    """A payment was accepted; `seller_id` where it is a direct one, `request_id` as X-Request-Id told it."""

    order_id: UUID | None
    seller_id: UUID | None
    amount_minor: int
    currency: str
    request_id: str | None = None


class PaymentData(EventData):
    """A payment has a new status, which its type names; `failure_code` where it failed."""

    order_id: UUID | None
    amount_minor: int
    currency: str
    failure_code: str | None = None


class PaymentCapturedLateData(EventData):
    """Money was taken for what could not be paid any more; this refund sends it back."""

    amount_minor: int
    refund_id: UUID


class PaymentCaptureRequestedData(EventData):
    """A user asked that this much of an authorized payment be captured."""

    by: UUID
    amount_minor: int


class PaymentCancellationRequestedData(EventData):
    """A user asked that a payment which is not captured be cancelled."""

    by: UUID


class PaymentCaptureFailedData(EventData):
    """An authorized amount was not captured."""

    amount_minor: int
    failure_code: str | None


class PaymentQuarantinedData(EventData):
    """A payment waits until a person has looked at it."""

    reason: str


class RefundAcceptedData(EventData):
    """A refund of the payment was accepted."""

    refund_id: UUID
    requested_by: UUID | None
    amount_minor: int
    currency: str
    reason: str


class RefundData(EventData):
    """A refund of the payment has ended, as its type says; `failure_code` where it failed."""

    refund_id: UUID
    amount_minor: int
    currency: str
    failure_code: str | None = None


class RefundQuarantinedData(EventData):
    """A refund waits until a person has looked at it."""

    refund_id: UUID
    reason: str


class RefundReleasedData(EventData):
    """Somebody has looked at a refund, and it goes on."""

    refund_id: UUID


class DisputeData(EventData):
    """A dispute of the payment, or the money in it, stands elsewhere now, as the type says."""

    dispute_id: UUID
    dispute_status: DisputeStatus
    amount_minor: int
    currency: str
    evidence_due_at: datetime | None


class SellerOnboardingFailedData(EventData):
    """Stripe refused to open an account for a seller."""

    failure_code: str


class SellerCommissionChangedData(EventData):
    """A seller has another commission, in basis points; None is the usual one."""

    commission_bps: int | None


class SellerBalanceNegativeData(EventData):
    """A seller owes money: a negative amount."""

    owed_minor: int
    currency: str


class PayoutData(EventData):
    """A payout has a new status, which its type names; `failure_code` where it failed."""

    amount_minor: int
    currency: str
    failure_code: str | None = None


class PayoutQuarantinedData(EventData):
    """A payout waits until a person has looked at it."""

    reason: str


class ReversalData(EventData):
    """Taking back a part of a payout has ended, as its type says; `failure_code` where it failed."""

    reversal_id: UUID
    payment_id: UUID | None
    amount_minor: int
    currency: str
    failure_code: str | None = None


class ReversalQuarantinedData(EventData):
    """Taking back a part of a payout waits until a person has looked at it."""

    reversal_id: UUID
    reason: str


class ReversalReleasedData(EventData):
    """Somebody has looked at what is taken back of a payout, and it goes on."""

    reversal_id: UUID


class ProductData(EventData):
    """A seller offered or withdrew a product."""

    by: UUID


class ProductEditedData(ProductData):
    """A seller edited these fields of a product."""

    fields: list[str]


class ExceptionResolvedData(EventData):
    """A person explained a difference between ledger and Stripe; `journal_id` where that was booked."""

    resolved_by: UUID
    reason: str
    journal_id: UUID | None


class UserCreatedData(EventData):
    """There is another user: by whom, itself or `operator`."""

    role: Role
    by: str


class UserPasswordChangedData(EventData):
    """A user has another password: by whom, itself or `operator`."""

    by: str


class UserStandingData(EventData):
    """An admin suspended a user, or let it in again, as the type says."""

    by: UUID


class SessionEndedData(EventData):
    """A session of the user ended."""

    reason: str


class ApiKeyCreatedData(EventData):
    """An API key was made; its first characters tell it from others."""

    prefix: str


class ApiKeyRevokedData(EventData):
    """An API key was revoked by a user."""

    by: UUID


class WebhookEndpointDisabledData(EventData):
    """Nothing is sent to the endpoint any more until it is activated."""

    url: str
    reason: DisabledReason
