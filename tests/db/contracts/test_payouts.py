"""Payouts and their reversals, from share to bank and back: one contract for the real database and the fakes."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest

from domain.errors import Refused
from domain.identity.model import Principal, Role
from domain.ids import PayoutId, ReversalId, UserId, uuid7
from domain.ledger.model import STRIPE_BALANCE
from domain.ledger.postings import Part
from domain.pages import PageRequest
from domain.payments.model import Payment
from domain.payments.ports import Work
from domain.payouts.model import Payout, PayoutOrigin, PayoutStatus, Release, Reversal, ReversalStatus
from domain.settlement.answers import Absent, BankPayout, Refusal, StripeTransaction, Unsure
from domain.settlement.disputes import DisputeSettlement
from domain.settlement.model import SettlementPolicy
from domain.settlement.payouts import PayoutSettlement
from domain.settlement.reversals import ReversalSettlement
from tests.builders import (
    NOW,
    Begin,
    Shop,
    a_dispute,
    a_requested_refund,
    disputed,
    principal,
    transferred,
    unique,
)
from tests.captured import captured
from tests.domain.fakes import FakeClock
from tests.paid_out import (
    RELEASE,
    SHARE,
    a_stripe_reversal,
    balance,
    complete,
    drafted,
    earned,
    paid_out,
    parts,
    refund,
    reversals_of,
    sent,
    taken_back,
)

PENDING, IN_TRANSIT, PAID = PayoutStatus.PENDING, PayoutStatus.IN_TRANSIT, PayoutStatus.PAID
FAILED, UNKNOWN, REVERSED = PayoutStatus.FAILED, PayoutStatus.UNKNOWN, PayoutStatus.REVERSED
LATER = NOW + timedelta(seconds=60)


@pytest.fixture
def payouts(any_begin: Begin, clock: FakeClock) -> PayoutSettlement:
    return PayoutSettlement(any_begin, clock, SettlementPolicy())


def whole(shop: Shop) -> tuple[Part, ...]:
    """All of a payment of 19.99."""
    return (Part(1, shop.seller.id, 1999, 50),)


def a_reversal(payout: Payout, amount_minor: int) -> Reversal:
    return Reversal(
        ReversalId(uuid7()), payout.id, amount_minor, payout.currency, ReversalStatus.PENDING, NOW, NOW
    )


async def stored(shop: Shop, payout: Payout) -> Payout:
    async with shop.begin() as tx:
        found: Payout = (await tx.payout_work.by_ids([payout.id]))[payout.id]
    return found


async def events_of(shop: Shop, payout: Payout) -> list[str]:
    async with shop.begin() as tx:
        return [told.type for told in await tx.events.of_subject(payout.id)]


async def stripe_balance(shop: Shop) -> int:
    async with shop.begin() as tx:
        found = {row.account: row.balance_minor for row in await tx.ledger.balances() if row.currency == "USD"}
    return int(found.get(STRIPE_BALANCE, 0))


# ------------------------------------------------------------------------------- what is available


async def test_share_of_an_order_is_held_until_the_order_completes(shop: Shop) -> None:
    order = await shop.order()
    await captured(shop, order, fee_minor=88)
    seen = [parts(await balance(shop))]

    await complete(shop, order)
    seen.append(parts(await balance(shop)))

    assert seen == [(SHARE, 0, 0), (0, SHARE, 0)]


async def test_share_is_held_until_stripe_lets_the_money_go(shop: Shop) -> None:
    moved = StripeTransaction(unique("txn"), 1999, 88, "USD", available_on=LATER)
    await captured(shop, transaction=moved)

    assert parts(await balance(shop)) == (SHARE, 0, 0)
    assert parts(await balance(shop, release=Release(LATER, LATER))) == (0, SHARE, 0)


async def test_direct_payment_is_held_as_long_as_its_payer_may_take_it_back(shop: Shop) -> None:
    await earned(shop)

    held = Release(NOW, NOW - timedelta(seconds=1))

    assert parts(await balance(shop, release=held)) == (SHARE, 0, 0)
    assert parts(await balance(shop)) == (0, SHARE, 0)


# Of 19.99 EUR that became 21.00 USD, less a fee of 1.00 USD.
EXCHANGED = 2047 - 100


async def exchanged(shop: Shop, **changes: object) -> Payment:
    """Store a direct payment in euros that Stripe settled in dollars."""
    moved = StripeTransaction(unique("txn"), 2100, 100, "USD", Decimal("1.05"), NOW)
    return await captured(shop, currency="EUR", transaction=replace(moved, **changes))  # type: ignore[arg-type]  # by name


async def test_what_stripe_settled_in_another_currency_is_paid_out_in_that_one(shop: Shop) -> None:
    await exchanged(shop, available_on=LATER)
    held = parts(await balance(shop))
    await exchanged(shop)
    free = parts(await balance(shop))

    assert await drafted(shop, currency="EUR") is None
    payout = await paid_out(shop)

    assert (held, free) == ((EXCHANGED, 0, 0), (EXCHANGED, EXCHANGED, 0))
    assert (payout.amount_minor, payout.currency) == (EXCHANGED, "USD")
    assert parts(await balance(shop, currency="EUR")) == (0, 0, 0)


@pytest.mark.parametrize("is_late", [False, True], ids=["at once", "exchanged later"])
async def test_refund_of_what_was_exchanged_is_taken_back_at_the_rate_of_its_day(
    shop: Shop, *, is_late: bool
) -> None:
    payment = await exchanged(shop)
    payout = await paid_out(shop)
    asked = a_requested_refund(payment, shop)
    moved = StripeTransaction(unique("txn"), -1100, 0, "USD", Decimal("1.1"))
    if is_late:
        await refund(shop, asked, transaction=None)
        assert await reversals_of(shop, payout) == []

    await refund(shop, asked, transaction_id=moved.id, transaction=moved)

    (reversal,) = await reversals_of(shop, payout)
    assert (reversal.amount_minor, reversal.currency) == (1073, "USD")  # 9.75 of 10.00 EUR at 1.1
    await taken_back(shop, reversal)
    assert parts(await balance(shop)) == (0, 0, 0)
    assert parts(await balance(shop, currency="EUR")) == (0, 0, 0)


async def test_exchanged_shares_that_are_refunded_while_they_are_transferred_are_taken_back(shop: Shop) -> None:
    payment = await exchanged(shop)
    payout = await drafted(shop)
    assert payout is not None
    moved = StripeTransaction(unique("txn"), -1100, 0, "USD", Decimal("1.1"))

    await refund(shop, a_requested_refund(payment, shop), transaction_id=moved.id, transaction=moved)
    assert await reversals_of(shop, payout) == []
    await sent(shop, payout)

    assert [reversal.amount_minor for reversal in await reversals_of(shop, payout)] == [1073]


async def test_what_comes_to_nothing_in_a_payment_is_closed_and_the_rest_stays_open(shop: Shop) -> None:
    """Euros that were exchanged are nobody's; those of another payment are paid out as they were."""
    payment = await exchanged(shop)
    await earned(shop, currency="EUR")
    async with shop.begin() as tx:
        for _ in range(2):
            await tx.payouts.net(shop.seller.id, RELEASE)
        await tx.commit()

    payout = await paid_out(shop, currency="EUR")
    await refund(shop, a_requested_refund(payment, shop))

    assert payout.amount_minor == SHARE
    assert await reversals_of(shop, payout) == []
    assert parts(await balance(shop)) == (0, EXCHANGED, 0)
    # That refund was taken in euros though the charge came in dollars: it is owed in euros.
    assert parts(await balance(shop, currency="EUR")) == (0, -975, 0)


