"""A share that comes back after a loss, is paid out anew, and is lost again; and a loss that does not stand."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

from db.unit_of_work import Database
from domain.disputes.model import DisputeStatus
from domain.ledger.postings import Part
from domain.payments.model import Payment
from domain.payouts.model import Payout
from domain.refunds.model import Refund, RefundStatus
from domain.settlement.answers import Refusal, StripeTransaction
from domain.settlement.disputes import DisputeSettlement
from domain.settlement.model import SettlementPolicy
from domain.settlement.refunds import RefundSettlement
from tests.builders import Shop, a_dispute, a_requested_refund
from tests.domain.fakes import FakeClock
from tests.paid_out import (
    RELEASE,
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
from tests.stripe_answers import disputed, refunded


async def refund_all(shop: Shop, payment: Payment) -> Refund:
    made = a_requested_refund(payment, shop, 1999, lines=whole(shop))
    await refund(shop, made)
    return made


async def fail(shop: Shop, made: Refund) -> None:
    """Let the payer's bank send a booked refund back."""
    back = StripeTransaction(f"txn_back_{made.id}", made.amount_minor, 0, made.currency)
    answer = refunded(
        replace(made, stripe_refund_id=f"re_{made.id}"),
        status=RefundStatus.FAILED,
        failure_code="lost_or_stolen_card",
        transaction_id=f"txn_{made.id}",
        failure_transaction_id=back.id,
        failure_transaction=back,
    )
    assert await RefundSettlement(shop.begin, FakeClock(), SettlementPolicy()).settle(made.id, answer)


async def dispute(shop: Shop, payment: Payment, status: DisputeStatus, *moves: int, fee_minor: int = 0) -> None:
    known = a_dispute(payment, stripe_dispute_id=f"dp_{payment.id}")
    told = disputed(known, status, *moves, fee_minor=fee_minor)
    assert await DisputeSettlement(shop.begin, FakeClock(), SettlementPolicy()).settle(payment.id, told)


async def test_second_refund_after_one_that_failed_is_taken_back_of_the_second_payout(shop: Shop) -> None:
    payment = await earned(shop)
    await earned(shop)  # the first payout has something left that is no matter of this payment
    first = await paid_out(shop)
    made = await refund_all(shop, payment)
    (reversal,) = await reversals_of(shop, first)
    await taken_back(shop, reversal)
    await fail(shop, made)
    second = await paid_out(shop)

    await refund_all(shop, payment)

    lost_minor = 1999 - 50
    assert [each.amount_minor for each in await reversals_of(shop, first)] == [lost_minor]
    assert [each.amount_minor for each in await reversals_of(shop, second)] == [lost_minor]


async def test_refund_after_a_won_dispute_is_taken_back_of_the_second_payout(shop: Shop) -> None:
    payment = await earned(shop)
    first = await paid_out(shop)
    await dispute(shop, payment, DisputeStatus.NEEDS_RESPONSE, -1999)
    (reversal,) = await reversals_of(shop, first)
    await taken_back(shop, reversal)
    await dispute(shop, payment, DisputeStatus.WON, -1999, 1999)
    second = await paid_out(shop)

    await refund_all(shop, payment)

    assert [each.amount_minor for each in await reversals_of(shop, second)] == [second.amount_minor]


async def test_refund_of_what_was_won_after_all_had_come_to_nothing_is_taken_back(shop: Shop) -> None:
    payment = await earned(shop, fee_minor=0)
    await dispute(shop, payment, DisputeStatus.NEEDS_RESPONSE, -1999)
    async with shop.begin() as tx:
        await tx.payouts.claim_seller(shop.seller.id)
        await tx.payouts.net(shop.seller.id, RELEASE)
        await tx.commit()
    await dispute(shop, payment, DisputeStatus.WON, -1999, 1999)
    payout = await paid_out(shop)

    await refund_all(shop, payment)

    assert [each.amount_minor for each in await reversals_of(shop, payout)] == [payout.amount_minor]


async def test_refund_that_failed_while_the_transfer_was_under_way_takes_nothing_back(shop: Shop) -> None:
    payment = await earned(shop)
    payout = await drafted(shop)
    assert payout is not None
    await fail(shop, await refund_all(shop, payment))

    await sent(shop, payout)

    assert await reversals_of(shop, payout) == []


async def test_dispute_won_while_the_transfer_was_under_way_takes_nothing_back(shop: Shop) -> None:
    payment = await earned(shop)
    payout = await drafted(shop)
    assert payout is not None
    await dispute(shop, payment, DisputeStatus.NEEDS_RESPONSE, -1999)
    await dispute(shop, payment, DisputeStatus.WON, -1999, 1999)

    await sent(shop, payout)

    assert await reversals_of(shop, payout) == []


async def test_dispute_first_heard_of_when_it_is_won_takes_nothing_back(shop: Shop) -> None:
    payment = await earned(shop)
    payout = await paid_out(shop)

    await dispute(shop, payment, DisputeStatus.WON, -1999, 1999, fee_minor=1500)

    assert await reversals_of(shop, payout) == []


