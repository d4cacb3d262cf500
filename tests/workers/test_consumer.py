"""What a worker tells its monitors: gathered, and nothing of it lost."""

from collections.abc import Callable
from typing import Any

import pytest
from celery.worker.consumer import Consumer as CeleryConsumer

from workers.consumer import Consumer


class Hub:
    """Celery's loop, whose timer a test fires."""

    def __init__(self) -> None:
        self.timers: list[Callable[[], None]] = []

    def call_soon(self, callback: Callable[..., None], *args: Any) -> None:
        callback(*args)

    def call_later(self, _: float, callback: Callable[[], None]) -> None:
        self.timers.append(callback)


class Dispatcher:
    """Counts how often it was told to publish."""

    def __init__(self) -> None:
        self.flushed = 0

    def flush(self) -> None:
        self.flushed += 1


@pytest.fixture
def hub() -> Hub:
    return Hub()


@pytest.fixture
def dispatcher() -> Dispatcher:
    return Dispatcher()


@pytest.fixture
def consumer(hub: Hub, dispatcher: Dispatcher) -> Consumer:
    consumer = Consumer.__new__(Consumer)
    consumer.hub, consumer.event_dispatcher, consumer._is_to_tell = hub, dispatcher, False
    return consumer


def test_many_tasks_are_told_of_at_once(consumer: Consumer, hub: Hub, dispatcher: Dispatcher) -> None:
    for _ in range(5):
        consumer.on_send_event_buffered()

    assert (len(hub.timers), dispatcher.flushed) == (1, 0)
    hub.timers.pop()()
    assert dispatcher.flushed == 1


def test_what_comes_later_is_told_of_too(consumer: Consumer, hub: Hub, dispatcher: Dispatcher) -> None:
    for _ in range(3):
        consumer.on_send_event_buffered()
        hub.timers.pop()()

    assert dispatcher.flushed == 3


def test_the_last_is_told_before_the_end(
    consumer: Consumer, dispatcher: Dispatcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    told_by_then: list[int] = []
    monkeypatch.setattr(CeleryConsumer, "shutdown", lambda _: told_by_then.append(dispatcher.flushed))
    consumer.on_send_event_buffered()

    consumer.shutdown()

    assert told_by_then == [1]
