"""Entry of the Celery processes: `celery -A workers.main worker|beat|flower`."""

import gc

import structlog
from celery import signals
from celery.platforms import EX_FAILURE

from workers import audit, charges, deliveries, maintenance, onboardings, payouts, refunds, stripe_events
from workers.app import app, configure, runtime, settings
from workers.exposition import serve_metrics
from workers.services import check_settings
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

log = structlog.get_logger(__name__)


@signals.setup_logging.connect
def _set_up_logging(**_: object) -> None:
    configure()


# NOTE: Celery logs what a receiver of a signal raises, and goes on. A worker without its services would say that
# it is ready, and take messages of which it can do none. What ends a program passes through.
@signals.celeryd_after_setup.connect
def _refuse_wrong_settings(**_: object) -> None:
    try:
        check_settings(settings, app.amqp.queues.consume_from)
    except ValueError as error:
        raise SystemExit(f"this worker cannot start: {error}") from None


@signals.celeryd_after_setup.connect
def _serve_metrics(sender: str, **_: object) -> None:
    # Before there is a broker: who waits for one lives, and is neither to be restarted nor to be called dead.
    if settings.worker_metrics_port:
        serve_metrics(settings.api_host, settings.worker_metrics_port, sender)


@signals.worker_ready.connect
def _start_runtime(**_: object) -> None:
    # PERF: otherwise the first payments wait for the connections.
    try:
        runtime.start()
    except Exception as error:
        log.exception("worker_has_no_services")
        raise SystemExit(EX_FAILURE) from error
    trace_tasks()
    # PERF: a payment leaves no cycles, and looking for some goes through all that was imported.
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000)


@signals.worker_shutdown.connect
@signals.worker_process_shutdown.connect
def _stop_runtime(**_: object) -> None:
    runtime.stop()
