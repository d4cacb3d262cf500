"""What is traced, what is kept, and that nothing is when nobody asks for it."""

import asyncio
import logging
import random
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from contextvars import copy_context

import pytest
from opentelemetry import trace

from domain.errors import Conflict, Refused, Unavailable
from ops import tracing
from ops.telemetry import PAYMENT_ID, REQUEST_ID
from ops.tracing import RequestTrace, TracedCoalescer
from tests.builders import a_payment, a_payout, a_refund, a_seller_account
from tests.otlp import Collector, collecting
from workers.following import follow_account, follow_payout, follow_refund

SAMPLED = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
UNSAMPLED = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"


FACTS = {"http.request.method", "http.route", "http.response.status_code", "marketflow.request_id"}


@pytest.fixture
def collector() -> Iterator[Collector]:
    """A process that keeps none of the traces that begin in it."""
    with collecting() as collector:
        tracing.start_tracing("test", otlp_endpoint=collector.url, sample_ratio=0)
        yield collector
        tracing.stop_tracing()


def names(collector: Collector) -> list[str]:
    tracing.stop_tracing()
    return [span.name for span in collector.spans]


def serve(traceparent: str | None, status: int) -> None:
    request = RequestTrace.begin(traceparent)
    assert request is not None
    request.end("GET", "/v1/payments", status, "request-1")


@pytest.mark.parametrize("traceparent", [None, UNSAMPLED, "nonsense"])
def test_unsampled_request_is_kept_only_when_it_fails(collector: Collector, traceparent: str | None) -> None:
    serve(traceparent, 200)
    serve(traceparent, 404)
    serve(traceparent, 503)

    assert names(collector) == ["GET /v1/payments"]
    (span,) = collector.spans
    assert span.is_error
    assert span.attributes["http.response.status_code"] == "503"
    assert (span.trace_id == SAMPLED.split("-")[1]) == (traceparent == UNSAMPLED)


@pytest.mark.parametrize(("ratio", "least", "most"), [(0.0, 0, 0), (0.25, 20, 90), (1.0, 200, 200)])
def test_of_the_requests_that_begin_here_the_ratio_is_kept(ratio: float, least: int, most: int) -> None:
    with collecting() as collector:
        tracing.start_tracing("test", otlp_endpoint=collector.url, sample_ratio=ratio)
        random.seed(20_261_126)
        for _ in range(200):
            serve(None, 200)
        assert least <= len(names(collector)) <= most
        assert len({span.trace_id for span in collector.spans}) == len(collector.spans)
        assert all(set(span.attributes) == FACTS for span in collector.spans)


def test_span_of_a_request_is_over_with_it(collector: Collector) -> None:
    serve(SAMPLED, 200)

    assert not trace.get_current_span().get_span_context().is_valid
    assert names(collector) == ["GET /v1/payments"]


def test_row_of_a_sampled_request_is_followed_and_others_are_not(collector: Collector) -> None:
    for traceparent in (SAMPLED, UNSAMPLED, None, "nonsense"):
        with tracing.span_of_row(traceparent, "payment charge", {"payment.id": "1"}):
            pass

    assert names(collector) == ["payment charge"]
    assert collector.spans[0].parent_id == SAMPLED.split("-")[2]


@pytest.mark.parametrize(
    ("follow", "name", "ids"),
    [
        (follow_refund(a_refund(a_payment(), traceparent=SAMPLED)), "refund", {"refund.id", "payment.id"}),
        (follow_payout(a_payout(traceparent=SAMPLED)), "payout", {"payout.id"}),
        (follow_account(a_seller_account(traceparent=SAMPLED)), "onboarding", {"seller.id"}),
    ],
    ids=["refund", "payout", "onboarding"],
)
def test_what_was_asked_for_beside_a_payment_is_followed_in_the_trace_of_its_own_request(
    collector: Collector, follow: AbstractContextManager[None], name: str, ids: set[str]
) -> None:
    with follow, tracing.transaction_span():
        pass

    assert names(collector) == ["transaction", name]
    transaction, work = collector.spans
    assert (work.trace_id, work.parent_id) == tuple(SAMPLED.split("-")[1:3])
    assert (transaction.parent_id, set(work.attributes)) == (work.id, ids)


def test_failure_that_no_sampled_span_tells_of_is_kept_and_one_that_is_told_is_not_told_twice(
    collector: Collector,
) -> None:
    tracing.trace_failure("run/marketflow.sweep", time.time_ns(), {"task.outcome": "timed_out"})
    with tracing.span_of_row(SAMPLED, "payment charge", {}):
        tracing.trace_failure("POST /v1/payment_intents", time.time_ns())

    assert names(collector) == ["run/marketflow.sweep", "payment charge"]
    failure, _ = collector.spans
    assert failure.is_error
    assert failure.attributes["task.outcome"] == "timed_out"


