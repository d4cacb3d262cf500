"""Asking for payouts, and what of them is taken back."""

from dataclasses import replace
from datetime import timedelta

import pytest

from domain.errors import Conflict, Forbidden, IdempotencyMismatch, NotFound, Unavailable
from domain.identity.model import Principal, Role
from domain.ids import JournalId, PaymentId, PayoutId, ReversalId, UserId, uuid7
from domain.pages import PageRequest
from domain.payouts.model import (
    Destination,
    PaidDebit,
    PayoutOrigin,
    PayoutRequest,
    PayoutStatus,
    SellerBalance,
    draft_reversals,
)
from domain.payouts.service import PayoutPolicy, PayoutService
from domain.work import Work
from tests.builders import NOW, Shop, principal
from tests.domain.fakes import FakeClock, Memory, RecordingAnnouncer
from tests.paid_out import SHARE, earned

POLICY = PayoutPolicy(direct_hold_s=0, republish_after_s=30, least_minor={"USD": 1000})
FINANCE = Principal(UserId(uuid7()), Role.FINANCE)


@pytest.fixture
def payouts(memory: Memory, announcer: RecordingAnnouncer, clock: FakeClock) -> PayoutService:
    return PayoutService(memory.begin, announcer, clock, POLICY)


@pytest.fixture
def enabled(memory: Memory, shop: Shop) -> None:
    """Both sellers are known to Stripe."""
    for seller in (shop.seller, shop.other_seller):
        memory.state.destinations[seller.id] = Destination(seller.id, f"acct_{seller.id}", payouts_enabled=True)


@pytest.mark.usefixtures("enabled")
async def test_payout_is_durable_told_and_announced(
    payouts: PayoutService, memory: Memory, announcer: RecordingAnnouncer, shop: Shop
) -> None:
    await earned(shop)

    accepted = await payouts.request(principal(shop.seller), PayoutRequest("key", "USD"))

    payout = accepted.payout
    assert (payout.amount_minor, payout.status, accepted.replayed) == (SHARE, PayoutStatus.PENDING, False)
    assert (payout.origin, payout.stripe_account_id) == (PayoutOrigin.REQUESTED, f"acct_{shop.seller.id}")
    assert memory.state.payouts == {payout.id: payout}
    assert announcer.announced[Work.PAYOUTS] == [payout.id]
    (told,) = [event for event in memory.state.events if event.subject_id == payout.id]
    assert (told.type, told.audience, told.data["amount_minor"]) == ("payout.pending", (shop.seller.id,), SHARE)


@pytest.mark.usefixtures("enabled")
async def test_repeated_request_answers_with_the_payout_it_made(
    payouts: PayoutService, announcer: RecordingAnnouncer, shop: Shop
) -> None:
    await earned(shop)
    first = await payouts.request(principal(shop.seller), PayoutRequest("key", "USD"))
    await earned(shop)

    again = await payouts.request(principal(shop.seller), PayoutRequest("key", "USD"))

    assert (again.payout, again.replayed) == (first.payout, True)
    assert announcer.announced[Work.PAYOUTS] == [first.payout.id]
    with pytest.raises(IdempotencyMismatch):
        await payouts.request(principal(shop.seller), PayoutRequest("key", "EUR"))


@pytest.mark.usefixtures("enabled")
async def test_nobody_is_paid_out_while_payouts_are_paused(
    payouts: PayoutService, memory: Memory, announcer: RecordingAnnouncer, clock: FakeClock, shop: Shop
) -> None:
    paused = PayoutService(memory.begin, announcer, clock, replace(POLICY, is_paused=True))
    await earned(shop)
    with pytest.raises(Unavailable) as refused:
        await paused.request(principal(shop.seller), PayoutRequest("key", "USD"))

    assert refused.value.code == "payouts_paused"
    made = await payouts.request(principal(shop.seller), PayoutRequest("key", "USD"))
    again = await paused.request(principal(shop.seller), PayoutRequest("key", "USD"))
    assert (again.payout, again.replayed) == (made.payout, True)


@pytest.mark.usefixtures("enabled")
async def test_less_than_the_least_amount_is_refused_with_what_there_is(
    payouts: PayoutService, shop: Shop
) -> None:
    await earned(shop, amount_minor=900)

    with pytest.raises(Conflict) as refused:
        await payouts.request(principal(shop.seller), PayoutRequest("key", "USD"))

    assert refused.value.code == "nothing_to_pay_out"
    assert refused.value.facts == {
        "available_minor": 900 - 22 - 88,
        "least_minor": 1000,
        "currency": "USD",
    }


