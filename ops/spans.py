"""What makes and exports spans, with OpenTelemetry's SDK: for processes that trace."""

import os
from collections.abc import Sequence

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.environment_variables import OTEL_BSP_SCHEDULE_DELAY, OTEL_EXPORTER_OTLP_CERTIFICATE
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import (
    Decision,
    ParentBased,
    Sampler,
    SamplingResult,
    TraceIdRatioBased,
)
from opentelemetry.trace import Link, SpanKind, Status
from opentelemetry.util.types import Attributes

from ops.otlp_transport import StandardTransport
from ops.tracing import CHOSEN, KEPT

_TOLD_OF_AN_EVENT = "exception.type"
_EXPORTED_EVERY_MS = "1000"
"""PERF: the SDK's five seconds let hundreds of spans gather in each process, two KiB each."""


def make_provider(role: str, *, otlp_endpoint: str, sample_ratio: float) -> TracerProvider:
    """Return what makes the spans of such a process, and exports them in a thread of its own."""
    spans = TracerProvider(
        sampler=_Keep(ParentBased(TraceIdRatioBased(sample_ratio))),
        resource=Resource.create({"service.name": f"marketflow-{role}", "service.namespace": "marketflow"}),
        shutdown_on_exit=False,
    )
    exporter = OTLPSpanExporter(
        endpoint=f"{otlp_endpoint.rstrip('/')}/v1/traces",
        timeout=5,
        _transport=StandardTransport(os.environ.get(OTEL_EXPORTER_OTLP_CERTIFICATE) or None),
    )
    os.environ.setdefault(OTEL_BSP_SCHEDULE_DELAY, _EXPORTED_EVERY_MS)
    spans.add_span_processor(BatchSpanProcessor(_WithoutTexts(exporter)))
    return spans


class _WithoutTexts(SpanExporter):
    """Exports of an exception its type alone: its text, and its stack with it, may hold a row's values.

    Our own spans are made so; those of instrumentations, like Celery's, record exceptions as they are.
    """

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Export spans without the texts of what they tell."""
        return self._exporter.export([_without_texts(span) for span in spans])

    def shutdown(self) -> None:
        """Export no more."""
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Export what the exporter holds back."""
        return self._exporter.force_flush(timeout_millis)


def _without_texts(span: ReadableSpan) -> ReadableSpan:
    if not span.events and span.status.description is None:
        return span
    return ReadableSpan(
        name=span.name,
        context=span.get_span_context(),
        parent=span.parent,
        resource=span.resource,
        attributes=span.attributes,
        events=[_without_text(each) for each in span.events],
        links=span.links,
        kind=span.kind,
        status=Status(span.status.status_code),
        start_time=span.start_time,
        end_time=span.end_time,
        instrumentation_scope=span.instrumentation_scope,
    )


def _without_text(told: Event) -> Event:
    facts = {key: value for key, value in (told.attributes or {}).items() if key == _TOLD_OF_AN_EVENT}
    return Event(told.name, facts, told.timestamp)


class _Keep(Sampler):
    """Keeps spans that are marked so or chosen, and asks another sampler about the rest."""

    def __init__(self, rest: Sampler) -> None:
        self._rest = rest

    def should_sample(  # noqa: PLR0917 - the library's signature
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: trace.TraceState | None = None,
    ) -> SamplingResult:
        """Decide about a span before it begins."""
        if attributes and attributes.get(KEPT):
            return SamplingResult(Decision.RECORD_AND_SAMPLE, attributes)
        if attributes is CHOSEN:
            return SamplingResult(Decision.RECORD_AND_SAMPLE)
        return self._rest.should_sample(parent_context, trace_id, name, kind, attributes, links, trace_state)

    def get_description(self) -> str:
        """Name the sampler."""
        return f"Keep({self._rest.get_description()})"
