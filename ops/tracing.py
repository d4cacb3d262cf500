"""Traces: OpenTelemetry's spans over OTLP. Off, which is the default, they cost nothing.

Work travels in batches, and a batch has many parents. So each payment's spans hang in the trace of the request
that made it (its row keeps the `traceparent`), and are linked to the spans of the batches through which it went.
"""

import importlib
import random
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, TypeVar

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.propagate import inject
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    Tracer,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import Attributes

from domain.coalescer import Coalescer
from domain.errors import DomainError, Refused, Unavailable
from ops.telemetry import PAYMENT_ID, REQUEST_ID

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

Item = TypeVar("Item")
Answer = TypeVar("Answer")

KEPT = "marketflow.kept"
"""On a span that is kept whatever the ratio: a batch with a sampled item, an unsampled request that failed."""
CHOSEN: Attributes = {"marketflow.chosen": True}
"""Tells the sampler that a trace was chosen before; no span bears it."""

_NOWHERE = Context()
_PROPAGATOR = TraceContextTextMapPropagator()
_NOTHING: AbstractContextManager[None] = nullcontext()
_MAX_LINKS = 64


class _State:
    """What this process traces with; no tracer means that tracing is off."""

    tracer: Tracer | None = None
    provider: "TracerProvider | None" = None
    sample_ratio = 0.0


def start_tracing(role: str, *, otlp_endpoint: str, sample_ratio: float) -> "TracerProvider | None":
    """Export this process's spans to an OTLP collector over HTTP; an empty endpoint leaves tracing off.

    Call it after the fork: the exporter has a thread. Of the traces that begin here `sample_ratio` is kept; a
    caller's decision stands over it.
    """
    if not otlp_endpoint or _State.provider is not None:
        return _State.provider
    # PERF: the SDK, protobuf and an HTTP client, for those who trace alone.
    from ops.spans import make_provider  # noqa: PLC0415

    _State.provider = make_provider(role, otlp_endpoint=otlp_endpoint, sample_ratio=sample_ratio)
    _State.tracer = _State.provider.get_tracer("marketflow")
    _State.sample_ratio = sample_ratio
    return _State.provider


def preload_tracing(otlp_endpoint: str) -> None:
    """Import what `start_tracing` will need, before processes fork that can then share it."""
    if otlp_endpoint:
        importlib.import_module("ops.spans")


def stop_tracing() -> None:
    """Export what is left, and trace no more."""
    spans, _State.provider, _State.tracer = _State.provider, None, None
    if spans is not None:
        spans.shutdown()


def provider() -> "TracerProvider | None":
    """Return what makes this process's spans; None when it traces nothing."""
    return _State.provider


def is_tracing() -> bool:
    """Whether this process exports spans."""
    return _State.tracer is not None


def is_failure(error: BaseException) -> bool:
    """Tell a failure of ours from a refusal, which is an answer, and from being cut off."""
    if isinstance(error, DomainError):
        return isinstance(error, Unavailable | Refused)
    return isinstance(error, Exception)


def inner_span(
    name: str,
    *,
    kind: SpanKind = SpanKind.INTERNAL,
    attributes: Attributes = None,
    fails: Callable[[BaseException], bool] = is_failure,
) -> AbstractContextManager[Span | None]:
    """Open a span within the present one where that is recorded; elsewhere it is made only when it fails.

    Nothing where nothing is traced, which costs nothing.
    """
    tracer = _State.tracer
    if tracer is None:
        return _NOTHING
    if not trace.get_current_span().is_recording():
        return _Unrecorded(name, kind, attributes, fails)
    return _spanning(tracer, name, fails, kind=kind, attributes=attributes)


class _Unrecorded(AbstractContextManager[None]):
    """What is not recorded, unless it fails."""

    __slots__ = ("_attributes", "_fails", "_kind", "_name", "_started_ns")

    def __init__(
        self, name: str, kind: SpanKind, attributes: Attributes, fails: Callable[[BaseException], bool]
    ) -> None:
        self._name = name
        self._kind = kind
        self._attributes = attributes
        self._fails = fails
        self._started_ns = time.time_ns()

    def __enter__(self) -> None:
        """Yield no span: there is none."""

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if error is not None and self._fails(error):
            facts = {**(self._attributes or {}), "error.type": type(error).__name__}
            trace_failure(self._name, self._started_ns, facts, kind=self._kind)


