"""A collector for tests: it takes spans over OTLP/HTTP, as programs send them, and keeps them."""

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)


@dataclass(frozen=True)
class Span:
    """A span that arrived; ids in hex, `links` are the spans that it is linked to."""

    service: str
    name: str
    trace_id: str
    id: str
    parent_id: str
    attributes: dict[str, str]
    links: frozenset[str]
    is_error: bool
    events: tuple[dict[str, str], ...] = ()


@dataclass
class Collector:
    """Where spans arrive."""

    url: str = ""
    raw: bytes = b""
    spans: list[Span] = field(default_factory=list)

    def take(self, body: bytes) -> None:
        self.raw += body
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            names = {each.key: each.value.string_value for each in resource.resource.attributes}
            for scope in resource.scope_spans:
                for span in scope.spans:
                    self.spans.append(
                        Span(
                            service=names["service.name"],
                            name=span.name,
                            trace_id=span.trace_id.hex(),
                            id=span.span_id.hex(),
                            parent_id=span.parent_span_id.hex(),
                            attributes={
                                each.key: each.value.string_value or str(each.value.int_value)
                                for each in span.attributes
                            },
                            links=frozenset(link.span_id.hex() for link in span.links),
                            is_error=span.status.code == span.status.STATUS_CODE_ERROR,
                            events=tuple(
                                {
                                    "name": told.name,
                                    **{each.key: each.value.string_value for each in told.attributes},
                                }
                                for told in span.events
                            ),
                        )
                    )

    def of_trace(self, trace_id: str) -> list[Span]:
        return [span for span in self.spans if span.trace_id == trace_id]

    def named(self, name: str) -> list[Span]:
        return [span for span in self.spans if span.name == name]


@contextmanager
def collecting() -> Iterator[Collector]:
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            collector.take(gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body)
            answer = ExportTraceServiceResponse().SerializeToString()
            self.send_response(200)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        collector.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield collector
        finally:
            server.shutdown()
            thread.join()
