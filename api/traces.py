"""`/v1/trace`: explain this cent, for finance."""

from collections.abc import Sequence
from datetime import datetime

from falcon.asgi import Request, Response
from pydantic import ConfigDict
from pydantic.config import JsonDict

from api.operations import operation
from api.rendering import render
from api.schemas import AnswerModel
from domain.traces.model import Node, NodeKind, Trace
from domain.traces.service import TraceService

_PAYMENT = "019ac3f0-5b1e-7c52-8a41-3f3f2f6f5d10"
_AT = "2026-11-25T12:00:00Z"
_EXAMPLE: JsonDict = {
    "id": "ch_3PqKx2",
    "kind": "charge",
    "is_cut": False,
    "nodes": [
        {
            "kind": "payment",
            "id": _PAYMENT,
            "depth": 0,
            "parent_kind": None,
            "parent_id": None,
            "at": _AT,
            "facts": {"status": "succeeded", "amount_minor": 1999, "currency": "USD"},
        },
        {
            "kind": "payment_intent",
            "id": "pi_3PqKx2",
            "depth": 1,
            "parent_kind": "payment",
            "parent_id": _PAYMENT,
            "at": _AT,
            "facts": {},
        },
    ],
}


class TraceNode(AnswerModel):
    """One thing; `parent_kind` and `parent_id` name what caused it, `facts` depend on the kind."""

    kind: NodeKind
    id: str
    depth: int
    parent_kind: NodeKind | None
    parent_id: str | None
    at: datetime
    facts: dict[str, object]

    @classmethod
    def of(cls, node: Node) -> "TraceNode":
        """Render a node."""
        parent_kind, parent_id = node.parent or (None, None)
        return cls(
            kind=node.kind,
            id=node.id,
            depth=node.depth,
            parent_kind=parent_kind,
            parent_id=parent_id,
            at=node.at,
            facts=dict(node.facts),
        )


class TraceAnswer(AnswerModel):
    """The whole chain, each node right below what caused it; `is_cut` where it is longer than one answer."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    id: str
    kind: NodeKind
    is_cut: bool
    nodes: Sequence[TraceNode]

    @classmethod
    def of(cls, trace: Trace) -> "TraceAnswer":
        """Render a trace."""
        nodes = [TraceNode.of(node) for node in trace.nodes]
        return cls(id=trace.sought, kind=trace.kind, is_cut=trace.is_cut, nodes=nodes)


class Traces:
    """The traces."""

    def __init__(self, traces: TraceService) -> None:
        """Keep the service."""
        self._traces = traces

    @operation("Explain a cent, by any id of ours or Stripe's", "finance", TraceAnswer)
    async def on_get(self, req: Request, resp: Response, any_id: str) -> None:
        """Show everything that hangs together with an id."""
        render(resp, TraceAnswer.of(await self._traces.get(req.context.principal, any_id)))
