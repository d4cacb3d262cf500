"""Onboarding: one account a seller, whatever Stripe answers and whatever comes meanwhile."""

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import Unavailable
from domain.ids import UserId
from domain.sellers.model import OnboardingStatus, SellerAccount
from domain.settlement.answers import Absent, Refusal, StripeAccount, StripeLink, Throttled, Unsure
from domain.settlement.inbox.account_events import AccountEvents
from domain.settlement.inbox.stripe_events import Told
from domain.settlement.model import SettlementPolicy, StripeEventStatus
from domain.settlement.onboarding import Onboarding
from domain.work import Work
from tests.builders import NOW, Shop, a_seller_account, a_stripe_event, unique
from tests.domain.fakes import Due, FakeClock, Memory, RecordingAnnouncer, ScriptedGateway

OPEN, COMPLETE = OnboardingStatus.OPEN, OnboardingStatus.COMPLETE
PENDING, FAILED = OnboardingStatus.PENDING, OnboardingStatus.FAILED
LINK = StripeLink("https://stripe.test/1", NOW + timedelta(seconds=300))
NEW, ABLE = StripeAccount("acct_1", payouts_enabled=False), StripeAccount("acct_1", payouts_enabled=True)


@pytest.fixture
def onboarding(memory: Memory, gateway: ScriptedGateway, clock: FakeClock, policy: SettlementPolicy) -> Onboarding:
    return Onboarding(memory.begin, gateway, clock, policy)


@pytest.fixture
def events(
    memory: Memory, announcer: RecordingAnnouncer, clock: FakeClock, policy: SettlementPolicy
) -> AccountEvents:
    return AccountEvents(memory.begin, announcer, clock, policy)


@pytest.fixture
async def seller_id(memory: Memory, shop: Shop) -> UserId:
    """A seller that asked for an account."""
    await ask(memory, shop.seller.id)
    return shop.seller.id


async def ask(memory: Memory, seller_id: UserId) -> None:
    async with memory.begin() as tx:
        await tx.seller_accounts.add(a_seller_account(seller_id), publish_at=NOW)
        await tx.commit()


def account_of(memory: Memory, seller_id: UserId) -> SellerAccount:
    return memory.state.seller_accounts[seller_id]


def due(memory: Memory, seller_id: UserId) -> Due:
    return memory.state.due[Work.ONBOARDINGS][seller_id]


def kinds(memory: Memory) -> list[str]:
    return [event.type for event in memory.state.events]


def told(seller_id: UserId, account_id: str = "acct_1", **changes: Any) -> Told:
    raw = {
        "object": "account",
        "id": account_id,
        "payouts_enabled": True,
        "capabilities": {"transfers": "active"},
        "metadata": {"seller_id": str(seller_id)},
        **changes,
    }
    return Told(a_stripe_event("account.updated", json.dumps(raw)), raw)


async def test_account_and_link_are_made(
    onboarding: Onboarding, gateway: ScriptedGateway, memory: Memory, seller_id: UserId
) -> None:
    gateway.will("open_account", NEW)
    gateway.will("make_link", LINK)

    assert await onboarding.process([seller_id]) == 1

    account = account_of(memory, seller_id)
    assert (account.status, account.stripe_account_id, account.link) == (OPEN, "acct_1", LINK.url)
    assert account.link_expires_at == LINK.expires_at
    assert due(memory, seller_id).due_at is None
    assert gateway.keys == [f"account-{seller_id}"]
    assert kinds(memory) == ["seller.onboarding_opened"]
    assert LINK.url not in json.dumps([dict(event.data) for event in memory.state.events])


@pytest.mark.parametrize("answer", [Unsure("no answer"), Throttled("rate limit", 7)])
async def test_unknown_outcome_is_sent_again_under_the_same_key(
    onboarding: Onboarding,
    gateway: ScriptedGateway,
    memory: Memory,
    clock: FakeClock,
    seller_id: UserId,
    answer: object,
) -> None:
    gateway.will("open_account", answer, ABLE)
    await onboarding.process([seller_id])
    assert account_of(memory, seller_id).status is PENDING

    clock.advance(8)
    await onboarding.process([seller_id])

    assert gateway.keys == [f"account-{seller_id}"] * 2
    assert account_of(memory, seller_id).status is COMPLETE


async def test_recorded_error_is_looked_up_and_never_repeated(
    onboarding: Onboarding, gateway: ScriptedGateway, memory: Memory, clock: FakeClock, seller_id: UserId
) -> None:
    gateway.will("open_account", Unsure("status 500", lookup_only=True))
    gateway.will("find_account", Unsure("no answer"), ABLE)
    for _ in range(3):
        await onboarding.process([seller_id])
        clock.advance(10)

    assert gateway.questions == ["open_account", "find_account", "find_account"]
    assert account_of(memory, seller_id).payouts_enabled
    assert kinds(memory) == ["seller.payouts_enabled"]


