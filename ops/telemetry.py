"""Logs: a static event name and keyword facts; JSON in production, readable in development."""

import logging
from contextvars import ContextVar

import structlog
from opentelemetry import trace

REQUEST_ID: ContextVar[str | None] = ContextVar("request_id", default=None)
"""The id of the request that is served, or of the one that asked for what is worked at.

PERF: structlog's own context costs more than ten times as much to set.
"""

PAYMENT_ID: ContextVar[object | None] = ContextVar("payment_id", default=None)
"""The id of the payment that is asked for, or worked at; written out by who reads it, which few do."""

_CHATTY = ("stripe", "celery.app.trace", "celery.worker.strategy")
"""Libraries that tell of every call and every task at INFO, which costs a tenth of the workers' time."""


def configure_logs(log_format: str, level: str) -> None:
    """Send structlog and the libraries' own logs through one chain to standard error."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        _add_ids,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer() if log_format == "console" else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            *shared,
            structlog.processors.format_exc_info,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level)),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[
                *shared,
                structlog.stdlib.ExtraAdder(allow=["payment_id"]),
                structlog.processors.format_exc_info,
            ],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    if root.level == logging.INFO:
        for name in _CHATTY:
            logging.getLogger(name).setLevel(logging.WARNING)


def _add_ids(_: object, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    request_id = REQUEST_ID.get()
    if request_id is not None:
        event["request_id"] = request_id
    payment_id = PAYMENT_ID.get()
    if payment_id is not None:
        event["payment_id"] = str(payment_id)
    present = trace.get_current_span().get_span_context()
    if present.is_valid:
        event["trace_id"] = trace.format_trace_id(present.trace_id)
    return event
