"""The circuit breaker before Stripe, one for the whole fleet.

Closed, it opens after some failures within a time; open, it lets nobody through for another time; half-open, it
lets one call of the whole fleet try, whose success closes it and whose failure opens it again. The state lives in
Redis; a process that cannot reach it goes by what it has seen itself.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from uuid import uuid4

from db.breaker_rules import Rules, Verdict, Word
from db.shared_state import SharedState
from domain.coalescer import Coalescer

# PERF: what was heard from Redis holds for so long, so that a call costs no round trip.
_FRESH_S = 0.2
_LONGEST_QUIET_S = 60.0
_BUSY_S = 1.0
_MAX_BATCH = 10_000


@dataclass(frozen=True, slots=True)
class Passage:
    """Leave to call Stripe; with a token it is the one trial of the fleet."""

    trial: str = ""


@dataclass(frozen=True, slots=True)
class Blocked:
    """No leave, and how long it is of no use to ask again: `open`, `busy` (somebody tries) or `quiet`."""

    reason: Word
    wait_s: float


_FREE = Passage()


class Breaker:
    """The breaker as the calls of one process meet it."""

    def __init__(
        self,
        fleet: Rules,
        alone: Rules,
        state: SharedState,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Keep the fleet's rules, and the process's own for while Redis is out of reach."""
        self._fleet = fleet
        self._alone = alone
        self._state = state
        self._clock = clock
        self._heard = Verdict("closed")
        self._heard_at = float("-inf")
        self._giving_back: set[asyncio.Task[None]] = set()
        self._asking: Coalescer[bool, Verdict] = Coalescer(self._ask, max_batch=_MAX_BATCH)

    async def look(self) -> Verdict:
        """Say how it stands, without asking to be the trial. Never fails."""
        return self._fresh() or await self._asking.submit(False)

    async def enter(self) -> Passage | Blocked:
        """Ask for leave to call Stripe; who gets it says afterwards what came of it. Never fails."""
        verdict = self._fresh()
        if verdict is None or verdict.word == "half_open":
            verdict = await self._ask_to_try()
        if verdict.word == "closed":
            return _FREE
        return Passage(verdict.token) if verdict.token else Blocked(verdict.word, verdict.wait_s)

    async def fail(self, passage: Passage) -> None:
        """Count a call that Stripe failed."""
        open_s = await self._state.ask(lambda: self._fleet.fail(passage.trial))
        if open_s is None:
            open_s = await self._alone.fail(passage.trial)
        if open_s:
            self._hear(Verdict("open", open_s))

    async def succeed(self, passage: Passage) -> None:
        """Take note of a call that Stripe answered; the trial's answer closes the breaker."""
        if passage.trial:
            closes = await self._state.ask(lambda: self._fleet.succeed(passage.trial))
            if closes is None:
                closes = await self._alone.succeed(passage.trial)
            if closes:
                self._hear(Verdict("closed"))

    async def release(self, passage: Passage) -> None:
        """Take note of a call that tells nothing of Stripe: it was not made, or nobody waited for its end."""
        if passage.trial and await self._state.ask(lambda: self._fleet.release(passage.trial)) is None:
            await self._alone.release(passage.trial)

    async def quiet(self, seconds: float) -> None:
        """Heed that Stripe asks the whole fleet to be quiet for a time."""
        seconds = min(seconds, _LONGEST_QUIET_S)
        self._hear(Verdict("quiet", seconds))
        if await self._state.ask(lambda: self._fleet.quiet(seconds)) is None:
            await self._alone.quiet(seconds)

    async def _ask_to_try(self) -> Verdict:
        """Ask to be the trial; who is cut off while asking gives it back, should it be given."""
        asking = asyncio.create_task(self._asking.submit(True))
        try:
            return await asyncio.shield(asking)
        except asyncio.CancelledError:
            asking.add_done_callback(self._give_back)
            raise

    def _give_back(self, asking: asyncio.Task[Verdict]) -> None:
        if not asking.cancelled() and asking.exception() is None and asking.result().token:
            task = asyncio.get_running_loop().create_task(self.release(Passage(asking.result().token)))
            self._giving_back.add(task)
            task.add_done_callback(self._giving_back.discard)

    async def _ask(self, askers: Sequence[bool]) -> Sequence[Verdict]:
        """Ask once for all who wait; the first of those who would try is the trial, where one may be made."""
        token = uuid4().hex if any(askers) else ""
        verdict = await self._state.ask(lambda: self._fleet.enter(token))
        if verdict is None:
            verdict = await self._alone.enter(token)
        if not verdict.token:
            self._hear(verdict)
            return [verdict] * len(askers)
        others = Verdict("busy", _BUSY_S)
        self._hear(others)
        first = askers.index(True)
        return [verdict if position == first else others for position in range(len(askers))]

    def _hear(self, verdict: Verdict) -> None:
        self._heard, self._heard_at = verdict, self._clock()

    def _fresh(self) -> Verdict | None:
        return self._heard if self._clock() - self._heard_at < _FRESH_S else None
