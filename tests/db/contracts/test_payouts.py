"""Payouts, which shares they take, and who sees them: one contract for the real database and the fakes."""

from datetime import timedelta

from domain.identity.model import Principal, Role
from domain.ids import UserId, uuid7
from domain.ledger.model import STRIPE_BALANCE, JournalKind, seller_payable
from domain.pages import PageRequest
from domain.payouts.model import PayoutOrigin
from domain.settlement.answers import Refusal
from tests.builders import NOW, Shop, a_journal, a_requested_refund, principal
from tests.captured import captured
from tests.db.contracts.payout_standing import PENDING
from tests.paid_out import RELEASE, SHARE, balance, drafted, earned, paid_out, parts, refund, sent, whole


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


async def test_correction_for_a_payment_that_was_never_captured_waits_for_no_money(shop: Shop) -> None:
    """Finance owes the seller what Stripe has and no settlement can book."""
    payment = await shop.payment()
    owed = a_journal(
        (STRIPE_BALANCE, 1500),
        (seller_payable(shop.seller.id), -1500),
        kind=JournalKind.CORRECTION,
        payment_id=payment.id,
    )
    async with shop.begin() as tx:
        await tx.ledger.post([owed])
        await tx.commit()

    assert parts(await balance(shop)) == (0, 1500, 0)
    payout = await drafted(shop)
    assert payout is not None
    assert payout.amount_minor == 1500


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