@pytest.mark.usefixtures("enabled")
async def test_currency_is_named_where_enough_of_several_is_available(payouts: PayoutService, shop: Shop) -> None:
    with pytest.raises(Conflict) as nothing:
        await payouts.request(principal(shop.seller), PayoutRequest("key", None))
    await earned(shop, currency="EUR")
    await earned(shop)
    with pytest.raises(Conflict) as several:
        await payouts.request(principal(shop.seller), PayoutRequest("key", None))

    assert nothing.value.code == "nothing_to_pay_out"
    assert (several.value.code, several.value.facts) == ("currency_missing", {"currencies": ["EUR", "USD"]})
    await payouts.request(principal(shop.seller), PayoutRequest("key", "EUR"))
    only = await payouts.request(principal(shop.seller), PayoutRequest("another", None))
    assert only.payout.currency == "USD"


@pytest.mark.usefixtures("enabled")
async def test_currency_with_enough_is_taken_where_another_has_too_little(
    payouts: PayoutService, shop: Shop
) -> None:
    await earned(shop, amount_minor=1115)  # less a commission of 0.28 and a fee of 0.88
    await earned(shop, currency="EUR")

    accepted = await payouts.request(principal(shop.seller), PayoutRequest("key", None))

    assert accepted.payout.currency == "EUR"


def test_least_that_is_paid_out_is_one_minor_unit_where_the_settings_name_no_more() -> None:
    policy = PayoutPolicy(direct_hold_s=0, republish_after_s=30, least_minor={"USD": 1000, "EUR": 0})

    assert [policy.least(currency) for currency in ("USD", "EUR", "GBP")] == [1000, 1, 1]


@pytest.mark.parametrize("destination", [None, "disabled"])
async def test_seller_whom_stripe_does_not_pay_is_refused(
    payouts: PayoutService, memory: Memory, shop: Shop, destination: str | None
) -> None:
    await earned(shop)
    if destination:
        memory.state.destinations[shop.seller.id] = Destination(shop.seller.id, "acct", payouts_enabled=False)

    with pytest.raises(Conflict) as refused:
        await payouts.request(principal(shop.seller), PayoutRequest("key", "USD"))

    assert refused.value.code == "payouts_not_enabled"


async def test_sellers_alone_ask_and_buyers_see_nothing(payouts: PayoutService, shop: Shop) -> None:
    with pytest.raises(Forbidden):
        await payouts.request(FINANCE, PayoutRequest("key", "USD"))
    with pytest.raises(Forbidden):
        await payouts.balance(FINANCE)
    with pytest.raises(Forbidden):
        await payouts.page(principal(shop.buyer), PageRequest())
    with pytest.raises(Forbidden):
        await payouts.get(principal(shop.buyer), PayoutId(uuid7()))


@pytest.mark.usefixtures("enabled")
async def test_seller_sees_its_payouts_and_what_it_is_owed(payouts: PayoutService, shop: Shop) -> None:
    await earned(shop)
    payout = (await payouts.request(principal(shop.seller), PayoutRequest("key", "USD"))).payout

    assert await payouts.get(principal(shop.seller), payout.id) == payout
    assert (await payouts.page(FINANCE, PageRequest())).rows == [payout]
    assert await payouts.balance(principal(shop.seller)) == [SellerBalance("USD", 0, 0, SHARE, 0)]
    with pytest.raises(NotFound):
        await payouts.get(principal(shop.other_seller), payout.id)


def a_debit(payout_id: PayoutId, amount_minor: int, left_minor: int, currency: str = "USD") -> PaidDebit:
    return PaidDebit(JournalId(uuid7()), 1, amount_minor, PaymentId(uuid7()), payout_id, currency, left_minor)


@pytest.mark.parametrize(
    ("debits", "left_minor", "currency", "taken"),
    [
        ([400], 1000, "USD", [400]),
        ([400, 700], 1000, "USD", [400, 600]),
        ([1000, 5], 1000, "USD", [1000]),
        ([5], 0, "USD", []),
        ([1234], 20_000, "KWD", [1230]),
        ([7], 20_000, "KWD", []),
        ([20_005], 20_000, "KWD", [20_000]),
    ],
)
def test_each_debit_is_taken_back_while_its_payout_lasts(
    debits: list[int], left_minor: int, currency: str, taken: list[int]
) -> None:
    payout_id = PayoutId(uuid7())
    told = [a_debit(payout_id, amount_minor, left_minor, currency) for amount_minor in debits]

    drafts = draft_reversals(told, [ReversalId(uuid7()) for _ in told], NOW + timedelta(seconds=1))

    assert [draft.amount_minor for draft in drafts] == taken
    assert [(draft.journal_id, draft.line, draft.payment_id) for draft in drafts] == [
        (debit.journal_id, debit.line, debit.payment_id) for debit in told[: len(taken)]
    ]