async def test_old_key_is_looked_up(
    onboarding: Onboarding,
    gateway: ScriptedGateway,
    clock: FakeClock,
    policy: SettlementPolicy,
    seller_id: UserId,
) -> None:
    gateway.will("open_account", Unsure("no answer"))
    gateway.will("find_account", ABLE)
    await onboarding.process([seller_id])
    clock.advance(policy.stripe_key_lifetime_s)

    await onboarding.process([seller_id])

    assert gateway.questions == ["open_account", "find_account"]


async def test_account_that_is_absent_after_the_grace_is_made_under_another_key(
    onboarding: Onboarding,
    gateway: ScriptedGateway,
    clock: FakeClock,
    policy: SettlementPolicy,
    seller_id: UserId,
) -> None:
    gateway.will("open_account", Unsure("status 500", lookup_only=True), ABLE)
    gateway.will("find_account", Absent(), Absent())
    await onboarding.process([seller_id])
    clock.advance(10)
    await onboarding.process([seller_id])
    clock.advance(policy.lookup_grace_s)
    await onboarding.process([seller_id])

    await onboarding.process([seller_id])

    assert gateway.questions == ["open_account", "find_account", "find_account", "open_account"]
    assert gateway.keys == [f"account-{seller_id}", f"account-{seller_id}-1"]


async def test_refusal_ends_the_onboarding(
    onboarding: Onboarding, gateway: ScriptedGateway, memory: Memory, seller_id: UserId
) -> None:
    gateway.will("open_account", Refusal("country_unsupported"))

    await onboarding.process([seller_id])

    account = account_of(memory, seller_id)
    assert (account.status, account.failure_code) == (FAILED, "country_unsupported")
    assert account.stripe_key == f"account-{seller_id}-1"
    assert due(memory, seller_id).due_at is None
    assert kinds(memory) == ["seller.onboarding_failed"]


async def test_refusal_of_a_repeated_attempt_is_looked_into(
    onboarding: Onboarding, gateway: ScriptedGateway, memory: Memory, clock: FakeClock, seller_id: UserId
) -> None:
    gateway.will("open_account", Unsure("no answer"), Refusal("invalid"))
    gateway.will("find_account", ABLE)
    await onboarding.process([seller_id])
    clock.advance(10)

    await onboarding.process([seller_id])

    assert account_of(memory, seller_id).status is COMPLETE


async def test_link_that_cannot_be_made_keeps_the_account(
    onboarding: Onboarding, gateway: ScriptedGateway, memory: Memory, clock: FakeClock, seller_id: UserId
) -> None:
    gateway.will("open_account", NEW)
    gateway.will("make_link", Unsure("no answer"), Refusal("url_invalid"))
    gateway.will("retrieve_account", NEW)
    await onboarding.process([seller_id])
    assert account_of(memory, seller_id).stripe_account_id == "acct_1"
    clock.advance(10)

    await onboarding.process([seller_id])

    account = account_of(memory, seller_id)
    assert (account.status, account.failure_code, account.stripe_account_id) == (FAILED, "url_invalid", "acct_1")
    assert gateway.questions == ["open_account", "retrieve_account"]


async def open_account(memory: Memory, seller_id: UserId, status: OnboardingStatus = OPEN) -> None:
    """Put the seller's account into a state, due for nobody."""
    account = a_seller_account(
        seller_id, status=status, stripe_account_id="acct_1", payouts_enabled=status is COMPLETE
    )
    memory.state.seller_accounts[seller_id] = account
    memory.state.due[Work.ONBOARDINGS][seller_id] = Due(None, None)


async def test_what_an_event_says_is_read_again_at_stripe(
    events: AccountEvents,
    onboarding: Onboarding,
    gateway: ScriptedGateway,
    memory: Memory,
    announcer: RecordingAnnouncer,
    seller_id: UserId,
) -> None:
    await open_account(memory, seller_id)
    event = told(seller_id)
    gateway.will("retrieve_account", NEW, ABLE)

    assert await events.read([event]) == {event.event.id: StripeEventStatus.PROCESSED}
    assert announcer.announced[Work.ONBOARDINGS] == [seller_id]
    await onboarding.process([seller_id])
    assert not account_of(memory, seller_id).payouts_enabled  # the event was old
    await events.read([event])
    await onboarding.process([seller_id])

    assert account_of(memory, seller_id).payouts_enabled
    assert account_of(memory, seller_id).status is COMPLETE
    assert kinds(memory) == ["seller.payouts_enabled"]
    assert await onboarding.process([seller_id]) == 0