async def test_share_whose_fee_is_not_known_yet_is_pending(shop: Shop) -> None:
    await captured(shop, fee_minor=None)

    assert parts(await balance(shop)) == (1949, 0, 0)


async def test_refunded_order_leaves_its_fee_to_be_made_up_for(shop: Shop) -> None:
    payment = await captured(shop, await shop.order(), fee_minor=88)
    await refund(shop, a_requested_refund(payment, shop, 1999, lines=whole(shop)))

    assert parts(await balance(shop)) == (0, -88, 0)


async def test_dispute_takes_its_part_out_of_what_is_available(shop: Shop, clock: FakeClock) -> None:
    order = await shop.order()
    payment = await captured(shop, order, fee_minor=88)
    await complete(shop, order)
    told = disputed(a_dispute(payment), a_dispute(payment).status, -1999, fee_minor=0)

    await DisputeSettlement(shop.begin, clock, SettlementPolicy()).settle(payment.id, told)

    now = await balance(shop)
    assert (parts(now), now.in_dispute_minor) == ((0, -88, 0), 1949)


# ----------------------------------------------------------------------------------- taking shares


async def test_payout_takes_all_that_is_available_and_nothing_twice(shop: Shop) -> None:
    await earned(shop)
    await earned(shop)
    await captured(shop, await shop.order(), fee_minor=88)

    first, second = await drafted(shop), await drafted(shop)

    assert first is not None
    assert (first.amount_minor, first.carried_minor, first.status) == (2 * SHARE, 0, PENDING)
    assert second is None
    assert parts(await balance(shop)) == (SHARE, 0, 2 * SHARE)


