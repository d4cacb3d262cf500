"""What a later payout made up for: taken back of the older transfer once that payout is given up."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from db.unit_of_work import Database
from domain.ids import ReversalId, uuid7
from domain.ledger.postings import Part
from domain.payments.model import Payment
from domain.payouts.model import Payout, PayoutStatus, Reversal, ReversalStatus
from domain.settlement.answers import Absent, Refusal, TransferAnswer
from domain.settlement.disputes import DisputeSettlement
from domain.settlement.model import SettlementPolicy
from domain.settlement.reversals import ReversalSettlement
from tests.builders import NOW, Shop, a_dispute, a_requested_refund
from tests.captured import captured
from tests.domain.fakes import FakeClock
from tests.paid_out import (
    SHARE,
    a_stripe_reversal,
    balance,
    complete,
    drafted,
    earned,
    earned_by,
    paid_out,
    parts,
    refund,
    reversals_of,
    sent,
    taken_back,
)
from tests.stripe_answers import disputed

FAILED, REVERSED = PayoutStatus.FAILED, PayoutStatus.REVERSED
REFUSED = Refusal("balance_insufficient")


async def status_of(shop: Shop, payout: Payout) -> PayoutStatus:
    async with shop.begin() as tx:
        found: Payout = (await tx.payout_work.by_ids([payout.id]))[payout.id]
    return found.status


async def lose_by_refund(shop: Shop, payment: Payment) -> None:
    await refund(shop, a_requested_refund(payment, shop))


async def lose_by_dispute(shop: Shop, payment: Payment) -> None:
    told = disputed(a_dispute(payment), a_dispute(payment).status, -1000, fee_minor=0)
    await DisputeSettlement(shop.begin, FakeClock(), SettlementPolicy()).settle(payment.id, told)


async def made_up_for(
    shop: Shop, lose: Callable[[Shop, Payment], Awaitable[None]] = lose_by_refund
) -> tuple[Payout, Payout]:
    """Store a payout of a share that is lost while it is transferred, and a later one that makes up for it."""
    payment = await earned(shop)
    first = await drafted(shop)
    await lose(shop, payment)
    await earned(shop)
    later = await drafted(shop)
    assert first is not None
    assert later is not None
    assert later.amount_minor == SHARE - 975
    return first, later


@pytest.mark.parametrize("lose", [lose_by_refund, lose_by_dispute], ids=["refund", "dispute"])
@pytest.mark.parametrize("given_up", [REFUSED, Absent()], ids=["refused", "absent"])
async def test_loss_that_a_later_payout_made_up_for_is_taken_back_once_that_one_is_given_up(
    shop: Shop, lose: Callable[[Shop, Payment], Awaitable[None]], given_up: TransferAnswer, clock: FakeClock
) -> None:
    """As it would have been had there been no later payout."""
    first, later = await made_up_for(shop, lose)
    await sent(shop, first)
    assert await reversals_of(shop, first) == []

    for _ in range(3):
        clock.advance(300)
        await sent(shop, later, given_up, clock=clock)

    (reversal,) = await reversals_of(shop, first)
    assert reversal.amount_minor == 975
    assert await status_of(shop, later) is FAILED
    assert parts(await balance(shop)) == (0, SHARE - 975, 0)
    await taken_back(shop, reversal)
    assert parts(await balance(shop)) == (0, SHARE, 0)


async def test_loss_that_a_later_payout_made_up_for_stays_made_up_for_when_that_one_is_reversed(
    shop: Shop, clock: FakeClock
) -> None:
    """What was transferred had the loss taken off; all of that is owed again, and no more."""
    first, later = await made_up_for(shop)
    await sent(shop, first)
    await sent(shop, later)

    all_of_it = Reversal(
        ReversalId(uuid7()), later.id, later.amount_minor, later.currency, ReversalStatus.PENDING, NOW, NOW
    )
    found = a_stripe_reversal(all_of_it, reversal_id=None)
    await ReversalSettlement(shop.begin, clock, SettlementPolicy()).adopt(later.id, found)

    assert await status_of(shop, later) is REVERSED
    assert await reversals_of(shop, first) == []
    assert parts(await balance(shop)) == (0, SHARE - 975, 0)


async def test_loss_that_a_failed_payout_made_up_for_waits_for_the_transfer_of_its_share(shop: Shop) -> None:
    first, later = await made_up_for(shop)

    await sent(shop, later, REFUSED)
    assert await reversals_of(shop, first) == []
    await sent(shop, first)

    assert [reversal.amount_minor for reversal in await reversals_of(shop, first)] == [975]


async def test_payouts_of_the_same_payments_are_those_of_the_same_seller(shop: Shop) -> None:
    """Two sellers are paid out of one order, and both lose by its refund."""
    order = await shop.order(shop.product, shop.other_product)
    payment = await captured(shop, order, fee_minor=0)
    await complete(shop, order)
    first, of_other = await drafted(shop), await drafted(shop, seller=shop.other_seller)
    parts_of_both = tuple(Part(number, line.seller_id, 100, 2) for number, line in enumerate(order.lines, 1))
    await refund(shop, a_requested_refund(payment, shop, 200, lines=parts_of_both))
    for seller in (shop.seller, shop.other_seller):
        await earned_by(shop, seller)
    later = [await drafted(shop, seller=seller) for seller in (shop.seller, shop.other_seller)]

    assert first is not None
    assert of_other is not None
    async with shop.begin() as tx:
        older = [await tx.payout_work.of_same_payments(payout.id) for payout in (*later, first) if payout]
    assert older == [[first.id], [of_other.id], []]


async def test_loss_that_stripe_refused_to_take_back_is_not_taken_back_by_a_payout_that_is_given_up(
    shop: Shop, clock: FakeClock
) -> None:
    payment = await earned(shop)
    first = await paid_out(shop)
    await lose_by_refund(shop, payment)
    (reversal,) = await reversals_of(shop, first)
    settlement = ReversalSettlement(shop.begin, clock, SettlementPolicy())
    await settlement.settle(reversal.id, REFUSED)
    await earned(shop)
    later = await drafted(shop)
    assert later is not None

    await sent(shop, later, REFUSED)

    assert [each.status for each in await reversals_of(shop, first)] == [ReversalStatus.FAILED]
    assert parts(await balance(shop)) == (0, SHARE - 975, 0)


async def test_transfer_and_refusal_of_what_made_up_for_a_refund_at_once_take_it_back_once(
    real_shop: Shop,
) -> None:
    for _ in range(8):
        first, later = await made_up_for(real_shop)

        async with asyncio.timeout(30):
            await asyncio.gather(sent(real_shop, first), sent(real_shop, later, REFUSED))

        (reversal,) = await reversals_of(real_shop, first)
        await taken_back(real_shop, reversal)
        assert parts(await balance(real_shop)) == (0, SHARE, 0)
        await paid_out(real_shop)


async def test_payout_that_is_given_up_waits_for_older_ones_before_it_locks_itself(
    database: Database, real_shop: Shop, blocked: Callable[[int], Awaitable[None]]
) -> None:
    """Otherwise it and whoever locks both in their order would wait for each other."""
    first, later = await made_up_for(real_shop)
    await sent(real_shop, first)

    async with asyncio.timeout(30), database.begin() as tx:
        await tx.payout_work.lock([first.id])
        giving_up = asyncio.create_task(sent(real_shop, later, REFUSED))
        await blocked(1)
        await tx.payout_work.lock([later.id])
        await tx.commit()
    await giving_up

    assert len(await reversals_of(real_shop, first)) == 1
