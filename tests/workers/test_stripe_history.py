"""Stripe's list of events: complete, in pages, and never half."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from domain.errors import Unavailable
from domain.settlement.answers import Intent, StripeAccount
from domain.settlement.model import EventWindow
from domain.settlement.stripe_objects import read_event_account, read_event_object, read_payment_id
from tests.builders import a_payment, a_seller_account
from workers import stripe_history
from workers.stripe_accounts import OnboardingTerms, StripeAccounts
from workers.stripe_calls import StripeCalls
from workers.stripe_gateway import StripeGateway
from workers.stripe_history import StripeHistory

Fault = Callable[..., Awaitable[None]]
TERMS = OnboardingTerms("US", "https://shop.test/again", "https://shop.test/done")


def window(kind: str | None = None, **since: Any) -> EventWindow:
    now = datetime.now(UTC)
    return EventWindow(now - timedelta(**since or {"minutes": 5}), now + timedelta(minutes=5), kind)


@pytest.fixture
def history(calls: StripeCalls, monkeypatch: pytest.MonkeyPatch) -> StripeHistory:
    """The list in small pages, asked again without a pause."""
    monkeypatch.setattr(stripe_history, "_PAGE", 3)
    monkeypatch.setattr(stripe_history, "_PAUSE_S", 0.01)
    return StripeHistory(calls)


async def test_events_are_listed_in_pages_until_the_end(history: StripeHistory, gateway: StripeGateway) -> None:
    payments = [a_payment() for _ in range(4)]
    for payment in payments:
        assert isinstance(await gateway.charge(payment), Intent)
    wanted = window("payment_intent.succeeded")

    first = await history.page(wanted, None)
    rest = await history.page(wanted, first.events[-1].id)

    assert (len(first.events), first.has_more, len(rest.events), rest.has_more) == (3, True, 1, False)
    events = [*first.events, *rest.events]
    assert {event.type for event in events} == {"payment_intent.succeeded"}
    told = [read_payment_id(read_event_object(event.body)) for event in events]
    assert told == [payment.id for payment in reversed(payments)]
    assert all(wanted.since <= event.received_at < wanted.until for event in events)


async def test_what_accounts_tell_of_themselves_is_in_lists_of_their_own(
    history: StripeHistory, calls: StripeCalls, sandbox: httpx.AsyncClient
) -> None:
    made = [await StripeAccounts(calls, TERMS).open_account(a_seller_account()) for _ in range(4)]
    ids = [account.stripe_account_id for account in made if isinstance(account, StripeAccount)]
    for each in ids[:2]:
        await sandbox.post(f"/accounts/{each}", json={"payouts_enabled": True})

    first = await history.accounts(None)
    rest = await history.accounts(first.ids[-1])
    assert ([*first.ids, *rest.ids], first.has_more, rest.has_more) == (ids[::-1], True, False)
    assert (await history.page(window("account.*"), None)).events == []
    for each in ids[:2]:
        own = await history.page_of_account(each, ["account.updated", "payout.paid"], window(), None)
        assert {(event.type, read_event_account(event.body)) for event in own.events} == {
            ("account.updated", each)
        }
        assert (await history.page_of_account(each, ["payout.paid"], window(), None)).events == []


async def test_only_the_window_is_listed(history: StripeHistory, gateway: StripeGateway) -> None:
    await gateway.charge(a_payment())
    past = EventWindow(datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC))

    assert (await history.page(past, None)).events == []
    assert {event.type.partition(".")[0] for event in (await history.page(window("charge.*"), None)).events} == {
        "charge"
    }


async def test_list_is_asked_for_again_when_stripe_fails_for_a_moment(
    history: StripeHistory, gateway: StripeGateway, fault: Fault
) -> None:
    await gateway.charge(a_payment())
    await fault("error_500", "GET /v1/events")
    await fault("drop_before", "GET /v1/events")

    assert (await history.page(window(), None)).events


async def test_list_that_stripe_refuses_is_no_empty_list(history: StripeHistory, fault: Fault) -> None:
    await fault("error_500", "GET /v1/events", count=3)
    await fault("error_500", "GET /v1/events", count=3)

    with pytest.raises(Unavailable):
        await history.page(window(), None)


async def test_list_that_cannot_be_read_is_no_empty_list(
    unreadable_stripe: str, connect: Callable[..., StripeCalls]
) -> None:
    with pytest.raises(Unavailable):
        await StripeHistory(connect(api_base=unreadable_stripe)).page(window(), None)