@contextmanager
def _spanning(
    tracer: Tracer, name: str, fails: Callable[[BaseException], bool] = is_failure, **how: Any
) -> Iterator[Span]:
    """Open a span that bears the failure by which it ends: its kind, never its text, which may hold a value."""
    started_ns = time.time_ns()
    with tracer.start_as_current_span(name, record_exception=False, set_status_on_exception=False, **how) as span:
        try:
            yield span
        except Exception as error:
            if fails(error):
                kind = type(error).__name__
                span.set_attribute("error.type", kind)
                span.set_status(Status(StatusCode.ERROR))
                trace_failure(name, started_ns, {"error.type": kind})
            raise


def transaction_span() -> AbstractContextManager[object]:
    """Open the span of a database transaction, as of `inner_span`."""
    return inner_span("transaction", kind=SpanKind.CLIENT, attributes={"db.system.name": "postgresql"})


def trace_failure(
    name: str, started_ns: int, attributes: Attributes = None, *, kind: SpanKind = SpanKind.INTERNAL
) -> None:
    """Trace something that failed, after the fact, where nothing that is recorded tells of it.

    So the tail rule of a collector has every error to keep, whatever the ratio. What went well around it was not
    recorded; the ids of payment and request say what it belongs to.
    """
    tracer = _State.tracer
    if tracer is None or trace.get_current_span().is_recording():
        return
    ids = {"payment.id": PAYMENT_ID.get(), "marketflow.request_id": REQUEST_ID.get()}
    facts = {**(attributes or {}), **{key: str(value) for key, value in ids.items() if value}, KEPT: True}
    span = tracer.start_span(name, kind=kind, attributes=facts, start_time=started_ns)
    span.set_status(Status(StatusCode.ERROR))
    span.end()


def span_of_row(traceparent: str | None, name: str, attributes: Attributes) -> AbstractContextManager[Span | None]:
    """Open a span in the trace of the request that made a row, linked to the present one: that of a batch.

    Nothing where the row was not sampled.
    """
    tracer = _State.tracer
    if tracer is None or (parent := read_traceparent(traceparent)) is None:
        return _NOTHING
    batch = trace.get_current_span().get_span_context()
    return _spanning(
        tracer,
        name,
        context=trace.set_span_in_context(trace.NonRecordingSpan(parent), _NOWHERE),
        kind=SpanKind.CONSUMER,
        attributes=attributes,
        links=[Link(batch)] if batch.is_valid else None,
    )


def read_traceparent(traceparent: str | None) -> SpanContext | None:
    """Return the span that a `traceparent` names, when it was sampled."""
    if not traceparent:
        return None
    found = _PROPAGATOR.extract({"traceparent": traceparent}, _NOWHERE)
    parent = trace.get_current_span(found).get_span_context()
    return parent if parent.is_valid and parent.trace_flags & TraceFlags.SAMPLED else None


def present_traceparent() -> str | None:
    """Return the `traceparent` of the present span, when it is recorded."""
    if _State.tracer is None or not trace.get_current_span().is_recording():
        return None
    carrier: dict[str, str] = {}
    _PROPAGATOR.inject(carrier)
    return carrier.get("traceparent")


@contextmanager
def publishing(task: str) -> Iterator[Mapping[str, str]]:
    """Trace the publishing of a message of many rows; yield the headers that let its consumer go on.

    A trace of its own: the rows of a message come from many requests.
    """
    tracer = _State.tracer
    if tracer is None:
        yield {}
        return
    with _spanning(tracer, f"publish {task}", context=_NOWHERE, kind=SpanKind.PRODUCER):
        headers: dict[str, str] = {}
        inject(headers)
        yield headers


