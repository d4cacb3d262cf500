"""What we send to webhook endpoints, typed for clients: the `webhooks` section of OpenAPI.

`domain/notifications/payload.py` renders it; tests hold the two together, and each type of event to its line here.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Any, Generic, Literal, TypeVar, cast
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, create_model

from api.webhooks.examples import payload_of
from domain.disputes.model import DisputeStatus
from domain.event_types import EventType
from domain.identity.model import Role
from domain.notifications.model import DisabledReason
from domain.notifications.payload import VERSION
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


Data = TypeVar("Data", bound=EventData)


class WebhookPayload(BaseModel, Generic[Data]):
    """An event; however often it comes, it has the same `id`, which the header `webhook-id` says too."""

    model_config = ConfigDict(frozen=True)

    id: UUID
    type: str
    version: Literal[VERSION]  # type: ignore[valid-type]  # one constant, here and in the rendering
    timestamp: datetime
    subject_id: Annotated[UUID, Field(description="what it happened to")]
    sequence: Annotated[
        int,
        Field(
            description="grows with every event of one subject, with gaps: a lower one than the last is old news"
        ),
    ]
    data: Data


_DATA_OF_KIND: Mapping[str, type[EventData]] = {
    "order": OrderData,
    "payment": PaymentData,
    "refund": RefundData,
    "dispute": DisputeData,
    "payout": PayoutData,
    "product": ProductData,
    "seller": NoData,
}
_DATA_OF_TYPE: Mapping[EventType, type[EventData]] = {
    EventType.ORDER_PLACED: OrderPlacedData,
    EventType.ORDER_RESUMED: OrderResumedData,
    EventType.SHIPMENT_CREATED: ShipmentData,
    EventType.PAYMENT_ACCEPTED: PaymentAcceptedData,
    EventType.PAYMENT_CAPTURED_LATE: PaymentCapturedLateData,
    EventType.PAYMENT_CAPTURE_REQUESTED: PaymentCaptureRequestedData,
    EventType.PAYMENT_CAPTURE_FAILED: PaymentCaptureFailedData,
    EventType.PAYMENT_CANCELLATION_REQUESTED: PaymentCancellationRequestedData,
    EventType.PAYMENT_QUARANTINED: PaymentQuarantinedData,
    EventType.PAYMENT_RELEASED: NoData,
    EventType.REFUND_ACCEPTED: RefundAcceptedData,
    EventType.REFUND_QUARANTINED: RefundQuarantinedData,
    EventType.REFUND_RELEASED: RefundReleasedData,
    EventType.SELLER_ONBOARDING_FAILED: SellerOnboardingFailedData,
    EventType.SELLER_COMMISSION_CHANGED: SellerCommissionChangedData,
    EventType.SELLER_BALANCE_NEGATIVE: SellerBalanceNegativeData,
    EventType.PAYOUT_QUARANTINED: PayoutQuarantinedData,
    EventType.PAYOUT_RELEASED: NoData,
    EventType.PAYOUT_REVERSAL_SUCCEEDED: ReversalData,
    EventType.PAYOUT_REVERSAL_FAILED: ReversalData,
    EventType.PAYOUT_REVERSAL_QUARANTINED: ReversalQuarantinedData,
    EventType.PAYOUT_REVERSAL_RELEASED: ReversalReleasedData,
    EventType.PRODUCT_EDITED: ProductEditedData,
    EventType.RECONCILIATION_EXCEPTION_RESOLVED: ExceptionResolvedData,
    EventType.USER_CREATED: UserCreatedData,
    EventType.USER_SUSPENDED: UserStandingData,
    EventType.USER_REINSTATED: UserStandingData,
    EventType.USER_PASSWORD_CHANGED: UserPasswordChangedData,
    EventType.SESSION_ENDED: SessionEndedData,
    EventType.API_KEY_CREATED: ApiKeyCreatedData,
    EventType.API_KEY_REVOKED: ApiKeyRevokedData,
    EventType.WEBHOOK_ENDPOINT_DISABLED: WebhookEndpointDisabledData,
}
DATA_OF: Mapping[EventType, type[EventData]] = {
    event_type: _DATA_OF_TYPE.get(event_type) or _DATA_OF_KIND[event_type.partition(".")[0]]
    for event_type in EventType
}


def _model_of(event_type: EventType) -> type[WebhookPayload[Any]]:
    """Return the model of a type's payload; named after the type, and saying it."""
    words = event_type.replace(".", "_").split("_")
    # The type checker knows no models that are made from a table.
    payload_of, literal = cast("Any", WebhookPayload), cast("Any", Literal)
    made = create_model(
        "".join(word.capitalize() for word in words) + "Event",
        __base__=payload_of[DATA_OF[event_type]],
        __doc__=DATA_OF[event_type].__doc__,
        type=(literal[event_type.value], ...),
    )
    return cast("type[WebhookPayload[Any]]", made)


PAYLOADS: Mapping[str, type[WebhookPayload[Any]]] = {
    event_type.value: _model_of(event_type) for event_type in DATA_OF
}

_HEADERS = {
    "webhook-id": "the event's id; one that comes again has the same",
    "webhook-timestamp": "seconds since 1970, of this attempt",
    "webhook-signature": "for each secret that holds: `v1,` and base64 of HMAC-SHA256 of `id.timestamp.body`",
}


def describe_webhooks(references: Mapping[Any, Mapping[str, Any]]) -> dict[str, Any]:
    """Return OpenAPI's `webhooks` section, given the references to the models of the payloads."""
    return {
        event_type: {"post": _operation(event_type, references[model])} for event_type, model in PAYLOADS.items()
    }


def _operation(event_type: str, reference: Mapping[str, Any]) -> dict[str, Any]:
    example = payload_of(event_type, VERSION, DATA_OF[EventType(event_type)])
    content = {"schema": reference, "example": example}
    return {
        "summary": event_type,
        "operationId": "receive_" + event_type.replace(".", "_"),
        "tags": ["webhooks"],
        "parameters": list(_parameters()),
        "requestBody": {"required": True, "content": {"application/json": content}},
        "responses": {
            "2XX": {"description": "taken"},
            str(int(HTTPStatus.GONE)): {"description": "nothing is sent to this endpoint any more"},
            "default": {"description": "sent again later, for three days"},
        },
    }


def _parameters() -> Iterator[dict[str, Any]]:
    for name, description in _HEADERS.items():
        schema = {"type": "string"}
        yield {"name": name, "in": "header", "required": True, "description": description, "schema": schema}
