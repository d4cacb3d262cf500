"""Every event that the domain tells of has a registered name, which clients can filter by."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from domain.disputes.model import DisputeFunds, DisputeStatus
from domain.event_types import EVERYTHING, FILTERS, EventType, passes
from domain.orders.model import OrderStatus
from domain.payments.model import PaymentStatus
from domain.payouts.model import PayoutStatus, ReversalStatus
from domain.refunds.model import RefundStatus

DOMAIN = Path(__file__).resolve().parents[2] / "domain"
NAMES = frozenset(str(name) for name in EventType)


def told(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the names that a module gives to `event(…)`; of a composed one, what stands before its first blank."""
    for node in ast.walk(ast.parse(path.read_text())):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id in {"event", "_event"}
            and node.args
        ):
            name = node.args[0]
            if isinstance(name, ast.Constant):
                yield node.lineno, str(name.value)
            elif isinstance(name, ast.JoinedStr) and isinstance(name.values[0], ast.Constant):
                yield node.lineno, str(name.values[0].value)


def test_every_event_has_a_registered_name() -> None:
    """A new one wants a line in `domain/event_types.py`, and its data in `api/webhooks/payloads.py`."""
    found = [(path.name, line, name) for path in DOMAIN.rglob("*.py") for line, name in told(path)]

    assert len(found) > 5
    assert [place for place in found if not is_registered(place[2])] == []


def is_registered(name: str) -> bool:
    """Tell whether a name is one, or begins one, or ends one to which its module gives the kind."""
    if name.endswith((".", "_")):
        return begins(name)
    return name in NAMES or any(known.endswith(f".{name}") for known in NAMES)


def test_every_status_that_an_event_is_named_after_is_registered() -> None:
    """The other half: names that are composed of a status."""
    quiet = {PaymentStatus.PENDING, PaymentStatus.PROCESSING}
    composed = {
        *(f"order.{status}" for status in OrderStatus if status is not OrderStatus.PENDING),
        *(f"payment.{status}" for status in PaymentStatus if status not in quiet),
        *(f"refund.{status}" for status in RefundStatus if status is not RefundStatus.PENDING),
        *(f"payout.{status}" for status in PayoutStatus),
        *(f"payout.reversal_{status}" for status in ReversalStatus if status is not ReversalStatus.PENDING),
        *(f"dispute.{status}" for status in DisputeStatus),
        *(f"dispute.funds_{funds}" for funds in DisputeFunds if funds is not DisputeFunds.NONE),
    }

    assert composed - NAMES == set()


def begins(prefix: str) -> bool:
    return any(name.startswith(prefix) for name in NAMES)


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        (("*",), True),
        (("payment.*",), True),
        (("payment.succeeded",), True),
        (("order.*", "payment.succeeded"), True),
        (("payment.failed",), False),
        (("order.*",), False),
        (("payment",), False),
        ((), False),
    ],
)
def test_filter_passes_what_was_asked_for(filters: tuple[str, ...], *, expected: bool) -> None:
    assert passes("payment.succeeded", filters) is expected


def test_filters_are_everything_each_kind_and_each_type() -> None:
    assert {EVERYTHING, "payment.*", "webhook_endpoint.*", "order.paid"} <= FILTERS
    assert "nothing.*" not in FILTERS