class TracedCoalescer(Coalescer[Item, Answer]):
    """A Coalescer whose items can be followed.

    An item that comes within a recorded span gets a span for the time that it waits and is worked on. A batch with
    such items has a trace of its own, linked with them in both directions.
    """

    def __init__(
        self,
        name: str,
        flush: Callable[[Sequence[Item]], Awaitable[Sequence[Answer | DomainError]]],
        **limits: Any,
    ) -> None:
        """Keep the span's name, and what the Coalescer keeps."""
        super().__init__(self._flush_traced, **limits)
        self._name = name
        self._flush_items = flush
        self._spans: dict[int, Span] = {}

    async def submit(self, item: Item) -> Answer:
        """Return the answer for this item; as of Coalescer."""
        with inner_span(self._name) as span:
            if span is None:
                return await super().submit(item)
            self._spans[id(item)] = span
            try:
                return await super().submit(item)
            finally:
                self._spans.pop(id(item), None)

    async def _flush_traced(self, items: Sequence[Item]) -> Sequence[Answer | DomainError]:
        # NOTE: whoever came first to an idle Coalescer began the task of its flusher, and so lent it its context.
        # But a batch is about nobody in particular.
        PAYMENT_ID.set(None)
        REQUEST_ID.set(None)
        tracer = _State.tracer
        if tracer is None:
            return await self._flush_items(items)
        spans = [span for item in items if (span := self._spans.get(id(item))) is not None]
        token = otel_context.attach(_NOWHERE)
        try:
            if not spans:
                return await self._flush_items(items)
            links = [Link(span.get_span_context()) for span in spans[:_MAX_LINKS]]
            facts = {"batch.size": len(items), KEPT: True}
            with _spanning(tracer, f"{self._name} batch", links=links, attributes=facts) as batch:
                for span in spans:
                    span.add_link(batch.get_span_context())
                return await self._flush_items(items)
        finally:
            otel_context.detach(token)


class _Unsampled(NonRecordingSpan):
    """The span of a request that is not sampled. PERF: it has ids only when somebody asks for them."""

    def __init__(self) -> None:
        self._ids: SpanContext | None = None

    def get_span_context(self) -> SpanContext:
        """Return the ids of a trace of which only failures are kept."""
        if self._ids is None:
            trace_id, span_id = random.getrandbits(128), random.getrandbits(64)
            self._ids = SpanContext(trace_id, span_id, is_remote=False)
        return self._ids


class RequestTrace:
    """The server span of a request. An unsampled request that fails is traced after the fact."""

    __slots__ = ("_context", "_span", "_started_ns", "_token", "_tracer")

    def __init__(self, tracer: Tracer, span: Span, parent: Context, started_ns: int) -> None:
        """Make the span the present one."""
        self._tracer = tracer
        self._span = span
        self._context = trace.set_span_in_context(span, parent)
        self._started_ns = started_ns
        self._token = otel_context.attach(self._context)

    @classmethod
    def begin(cls, traceparent: str | None) -> "RequestTrace | None":
        """Begin, in the caller's trace if there is one; None when tracing is off."""
        tracer = _State.tracer
        if tracer is None:
            return None
        started_ns = time.time_ns()
        if traceparent:
            parent = _PROPAGATOR.extract({"traceparent": traceparent}, _NOWHERE)
            return cls(tracer, tracer.start_span("request", parent, SpanKind.SERVER), parent, started_ns)
        # PERF: the SDK would make ids for a span that nobody will see, as nineteen of twenty requests have.
        if random.random() >= _State.sample_ratio:  # noqa: S311 - a choice of samples, no secret
            return cls(tracer, _Unsampled(), _NOWHERE, started_ns)
        span = tracer.start_span("request", _NOWHERE, SpanKind.SERVER, attributes=CHOSEN)
        return cls(tracer, span, _NOWHERE, started_ns)

    def end(self, method: str, route: str, status: int, request_id: str) -> None:
        """End the span, which gets its name and its facts only now."""
        otel_context.detach(self._token)
        failed = status >= 500  # noqa: PLR2004 - HTTP's
        span, recorded = self._span, self._span.is_recording()
        if not recorded and not failed:
            return
        name = f"{method} {route}"
        facts: dict[str, str | int | bool] = {
            "http.request.method": method,
            "http.route": route,
            "http.response.status_code": status,
            "marketflow.request_id": request_id,
        }
        if not recorded:
            facts[KEPT] = True
            span = self._tracer.start_span(
                name, self._context, SpanKind.SERVER, attributes=facts, start_time=self._started_ns
            )
        span.update_name(name)
        span.set_attributes(facts)
        if failed:
            span.set_status(Status(StatusCode.ERROR))
        span.end()
