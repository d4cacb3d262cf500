"""A seller that comes to owe by a charge's own journals is told so."""

from collections.abc import Mapping

from domain.ledger.postings import Part
from domain.payments.model import Payment
from domain.settlement.model import Outcome, SettlementPolicy
from domain.settlement.refunds import RefundSettlement
from domain.settlement.service import SettlementService
from tests.builders import Shop, a_requested_refund
from tests.domain.fakes import FakeClock, Memory
from tests.stripe_answers import refunded, succeeded


def told(memory: Memory, shop: Shop) -> list[Mapping[str, object]]:
    """What the seller was told of what it owes."""
    owing = [event for event in memory.state.events if event.type == "seller.balance_negative"]
    assert all((event.subject_id, event.audience) == (shop.seller.id, (shop.seller.id,)) for event in owing)
    return [event.data for event in owing]


async def settle(settlement: SettlementService, payment: Payment, fee_minor: int | None) -> None:
    await settlement.settle([Outcome(payment.id, succeeded(payment, fee_minor=fee_minor))])


async def test_fee_above_the_share_is_owed(settlement: SettlementService, memory: Memory, shop: Shop) -> None:
    payment = await shop.payment()

    await settle(settlement, payment, fee_minor=2_000)

    assert told(memory, shop) == [{"owed_minor": 2_000 - 1_949, "currency": "USD"}]


async def test_fee_below_the_share_owes_nothing(settlement: SettlementService, memory: Memory, shop: Shop) -> None:
    for fee_minor in (88, None, 1_949):
        await settle(settlement, await shop.payment(idempotency_key=f"fee {fee_minor}"), fee_minor)

    assert told(memory, shop) == []


async def test_fee_that_comes_after_all_was_refunded_is_owed(
    settlement: SettlementService, memory: Memory, shop: Shop, clock: FakeClock, policy: SettlementPolicy
) -> None:
    payment = await shop.payment()
    await settle(settlement, payment, fee_minor=None)
    refund = a_requested_refund(payment, shop, 1_999, lines=(Part(1, shop.seller.id, 1_999, 50),))
    async with memory.begin() as tx:
        assert await tx.refunds.add([refund], publish_at=refund.created_at)
        await tx.commit()
    assert await RefundSettlement(memory.begin, clock, policy).settle(refund.id, refunded(refund))
    assert told(memory, shop) == []

    for _ in range(2):
        await settle(settlement, payment, fee_minor=88)

    assert told(memory, shop) == [{"owed_minor": 88, "currency": "USD"}]
