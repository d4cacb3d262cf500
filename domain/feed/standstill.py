"""For how long the log has been read no further, because a transaction that is open may still fill a gap."""

import time
from collections.abc import Callable


class Standstill:
    """Hears where reading waits, and says for how long it has waited there."""

    def __init__(
        self, tell: Callable[[float], None], *, monotonic_s: Callable[[], float] = time.monotonic
    ) -> None:
        """Keep who is told the seconds, 0 where nothing is waited for, and what measures them."""
        self._tell = tell
        self._monotonic_s = monotonic_s
        self._place: int | None = None
        self._since_s = 0.0

    def wait(self, place: int) -> None:
        """Hear that reading waits behind a position; where it has come further meanwhile, it begins anew."""
        now_s = self._monotonic_s()
        if place != self._place:
            self._place, self._since_s = place, now_s
        self._tell(now_s - self._since_s)

    def end(self) -> None:
        """Hear that nothing is waited for."""
        if self._place is not None:
            self._place = None
            self._tell(0.0)
