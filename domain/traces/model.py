"""Explain this cent: what hangs together with one id, from the request to the bank."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from uuid import UUID

MAX_PAYMENTS = 100
"""How many payments one trace follows; what bundles more, as a payout does, is cut there and says so."""
MAX_NODES_OF_A_KIND = 1_000


class NodeKind(StrEnum):
    """What stands in a trace, in the order in which things of the same moment are shown."""

    IDEMPOTENCY_KEY = "idempotency_key"
    REQUEST = "request"
    ORDER = "order"
    PAYMENT = "payment"
    PAYMENT_INTENT = "payment_intent"
    CHARGE = "charge"
    REFUND = "refund"
    STRIPE_REFUND = "stripe_refund"
    DISPUTE = "dispute"
    STRIPE_DISPUTE = "stripe_dispute"
    BALANCE_TRANSACTION = "balance_transaction"
    EXCEPTION = "exception"
    JOURNAL = "journal"
    ENTRY = "entry"
    PAYOUT = "payout"
    TRANSFER = "transfer"
    STRIPE_PAYOUT = "stripe_payout"
    PAYOUT_REVERSAL = "payout_reversal"
    TRANSFER_REVERSAL = "transfer_reversal"
    EVENT = "event"
    DELIVERY = "delivery"
    STRIPE_EVENT = "stripe_event"


NodeKey = tuple[NodeKind, str]


@dataclass(frozen=True, slots=True)
class Node:
    """One thing with what is known of it, below that which caused it.

    `depth` is how far below a root it stands, once the trace is arranged.
    """

    kind: NodeKind
    id: str
    parent: NodeKey | None
    at: datetime
    facts: Mapping[str, object]
    depth: int = 0

    @property
    def key(self) -> NodeKey:
        """What it is known by: ids are unique within a kind."""
        return self.kind, self.id


@dataclass(frozen=True, slots=True)
class Lead:
    """What an id was found to be, and the orders, payments and payouts that it leads to.

    Beside them what may belong to none of these: lines of Stripe's list, and journals.
    """

    kind: NodeKind
    order_ids: Sequence[UUID] = ()
    payment_ids: Sequence[UUID] = ()
    payout_ids: Sequence[UUID] = ()
    line_ids: Sequence[str] = ()
    journal_ids: Sequence[UUID] = ()


@dataclass(frozen=True, slots=True)
class Roots:
    """Whole orders with all payments of theirs, direct payments, and the payouts that take of them.

    Beside them lines of Stripe's list, exceptions of reconciliation, and journals that belong to none of these.
    `is_cut` where there are more.
    """

    order_ids: Sequence[UUID]
    payment_ids: Sequence[UUID]
    payout_ids: Sequence[UUID]
    line_ids: Sequence[str]
    exception_ids: Sequence[UUID]
    journal_ids: Sequence[UUID]
    is_cut: bool


@dataclass(frozen=True, slots=True)
class Trace:
    """Everything that hangs together with `sought`, each node right below its parent."""

    sought: str
    kind: NodeKind
    nodes: Sequence[Node]
    is_cut: bool


def arrange(nodes: Sequence[Node]) -> list[Node]:
    """Return each node once, depth first, what happened earlier first; one without a known parent is a root."""
    known: dict[NodeKey, Node] = {}
    for node in nodes:
        known.setdefault(node.key, node)
    children: defaultdict[NodeKey | None, list[Node]] = defaultdict(list)
    order = {kind: number for number, kind in enumerate(NodeKind)}
    for node in sorted(known.values(), key=lambda node: (node.at, order[node.kind])):
        children[node.parent if node.parent in known else None].append(node)
    return list(_below(None, 0, children))


def _below(parent: NodeKey | None, depth: int, children: Mapping[NodeKey | None, list[Node]]) -> Iterator[Node]:
    for node in children.get(parent, ()):
        yield replace(node, depth=depth)
        yield from _below(node.key, depth + 1, children)
