"""Webhook endpoints and deliveries on the wire."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import ConfigDict, Field, model_validator

from api.schemas import AnswerModel, PageAnswer, PageQuery, RequestModel, Text, Time, read_cursor, write_cursor
from api.webhooks.examples import DELIVERY, ENDPOINT, EVENT_ID, SECRET
from domain.event_types import EVERYTHING, FILTERS
from domain.ids import EventId
from domain.notifications.model import (
    Attempt,
    Delivery,
    DeliveryStatus,
    DisabledReason,
    EndpointStatus,
    Redelivery,
    WebhookEndpoint,
)
from domain.notifications.redelivery import MAX_NAMED
from domain.notifications.targets import MAX_URL_CHARS

MAX_OVERLAP_S = 7 * 86_400
_DAY_S = 86_400

Filter = Annotated[
    Text,
    Field(
        min_length=1,
        max_length=100,
        examples=sorted(FILTERS),
        json_schema_extra={"enum": sorted(FILTERS)},
    ),
]


class WebhookEndpointBody(RequestModel):
    """Where to send which events."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"url": ENDPOINT["url"], "events": ENDPOINT["events"]}]}
    )

    url: Annotated[Text, Field(min_length=1, max_length=MAX_URL_CHARS, examples=["https://example.com/hooks"])]
    events: Annotated[
        list[Filter],
        Field(
            min_length=1,
            max_length=50,
            description="types, all of one kind (`payment.*`), or everything (`*`)",
        ),
    ] = Field(default=[EVERYTHING])


class SecretBody(RequestModel):
    """How long the old secret signs beside the new one; those before it end by then, if not earlier."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"overlap_s": 3600}]})

    overlap_s: Annotated[int, Field(ge=0, le=MAX_OVERLAP_S)] = _DAY_S


class RedeliveryBody(RequestModel):
    """Which events to send again: named ones, or those from `since` up to, without it, `until`."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"event_ids": [EVENT_ID]},
                {"since": "2026-11-27T00:00:00Z", "until": "2026-11-27T12:00:00Z"},
            ]
        }
    )

    event_ids: Annotated[
        list[UUID] | None,
        Field(
            min_length=1,
            max_length=MAX_NAMED,
            description="these, whatever became of them; nothing else is taken beside them",
        ),
    ] = None
    since: Time | None = None
    until: Time | None = None
    only_failed: Annotated[
        bool, Field(description="leave alone what was delivered; false sends that again too")
    ] = True
    cursor: Annotated[
        Text | None,
        Field(max_length=64, description="`next_cursor` of the answer before, for the rest of a long span"),
    ] = None

    @model_validator(mode="after")
    def _names_or_spans(self) -> Self:
        if (self.event_ids is None) == (self.since is None):
            raise ValueError("give either event_ids or since")
        if self.event_ids is not None and self.model_fields_set & {"until", "only_failed", "cursor"}:
            raise ValueError("until, only_failed and cursor go with since")
        return self

    def after(self) -> EventId | None:
        """Return the event after which to go on. Errors: Invalid `cursor_invalid`."""
        after = read_cursor(self.cursor)
        return EventId(after) if after is not None else None

    def named(self) -> list[EventId]:
        """Return the ids of the named events."""
        return [EventId(event_id) for event_id in self.event_ids or ()]


class EndpointQuery(PageQuery):
    """Which webhook endpoints."""

    user_id: Annotated[UUID | None, Field(description="whose endpoints; for admins")] = None


class DeliveryQuery(PageQuery):
    """Which deliveries of an endpoint."""

    status: DeliveryStatus | None = None


class WebhookEndpointAnswer(AnswerModel):
    """A webhook endpoint, without its secret."""

    model_config = ConfigDict(json_schema_extra={"examples": [dict(ENDPOINT)]})

    id: UUID
    owner_id: UUID
    url: str
    events: Sequence[str]
    status: EndpointStatus
    disabled_reason: DisabledReason | None
    failing_since: datetime | None
    resume_at: Annotated[
        datetime | None, Field(description="it rests until then, as it asked to or since it fails")
    ]
    previous_secret_expires_at: datetime | None
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, endpoint: WebhookEndpoint) -> "WebhookEndpointAnswer":
        """Render an endpoint."""
        return cls(**_fields(endpoint))


class WebhookEndpointWithSecret(WebhookEndpointAnswer):
    """A webhook endpoint with its new secret, which is shown this once."""

    model_config = ConfigDict(json_schema_extra={"examples": [{**ENDPOINT, "secret": SECRET}]})

    secret: Annotated[str, Field(description="`whsec_` and base64 (standardwebhooks.com)")]

    @classmethod
    def revealing(cls, endpoint: WebhookEndpoint, secret: str) -> "WebhookEndpointWithSecret":
        """Render an endpoint with the secret that it was just given."""
        return cls(**_fields(endpoint), secret=secret)


class WebhookEndpointPage(PageAnswer[WebhookEndpointAnswer]):
    """A page of webhook endpoints."""


class AttemptAnswer(AnswerModel):
    """One request to the endpoint: a status with the start of the answer, or the kind of the failure."""

    model_config = ConfigDict(json_schema_extra={"examples": [DELIVERY["log"][0]]})

    number: int
    at: datetime
    latency_ms: int
    response_status: int | None
    response_start: str
    error: str | None

    @classmethod
    def of(cls, attempt: Attempt) -> "AttemptAnswer":
        """Render an attempt."""
        return cls.model_validate(attempt, from_attributes=True)


class DeliveryAnswer(AnswerModel):
    """The delivery of an event; `event_id` is its `webhook-id`, `log` has the newest attempts first."""

    model_config = ConfigDict(json_schema_extra={"examples": [dict(DELIVERY)]})

    id: UUID
    endpoint_id: UUID
    event_id: UUID
    event_type: str
    status: DeliveryStatus
    attempts: int
    next_attempt_at: datetime | None
    created_at: datetime
    log: Sequence[AttemptAnswer]

    @classmethod
    def of(cls, delivery: Delivery) -> "DeliveryAnswer":
        """Render a delivery."""
        return cls(
            id=delivery.id,
            endpoint_id=delivery.endpoint_id,
            event_id=delivery.event_id,
            event_type=delivery.event_type,
            status=delivery.status,
            attempts=delivery.attempts,
            next_attempt_at=delivery.due_at,
            created_at=delivery.created_at,
            log=[AttemptAnswer.of(attempt) for attempt in delivery.log],
        )


class DeliveryPage(PageAnswer[DeliveryAnswer]):
    """A page of an endpoint's deliveries, the newest event first."""


class RedeliveryAnswer(AnswerModel):
    """How many deliveries are due again; ask for the rest with `next_cursor`, if it is there."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"scheduled": 12, "next_cursor": None}]})

    scheduled: int
    next_cursor: str | None

    @classmethod
    def of(cls, redelivery: Redelivery) -> "RedeliveryAnswer":
        """Render what was asked for again."""
        return cls(scheduled=redelivery.scheduled, next_cursor=write_cursor(redelivery.next_after))


def _fields(endpoint: WebhookEndpoint) -> dict[str, Any]:
    return {
        "id": endpoint.id,
        "owner_id": endpoint.owner_id,
        "url": endpoint.url,
        "events": endpoint.events,
        "status": endpoint.status,
        "disabled_reason": endpoint.disabled_reason,
        "failing_since": endpoint.failing_since,
        "resume_at": endpoint.resume_at,
        "previous_secret_expires_at": endpoint.previous_expires_at,
        "created_at": endpoint.created_at,
        "updated_at": endpoint.updated_at,
    }
