"""Connected accounts at Stripe: every end of a call becomes the right answer."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta

import httpx
import pytest

from domain.ids import UserId, uuid7
from domain.settlement.answers import Absent, Refusal, StripeAccount, StripeLink, Throttled, Unsure
from tests.builders import NOW, a_seller_account
from workers.stripe_accounts import OnboardingTerms, StripeAccounts
from workers.stripe_calls import StripeCalls

Fault = Callable[..., Awaitable[None]]
TERMS = OnboardingTerms("US", "https://shop.test/again", "https://shop.test/done")


@pytest.fixture
def accounts(calls: StripeCalls) -> StripeAccounts:
    return StripeAccounts(calls, TERMS)


async def opened(accounts: StripeAccounts) -> StripeAccount:
    found = await accounts.open_account(a_seller_account())
    assert isinstance(found, StripeAccount)
    return found


async def test_account_twice_is_one_account(accounts: StripeAccounts, sandbox: httpx.AsyncClient) -> None:
    account = a_seller_account()

    answers = [await accounts.open_account(account) for _ in range(2)]

    assert answers[0] == answers[1]
    (made,) = (await sandbox.get("/state")).json()["accounts"]
    assert answers[0] == StripeAccount(made["id"], payouts_enabled=False, seller_id=account.seller_id)
    assert made["controller"]["losses"] == {"payments": "application"}
    assert made["capabilities"] == {"transfers": "inactive"}


async def test_seller_who_followed_the_link_can_be_paid_out(
    accounts: StripeAccounts, sandbox: httpx.AsyncClient
) -> None:
    found = await opened(accounts)
    link = await accounts.make_link(found.stripe_account_id)
    assert isinstance(link, StripeLink)
    assert link.expires_at > NOW

    async with httpx.AsyncClient(trust_env=False) as browser:
        assert (await browser.get(link.url)).headers["Location"] == TERMS.return_url

    known = a_seller_account(stripe_account_id=found.stripe_account_id)
    assert await accounts.retrieve_account(known) == replace(found, payouts_enabled=True)


async def test_account_that_takes_no_transfers_cannot_be_paid_out(
    accounts: StripeAccounts, sandbox: httpx.AsyncClient
) -> None:
    found = await opened(accounts)
    facts = {"payouts_enabled": True, "transfers": "inactive"}
    await sandbox.post(f"/accounts/{found.stripe_account_id}", json=facts)

    assert await accounts.retrieve_account(a_seller_account(stripe_account_id=found.stripe_account_id)) == found


async def test_account_that_arrived_is_found_behind_a_recorded_error(
    accounts: StripeAccounts, fault: Fault
) -> None:
    account = a_seller_account(first_sent_at=NOW)
    for _ in range(101):
        await accounts.open_account(a_seller_account())
    await fault("error_500_after", "POST /v1/accounts")
    assert isinstance(await accounts.open_account(account), Unsure)
    again = await accounts.open_account(account)
    assert again == Unsure("status 500", lookup_only=True)
    for _ in range(101):
        await accounts.open_account(a_seller_account())

    found = await accounts.find_account(account)

    assert isinstance(found, StripeAccount)
    assert found.seller_id == account.seller_id


async def test_account_that_stripe_does_not_know_is_absent(accounts: StripeAccounts) -> None:
    await opened(accounts)

    assert await accounts.find_account(a_seller_account(UserId(uuid7()))) == Absent()


async def test_throttled_list_proves_no_absence(accounts: StripeAccounts, fault: Fault) -> None:
    await fault("error_429", "GET /v1/accounts")

    assert isinstance(await accounts.find_account(a_seller_account()), Throttled)


async def test_accounts_made_long_before_are_not_searched(accounts: StripeAccounts) -> None:
    account = a_seller_account()
    await accounts.open_account(account)

    later = replace(account, first_sent_at=NOW + timedelta(days=1))
    assert await accounts.find_account(later) == Absent()


async def test_what_stripe_refuses_is_a_refusal(sandbox: httpx.AsyncClient, calls: StripeCalls) -> None:
    accounts = StripeAccounts(calls, replace(TERMS, return_url=""))
    found = await opened(accounts)

    assert isinstance(await accounts.make_link(found.stripe_account_id), Refusal)
    assert isinstance(await accounts.make_link("acct_of_nobody"), Refusal)
    assert isinstance(await accounts.retrieve_account(a_seller_account(stripe_account_id="acct_0")), Refusal)


async def test_account_that_cannot_be_read_is_unsure(
    connect: Callable[..., StripeCalls], unreadable_stripe: str
) -> None:
    accounts = StripeAccounts(connect(api_base=unreadable_stripe), TERMS)

    assert isinstance(await accounts.retrieve_account(a_seller_account(stripe_account_id="acct_0")), Unsure)
    assert isinstance(await accounts.find_account(a_seller_account()), Unsure)
    assert isinstance(await accounts.make_link("acct_0"), Unsure)
