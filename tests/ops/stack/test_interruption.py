"""Who is asked to end stops what it started, by whatever signal it is asked."""

import signal
from collections.abc import Iterator

import pytest

from ops.stack.interruption import interrupted_by_signals

ASKED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in ASKED}
    # Under nohup, as CI may be started, a hangup is ignored by all that follows.
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def ask_and_stop(number: signal.Signals, stopped: list[bool]) -> None:
    with interrupted_by_signals():
        try:
            signal.raise_signal(number)
        finally:
            for each in ASKED:
                signal.raise_signal(each)
            stopped.append(True)


@pytest.mark.parametrize("number", ASKED)
def test_first_signal_interrupts_and_the_next_ones_disturb_nobody(number: signal.Signals) -> None:
    before = [signal.getsignal(each) for each in ASKED]
    stopped: list[bool] = []

    with pytest.raises(KeyboardInterrupt):
        ask_and_stop(number, stopped)

    assert stopped == [True]
    assert [signal.getsignal(each) for each in ASKED] == before


def test_terminal_may_close_where_whoever_started_it_said_so() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)

    with interrupted_by_signals():
        signal.raise_signal(signal.SIGHUP)

    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
