"""What a seller can be paid out, and what is held: one contract for the real database and the fakes."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest

from domain.disputes.model import DisputeStatus
from domain.ledger.model import PROCESSING_FEES, JournalKind, seller_payable
from domain.payments.model import Payment
from domain.payouts.model import Release
from domain.settlement.answers import StripeTransaction
from domain.settlement.disputes import DisputeSettlement
from domain.settlement.model import SettlementPolicy
from tests.builders import NOW, Shop, a_dispute, a_journal, a_requested_refund, unique
from tests.captured import captured, captured_late
from tests.db.contracts.reading import LATER
from tests.domain.fakes import FakeClock
from tests.paid_out import (
    RELEASE,
    SHARE,
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
    whole,
)
from tests.stripe_answers import disputed


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


async def test_share_that_is_promised_back_is_held(shop: Shop) -> None:
    payment = await earned(shop)
    promised = a_requested_refund(payment, shop)
    async with shop.begin() as tx:
        await tx.refunds.add([promised], publish_at=NOW)
        await tx.commit()

    assert parts(await balance(shop)) == (SHARE, 0, 0)
    assert await drafted(shop) is None

    await refund(shop, promised)
    assert parts(await balance(shop)) == (0, SHARE - 975, 0)


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


async def test_refund_that_stripe_took_in_another_currency_than_was_paid_out_is_owed_in_that_one(
    shop: Shop,
) -> None:
    payment = await earned(shop, currency="EUR")
    payout = await paid_out(shop, currency="EUR")
    moved = StripeTransaction(unique("txn"), -1100, 0, "USD", Decimal("1.1"))

    await refund(shop, a_requested_refund(payment, shop), transaction_id=moved.id, transaction=moved)

    assert await reversals_of(shop, payout) == []
    assert parts(await balance(shop)) == (0, -1073, 0)
    assert parts(await balance(shop, currency="EUR")) == (0, 0, 0)


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


@pytest.mark.parametrize("is_direct", [True, False], ids=["direct", "of an order"])
async def test_share_that_a_dispute_is_about_to_take_is_held(
    shop: Shop, clock: FakeClock, *, is_direct: bool
) -> None:
    """Stripe tells of a dispute and of its withdrawal one after the other: it would be paid out between them."""
    order = None if is_direct else await shop.order()
    payment = await captured(shop, order, fee_minor=88)
    if order is not None:
        await complete(shop, order)
    dispute, settlement = a_dispute(payment), DisputeSettlement(shop.begin, clock, SettlementPolicy())

    await settlement.settle(payment.id, disputed(dispute))
    held = parts(await balance(shop))
    nothing = await drafted(shop)
    await settlement.settle(payment.id, disputed(dispute, DisputeStatus.NEEDS_RESPONSE, -1999, fee_minor=0))

    assert (held, nothing) == ((SHARE, 0, 0), None)
    assert parts(await balance(shop)) == (0, -88, 0)


async def test_inquiry_holds_nothing(shop: Shop, clock: FakeClock) -> None:
    payment = await earned(shop)
    told = disputed(a_dispute(payment), DisputeStatus.WARNING_NEEDS_RESPONSE)

    await DisputeSettlement(shop.begin, clock, SettlementPolicy()).settle(payment.id, told)

    assert parts(await balance(shop)) == (0, SHARE, 0)


async def test_what_a_person_books_for_a_payment_that_paid_for_nothing_waits_for_nothing(shop: Shop) -> None:
    """Its money goes back to its payer, and its order never completes: it would be pending for ever."""
    payment = await captured_late(shop)
    correction = a_journal(
        (PROCESSING_FEES, 500),
        (seller_payable(shop.seller.id), -500),
        kind=JournalKind.CORRECTION,
        payment_id=payment.id,
    )
    async with shop.begin() as tx:
        await tx.ledger.post([correction])
        await tx.commit()

    assert parts(await balance(shop)) == (0, 500, 0)