async def test_event_that_comes_while_the_account_is_read_has_it_read_again(
    events: AccountEvents, onboarding: Onboarding, gateway: ScriptedGateway, memory: Memory, seller_id: UserId
) -> None:
    await open_account(memory, seller_id, COMPLETE)
    await events.read([told(seller_id)])

    class Slow(ScriptedGateway):
        async def retrieve_account(self, account: SellerAccount) -> Any:
            await events.read([told(seller_id)])
            return StripeAccount("acct_1", payouts_enabled=True)

    slow = Onboarding(memory.begin, Slow(), FakeClock(), SettlementPolicy())
    await slow.process([seller_id])
    gateway.will("retrieve_account", NEW)

    assert await onboarding.process([seller_id]) == 1

    assert (account_of(memory, seller_id).status, kinds(memory)) == (OPEN, ["seller.payouts_disabled"])


async def test_link_that_is_asked_for_while_the_account_is_read_is_made(
    onboarding: Onboarding, gateway: ScriptedGateway, memory: Memory, seller_id: UserId
) -> None:
    await open_account(memory, seller_id)
    memory.state.due[Work.ONBOARDINGS][seller_id] = Due(NOW, NOW)

    class Asked(ScriptedGateway):
        async def retrieve_account(self, account: SellerAccount) -> Any:
            async with memory.begin() as tx:
                pending = replace(account, status=PENDING)
                await tx.seller_accounts.ask(pending, due_at=NOW, publish_at=NOW)
                await tx.commit()
            return NEW

    await Onboarding(memory.begin, Asked(), FakeClock(), SettlementPolicy()).process([seller_id])
    assert account_of(memory, seller_id).status is PENDING
    gateway.will("retrieve_account", NEW)
    gateway.will("make_link", LINK)
    await onboarding.process([seller_id])

    assert account_of(memory, seller_id).link == LINK.url


async def test_account_that_is_told_of_before_its_id_is_known_is_ours(
    events: AccountEvents, memory: Memory, seller_id: UserId
) -> None:
    event, other = told(seller_id, "acct_9"), told(UserId(seller_id), "acct_9", metadata={})

    statuses = await events.read([event, other])

    assert statuses == {
        event.event.id: StripeEventStatus.PROCESSED, other.event.id: StripeEventStatus.UNMATCHED
    }  # fmt: skip
    assert account_of(memory, seller_id).wakes == 1


@pytest.mark.parametrize("raw", [{"object": "person"}, {"id": None, "object": "account"}, {"capabilities": "x"}])
async def test_what_is_no_account_is_quarantined(
    events: AccountEvents, seller_id: UserId, raw: dict[str, Any]
) -> None:
    event = told(seller_id, **raw) if "object" not in raw else Told(a_stripe_event(), raw)

    assert await events.read([event]) == {event.event.id: StripeEventStatus.QUARANTINED}


async def test_event_waits_while_the_database_is_away(
    announcer: RecordingAnnouncer, clock: FakeClock, policy: SettlementPolicy, seller_id: UserId
) -> None:
    def away() -> Any:
        raise Unavailable("the database is out of reach")

    assert await AccountEvents(away, announcer, clock, policy).read([told(seller_id)]) == {}


@given(st.lists(st.sampled_from(["event", "work", "enable", "disable", "ask"]), max_size=30))
async def test_once_all_is_worked_off_the_account_is_as_at_stripe(steps: list[str]) -> None:
    """Whatever comes, in any order and any number: at rest our account says what Stripe says."""
    memory, announcer, clock, policy = Memory(), RecordingAnnouncer(), FakeClock(), SettlementPolicy()
    shop = await Shop(memory.begin).open()
    seller_id, stripe = shop.seller.id, {"able": False}

    class Stripe(ScriptedGateway):
        async def open_account(self, account: SellerAccount) -> Any:
            return await self.retrieve_account(account)

        async def retrieve_account(self, account: SellerAccount) -> Any:
            return StripeAccount("acct_1", payouts_enabled=stripe["able"])

        async def make_link(self, stripe_account_id: str) -> Any:
            return replace(LINK, url=unique("https://stripe.test/"))

    onboarding = Onboarding(memory.begin, Stripe(), clock, policy)
    events = AccountEvents(memory.begin, announcer, clock, policy)
    await ask(memory, seller_id)
    for step in [*steps, "event", "work"]:
        clock.advance(1)
        if step == "work":
            await onboarding.process([seller_id])
        elif step == "event":
            await events.read([told(seller_id, payouts_enabled=True)])
        elif step == "ask":
            async with memory.begin() as tx:
                account = account_of(memory, seller_id)
                if account.status is OPEN:
                    asked = replace(account, status=PENDING, link=None, link_expires_at=None)
                    await tx.seller_accounts.ask(asked, due_at=clock.now(), publish_at=clock.now())
                    await tx.commit()
        else:
            stripe["able"] = step == "enable"

    account = account_of(memory, seller_id)
    assert account.payouts_enabled is stripe["able"]
    assert account.status is (COMPLETE if stripe["able"] else OPEN)
    changes = [kind for kind in kinds(memory) if kind.startswith("seller.payouts")]
    assert changes == ["seller.payouts_enabled", "seller.payouts_disabled"] * (len(changes) // 2) + [
        "seller.payouts_enabled"
    ] * (len(changes) % 2)