async def test_payout_below_the_least_amount_is_not_made(shop: Shop) -> None:
    await earned(shop)

    assert await drafted(shop, least_minor=SHARE + 1) is None
    assert await drafted(shop, least_minor=SHARE) is not None


async def test_nothing_is_paid_out_where_the_seller_owes(shop: Shop) -> None:
    payment = await captured(shop, await shop.order(), fee_minor=88)
    await refund(shop, a_requested_refund(payment, shop, 1999, lines=whole(shop)))

    assert await drafted(shop) is None

    await earned(shop)
    payout = await drafted(shop)
    assert payout is not None
    assert payout.amount_minor == SHARE - 88


async def test_payout_of_a_currency_leaves_the_others(shop: Shop) -> None:
    await earned(shop)
    await earned(shop, currency="EUR")

    payout = await drafted(shop, currency="EUR")

    assert payout is not None
    assert (payout.amount_minor, payout.currency) == (SHARE, "EUR")
    assert parts(await balance(shop)) == (0, SHARE, 0)
    async with shop.begin() as tx:
        assert await tx.payouts.available(shop.seller.id, RELEASE) == {"USD": SHARE}


async def test_what_stripe_does_not_move_is_owed_on(shop: Shop) -> None:
    for _ in range(2):
        await earned(shop, currency="KWD", amount_minor=19_990, fee_minor=0)

    payout = await drafted(shop, currency="KWD")
    assert payout is not None
    await sent(shop, payout)

    owed_minor = 2 * (19_990 - 500)
    assert (payout.amount_minor, payout.carried_minor) == (owed_minor, 0)
    await earned(shop, currency="KWD", amount_minor=10, commission_bps=5_000, fee_minor=1)
    assert await drafted(shop, currency="KWD") is None
    await earned(shop, currency="KWD", amount_minor=20, commission_bps=5_000, fee_minor=1)
    odd = await drafted(shop, currency="KWD")
    assert odd is not None
    assert (odd.amount_minor, odd.carried_minor) == (10, 3)
    await sent(shop, odd)
    async with shop.begin() as tx:
        assert await tx.payouts.available(shop.seller.id, RELEASE) == {"KWD": 3}


async def test_floor_hides_nothing_that_is_open(shop: Shop) -> None:
    await earned(shop)
    await paid_out(shop)
    await captured(shop, await shop.order(), fee_minor=88)
    async with shop.begin() as tx:
        await tx.payouts.raise_floor(shop.seller.id, NOW + timedelta(days=2))
        await tx.payouts.raise_floor(shop.seller.id, NOW)
        await tx.commit()

    assert parts(await balance(shop)) == (SHARE, 0, 0)
    await earned(shop)
    assert parts(await balance(shop)) == (SHARE, SHARE, 0)


async def test_floor_hides_nothing_that_a_payout_lets_go(shop: Shop) -> None:
    """A run raises it while the payout that it made is under way."""
    await earned(shop)
    payout = await drafted(shop)
    assert payout is not None
    async with shop.begin() as tx:
        await tx.payouts.raise_floor(shop.seller.id, NOW + timedelta(days=2))
        await tx.commit()

    await sent(shop, payout, Refusal("balance_insufficient"))

    assert parts(await balance(shop)) == (0, SHARE, 0)
    again = await drafted(shop)
    assert again is not None
    assert again.amount_minor == SHARE


# ---------------------------------------------------------------------------------- transferring


