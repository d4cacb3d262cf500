"""Stripe's own list of events (docs.stripe.com/api/events): what happened, whether or not a webhook came."""

import asyncio
import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from domain.errors import Unavailable
from domain.settlement.answers import Refusal, Throttled
from domain.settlement.model import EventPage, EventWindow, StripeEvent
from domain.settlement.stripe_objects import JsonObject
from workers.stripe_calls import StripeCalls

_EVENTS = "/v1/events"
_PAGE = 100
_TRIES = 5
_PAUSE_S = 1.0


class StripeHistory:
    """`domain.settlement.gateways.EventHistory`."""

    def __init__(self, calls: StripeCalls) -> None:
        """Keep what makes the calls."""
        self._calls = calls

    async def page(self, window: EventWindow, after: str | None) -> EventPage:
        """Return a page of the events that happened in that window, those older than `after`.

        An operator waits for it, so a call that got no answer is made again a few times.
        """
        params: dict[str, Any] = {
            "created": {"gte": int(window.since.timestamp()), "lt": math.ceil(window.until.timestamp())},
            "limit": _PAGE,
        }
        if window.type is not None:
            params["type"] = window.type
        if after is not None:
            params["starting_after"] = after
        answer = await self._calls.call("get", _EVENTS, params)
        for _ in range(_TRIES - 1):
            if isinstance(answer, Mapping):
                break
            wait_s = answer.retry_after_s if isinstance(answer, Throttled) else None
            await asyncio.sleep(wait_s or _PAUSE_S)
            answer = await self._calls.call("get", _EVENTS, params)
        if not isinstance(answer, Mapping):
            reason = answer.failure_code if isinstance(answer, Refusal) else answer.reason
            raise Unavailable(f"Stripe does not list its events: {reason}", code="stripe_unavailable")
        try:
            return EventPage([_read(raw) for raw in answer["data"]], bool(answer["has_more"]))
        except (KeyError, TypeError, ValueError) as error:
            raise Unavailable("Stripe lists events that cannot be read", code="stripe_unavailable") from error


def _read(raw: JsonObject) -> StripeEvent:
    happened_at = datetime.fromtimestamp(int(raw["created"]), UTC)
    return StripeEvent(str(raw["id"]), str(raw["type"]), json.dumps(raw, separators=(",", ":")), happened_at)
