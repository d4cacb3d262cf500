"""A connection on which nothing is asked is closed when its time is over, and not before."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from api.worker import Connection

KEEPALIVE_S = 75.0


class Loop:
    """A loop whose time stands still until it is moved on; it holds one timer."""

    def __init__(self) -> None:
        self.now_s = 1_000.0
        self.timer: tuple[float, Any] | None = None
        self.begun = 0

    def time(self) -> float:
        return self.now_s

    def call_later(self, seconds: float, callback: Any) -> asyncio.TimerHandle:
        self.timer, self.begun = (self.now_s + seconds, callback), self.begun + 1
        return cast("asyncio.TimerHandle", SimpleNamespace(cancel=self.forget))

    def forget(self) -> None:
        self.timer = None

    def go_on(self, seconds: float) -> None:
        self.now_s += seconds
        while self.timer is not None and self.timer[0] <= self.now_s:
            (_, callback), self.timer = self.timer, None
            callback()


class Quiet(Connection):
    """A connection of which only the timers are looked at."""

    def __init__(self, loop: Loop) -> None:
        log = SimpleNamespace(error_log=None)
        super().__init__(
            SimpleNamespace(cfg=SimpleNamespace(keepalive=KEEPALIVE_S, workers=1), log=log, asgi=None, loop=loop)
        )
        self.is_over = False

    def _keepalive_timeout(self) -> None:
        self.is_over = True


@pytest.fixture
def loop() -> Loop:
    return Loop()


@pytest.fixture
def connection(loop: Loop) -> Quiet:
    return Quiet(loop)


def test_idle_connection_is_closed_when_its_time_is_over(connection: Quiet, loop: Loop) -> None:
    connection._arm_keepalive_timer()

    loop.go_on(KEEPALIVE_S - 1)
    assert not connection.is_over
    loop.go_on(1)
    assert connection.is_over


def test_time_counts_from_the_last_answer(connection: Quiet, loop: Loop) -> None:
    for _ in range(5):
        connection._arm_keepalive_timer()
        loop.go_on(KEEPALIVE_S - 1)
        connection._cancel_keepalive_timer()
    connection._arm_keepalive_timer()

    loop.go_on(KEEPALIVE_S - 1)
    assert not connection.is_over
    loop.go_on(1)
    assert connection.is_over


def test_connection_with_a_request_under_way_is_not_closed(connection: Quiet, loop: Loop) -> None:
    connection._arm_keepalive_timer()
    connection._cancel_keepalive_timer()

    loop.go_on(10 * KEEPALIVE_S)
    assert not connection.is_over


def test_connection_that_is_gone_leaves_no_timer(connection: Quiet, loop: Loop) -> None:
    connection._arm_keepalive_timer()
    connection._closed = True

    connection._cancel_keepalive_timer()

    assert loop.timer is None


def test_busy_connection_makes_no_timer_for_each_request(connection: Quiet, loop: Loop) -> None:
    for _ in range(100):
        connection._arm_keepalive_timer()
        loop.go_on(0.01)
        connection._cancel_keepalive_timer()

    assert loop.begun == 1