async def test_transfer_is_booked_once_whatever_is_told_of_it(shop: Shop) -> None:
    await earned(shop)
    before = await stripe_balance(shop)
    payout = await drafted(shop)
    assert payout is not None

    for answer in (
        Unsure("cut"),
        transferred(payout),
        transferred(payout),
        Unsure("late"),
        Refusal("no"),
        Absent(),
    ):
        after = await sent(shop, payout, answer)

    assert (after.status, after.stripe_transfer_id) == (IN_TRANSIT, f"tr_{payout.id}")
    assert await stripe_balance(shop) == before - SHARE
    assert parts(await balance(shop)) == (0, 0, 0)
    assert await events_of(shop, payout) == ["payout.unknown", "payout.in_transit"]


async def test_refused_transfer_lets_its_shares_go(shop: Shop) -> None:
    await earned(shop)
    payout = await drafted(shop)
    assert payout is not None

    after = await sent(shop, payout, Refusal("balance_insufficient"))

    assert (after.status, after.failure_code) == (FAILED, "balance_insufficient")
    assert parts(await balance(shop)) == (0, SHARE, 0)
    again = await drafted(shop)
    assert again is not None
    assert again.amount_minor == SHARE


async def test_transfer_that_was_given_up_and_turns_up_is_owed_by_the_seller(shop: Shop) -> None:
    await earned(shop)
    payout = await drafted(shop)
    assert payout is not None
    await sent(shop, payout, Refusal("odd"))

    late = await sent(shop, payout, transferred(payout))

    assert (late.status, late.failure_code) == (IN_TRANSIT, None)
    assert parts(await balance(shop)) == (0, 0, 0)
    assert await drafted(shop) is None


@pytest.mark.parametrize("change", [{"amount_minor": 1}, {"currency": "EUR"}, {"destination": "acct_else"}])
async def test_transfer_of_something_else_is_quarantined(shop: Shop, change: dict[str, object]) -> None:
    await earned(shop)
    payout = await drafted(shop)
    assert payout is not None

    after = await sent(shop, payout, transferred(payout, **change))

    assert (after.status, after.is_booked) == (PENDING, False)
    assert await events_of(shop, payout) == ["payout.quarantined"]
    async with shop.begin() as tx:
        assert await tx.payout_work.lease([payout.id], LATER, LATER) == []


async def test_lease_is_given_once_and_begins_the_work(shop: Shop) -> None:
    await earned(shop)
    payout = await drafted(shop)
    assert payout is not None

    leases: list[Sequence[Payout]] = []
    for _ in range(2):
        async with shop.begin() as tx:
            leases.append(await tx.payout_work.lease([payout.id, PayoutId(uuid7())], NOW, LATER))
            await tx.commit()

    ((leased,), none) = leases
    assert (leased.status, leased.attempts, leased.first_sent_at) == (PayoutStatus.PROCESSING, 1, NOW)
    assert none == []
    async with shop.begin() as tx:
        claimed = await tx.due_work.claim(Work.PAYOUTS, LATER, republish_after_s=30, limit=100)
    assert payout.id in claimed


# ---------------------------------------------------------------------------------- to the bank


def to_the_bank(payout: Payout, status: PayoutStatus, **changes: object) -> BankPayout:
    bank = BankPayout(f"po_{payout.id}", status, transfer_ids=(payout.stripe_transfer_id or "",))
    return replace(bank, **changes)  # type: ignore[arg-type]  # a test's own names


async def test_payout_to_the_bank_is_mirrored(shop: Shop, payouts: PayoutSettlement) -> None:
    await earned(shop)
    payout = await paid_out(shop)
    failed = to_the_bank(payout, FAILED, failure_code="account_closed", transfer_ids=())

    for told in (to_the_bank(payout, IN_TRANSIT), to_the_bank(payout, PAID), to_the_bank(payout, PAID), failed):
        assert await payouts.follow(told)

    after = await stored(shop, payout)
    assert (after.status, after.failure_code, after.stripe_payout_id) == (
        FAILED,
        "account_closed",
        f"po_{payout.id}",
    )
    assert await events_of(shop, payout) == ["payout.in_transit", "payout.paid", "payout.failed"]
    assert parts(await balance(shop)) == (0, 0, 0), "the money is the seller's own, at its account"


