"""`/v1/webhooks/stripe`: verify an event, store it raw, answer 200. Workers process it."""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from falcon.asgi import Request, Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from api.errors import BadRequest
from api.operations import operation
from api.rendering import render
from api.schemas import AnswerModel, Text
from domain.clock import Clock
from domain.coalescer import Coalescer
from domain.settlement.inbox.intent_events import CHARGE_EVENTS
from domain.settlement.inbox.signatures import verify_signature
from domain.settlement.model import ChargeReport, StripeEvent
from domain.settlement.stripe_objects import read_payment_id

_MAX_EVENT_BYTES = 1_048_576
"""The text of a dispute's evidence alone may have 150,000 characters (docs.stripe.com/api/disputes/update)."""


class _Envelope(BaseModel):
    """What must be known of an event to store it; the rest stays raw."""

    model_config = ConfigDict(extra="ignore", strict=True)

    id: Text = Field(min_length=1, max_length=255, pattern=r"^evt_[A-Za-z0-9_]+$")
    type: Text = Field(min_length=1, max_length=255)


class _Object(BaseModel):
    """What an event tells of; the metadata of what was made for a payment name it."""

    id: Text
    metadata: dict[str, Any] = Field(default_factory=dict)


class _Data(BaseModel):
    """Where an event keeps the object."""

    object: _Object


class _ChargeEnvelope(_Envelope):
    """An event that tells how a charge stands."""

    data: _Data


class ReceivedAnswer(AnswerModel):
    """Thanks."""

    received: bool = True


class StripeWebhooks:
    """Stripe's webhook endpoint."""

    def __init__(self, inbox: Coalescer[StripeEvent, bool], clock: Clock, secrets: Sequence[str]) -> None:
        """Keep what gathers events into one insert, and the secrets that may sign them."""
        self._inbox = inbox
        self._clock = clock
        self._secrets = secrets

    @operation(
        "Receive an event of Stripe",
        "stripe",
        ReceivedAnswer,
        public=True,
        limited=False,
        raw_body=True,
        max_body_bytes=_MAX_EVENT_BYTES,
    )
    async def on_post(self, req: Request, resp: Response) -> None:
        """Store a signed event, once. Errors: 400 for all that is wrong."""
        body: bytes = req.context.body
        now = self._clock.now()
        verify_signature(body, req.get_header("Stripe-Signature") or "", self._secrets, now)
        try:
            envelope = _read(body)
            text = body.decode()
        except (ValidationError, UnicodeDecodeError):
            raise BadRequest(HTTPStatus.BAD_REQUEST, "event_invalid", "this is no Stripe event") from None
        event = StripeEvent(envelope.id, envelope.type, text, now, report=_report(envelope))
        await self._inbox.submit(event)
        render(resp, ReceivedAnswer())


def _read(body: bytes) -> _Envelope:
    """Read an event of any type. Errors: ValidationError for what is no event."""
    try:
        return _ChargeEnvelope.model_validate_json(body)
    except ValidationError:
        return _Envelope.model_validate_json(body)


def _report(envelope: _Envelope) -> ChargeReport | None:
    """Return which payment and object an event is about, if it is about the state of a payment's charge."""
    if not isinstance(envelope, _ChargeEnvelope) or envelope.type not in CHARGE_EVENTS:
        return None
    told = envelope.data.object
    payment_id = read_payment_id({"metadata": told.metadata})
    return ChargeReport(payment_id, told.id) if payment_id is not None else None
