"""Entry of the Celery processes: `celery -A workers.main worker|beat|flower`."""

import gc

from celery import signals

from workers import audit, charges, deliveries, maintenance, onboardings, payouts, refunds, stripe_events
from workers.app import app, configure, runtime, settings
from workers.exposition import serve_metrics
from workers.tracing import trace_tasks

__all__ = [
    "app",
    "audit",
    "charges",
    "deliveries",
    "maintenance",
    "onboardings",
    "payouts",
    "refunds",
    "stripe_events",
]


@signals.setup_logging.connect
def _set_up_logging(**_: object) -> None:
    configure()


@signals.celeryd_after_setup.connect
def _serve_metrics(sender: str, **_: object) -> None:
    # Before there is a broker: who waits for one lives, and is neither to be restarted nor to be called dead.
    if settings.worker_metrics_port:
        serve_metrics(settings.api_host, settings.worker_metrics_port, sender)


@signals.worker_ready.connect
def _start_runtime(**_: object) -> None:
    # PERF: otherwise the first payments wait for the connections.
    runtime.start()
    trace_tasks()
    # PERF: a payment leaves no cycles, and looking for some goes through all that was imported.
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000)


@signals.worker_shutdown.connect
@signals.worker_process_shutdown.connect
def _stop_runtime(**_: object) -> None:
    runtime.stop()
