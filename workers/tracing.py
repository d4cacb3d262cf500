"""Celery's tasks in the traces: each runs in the trace of the message that asked for it."""

from celery import signals

from ops.tracing import provider


def trace_tasks() -> None:
    """Open a span for each task of this process, when it traces at all."""
    if (traces := provider()) is None:
        return
    # PERF: for those who trace alone.
    from opentelemetry.instrumentation.celery import CeleryInstrumentor  # noqa: PLC0415

    instrumentor = CeleryInstrumentor()
    instrumentor.instrument(tracer_provider=traces)
    # NOTE: it opens a span for each message that is published and never ends those of tasks that its process does
    # not know, or whose publishing fails. `db.broker` traces publishing by itself.
    signals.before_task_publish.disconnect(instrumentor._trace_before_publish)  # noqa: SLF001 - no public way
