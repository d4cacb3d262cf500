"""Disputes of a paid order in memory."""

import pytest

from domain.payments.model import Payment
from domain.refunds.rules import RefundPolicy
from domain.refunds.service import RefundService
from domain.settlement.disputes import DisputeSettlement
from domain.settlement.model import SettlementPolicy
from tests.builders import Shop
from tests.captured import captured
from tests.domain.fakes import FakeClock, Memory, RecordingAnnouncer


@pytest.fixture
def disputes(memory: Memory, clock: FakeClock, policy: SettlementPolicy) -> DisputeSettlement:
    return DisputeSettlement(memory.begin, clock, policy)


@pytest.fixture
async def payment(shop: Shop) -> Payment:
    """A paid order of 19.99 of the shop's seller."""
    return await captured(shop, await shop.order())


@pytest.fixture
def refunds(memory: Memory, announcer: RecordingAnnouncer, clock: FakeClock) -> RefundService:
    return RefundService(memory.begin, announcer, clock, RefundPolicy(3600, 30))
