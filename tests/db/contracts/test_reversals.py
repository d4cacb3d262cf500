"""Reversals, which take back what was transferred: one contract for the real database and the fakes."""

import pytest

from domain.errors import Refused
from domain.ids import ReversalId, uuid7
from domain.payouts.model import Payout, Reversal, ReversalStatus
from domain.settlement.answers import Refusal, Unsure
from domain.settlement.disputes import DisputeSettlement
from domain.settlement.model import SettlementPolicy
from domain.settlement.reversals import ReversalSettlement
from tests.builders import NOW, Shop, a_dispute, a_requested_refund
from tests.db.contracts.payout_standing import IN_TRANSIT, REVERSED, events_of, stored, stripe_balance
from tests.db.contracts.reading import LATER
from tests.domain.fakes import FakeClock
from tests.paid_out import (
    SHARE,
    a_stripe_reversal,
    balance,
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


def a_reversal(payout: Payout, amount_minor: int) -> Reversal:
    return Reversal(
        ReversalId(uuid7()), payout.id, amount_minor, payout.currency, ReversalStatus.PENDING, NOW, NOW
    )


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


async def test_payout_is_reversed_once_all_of_it_was_taken_back_and_not_when_that_is_asked_for(shop: Shop) -> None:
    payments = [await earned(shop) for _ in range(2)]
    payout = await paid_out(shop)
    for payment in payments:
        await refund(shop, a_requested_refund(payment, shop, 1999, lines=whole(shop)))
    assert (await stored(shop, payout)).reversed_minor == payout.amount_minor

    stands = []
    for reversal in await reversals_of(shop, payout):
        await taken_back(shop, reversal)
        stands.append((await stored(shop, payout)).status)

    assert stands == [IN_TRANSIT, REVERSED]


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
