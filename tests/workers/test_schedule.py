"""What beat announces is there to be run."""

from workers.main import app


def test_every_periodic_task_is_known() -> None:
    periodic = {entry["task"] for entry in app.conf.beat_schedule.values()}

    assert "marketflow.sweep" in periodic
    assert periodic <= set(app.tasks)