async def test_dispute_that_takes_money_again_while_the_transfer_is_under_way_is_taken_back_once(
    shop: Shop,
) -> None:
    payment = await earned(shop)
    await earned(shop)  # so that there is more to take
    payout = await drafted(shop)
    assert payout is not None
    await dispute(shop, payment, DisputeStatus.NEEDS_RESPONSE, -1999)
    await dispute(shop, payment, DisputeStatus.WON, -1999, 1999)
    await dispute(shop, payment, DisputeStatus.NEEDS_RESPONSE, -1999, 1999, -1999)

    await sent(shop, payout)

    assert [each.amount_minor for each in await reversals_of(shop, payout)] == [1999 - 50]


async def test_dispute_that_takes_money_again_is_taken_back_of_the_second_payout(shop: Shop) -> None:
    payment = await earned(shop)
    await earned(shop)  # the first payout has something left that is no matter of this payment
    first = await paid_out(shop)
    await dispute(shop, payment, DisputeStatus.NEEDS_RESPONSE, -1999)
    (reversal,) = await reversals_of(shop, first)
    await taken_back(shop, reversal)
    await dispute(shop, payment, DisputeStatus.WON, -1999, 1999)
    second = await paid_out(shop)

    await dispute(shop, payment, DisputeStatus.LOST, -1999, 1999, -1999)

    lost_minor = 1999 - 50
    assert [each.amount_minor for each in await reversals_of(shop, first)] == [lost_minor]
    assert [each.amount_minor for each in await reversals_of(shop, second)] == [lost_minor]


async def came_back(shop: Shop) -> tuple[Payment, Payout]:
    """Store a payment whose share was paid out, and of which a part was lost and came back."""
    payment = await earned(shop)
    payout = await paid_out(shop)
    await dispute(shop, payment, DisputeStatus.NEEDS_RESPONSE, -500)
    (reversal,) = await reversals_of(shop, payout)
    await taken_back(shop, reversal)
    await dispute(shop, payment, DisputeStatus.WON, -500, 500)
    return payment, payout


async def lost_twice(shop: Shop) -> tuple[Payout, Payout]:
    """Store what was paid out, and a payout under way of what came back: less than each of two losses since."""
    payment, first = await came_back(shop)
    second = await drafted(shop)
    assert second is not None
    for amount_minor, commission_minor in ((600, 15), (700, 17)):
        lines = (Part(1, shop.seller.id, amount_minor, commission_minor),)
        await refund(shop, a_requested_refund(payment, shop, amount_minor, lines=lines))
    assert await reversals_of(shop, second) == []
    return first, second


async def test_losses_that_meet_at_one_payout_are_taken_back_of_older_ones_once_it_is_used_up(shop: Shop) -> None:
    first, second = await lost_twice(shop)

    await sent(shop, second)

    assert [each.amount_minor for each in await reversals_of(shop, second)] == [second.amount_minor]
    assert [each.amount_minor for each in await reversals_of(shop, first)] == [second.amount_minor, 700 - 17]


async def test_losses_that_waited_for_a_payout_that_is_given_up_are_taken_back_of_older_ones(shop: Shop) -> None:
    first, second = await lost_twice(shop)

    await sent(shop, second, Refusal("balance_insufficient"))

    given_back = second.amount_minor
    assert [each.amount_minor for each in await reversals_of(shop, first)] == [given_back, 600 - 15, 700 - 17]
    assert parts(await balance(shop)) == (0, given_back - (600 - 15) - (700 - 17), 0)


async def test_payout_that_is_booked_waits_for_older_ones_before_it_locks_itself(
    database: Database, real_shop: Shop, blocked: Callable[[int], Awaitable[None]]
) -> None:
    """Otherwise it and whoever locks both in their order would wait for each other."""
    first, second = await lost_twice(real_shop)

    async with asyncio.timeout(30), database.begin() as tx:
        await tx.payout_work.lock([first.id])
        booking = asyncio.create_task(sent(real_shop, second))
        await blocked(1)
        await tx.payout_work.lock([second.id])
        await tx.commit()
    await booking

    assert len(await reversals_of(real_shop, first)) == 2


async def test_loss_waits_for_all_payouts_of_which_it_may_be_taken_back_in_their_order(
    database: Database, real_shop: Shop, blocked: Callable[[int], Awaitable[None]]
) -> None:
    payment, first = await came_back(real_shop)
    second = await paid_out(real_shop)

    async with asyncio.timeout(30), database.begin() as tx:
        await tx.payout_work.lock([first.id])
        losing = asyncio.create_task(refund_all(real_shop, payment))
        await blocked(1)
        await tx.payout_work.lock([second.id])
        await tx.commit()
    await losing

    assert len(await reversals_of(real_shop, second)) == 1
