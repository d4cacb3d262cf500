"""Celery's tasks in the traces: each runs in the trace of the message that asked for it."""

from ops.tracing import provider


def trace_tasks() -> None:
    """Open a span for each task of this process, when it traces at all."""
    if (traces := provider()) is None:
        return
    # PERF: for those who trace alone.
    from opentelemetry.instrumentation.celery import CeleryInstrumentor  # noqa: PLC0415

    # What is published `db.broker` traces by itself, without Celery's signals.
    CeleryInstrumentor().instrument(tracer_provider=traces)
