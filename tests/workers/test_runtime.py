"""One loop a process: what is out of reach is left for the sweeper, what is wrong is told."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from domain.errors import Unavailable
from ops import tracing
from tests.otlp import collecting
from workers.runtime import Runtime


class Ledger:
    """Services that note what is done with them."""

    def __init__(self) -> None:
        self.opened = 0
        self.closed = 0
        self.threads: set[int] = set()

    @asynccontextmanager
    async def open(self) -> AsyncIterator["Ledger"]:
        self.opened += 1
        yield self
        self.closed += 1

    async def use(self) -> None:
        self.threads.add(threading.get_ident())

    async def fail_with(self, error: Exception) -> None:
        raise error

    async def never_end(self) -> None:
        await asyncio.Event().wait()


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


@pytest.fixture
def runtime(ledger: Ledger) -> Iterator[Runtime[Ledger]]:
    runtime = Runtime(ledger.open)
    yield runtime
    runtime.stop()


def test_all_tasks_share_one_loop_and_one_set_of_services(runtime: Runtime[Ledger], ledger: Ledger) -> None:
    with ThreadPoolExecutor(8) as threads:
        for _ in range(32):
            threads.submit(runtime.run, Ledger.use, timeout_s=60)

    assert ledger.opened == 1
    assert len(ledger.threads) == 1


def test_nothing_is_opened_before_the_first_task(runtime: Runtime[Ledger], ledger: Ledger) -> None:
    assert ledger.opened == 0


def test_what_is_out_of_reach_is_logged_and_left(runtime: Runtime[Ledger]) -> None:
    error = Unavailable("no database", code="database_unavailable")

    with capture_logs() as logs:
        runtime.run(lambda services: services.fail_with(error), timeout_s=60)

    assert [(entry["event"], entry["code"]) for entry in logs] == [("work_postponed", "database_unavailable")]


def test_work_that_does_not_end_is_cut_off_and_logged(runtime: Runtime[Ledger]) -> None:
    with capture_logs() as logs:
        runtime.run(Ledger.never_end, timeout_s=0.01)

    assert [entry["event"] for entry in logs] == ["work_timed_out"]


def test_what_is_wrong_reaches_celery(runtime: Runtime[Ledger]) -> None:
    with pytest.raises(KeyError):
        runtime.run(lambda services: services.fail_with(KeyError("wrong")), timeout_s=60)


def test_ends_of_tasks_are_counted(runtime: Runtime[Ledger]) -> None:
    def ended(outcome: str) -> float:
        return (
            REGISTRY.get_sample_value("marketflow_task_seconds_count", {"task": "none", "outcome": outcome}) or 0
        )

    before = {outcome: ended(outcome) for outcome in ("done", "postponed", "timed_out", "failed")}
    away = Unavailable("no database", code="database_unavailable")
    runtime.run(Ledger.use, timeout_s=60)
    runtime.run(lambda services: services.fail_with(away), timeout_s=60)
    runtime.run(Ledger.never_end, timeout_s=0.01)
    with pytest.raises(KeyError):
        runtime.run(lambda services: services.fail_with(KeyError("wrong")), timeout_s=60)

    assert {outcome: ended(outcome) - count for outcome, count in before.items()} == dict.fromkeys(before, 1)


def test_what_fails_is_traced_whatever_the_ratio_and_what_is_put_off_is_not(
    runtime: Runtime[Ledger],
) -> None:
    with collecting() as collector:
        tracing.start_tracing("test", otlp_endpoint=collector.url, sample_ratio=0)
        runtime.run(Ledger.use, timeout_s=60)
        runtime.run(lambda ledger: ledger.fail_with(Unavailable("no broker")), timeout_s=60)
        runtime.run(Ledger.never_end, timeout_s=0.01)
        with pytest.raises(ZeroDivisionError):
            runtime.run(lambda ledger: ledger.fail_with(ZeroDivisionError()), timeout_s=60)
        tracing.stop_tracing()

    assert [span.attributes["task.outcome"] for span in collector.spans] == ["timed_out", "failed"]
    assert all(span.is_error for span in collector.spans)


def test_failure_of_one_task_spares_the_next(runtime: Runtime[Ledger], ledger: Ledger) -> None:
    with pytest.raises(KeyError):
        runtime.run(lambda services: services.fail_with(KeyError("wrong")), timeout_s=60)

    runtime.run(Ledger.use, timeout_s=60)

    assert ledger.opened == 1
    assert ledger.threads


def test_stop_closes_the_services_once(runtime: Runtime[Ledger], ledger: Ledger) -> None:
    runtime.run(Ledger.use, timeout_s=60)

    runtime.stop()
    runtime.stop()

    assert ledger.closed == 1


def test_stop_without_work_does_nothing(runtime: Runtime[Ledger], ledger: Ledger) -> None:
    runtime.stop()

    assert ledger.closed == 0