async def test_payout_that_came_back_from_the_bank_goes_with_a_later_one(
    shop: Shop, payouts: PayoutSettlement
) -> None:
    await earned(shop)
    payout = await paid_out(shop)
    first = to_the_bank(payout, FAILED, failure_code="account_closed")
    again = BankPayout("po_again", PAID, earlier_ids=(first.stripe_payout_id,))

    for told in (first, again, first):
        await payouts.follow(told)

    after = await stored(shop, payout)
    assert (after.status, after.failure_code, after.stripe_payout_id) == (PAID, None, "po_again")


async def test_payout_to_the_bank_of_nothing_of_ours_is_nobody_s(payouts: PayoutSettlement) -> None:
    assert not await payouts.follow(BankPayout(unique("po"), PAID, transfer_ids=(unique("tr"),)))


# ------------------------------------------------------------------------------------ taking back


async def test_refund_of_what_was_paid_out_is_taken_back_of_the_transfer(shop: Shop) -> None:
    payment, _ = await earned(shop), await earned(shop)
    payout = await paid_out(shop)
    assert await reversals_of(shop, payout) == []

    await refund(shop, a_requested_refund(payment, shop))

    (reversal,) = await reversals_of(shop, payout)
    assert (reversal.amount_minor, reversal.status, reversal.payment_id) == (
        975,
        ReversalStatus.PENDING,
        payment.id,
    )
    assert (await stored(shop, payout)).reversed_minor == 975
    assert parts(await balance(shop)) == (0, -975, 0)
    before = await stripe_balance(shop)
    for _ in range(2):
        await taken_back(shop, reversal)
    assert await stripe_balance(shop) == before + 975
    assert parts(await balance(shop)) == (0, 0, 0)
    assert (await stored(shop, payout)).status is IN_TRANSIT
    assert await events_of(shop, payout) == ["payout.in_transit", "payout.reversal_succeeded"]


async def test_refund_while_the_transfer_is_under_way_is_taken_back_when_it_is_booked(shop: Shop) -> None:
    payment = await earned(shop)
    payout = await drafted(shop)
    assert payout is not None

    await refund(shop, a_requested_refund(payment, shop))
    assert await reversals_of(shop, payout) == []
    await sent(shop, payout)

    assert [reversal.amount_minor for reversal in await reversals_of(shop, payout)] == [975]


async def test_refund_of_what_is_not_paid_out_takes_nothing_back(shop: Shop) -> None:
    await earned(shop)
    payout = await paid_out(shop)
    await refund(shop, a_requested_refund(await earned(shop), shop))

    assert await reversals_of(shop, payout) == []
    assert parts(await balance(shop)) == (0, SHARE - 975, 0)


async def test_no_more_is_taken_back_than_was_transferred(shop: Shop) -> None:
    payment = await earned(shop)
    payout = await paid_out(shop)

    await refund(shop, a_requested_refund(payment, shop, 1999, lines=whole(shop)))

    (reversal,) = await reversals_of(shop, payout)
    assert reversal.amount_minor == SHARE
    await taken_back(shop, reversal)
    assert parts(await balance(shop)) == (0, -88, 0)
    assert (await stored(shop, payout)).status is REVERSED
    assert (await events_of(shop, payout))[-1] == "payout.reversed"


async def test_reversal_that_stripe_refuses_leaves_the_seller_owing(shop: Shop, clock: FakeClock) -> None:
    payment = await earned(shop)
    payout = await paid_out(shop)
    await refund(shop, a_requested_refund(payment, shop))
    (reversal,) = await reversals_of(shop, payout)
    reversals = ReversalSettlement(shop.begin, clock, SettlementPolicy())

    for answer in (Refusal("balance_insufficient"), a_stripe_reversal(reversal), Unsure("late")):
        await reversals.settle(reversal.id, answer)

    (after,) = await reversals_of(shop, payout)
    assert (after.status, after.failure_code) == (ReversalStatus.FAILED, "balance_insufficient")
    assert (await stored(shop, payout)).reversed_minor == 0
    assert parts(await balance(shop)) == (0, -975, 0)
    await earned(shop)
    again = await drafted(shop)
    assert again is not None
    assert again.amount_minor == SHARE - 975


