import os
import threading
import time
from datetime import timedelta
from uuid import RFC_4122, UUID

import pytest

from domain.ids import correct_time, time_ns, uuid7


def test_ids_of_a_process_only_grow() -> None:
    ids = [uuid7() for _ in range(20_000)]

    assert ids == sorted(set(ids))


def test_ids_grow_while_the_clock_stands_still_or_goes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    before = uuid7()
    monkeypatch.setattr("time.time_ns", lambda: 0)

    assert before < uuid7() < uuid7()


def test_time_of_ids_is_corrected(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_last_tick", "_ahead_ns"):
        monkeypatch.setattr(f"domain.ids.{name}", 0)

    correct_time(timedelta(days=2))

    ahead_s = (uuid7().int >> 80) / 1_000 - time.time()
    assert abs(ahead_s - 2 * 86_400) < 60
    assert abs(time_ns() / 1e9 - time.time() - 2 * 86_400) < 60


def test_ids_of_many_threads_are_distinct() -> None:
    ids: list[UUID] = []
    threads = [threading.Thread(target=lambda: ids.extend(uuid7() for _ in range(2_000))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(set(ids)) == 8_000


def test_id_bears_version_variant_and_time() -> None:
    made = uuid7()

    assert made.version == 7
    assert made.variant == RFC_4122
    # Ids count ahead of the clock when more than 4,096 are made in a millisecond.
    assert abs((made.int >> 80) - time.time_ns() // 1_000_000) < 60_000


def test_forked_process_draws_randomness_of_its_own() -> None:
    uuid7()
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write, b"".join(uuid7().bytes[8:] for _ in range(8)))
        os._exit(0)
    os.waitpid(child, 0)
    theirs = os.read(read, 8 * 8)
    os.close(read)
    os.close(write)

    assert len(theirs) == 8 * 8
    assert {theirs[start : start + 8] for start in range(0, 64, 8)}.isdisjoint(uuid7().bytes[8:] for _ in range(8))
