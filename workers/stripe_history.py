"""Stripe's own lists of events (docs.stripe.com/api/events): what happened, whether or not a webhook came."""

import asyncio
import json
import math
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar

from domain.errors import Unavailable
from domain.settlement.answers import Refusal, Throttled
from domain.settlement.model import AccountPage, EventPage, EventWindow, StripeEvent
from domain.settlement.stripe_objects import UNREADABLE, JsonObject
from workers.stripe_calls import StripeCalls

_EVENTS = "/v1/events"
_ACCOUNTS = "/v1/accounts"
_PAGE = 100
_TRIES = 5
_PAUSE_S = 1.0

Read = TypeVar("Read")


class StripeHistory:
    """`domain.settlement.gateways.EventHistory`."""

    def __init__(self, calls: StripeCalls) -> None:
        """Keep what makes the calls."""
        self._calls = calls

    async def page(self, window: EventWindow, after: str | None) -> EventPage:
        """Return a page of the platform's events that happened in that window, those older than `after`.

        An operator waits for it, so a call that got no answer is made again a few times.
        """
        params = _in_window(window, after)
        if window.type is not None:
            params["type"] = window.type
        return await self._list(_EVENTS, params, _read_page)

    async def accounts(self, after: str | None) -> AccountPage:
        """Return a page of the connected accounts, those older than `after`."""
        params: dict[str, Any] = {"limit": _PAGE}
        if after is not None:
            params["starting_after"] = after
        return await self._list(_ACCOUNTS, params, _read_accounts)

    async def page_of_account(
        self, account_id: str, types: Collection[str], window: EventWindow, after: str | None
    ) -> EventPage:
        """Return a page of a connected account's events of those types, as its webhooks would tell them.

        The platform's list has none of them (docs.stripe.com/connect/webhooks), and in the account's own nothing
        says whose they are.
        """
        params = {**_in_window(window, after), "types": list(types)}

        def read(raw: JsonObject) -> EventPage:
            return _read_page({**raw, "data": [{**each, "account": account_id} for each in raw["data"]]})

        return await self._list(_EVENTS, params, read, account=account_id)

    async def _list(
        self,
        path: str,
        params: Mapping[str, Any],
        read: Callable[[JsonObject], Read],
        *,
        account: str | None = None,
    ) -> Read:
        answer = await self._calls.call("get", path, params, account=account)
        for _ in range(_TRIES - 1):
            if isinstance(answer, Mapping):
                break
            wait_s = answer.retry_after_s if isinstance(answer, Throttled) else None
            await asyncio.sleep(wait_s or _PAUSE_S)
            answer = await self._calls.call("get", path, params, account=account)
        if not isinstance(answer, Mapping):
            reason = answer.failure_code if isinstance(answer, Refusal) else answer.reason
            raise Unavailable(f"Stripe does not list its events: {reason}", code="stripe_unavailable")
        try:
            return read(answer)
        except UNREADABLE as error:
            raise Unavailable("Stripe lists events that cannot be read", code="stripe_unavailable") from error


def _in_window(window: EventWindow, after: str | None) -> dict[str, Any]:
    created = {"gte": int(window.since.timestamp()), "lt": math.ceil(window.until.timestamp())}
    params: dict[str, Any] = {"created": created, "limit": _PAGE}
    if after is not None:
        params["starting_after"] = after
    return params


def _read_page(raw: JsonObject) -> EventPage:
    return EventPage([_read(each) for each in raw["data"]], bool(raw["has_more"]))


def _read_accounts(raw: JsonObject) -> AccountPage:
    return AccountPage([str(each["id"]) for each in raw["data"]], bool(raw["has_more"]))


def _read(raw: JsonObject) -> StripeEvent:
    happened_at = datetime.fromtimestamp(int(raw["created"]), UTC)
    return StripeEvent(str(raw["id"]), str(raw["type"]), json.dumps(raw, separators=(",", ":")), happened_at)
