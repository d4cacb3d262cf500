import pytest

from domain.coalescer import Coalescer
from domain.settlement.model import Outcome, SettlementPolicy
from domain.settlement.service import SettlementService
from tests.domain.fakes import FakeClock, Memory, RecordingAnnouncer


@pytest.fixture
def policy() -> SettlementPolicy:
    return SettlementPolicy()


@pytest.fixture
def settlement(
    memory: Memory, announcer: RecordingAnnouncer, clock: FakeClock, policy: SettlementPolicy
) -> SettlementService:
    return SettlementService(memory.begin, announcer, clock, policy)


@pytest.fixture
def settle(settlement: SettlementService) -> Coalescer[Outcome, bool]:
    return Coalescer(settlement.settle, max_batch=64)
