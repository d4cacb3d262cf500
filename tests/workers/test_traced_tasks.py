"""Celery's own spans: a task that fails tells what kind of failure it was, and nothing that it held."""

from collections.abc import Iterator

import pytest
from celery import Celery
from opentelemetry.instrumentation.celery import CeleryInstrumentor

from ops import tracing
from tests.otlp import Collector, collecting
from workers.tracing import trace_tasks


@pytest.fixture
def collector() -> Iterator[Collector]:
    """A worker's process that keeps all of its traces."""
    with collecting() as collector:
        tracing.start_tracing("test", otlp_endpoint=collector.url, sample_ratio=1)
        trace_tasks()
        yield collector
        CeleryInstrumentor().uninstrument()
        tracing.stop_tracing()


@pytest.fixture
def app() -> Celery:
    return Celery("tests", broker="memory://", set_as_current=False)


def test_task_that_raises_tells_the_kind_of_its_error_and_not_its_text(collector: Collector, app: Celery) -> None:
    @app.task(name="marketflow.test", shared=False)
    def fail() -> None:
        row = {"email": "ann@example.com"}
        raise KeyError(row["email"])

    assert fail.apply().failed()
    tracing.stop_tracing()

    (span,) = collector.spans
    assert (span.name, span.is_error) == ("run/marketflow.test", True)
    assert [(told["name"], told["exception.type"]) for told in span.events] == [("exception", "KeyError")]
    assert b"ann@example.com" not in collector.raw
    assert b"Traceback" not in collector.raw


def test_task_that_ends_well_tells_nothing_of_the_kind(collector: Collector, app: Celery) -> None:
    @app.task(name="marketflow.test", shared=False)
    def work() -> None:
        """Do nothing."""

    assert work.apply().successful()
    tracing.stop_tracing()

    (span,) = collector.spans
    assert (span.name, span.is_error, span.events) == ("run/marketflow.test", False, ())
