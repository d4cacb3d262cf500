"""The Celery application of the workers: queues, periodic tasks, and how a process runs them."""

from collections.abc import Callable
from typing import Any

from db.broker import MAINTENANCE, make_celery
from ops.settings import get_settings
from ops.telemetry import configure_logs
from workers.pace import at_pace
from workers.runtime import Runtime
from workers.services import Services, open_services

settings = get_settings()

_PAYOUT_TICK_S = 60.0

# A consumer waits for messages on its socket, a second at a time, so its timeout is longer than that.
app = make_celery(settings.broker_url, socket_timeout_s=max(settings.broker_timeout_s, 5.0))
app.set_current()
app.conf.update(
    task_acks_late=True,
    worker_prefetch_multiplier=1,
    worker_soft_shutdown_timeout=20,
    worker_cancel_long_running_tasks_on_connection_loss=True,
    worker_send_task_events=True,
    worker_hijack_root_logger=False,
    worker_redirect_stdouts=False,
    beat_schedule={
        "sweep": {
            "task": "marketflow.sweep",
            "schedule": settings.sweep_interval_s,
            "options": {"queue": MAINTENANCE},
        },
        "order-deadlines": {
            "task": "marketflow.enforce_order_deadlines",
            "schedule": settings.sweep_interval_s,
            "options": {"queue": MAINTENANCE},
        },
        "pay-out": {
            "task": "marketflow.pay_out_available",
            # A run that is made already is one statement; one that has stopped goes on soon.
            "schedule": min(settings.payout_interval_s, _PAYOUT_TICK_S),
            "options": {"queue": MAINTENANCE},
        },
        "prune-sessions": {
            "task": "marketflow.prune_sessions",
            "schedule": 60.0,
            "options": {"queue": MAINTENANCE},
        },
        "prune-stripe-events": {
            "task": "marketflow.prune_stripe_events",
            "schedule": 60.0,
            "options": {"queue": MAINTENANCE},
        },
        "seal-audit-log": {
            "task": "marketflow.seal_audit_log",
            "schedule": settings.audit_interval_s,
            "options": {"queue": MAINTENANCE},
        },
        "reconcile": {
            "task": "marketflow.reconcile",
            "schedule": settings.reconcile_interval_s,
            "options": {"queue": MAINTENANCE},
        },
        "prune-deliveries": {
            "task": "marketflow.prune_deliveries",
            "schedule": 60.0,
            "options": {"queue": MAINTENANCE},
        },
        "roll-up": {
            "task": "marketflow.roll_up",
            "schedule": 60.0,
            "options": {"queue": MAINTENANCE},
        },
    },
)

runtime: Runtime[Services] = Runtime(lambda: open_services(settings))

TASK_TIMEOUT_S = 0.9 * settings.lease_s
"""A task ends before its leases do, so that no two workers ever hold one row."""


def periodic(name: str) -> Callable[[Callable[[], None]], Any]:
    """Make a task of what beat announces, done at beat's pace also where many announcements have gathered.

    NOTE: Celery's `expires` would drop old ones too, but by the clocks of two machines: a worker a few seconds
    ahead of beat would drop every one, and nothing would be swept, reconciled or sealed any more.
    """
    interval_s = next(each["schedule"] for each in app.conf.beat_schedule.values() if each["task"] == name)

    def make(work: Callable[[], None]) -> Any:
        return app.task(name=name)(at_pace(interval_s)(work))

    return make


def configure() -> None:
    """Set the logs up; Celery would otherwise take the root logger over."""
    configure_logs(settings.log_format, settings.log_level)
