"""What was asked for many times is done as often as it was to be."""

import threading

from tests.domain.fakes import FakeMonotonic
from workers.pace import at_pace


def test_calls_that_have_gathered_are_one() -> None:
    clock, done = FakeMonotonic(), list[float]()
    work = at_pace(10, clock=clock)(lambda: done.append(clock()))
    began = clock()

    for pause_s in (0, 0, 0, 10, 0, 13, 7, 10):
        clock.now_s += pause_s
        work()

    assert [at - began for at in done] == [0, 10, 23, 30, 40]


def test_work_that_fails_is_tried_again_at_the_next_call() -> None:
    clock, tried = FakeMonotonic(), list[float]()

    @at_pace(10, clock=clock)
    def work() -> None:
        tried.append(clock())
        raise LookupError

    for _ in range(2):
        try:
            work()
        except LookupError:
            clock.now_s += 10

    assert len(tried) == 2


def test_work_that_is_not_done_is_not_begun_again() -> None:
    clock, done = FakeMonotonic(), list[float]()

    @at_pace(10, clock=clock)
    def work() -> None:
        done.append(clock())
        clock.now_s += 100
        if len(done) < 3:
            another = threading.Thread(target=work)
            another.start()
            another.join()

    work()
    assert len(done) == 1
    work()
    assert len(done) == 2
