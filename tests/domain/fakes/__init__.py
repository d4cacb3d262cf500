"""Hand-written stand-ins for what the domain needs from outside.

The contract tests of `tests/db` hold the in-memory repositories to the same contract as the real ones.
"""

from tests.domain.fakes.memory import Memory, MemoryUnitOfWork
from tests.domain.fakes.orders import FakeOrders
from tests.domain.fakes.outside import (
    FakeCarts,
    FakeClock,
    FakeMonotonic,
    FakeProductCache,
    FakeQueue,
    RecordingAnnouncer,
    ScriptedGateway,
)
from tests.domain.fakes.payouts import FakePayouts
from tests.domain.fakes.state import Due, PayoutRunRow, State

__all__ = [
    "Due",
    "FakeCarts",
    "FakeClock",
    "FakeMonotonic",
    "FakeOrders",
    "FakePayouts",
    "FakeProductCache",
    "FakeQueue",
    "Memory",
    "MemoryUnitOfWork",
    "PayoutRunRow",
    "RecordingAnnouncer",
    "ScriptedGateway",
    "State",
]
