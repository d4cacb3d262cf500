"""Stripe's list of PaymentIntents, in which intents are looked up whose ids we do not know."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import pairwise
from typing import NamedTuple

from stripe.params import PaymentIntentListParams

from domain.ids import PaymentId
from domain.settlement.answers import Absent, Answer, Refusal, Throttled, Unsure
from domain.settlement.look_ups import LookUp
from domain.settlement.stripe_objects import UNREADABLE, JsonObject, read_intent, read_payment_id
from domain.settlement.together import all_of
from workers.stripe_answers import read_object
from workers.stripe_calls import StripeCalls

INTENTS = "/v1/payment_intents"
_PAGE = 100
_SLICES = 32
_AT_ONCE = 8
"""How many pages this process reads at once, so that the others get their part of Stripe's rate."""
_CLOCK_SKEW = timedelta(minutes=5)


class Seconds(NamedTuple):
    """A span of time as Stripe counts it: whole seconds, the first and the last included."""

    first: int
    last: int


@dataclass(slots=True)
class _Search:
    """What is looked for in a list, and what is known of it so far."""

    wanted: frozenset[PaymentId]
    found: dict[PaymentId, Answer] = field(default_factory=dict)
    unread: Unsure | Throttled | None = None
    """Why a part of the list could not be read; None while all of it could."""

    @property
    def is_over(self) -> bool:
        """Whether to stop: all are found (one key makes one intent at most), or absence cannot be proven."""
        return self.unread is not None or len(self.found) == len(self.wanted)

    def answers(self) -> Mapping[PaymentId, Answer]:
        """Return what was found; Absent for the others only if the whole list was read."""
        missing = self.unread or Absent()
        return {payment_id: self.found.get(payment_id, missing) for payment_id in self.wanted}


class IntentLists:
    """Stripe's list of intents, read in slices of time, because a busy account has too many to page through."""

    def __init__(self, calls: StripeCalls) -> None:
        """Keep what makes the calls."""
        self._calls = calls
        self._turns = asyncio.Semaphore(_AT_ONCE)

    async def find(self, look_up: LookUp) -> Mapping[PaymentId, Answer]:
        """Return the intent of each payment, or Absent if the list was read to its end without it.

        A short list is one page; a longer one is cut into slices, which are read at once.
        """
        search = _Search(frozenset(payment.id for payment in look_up.payments))
        whole = Seconds(
            int((look_up.since - _CLOCK_SKEW).timestamp()), int((look_up.until + _CLOCK_SKEW).timestamp())
        )
        if await self._read_page(search, whole) is not None:
            await all_of(self._read(search, part) for part in cut(whole))
        return search.answers()

    async def _read(self, search: _Search, span: Seconds) -> None:
        after = await self._read_page(search, span)
        while after is not None:
            after = await self._read_page(search, span, after)

    async def _read_page(self, search: _Search, span: Seconds, after: str | None = None) -> str | None:
        """Read one page; return the id of the intent after which to read on, or None at the end."""
        params: PaymentIntentListParams = {"created": {"gte": span.first, "lte": span.last}, "limit": _PAGE}
        if after is not None:
            params["starting_after"] = after
        async with self._turns:
            if search.is_over:
                return None
            page = await self._calls.call("get", INTENTS, params)
        if not isinstance(page, Mapping):
            # That Stripe refuses to list intents does not mean that it refused the charges.
            search.unread = Unsure("the list was refused") if isinstance(page, Refusal) else page
            return None
        try:
            return _take(search, page)
        except (*UNREADABLE, IndexError):
            search.unread = Unsure("a list that cannot be read")
            return None


def _take(search: _Search, page: JsonObject) -> str | None:
    """Note what is found on a page; return the id of the intent after which to read on, or None at the end."""
    for raw in page["data"]:
        payment_id = read_payment_id(raw)
        if payment_id in search.wanted and payment_id is not None:
            search.found[payment_id] = read_object(raw, read_intent)
    return page["data"][-1]["id"] if page["has_more"] else None


def cut(span: Seconds) -> Sequence[Seconds]:
    """Cut a span into slices that hold each second once, and whose lengths differ by a second at most."""
    count = span.last - span.first + 1
    slices = min(_SLICES, count)
    bounds = [span.first + count * index // slices for index in range(slices + 1)]
    return [Seconds(first, following - 1) for first, following in pairwise(bounds)]
