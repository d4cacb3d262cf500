"""Sellers as they see themselves, and their wish to be onboarded."""

from dataclasses import replace
from datetime import timedelta

import pytest

from domain.errors import Forbidden, NotFound
from domain.identity.model import Principal, Role
from domain.ids import UserId, uuid7
from domain.sellers.model import OnboardingStatus, SellerAccount
from domain.sellers.service import SellerPolicy, SellerService
from domain.work import Work
from tests.builders import NOW, Shop, a_seller_account, principal
from tests.domain.fakes import FakeClock, Memory, RecordingAnnouncer

SOON = NOW + timedelta(seconds=300)


@pytest.fixture
def sellers(memory: Memory, announcer: RecordingAnnouncer, clock: FakeClock) -> SellerService:
    return SellerService(memory.begin, announcer, clock, SellerPolicy(commission_bps=250, republish_after_s=30))


@pytest.fixture
async def caller(shop: Shop) -> Principal:
    return principal(shop.seller)


def put(memory: Memory, account: SellerAccount) -> None:
    memory.state.seller_accounts[account.seller_id] = account


async def test_seller_that_never_asked_has_not_started(sellers: SellerService, caller: Principal) -> None:
    seller = await sellers.get(caller)

    assert (seller.onboarding_status, seller.commission_bps) == (OnboardingStatus.NOT_STARTED, 250)
    assert seller.link_at(NOW) is None


async def test_own_commission_stands_over_the_default(
    sellers: SellerService, caller: Principal, memory: Memory
) -> None:
    memory.state.rates[caller.user_id] = 0

    assert (await sellers.get(caller)).commission_bps == 0


async def test_onboarding_is_durable_announced_and_told(
    sellers: SellerService, caller: Principal, memory: Memory, announcer: RecordingAnnouncer
) -> None:
    seller = await sellers.onboard(caller)

    assert seller.onboarding_status is OnboardingStatus.PENDING
    assert memory.state.seller_accounts[caller.user_id].stripe_account_id is None
    assert announcer.announced[Work.ONBOARDINGS] == [caller.user_id]
    # Its message is under way, and is sent again only once it must be lost.
    assert memory.state.due[Work.ONBOARDINGS][caller.user_id].publish_at == NOW + timedelta(seconds=30)
    (told,) = memory.state.events
    assert (told.type, told.subject_id, told.audience) == (
        "seller.onboarding_requested", caller.user_id, (caller.user_id,)
    )  # fmt: skip


@pytest.mark.parametrize("status", [OnboardingStatus.PENDING, OnboardingStatus.COMPLETE])
async def test_nothing_is_asked_again_where_there_is_nothing_to_do(
    sellers: SellerService,
    caller: Principal,
    memory: Memory,
    announcer: RecordingAnnouncer,
    status: OnboardingStatus,
) -> None:
    await sellers.onboard(caller)
    account = a_seller_account(caller.user_id, status=status, stripe_account_id="acct_1")
    put(memory, account)

    assert (await sellers.onboard(caller)).account == account
    assert len(announcer.announced[Work.ONBOARDINGS]) == len(memory.state.events) == 1


@pytest.mark.parametrize(
    "before",
    [
        {"status": OnboardingStatus.OPEN, "link": "https://stripe.test/1", "link_expires_at": SOON},
        {"status": OnboardingStatus.FAILED, "failure_code": "country_unsupported"},
    ],
)
async def test_used_link_and_failure_are_asked_for_anew(
    sellers: SellerService, caller: Principal, memory: Memory, clock: FakeClock, before: dict[str, object]
) -> None:
    await sellers.onboard(caller)
    clock.advance(1)
    put(memory, replace(a_seller_account(caller.user_id, stripe_account_id="acct_1"), **before))  # type: ignore[arg-type]  # of the row above

    seller = await sellers.onboard(caller)

    assert seller.onboarding_status is OnboardingStatus.PENDING
    assert seller.account is not None
    assert (seller.account.link, seller.account.failure_code, seller.account.wakes) == (None, None, 1)
    assert (seller.account.link_expires_at, seller.account.updated_at) == (None, clock.now())
    assert seller.account.stripe_account_id == "acct_1"


async def test_link_is_shown_while_it_is_good(sellers: SellerService, caller: Principal, memory: Memory) -> None:
    account = a_seller_account(
        caller.user_id, status=OnboardingStatus.OPEN, link="https://stripe.test/1", link_expires_at=SOON
    )
    put(memory, account)
    seller = await sellers.get(caller)

    assert seller.link_at(SOON - timedelta(seconds=1)) == "https://stripe.test/1"
    assert seller.link_at(SOON) is None


@pytest.mark.parametrize("role", sorted(set(Role) - {Role.SELLER}))
async def test_sellers_alone_are_onboarded(sellers: SellerService, role: Role) -> None:
    caller = Principal(UserId(uuid7()), role)
    for use in (sellers.get, sellers.onboard):
        with pytest.raises(Forbidden):
            await use(caller)


async def test_seller_who_is_not_there_is_not_found(sellers: SellerService) -> None:
    caller = Principal(UserId(uuid7()), Role.SELLER)
    for use in (sellers.get, sellers.onboard):
        with pytest.raises(NotFound):
            await use(caller)