async def test_dispute_of_what_was_paid_out_is_taken_back_and_owed_again_when_it_is_won(
    shop: Shop, clock: FakeClock
) -> None:
    payment, _ = await earned(shop), await earned(shop)
    payout = await paid_out(shop)
    dispute = a_dispute(payment)
    disputes = DisputeSettlement(shop.begin, clock, SettlementPolicy())
    await disputes.settle(payment.id, disputed(dispute, dispute.status, -1999, fee_minor=0))

    (reversal,) = await reversals_of(shop, payout)
    await taken_back(shop, reversal)
    held = await balance(shop)
    await disputes.settle(payment.id, disputed(dispute, dispute.status.WON, -1999, 1999, fee_minor=0))

    assert (reversal.amount_minor, parts(held), held.in_dispute_minor) == (1949, (0, 0, 0), 1949)
    assert parts(await balance(shop)) == (0, 1949, 0)


async def test_reversal_made_without_us_is_booked_once_and_owed_again(shop: Shop, clock: FakeClock) -> None:
    await earned(shop)
    payout = await paid_out(shop)
    found = a_stripe_reversal(a_reversal(payout, 100), reversal_id=None)
    reversals = ReversalSettlement(shop.begin, clock, SettlementPolicy())

    news = [await reversals.adopt(payout.id, found) for _ in range(2)]

    assert news == [True, False]
    assert parts(await balance(shop)) == (0, 100, 0)
    assert (await stored(shop, payout)).reversed_minor == 100


async def test_reversal_made_without_us_waits_for_ours_that_claims_the_same_money(
    shop: Shop, clock: FakeClock
) -> None:
    payment = await earned(shop)
    payout = await paid_out(shop)
    await refund(shop, a_requested_refund(payment, shop, 1999, lines=whole(shop)))
    found = a_stripe_reversal(a_reversal(payout, 100), reversal_id=None)

    with pytest.raises(Refused):
        await ReversalSettlement(shop.begin, clock, SettlementPolicy()).adopt(payout.id, found)


async def test_reversal_of_another_amount_is_quarantined(shop: Shop) -> None:
    payment = await earned(shop)
    payout = await paid_out(shop)
    await refund(shop, a_requested_refund(payment, shop))
    (reversal,) = await reversals_of(shop, payout)

    await taken_back(shop, reversal, amount_minor=1)

    assert (await reversals_of(shop, payout))[0].status is ReversalStatus.PENDING
    assert (await events_of(shop, payout))[-1] == "payout.reversal_quarantined"


async def test_reversal_is_leased_once(shop: Shop) -> None:
    payment = await earned(shop)
    payout = await paid_out(shop)
    await refund(shop, a_requested_refund(payment, shop))
    (reversal,) = await reversals_of(shop, payout)

    leases = []
    for _ in range(2):
        async with shop.begin() as tx:
            leases.append(await tx.reversal_work.lease([reversal.id, ReversalId(uuid7())], NOW, LATER))
            await tx.commit()

    ((leased,), none) = leases
    assert (leased.attempts, leased.first_sent_at, none) == (1, NOW, [])
    async with shop.begin() as tx:
        assert await tx.reversal_work.find(None, "trr_nobody") is None
        assert await tx.reversal_work.find(reversal.id, None) == leased


# ---------------------------------------------------------------------------------------- reading


async def test_sellers_see_their_own_payouts_and_finance_all(shop: Shop) -> None:
    await earned(shop)
    payout = await paid_out(shop)
    finance = Principal(UserId(uuid7()), Role.FINANCE)
    seen = {}

    async with shop.begin() as tx:
        for who in (principal(shop.seller), principal(shop.other_seller), finance):
            page = await tx.payouts.page(who, PageRequest(1))
            seen[who.role, who.user_id] = (await tx.payouts.visible(who, payout.id), list(page.rows))

    assert list(seen.values()) == [(payout, [payout]), (None, []), (payout, [payout])]


async def test_payout_is_found_by_its_requester_s_key(shop: Shop) -> None:
    await earned(shop)
    asked = {"requested_by": shop.seller.id, "idempotency_key": "key", "request_hash": bytes(32)}
    payout = await drafted(shop, origin=PayoutOrigin.REQUESTED, **asked)

    async with shop.begin() as tx:
        assert await tx.payouts.by_key(shop.seller.id, "key") == payout
        assert await tx.payouts.by_key(shop.other_seller.id, "key") is None
