"""Webhook endpoints of our clients, and the deliveries of events to them."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from domain.ids import DeliveryId, EventId, PaymentId, UserId, WebhookEndpointId


class EndpointStatus(StrEnum):
    """Where an endpoint stands; a deleted one is kept for its deliveries' sake and seen by nobody."""

    ENABLED = "enabled"
    DISABLED = "disabled"
    DELETED = "deleted"


class DisabledReason(StrEnum):
    """Why nothing is sent to an endpoint any more: it said 410 Gone, or it failed for too long."""

    GONE = "gone"
    FAILING = "failing"


ENDPOINT_TRANSITIONS: Mapping[EndpointStatus, frozenset[EndpointStatus]] = {
    EndpointStatus.ENABLED: frozenset({EndpointStatus.DISABLED, EndpointStatus.DELETED}),
    EndpointStatus.DISABLED: frozenset({EndpointStatus.ENABLED, EndpointStatus.DELETED}),
    EndpointStatus.DELETED: frozenset(),
}


class DeliveryStatus(StrEnum):
    """Where the delivery of one event to one endpoint stands."""

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"


# What is over can be asked for again.
DELIVERY_TRANSITIONS: Mapping[DeliveryStatus, frozenset[DeliveryStatus]] = {
    DeliveryStatus.PENDING: frozenset({DeliveryStatus.DELIVERED, DeliveryStatus.FAILED}),
    DeliveryStatus.DELIVERED: frozenset({DeliveryStatus.PENDING}),
    DeliveryStatus.FAILED: frozenset({DeliveryStatus.PENDING}),
}

MAX_FORMER_SECRETS = 8
"""How many secrets may sign beside the newest; more rotations while they do end the oldest."""

FAILING_FROM = 3
"""After that many failures in a row an endpoint gets one delivery at a time, and rests in between."""


@dataclass(frozen=True, slots=True)
class FormerSecret:
    """A sealed secret that was replaced, and until when it signs beside the newest."""

    sealed: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class WebhookEndpoint:
    """Where a user wants to be told of events.

    `sees_all` for owners who may see every event. `secret` and `previous_secret` are sealed; the previous one
    signs as well until `previous_expires_at`, and so do the `older` ones, newest first. `failures` counts those
    since the last success, of which the first was at `failing_since`; before `resume_at` nothing is sent, nor
    while its owner is suspended.
    """

    id: WebhookEndpointId
    owner_id: UserId
    sees_all: bool
    url: str
    events: tuple[str, ...]
    secret: str
    status: EndpointStatus
    created_at: datetime
    updated_at: datetime
    previous_secret: str | None = None
    previous_expires_at: datetime | None = None
    older: tuple[FormerSecret, ...] = ()
    disabled_reason: DisabledReason | None = None
    failures: int = 0
    failing_since: datetime | None = None
    resume_at: datetime | None = None
    is_owner_suspended: bool = False

    @property
    def is_failing(self) -> bool:
        """Whether it has failed so often in a row that it must not hold up others."""
        return self.failures >= FAILING_FROM

    def sealed_secrets(self, now: datetime) -> tuple[str, ...]:
        """Return the secrets that sign at that time, the newest first."""
        return (self.secret, *(former.sealed for former in self.former_secrets(now)))

    def former_secrets(self, now: datetime) -> tuple[FormerSecret, ...]:
        """Return the replaced secrets that still sign at that time, the newest first."""
        previous: tuple[FormerSecret, ...] = ()
        if self.previous_secret is not None and self.previous_expires_at is not None:
            previous = (FormerSecret(self.previous_secret, self.previous_expires_at),)
        return tuple(former for former in (*previous, *self.older) if now < former.expires_at)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One request to an endpoint and its end: a status with the start of the answer, or an error."""

    number: int
    at: datetime
    latency_ms: int
    response_status: int | None = None
    response_start: str = ""
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Delivery:
    """An event on its way to an endpoint; `attempts` counts all, `log` holds the newest few, newest first."""

    id: DeliveryId
    endpoint_id: WebhookEndpointId
    event_id: EventId
    event_type: str
    status: DeliveryStatus
    attempts: int
    due_at: datetime | None
    locked_until: datetime | None
    created_at: datetime
    log: tuple[Attempt, ...] = ()


@dataclass(frozen=True, slots=True)
class Origin:
    """Which request asked for what an event is about, as spans and logs tell it; and its payment, if any."""

    payment_id: PaymentId | None
    traceparent: str | None
    request_id: str | None


@dataclass(frozen=True, slots=True)
class LeasedDelivery:
    """A delivery that is ours to send, with all that is sent.

    `sequence` grows with every event of one subject. `attempts` counts this one too, and `tries` those since it
    was last asked for. `busy` is how many others were on their way to this endpoint when it was leased.
    `origin` is the request that asked for the refund, payout, payment or seller's account that the event tells of.
    """

    id: DeliveryId
    endpoint_id: WebhookEndpointId
    attempts: int
    tries: int
    busy: int
    sequence: int
    event_id: EventId
    event_type: str
    subject_id: UUID
    data: Mapping[str, object]
    occurred_at: datetime
    origin: Origin | None = None


@dataclass(frozen=True, slots=True)
class Answered:
    """The endpoint answered; `retry_after_s` where it said when to come back."""

    status: int
    latency_ms: int
    body_start: str = ""
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class Unanswered:
    """The endpoint did not answer; `reason` is a stable word."""

    reason: str
    latency_ms: int


Answer = Answered | Unanswered


@dataclass(frozen=True, slots=True)
class Conclusion:
    """What an attempt leaves of a delivery; `due_at` is when the next one is, None when there is none."""

    delivery: LeasedDelivery
    status: DeliveryStatus
    due_at: datetime | None
    attempt: Attempt


@dataclass(frozen=True, slots=True)
class Redelivery:
    """How many deliveries were asked for again, and after which event the rest is to be asked for; None: all."""

    scheduled: int
    next_after: EventId | None


@dataclass(frozen=True, slots=True)
class DeliveryPolicy:
    """The settings of delivering: seconds, and how many requests at once.

    `schedule_s` has the wait before each attempt. `slots` bounds the requests of one process, of which failing
    endpoints share half at most, and those of one owner a quarter; `per_endpoint` bounds those to one endpoint
    from all processes.
    """

    schedule_s: tuple[float, ...] = (0, 5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400)
    jitter: float = 0.1
    slots: int = 128
    per_endpoint: int = 8
    lease_s: float = 30
    rest_cap_s: float = 60
    retry_after_cap_s: float = 86_400
    disable_after_s: float = 432_000
    disable_after_failures: int = 10

    @property
    def per_owner(self) -> int:
        """How many requests of one process are on their way to all endpoints of one owner together."""
        return max(self.slots // 4, self.per_endpoint)
