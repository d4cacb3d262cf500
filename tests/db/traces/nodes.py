"""Nodes of a trace, by their kind."""

from collections import defaultdict
from collections.abc import Sequence

from domain.traces.model import Node, NodeKind


def by_kind(nodes: Sequence[Node]) -> dict[NodeKind, list[Node]]:
    found = defaultdict(list)
    for node in nodes:
        found[node.kind].append(node)
    return found
