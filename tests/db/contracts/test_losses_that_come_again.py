"""A share that comes back after a loss, is paid out anew, and is lost again; and a loss that does not stand."""

from dataclasses import replace

from domain.disputes.model import DisputeStatus
from domain.payments.model import Payment
from domain.refunds.model import Refund, RefundStatus
from domain.settlement.answers import StripeTransaction
from domain.settlement.disputes import DisputeSettlement
from domain.settlement.model import SettlementPolicy
from domain.settlement.refunds import RefundSettlement
from tests.builders import Shop, a_dispute, a_requested_refund
from tests.domain.fakes import FakeClock
from tests.paid_out import RELEASE, drafted, earned, paid_out, refund, reversals_of, sent, taken_back, whole
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
