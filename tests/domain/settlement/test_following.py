"""What asks Stripe about a row, and settles it, does so within what the row's request began."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from domain.coalescer import Coalescer
from domain.payments.model import Payment
from domain.settlement.answers import StripeAccount
from domain.settlement.inbox.charge_owners import ChargeOwners
from domain.settlement.inbox.refund_events import RefundEvents
from domain.settlement.model import Outcome, SettlementPolicy
from domain.settlement.onboarding import Onboarding
from domain.settlement.payouts import PayoutSender, PayoutSettlement
from domain.settlement.refunds import RefundSender, RefundSettlement
from tests.builders import NOW, Shop, a_requested_refund, a_seller_account
from tests.captured import captured
from tests.domain.fakes import FakeClock, Memory, ScriptedGateway
from tests.paid_out import drafted, earned
from tests.stripe_answers import refunded, transferred


class Followed:
    """Notes whom it followed, and what Stripe was asked and the log told meanwhile."""

    def __init__(self, memory: Memory, gateway: ScriptedGateway) -> None:
        self._memory = memory
        self._gateway = gateway
        self.rows: list[object] = []
        self.asked: list[str] = []
        self.told: list[str] = []

    @contextmanager
    def __call__(self, row: object) -> Iterator[None]:
        asked, told = len(self._gateway.questions), len(self._memory.state.events)
        yield
        self.rows.append(row)
        self.asked += self._gateway.questions[asked:]
        self.told += [event.type for event in self._memory.state.events[told:]]


@pytest.fixture
def followed(memory: Memory, gateway: ScriptedGateway) -> Followed:
    return Followed(memory, gateway)


@pytest.fixture
async def payment(shop: Shop) -> Payment:
    return await captured(shop, await shop.order())


async def test_refund_is_sent_and_settled_within_its_request(
    followed: Followed,
    gateway: ScriptedGateway,
    memory: Memory,
    clock: FakeClock,
    policy: SettlementPolicy,
    payment: Payment,
    shop: Shop,
) -> None:
    refund = a_requested_refund(payment, shop, request_id="request-1")
    async with memory.begin() as tx:
        await tx.refunds.add([refund], publish_at=NOW)
        await tx.commit()
    settlement = RefundSettlement(memory.begin, clock, policy)
    gateway.will("refund", refunded(refund))

    await RefundSender(memory.begin, gateway, settlement, clock, policy, follow=followed).process([refund.id])

    assert [getattr(row, "request_id", None) for row in followed.rows] == ["request-1"]
    assert (followed.asked, "refund.succeeded" in followed.told) == (["refund"], True)


async def test_refund_that_a_webhook_tells_of_is_settled_within_its_request(
    followed: Followed,
    gateway: ScriptedGateway,
    memory: Memory,
    clock: FakeClock,
    policy: SettlementPolicy,
    payment: Payment,
    shop: Shop,
    settle: Coalescer[Outcome, bool],
) -> None:
    refund = a_requested_refund(payment, shop, request_id="request-1")
    async with memory.begin() as tx:
        await tx.refunds.add([refund], publish_at=NOW)
        await tx.commit()
    settlement = RefundSettlement(memory.begin, clock, policy)
    owners = ChargeOwners(memory.begin, gateway, settle)
    events = RefundEvents(memory.begin, gateway, settlement, owners, follow=followed)

    assert await events.settle(refunded(refund))

    assert [getattr(row, "request_id", None) for row in followed.rows] == ["request-1"]
    assert "refund.succeeded" in followed.told


async def test_payout_is_sent_and_settled_within_its_request(
    followed: Followed,
    gateway: ScriptedGateway,
    memory: Memory,
    clock: FakeClock,
    policy: SettlementPolicy,
    shop: Shop,
) -> None:
    await earned(shop)
    payout = await drafted(shop, request_id="request-1")
    assert payout is not None
    settlement = PayoutSettlement(memory.begin, clock, policy)
    gateway.will("transfer", transferred(payout))

    await PayoutSender(memory.begin, gateway, settlement, clock, policy, follow=followed).process([payout.id])

    assert [getattr(row, "request_id", None) for row in followed.rows] == ["request-1"]
    assert (followed.asked, "payout.in_transit" in followed.told) == (["transfer"], True)


async def test_account_is_opened_and_settled_within_its_request(
    followed: Followed,
    gateway: ScriptedGateway,
    memory: Memory,
    clock: FakeClock,
    policy: SettlementPolicy,
    shop: Shop,
) -> None:
    account = a_seller_account(shop.seller.id, request_id="request-1")
    async with memory.begin() as tx:
        await tx.seller_accounts.add(account, publish_at=NOW)
        await tx.commit()
    gateway.will("open_account", StripeAccount("acct_1", payouts_enabled=True))

    await Onboarding(memory.begin, gateway, clock, policy, follow=followed).process([account.seller_id])

    assert [getattr(row, "request_id", None) for row in followed.rows] == ["request-1"]
    assert (followed.asked, len(followed.told)) == (["open_account"], 1)
