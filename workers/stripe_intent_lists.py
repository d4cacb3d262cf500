"""Stripe's list of PaymentIntents, in which those are looked for of which we know no id."""

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
from domain.settlement.stripe_objects import JsonObject, read_intent, read_payment_id
from domain.settlement.together import all_of
from workers.stripe_calls import StripeCalls

INTENTS = "/v1/payment_intents"
_PAGE = 100
_SLICES = 32
_AT_ONCE = 8
"""How many pages this process reads at the same time, so that others have their part of Stripe's rate."""
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
    """Why a part of the list cannot be read, where that is so."""

    @property
    def is_over(self) -> bool:
        """Whether reading on is of no use: one key has made one intent at most, and all are found."""
        return self.unread is not None or len(self.found) == len(self.wanted)

    def answers(self) -> Mapping[PaymentId, Answer]:
        """Return what is known once the list is read; absence needs the whole of it."""
        missing = self.unread or Absent()
        return {payment_id: self.found.get(payment_id, missing) for payment_id in self.wanted}


class IntentLists:
    """Stripe's list of intents, read in slices of time: a busy account has more than a task could page through."""

    def __init__(self, calls: StripeCalls) -> None:
        """Keep what makes the calls."""
        self._calls = calls
        self._turns = asyncio.Semaphore(_AT_ONCE)

    async def find(self, look_up: LookUp) -> Mapping[PaymentId, Answer]:
        """Return the intent of each payment, Absent where the list is read to its end without it.

        One page is enough for a list that is short; a longer one is cut, and its slices are read at the same time.
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
        """Read one page; return after which intent to go on, None where nothing is left to do."""
        params: PaymentIntentListParams = {"created": {"gte": span.first, "lte": span.last}, "limit": _PAGE}
        if after is not None:
            params["starting_after"] = after
        async with self._turns:
            if search.is_over:
                return None
            page = await self._calls.call("get", INTENTS, params)
        if not isinstance(page, Mapping):
            # A refusal to list anything is no refusal of the charges.
            search.unread = Unsure("the list was refused") if isinstance(page, Refusal) else page
            return None
        for raw in page["data"]:
            payment_id = read_payment_id(raw)
            if payment_id in search.wanted and payment_id is not None:
                search.found[payment_id] = read_answer(raw)
        return page["data"][-1]["id"] if page["has_more"] else None


def cut(span: Seconds) -> Sequence[Seconds]:
    """Return slices that together hold each second of a span once, as long as each other but for a second."""
    count = span.last - span.first + 1
    slices = min(_SLICES, count)
    bounds = [span.first + count * index // slices for index in range(slices + 1)]
    return [Seconds(first, following - 1) for first, following in pairwise(bounds)]


def read_answer(raw: JsonObject) -> Answer:
    """Read an intent; Unsure where it cannot be read."""
    try:
        return read_intent(raw)
    except (KeyError, ValueError, TypeError) as error:
        return Unsure(f"an intent that cannot be read: {error!r}")
