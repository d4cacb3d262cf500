import pytest

from domain.coalescer import Coalescer
from domain.payments.model import Payment
from domain.settlement.charges import ChargeService
from domain.settlement.inbox.stripe_inbox import StripeInbox
from domain.settlement.model import Outcome, SettlementPolicy
from domain.settlement.service import SettlementService
from tests.builders import Shop
from tests.domain.fakes import FakeClock, Memory, RecordingAnnouncer, ScriptedGateway


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


@pytest.fixture
def inbox(memory: Memory, announcer: RecordingAnnouncer, clock: FakeClock) -> StripeInbox:
    return StripeInbox(memory.begin, announcer, clock, republish_after_s=30)


@pytest.fixture
async def payment(shop: Shop) -> Payment:
    return await shop.payment(await shop.order())


@pytest.fixture
def charges(
    memory: Memory,
    gateway: ScriptedGateway,
    settle: Coalescer[Outcome, bool],
    clock: FakeClock,
    policy: SettlementPolicy,
) -> ChargeService:
    return ChargeService(memory.begin, gateway, settle, clock, policy)
