"""The way out to Stripe: past the breaker, and in turn. Every call of this process takes it."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

from db.breaker import Blocked, Breaker, Passage
from db.egress import Bucket
from domain.coalescer import Coalescer
from domain.settlement.answers import Throttled

_MAX_BATCH = 1_000
# How much later than the one that tries the others come back, once the breaker may close again.
_BEHIND_TRIAL_S = 2.0
# A turn that was taken for a row and not used is left to another call for a moment.
_TURN_KEPT_S = 1.0


class _Turn(NamedTuple):
    """When a call may be made, or, where it was not granted, when it may ask again."""

    at: float
    is_granted: bool


class StripeEgress:
    """`domain.settlement.admission.Egress`, and the passage of each call."""

    def __init__(
        self,
        breaker: Breaker,
        bucket: Bucket | None,
        *,
        longest_wait_s: float,
        on_wait: Callable[[float], None],
    ) -> None:
        """Keep the breaker, the bucket (None: as many calls as come), and whom to tell how long a call waited.

        A new charge waits for its turn for `longest_wait_s` at most, anything else twice as long. So under a load
        of charges there is always room for the others, and the charges give way.
        """
        self._breaker = breaker
        self._bucket = bucket
        self._longest_wait_s = longest_wait_s
        self._on_wait = on_wait
        self._turns: deque[_Turn] = deque()
        self._asking: Coalescer[bool, _Turn] = Coalescer(self._take_turns, max_batch=_MAX_BATCH)

    async def admit(self, count: int, *, urgent: bool) -> Sequence[float]:
        """Let calls for so many rows through; return how long those wait that may not go. Never fails.

        The turns of those that go are kept for their calls.
        """
        verdict = await self._breaker.look()
        match verdict.word:
            case "half_open":
                return [_BEHIND_TRIAL_S] * (count - 1)
            case "open":
                return [verdict.wait_s, *[verdict.wait_s + _BEHIND_TRIAL_S] * (count - 1)]
            case "busy" | "quiet" | "trial":
                return [verdict.wait_s] * count
        if self._bucket is None:
            return ()
        turns = await self._bucket.take(count, longest_wait_s=self._wait_limit_s(urgent=urgent))
        now = time.monotonic()
        self._turns.extend(_Turn(now + wait_s, is_granted=True) for wait_s in turns.granted)
        return turns.rest

    async def enter(self, *, urgent: bool) -> Passage | Throttled:
        """Wait for the call's turn; Throttled, and when to come back, where it may not be made. Never fails."""
        passage = await self._breaker.enter()
        if isinstance(passage, Blocked):
            return Throttled(f"breaker: {passage.reason}", passage.wait_s)
        if self._bucket is None:
            return passage
        try:
            turn = self._kept_turn() or await self._asking.submit(urgent)
            wait_s = turn.at - time.monotonic()
            if not turn.is_granted:
                await self._breaker.release(passage)
                return Throttled("no turn", wait_s)
            if wait_s > 0:
                self._on_wait(wait_s)
                await asyncio.sleep(wait_s)
        except BaseException:
            await self._breaker.release(passage)
            raise
        return passage

    async def leave(self, passage: Passage, *, healthy: bool | None) -> None:
        """Tell what the call says of Stripe: that it answers, that it fails, or nothing (None). Never fails."""
        if healthy is None:
            await self._breaker.release(passage)
        elif healthy:
            await self._breaker.succeed(passage)
        else:
            await self._breaker.fail(passage)

    async def quiet(self, seconds: float) -> None:
        """Heed that Stripe asks to be called less; all workers are quiet for a time. Never fails."""
        await self._breaker.quiet(seconds)

    def _kept_turn(self) -> _Turn | None:
        oldest = time.monotonic() - _TURN_KEPT_S
        while self._turns:
            turn = self._turns.popleft()
            if turn.at >= oldest:
                return turn
        return None

    async def _take_turns(self, calls: Sequence[bool]) -> Sequence[_Turn]:
        """Take turns for calls that wait at the same moment, the urgent ones first."""
        assert self._bucket is not None  # noqa: S101 - without a bucket nobody asks for a turn
        turns: dict[bool, deque[_Turn]] = {}
        for urgent in (True, False):
            count = sum(call is urgent for call in calls)
            if count:
                taken = await self._bucket.take(count, longest_wait_s=self._wait_limit_s(urgent=urgent))
                now = time.monotonic()
                turns[urgent] = deque(
                    [_Turn(now + wait_s, is_granted=True) for wait_s in taken.granted]
                    + [_Turn(now + wait_s, is_granted=False) for wait_s in taken.rest]
                )
        return [turns[call].popleft() for call in calls]

    def _wait_limit_s(self, *, urgent: bool) -> float:
        return self._longest_wait_s * (2 if urgent else 1)
