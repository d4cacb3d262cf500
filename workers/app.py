"""The Celery application of the workers: queues, periodic tasks, and how a process runs them."""

from collections.abc import Callable
from typing import Any

from db.broker import MAINTENANCE
from ops.settings import get_settings
from ops.telemetry import configure_logs
from workers.factory import make_celery
from workers.pace import at_pace
from workers.runtime import Runtime
from workers.services import Services, open_services

settings = get_settings()

_PAYOUT_TICK_S = 60.0

_PERIODIC = (
    ("sweep", "marketflow.sweep", settings.sweep_interval_s),
    ("order-deadlines", "marketflow.enforce_order_deadlines", settings.sweep_interval_s),
    # Where the run is made already this is one statement, and a run that was interrupted goes on soon.
    ("pay-out", "marketflow.pay_out_available", min(settings.payout_interval_s, _PAYOUT_TICK_S)),
    ("prune-sessions", "marketflow.prune_sessions", 60.0),
    ("prune-stripe-events", "marketflow.prune_stripe_events", 60.0),
    ("seal-audit-log", "marketflow.seal_audit_log", settings.audit_interval_s),
    ("reconcile", "marketflow.reconcile", settings.reconcile_interval_s),
    ("prune-deliveries", "marketflow.prune_deliveries", 60.0),
    ("roll-up", "marketflow.roll_up", 60.0),
)
"""What beat announces: the entry's name, the task's, and every how many seconds."""

# A consumer waits for messages on its socket for a second at a time, so the socket's timeout must be longer.
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
        name: {"task": task, "schedule": interval_s, "options": {"queue": MAINTENANCE}}
        for name, task, interval_s in _PERIODIC
    },
)

runtime: Runtime[Services] = Runtime(lambda: open_services(settings))

TASK_TIMEOUT_S = 0.9 * settings.lease_s
"""A task ends before its leases do, so that no two workers ever hold the same row."""


def periodic(name: str) -> Callable[[Callable[[], None]], Any]:
    """Make a periodic task that keeps beat's pace even if many of its messages have gathered.

    NOTE: Celery's `expires` would drop old messages too, but it compares the clocks of two machines: a worker a
    few seconds ahead of beat would drop every one, and nothing would be swept, reconciled or sealed any more.
    """
    interval_s = next(interval_s for _, task, interval_s in _PERIODIC if task == name)

    def make(work: Callable[[], None]) -> Any:
        return app.task(name=name)(at_pace(interval_s)(work))

    return make


def configure() -> None:
    """Set up the logs; otherwise Celery would take over the root logger."""
    configure_logs(settings.log_format, settings.log_level)
