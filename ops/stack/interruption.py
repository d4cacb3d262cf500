"""Whoever is asked to end stops first what it has started, by whatever signal it is asked."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def interrupted_by_signals() -> Iterator[None]:
    """Turn the first signal to stop into KeyboardInterrupt; those after it would only disturb.

    Of Ctrl-C alone Python makes one. By what `timeout`, a cancelled run or a terminal that closes send, it would
    end at once, and leave a stack that nobody stops. Under `nohup` a terminal may close.
    """
    numbers = [number for number in _NUMBERS if not _is_left_alone(number)]

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        for number in numbers:
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _is_left_alone(number: signal.Signals) -> bool:
    """Tell whether whoever started this process wants it to live on then.

    A shell's script ignores SIGINT for what it starts in the background, for the terminal's sake alone.
    """
    return number is signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN
