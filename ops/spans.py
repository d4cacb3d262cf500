"""What makes and exports spans, with OpenTelemetry's SDK: for processes that trace."""

from collections.abc import Sequence

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import (
    Decision,
    ParentBased,
    Sampler,
    SamplingResult,
    TraceIdRatioBased,
)
from opentelemetry.trace import Link, SpanKind
from opentelemetry.util.types import Attributes

from ops.tracing import KEPT


def make_provider(role: str, *, otlp_endpoint: str, sample_ratio: float) -> TracerProvider:
    """Return what makes the spans of such a process, and exports them in a thread of its own."""
    spans = TracerProvider(
        sampler=_Keep(ParentBased(TraceIdRatioBased(sample_ratio))),
        resource=Resource.create({"service.name": f"marketflow-{role}", "service.namespace": "marketflow"}),
        shutdown_on_exit=False,
    )
    exporter = OTLPSpanExporter(endpoint=f"{otlp_endpoint.rstrip('/')}/v1/traces", timeout=5)
    spans.add_span_processor(BatchSpanProcessor(exporter))
    return spans


class _Keep(Sampler):
    """Keeps spans that are marked so, and asks another sampler about the rest."""

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
        return self._rest.should_sample(parent_context, trace_id, name, kind, attributes, links, trace_state)

    def get_description(self) -> str:
        """Name the sampler."""
        return f"Keep({self._rest.get_description()})"
