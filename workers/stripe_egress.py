"""The way out to Stripe: every call of this process passes the breaker, and waits for its turn."""

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
# When the breaker may close again, one row tries, and the others come back this much later.
_BEHIND_TRIAL_S = 2.0
# A turn that its row did not use may be used by another call for this long.
_TURN_KEPT_S = 1.0


class _Turn(NamedTuple):
    """When a call may be made, or when it may ask again if it was not granted; by `time.monotonic`."""

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
        """Keep the breaker and the bucket (None for no limit); `on_wait` hears how many seconds a call waited.

        A new charge waits for its turn for `longest_wait_s` at most, any other call twice as long. So however many
        charges there are, the other calls find room before them.
        """
        self._breaker = breaker
        self._bucket = bucket
        self._longest_wait_s = longest_wait_s
        self._on_wait = on_wait
        self._turns: deque[_Turn] = deque()
        self._asking: Coalescer[bool, _Turn] = Coalescer(self._take_turns, max_batch=_MAX_BATCH)

    async def admit(self, count: int, *, urgent: bool) -> Sequence[float]:
        """Let calls for the first of `count` rows through; return for each of the others its wait in seconds.

        The turns of those that go are kept for their calls. Never fails.
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
        """Wait for the call's turn; return Throttled, with its wait, if it may not be made. Never fails."""
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
        """Tell the breaker what the call showed of Stripe: it works, it fails, or neither (None). Never fails."""
        if healthy is None:
            await self._breaker.release(passage)
        elif healthy:
            await self._breaker.succeed(passage)
        else:
            await self._breaker.fail(passage)

    async def quiet(self, seconds: float) -> None:
        """Stop all workers' calls for that many seconds, because Stripe asks for fewer. Never fails."""
        await self._breaker.quiet(seconds)

    def _kept_turn(self) -> _Turn | None:
        oldest = time.monotonic() - _TURN_KEPT_S
        while self._turns:
            turn = self._turns.popleft()
            if turn.at >= oldest:
                return turn
        return None

    async def _take_turns(self, calls: Sequence[bool]) -> Sequence[_Turn]:
        """Take turns for calls that wait at the same moment, the urgent ones first; answer in their order."""
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
