"""A trace is a tree: depth first, what happened earlier first, each node once."""

from datetime import timedelta

from domain.traces.model import Node, NodeKey, NodeKind, arrange
from tests.builders import NOW


def node(kind: NodeKind, name: str, parent: NodeKey | None = None, *, after_s: int = 0) -> Node:
    return Node(kind, name, parent, NOW + timedelta(seconds=after_s), {})


ORDER = node(NodeKind.ORDER, "o")
PAYMENT = node(NodeKind.PAYMENT, "p", ORDER.key, after_s=1)
EVENT = node(NodeKind.EVENT, "e", ORDER.key)


def test_what_happened_earlier_comes_first_and_children_stay_with_their_parent() -> None:
    second = node(NodeKind.PAYMENT, "q", ORDER.key, after_s=3)
    intent = node(NodeKind.PAYMENT_INTENT, "i", PAYMENT.key, after_s=9)

    found = arrange([second, intent, EVENT, PAYMENT, ORDER])

    assert [(each.id, each.depth) for each in found] == [("o", 0), ("e", 1), ("p", 1), ("i", 2), ("q", 1)]


def test_things_of_one_moment_stand_in_the_order_of_their_kinds() -> None:
    charge = node(NodeKind.CHARGE, "c", ORDER.key)

    assert [each.id for each in arrange([EVENT, charge, ORDER])] == ["o", "c", "e"]


def test_node_that_is_told_twice_stands_once() -> None:
    assert len(arrange([ORDER, PAYMENT, PAYMENT])) == 2


def test_node_whose_parent_is_not_there_is_a_root() -> None:
    assert [(each.id, each.depth) for each in arrange([PAYMENT])] == [("p", 0)]


def test_same_id_of_two_kinds_is_two_nodes() -> None:
    assert len(arrange([ORDER, node(NodeKind.EVENT, "o")])) == 2
