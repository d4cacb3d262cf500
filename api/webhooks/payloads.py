"""What we send to webhook endpoints, typed for clients: the `webhooks` section of OpenAPI.

`domain/notifications/payload.py` renders it; tests hold the two together, and each type of event to its line here.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Any, Generic, Literal, TypeVar, cast
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, create_model

from api.webhooks.event_data import (
    ApiKeyCreatedData,
    ApiKeyRevokedData,
    DisputeData,
    EventData,
    ExceptionResolvedData,
    NoData,
    OrderData,
    OrderPlacedData,
    OrderResumedData,
    PaymentAcceptedData,
    PaymentCancellationRequestedData,
    PaymentCapturedLateData,
    PaymentCaptureFailedData,
    PaymentCaptureRequestedData,
    PaymentData,
    PaymentQuarantinedData,
    PayoutData,
    PayoutQuarantinedData,
    ProductData,
    ProductEditedData,
    RefundAcceptedData,
    RefundData,
    RefundQuarantinedData,
    RefundReleasedData,
    ReversalData,
    ReversalQuarantinedData,
    ReversalReleasedData,
    SellerBalanceNegativeData,
    SellerCommissionChangedData,
    SellerOnboardingFailedData,
    SessionEndedData,
    ShipmentData,
    UserCreatedData,
    UserPasswordChangedData,
    UserStandingData,
    WebhookEndpointDisabledData,
)
from api.webhooks.examples import payload_of
from domain.event_types import EventType
from domain.notifications.payload import VERSION

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