@pytest.mark.parametrize("traceparent", [None, UNSAMPLED])
@pytest.mark.parametrize("error", [KeyError("a value"), Unavailable("no database"), Refused("out of balance")])
def test_failure_within_an_unsampled_request_is_kept_and_says_whose_it_is(
    collector: Collector, error: Exception, traceparent: str | None
) -> None:
    def fail() -> None:
        PAYMENT_ID.set("payment-1")
        REQUEST_ID.set("request-1")
        with tracing.transaction_span():
            raise error

    request = RequestTrace.begin(traceparent)
    assert request is not None
    with pytest.raises(type(error)):
        copy_context().run(fail)
    request.end("GET", "/v1/payments", 500, "request-1")

    assert names(collector) == ["transaction", "GET /v1/payments"]
    failure, whole = collector.spans
    assert failure.is_error
    assert failure.trace_id == whole.trace_id
    assert (failure.trace_id == SAMPLED.split("-")[1]) == (traceparent == UNSAMPLED)
    ids = {"payment.id": "payment-1", "marketflow.request_id": "request-1"}
    assert ids.items() < failure.attributes.items()
    assert failure.attributes["error.type"] == type(error).__name__


@pytest.mark.parametrize("traceparent", [SAMPLED, UNSAMPLED])
@pytest.mark.parametrize("end", [Conflict("paid already"), asyncio.CancelledError()])
def test_refusal_and_a_caller_who_left_are_no_failures(
    collector: Collector, end: BaseException, traceparent: str
) -> None:
    request = RequestTrace.begin(traceparent)
    assert request is not None
    with pytest.raises(type(end)), tracing.transaction_span():
        raise end
    request.end("POST", "/v1/payments", 409, "request-1")

    assert names(collector) == (["transaction", "POST /v1/payments"] if traceparent == SAMPLED else [])
    assert not any(span.is_error for span in collector.spans)


def test_failure_is_told_without_its_text_which_may_hold_a_value(collector: Collector) -> None:
    request = RequestTrace.begin(SAMPLED)
    assert request is not None
    with pytest.raises(KeyError), tracing.transaction_span():
        raise KeyError("ann@example.com")
    request.end("GET", "/v1/payments", 500, "request-1")

    assert names(collector) == ["transaction", "GET /v1/payments"]
    failure, _ = collector.spans
    assert (failure.is_error, failure.attributes["error.type"]) == (True, "KeyError")
    assert b"ann@example.com" not in collector.raw


def test_publishing_that_fails_leaves_no_span_behind_and_is_kept(collector: Collector) -> None:
    def publish() -> None:
        with tracing.publishing("marketflow.charges") as headers:
            assert tracing.read_traceparent(headers["traceparent"]) is None
            raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        publish()

    assert not trace.get_current_span().get_span_context().is_valid
    assert names(collector) == ["publish marketflow.charges"]
    assert collector.spans[0].is_error


async def test_batch_is_kept_when_one_of_its_items_is_and_lends_nobody_its_trace_or_its_ids(
    collector: Collector,
) -> None:
    inside: list[bool] = []

    async def flush(items: Sequence[int]) -> Sequence[int]:
        inside.append(trace.get_current_span().is_recording())
        assert (PAYMENT_ID.get(), REQUEST_ID.get()) == (None, None)
        return items

    coalescer = TracedCoalescer[int, int]("accept", flush, max_batch=8)
    PAYMENT_ID.set("payment-1")
    REQUEST_ID.set("request-1")
    with tracing.span_of_row(SAMPLED, "request", {}):
        assert await coalescer.submit(1) == 1
    assert await coalescer.submit(2) == 2

    assert inside == [True, False]
    assert names(collector) == ["accept batch", "accept", "request"]
    batch, item, _ = collector.spans
    assert (batch.links, item.links) == ({item.id}, {batch.id})


def test_without_a_collector_nothing_is_traced(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert tracing.start_tracing("test", otlp_endpoint="", sample_ratio=1) is None
        assert RequestTrace.begin(SAMPLED) is None
        assert tracing.present_traceparent() is None
        with tracing.inner_span("a") as one, tracing.span_of_row(SAMPLED, "b", {}) as other:
            assert (one, other) == (None, None)
        with tracing.publishing("c") as headers:
            assert headers == {}
    assert not caplog.records
