"""What beat announces is there to be run, whatever the clocks of the machines say."""

from collections.abc import Callable
from typing import Any

import pytest

from workers.app import runtime
from workers.main import app

PERIODIC = sorted(entry["task"] for entry in app.conf.beat_schedule.values())


def test_every_periodic_task_is_known() -> None:
    assert "marketflow.sweep" in PERIODIC
    assert set(PERIODIC) <= set(app.tasks)


def test_no_announcement_is_dropped_by_the_clock_of_another_machine() -> None:
    """Celery compares `expires` of the one that sends with the clock of the one that takes."""
    assert [name for name, entry in app.conf.beat_schedule.items() if "expires" in entry["options"]] == []


@pytest.mark.parametrize("name", PERIODIC)
def test_announcements_that_have_gathered_are_worked_at_once(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[Callable[..., Any]] = []
    monkeypatch.setattr(runtime, "run", lambda use, **_: done.append(use))

    for _ in range(3):
        app.tasks[name]()

    assert len(done) == 1
