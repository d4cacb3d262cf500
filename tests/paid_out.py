"""Shares that are paid out, made by the settlement itself, on the real database or in memory."""

from collections import Counter
from dataclasses import replace
from typing import Any

from domain.identity.model import User
from domain.ids import PayoutId, ReversalId
from domain.ledger.postings import Part
from domain.orders.model import Order, OrderStatus, Shipment
from domain.payments.model import Payment
from domain.payouts.model import Payout, Release, Reversal, SellerBalance
from domain.refunds.model import Refund
from domain.sellers.model import OnboardingStatus
from domain.settlement.answers import StripeReversal, TransferAnswer
from domain.settlement.model import SettlementPolicy
from domain.settlement.payouts import PayoutSettlement
from domain.settlement.refunds import RefundSettlement
from domain.settlement.reversals import ReversalSettlement
from tests.balances import all_balances
from tests.builders import NOW, Begin, Shop, a_payout, a_requested_refund, a_seller_account, unique
from tests.captured import captured
from tests.domain.fakes import FakeClock
from tests.stripe_answers import refunded, transferred

RELEASE = Release(NOW, NOW)
SHARE = 1999 - 50 - 88
"""What a seller has of a payment of 19.99: less the commission, and less Stripe's fee."""


async def earned(shop: Shop, **changes: Any) -> Payment:
    """Store a direct payment of 19.99 whose share is available to the shop's seller."""
    return await captured(shop, **{"fee_minor": 88, **changes})


async def earned_by(shop: Shop, seller: User) -> Payment:
    """Store the same of any seller."""
    return await earned(replace(shop, seller=seller))


async def make_able(begin: Begin, *sellers: User) -> None:
    """Let Stripe pay sellers out."""
    able = {"status": OnboardingStatus.COMPLETE, "payouts_enabled": True}
    async with begin() as tx:
        for seller in sellers:
            account = a_seller_account(seller.id)
            await tx.seller_accounts.add(account, publish_at=NOW)
            known = replace(account, stripe_account_id=unique("acct"), **able)  # type: ignore[arg-type]  # by name
            await tx.seller_accounts.save(known, due_at=None)
        await tx.commit()


def whole(shop: Shop) -> tuple[Part, ...]:
    """All of a payment of 19.99."""
    return (Part(1, shop.seller.id, 1999, 50),)


async def drafted(
    shop: Shop, *, seller: User | None = None, least_minor: int = 1, **changes: Any
) -> Payout | None:
    """Store a payout of all that is available to the shop's seller, if it is enough."""
    draft = a_payout((seller or shop.seller).id, amount_minor=0, **changes)
    async with shop.begin() as tx:
        await tx.payouts.claim_seller(draft.seller_id)
        payout: Payout | None = await tx.payouts.draft(draft, RELEASE, least_minor=least_minor, publish_at=NOW)
        await tx.commit()
    return payout


async def sent(
    shop: Shop, payout: Payout, answer: TransferAnswer | None = None, *, clock: FakeClock | None = None
) -> Payout:
    """Settle the transfer of a payout, or another answer about it, and return it as it is then."""
    settlement = PayoutSettlement(shop.begin, clock or FakeClock(), SettlementPolicy())
    assert await settlement.settle(payout.id, answer or transferred(payout))
    async with shop.begin() as tx:
        found: Payout = (await tx.payout_work.by_ids([payout.id]))[payout.id]
    return found


async def paid_out(shop: Shop, **changes: Any) -> Payout:
    """Store a payout of all that is available to the shop's seller, transferred and booked."""
    payout = await drafted(shop, **changes)
    assert payout is not None
    return await sent(shop, payout)


async def refund(shop: Shop, refund: Refund, **changes: Any) -> None:
    """Store a refund, unless it is stored, and book it as made."""
    async with shop.begin() as tx:
        await tx.refunds.add([refund], publish_at=NOW)
        await tx.commit()
    found = refunded(refund, **changes)
    await RefundSettlement(shop.begin, FakeClock(), SettlementPolicy()).settle(refund.id, found)


async def reversals_of(shop: Shop, payout: Payout) -> list[Reversal]:
    """Return what is or was to be taken back of a payout."""
    async with shop.begin() as tx:
        return list(await tx.reversal_work.of_payout(payout.id))


async def payouts_due(shop: Shop, count: int) -> list[PayoutId]:
    """Store payouts that are due at once."""
    made = []
    for _ in range(count):
        await earned(shop)
        payout = await drafted(shop)
        assert payout is not None
        made.append(payout.id)
    return made


async def reversals_due(shop: Shop, count: int) -> list[ReversalId]:
    """Store reversals of a payout that are due at once."""
    payments = [await earned(shop) for _ in range(count)]
    payout = await paid_out(shop)
    for payment in payments:
        await refund(shop, a_requested_refund(payment, shop))
    return [reversal.id for reversal in await reversals_of(shop, payout)]


async def taken_back(shop: Shop, reversal: Reversal, **changes: Any) -> None:
    """Settle a reversal as made at Stripe."""
    await ReversalSettlement(shop.begin, FakeClock(), SettlementPolicy()).settle(
        reversal.id, a_stripe_reversal(reversal, **changes)
    )


def a_stripe_reversal(reversal: Reversal, **changes: Any) -> StripeReversal:
    """Return Stripe's reversal that was made for one of ours."""
    values: dict[str, Any] = {
        "stripe_reversal_id": f"trr_{reversal.id}",
        "transfer_id": f"tr_{reversal.payout_id}",
        "amount_minor": reversal.amount_minor,
        "currency": reversal.currency,
        "reversal_id": reversal.id,
    }
    return StripeReversal(**{**values, **changes})


async def complete(shop: Shop, order: Order) -> None:
    """Let every seller ship its part of a paid order, and the order complete."""
    await ship(shop, order)
    await _advance(shop, order, OrderStatus.COMPLETED)


async def ship(shop: Shop, order: Order) -> None:
    """Let every seller ship its part of a paid order."""
    async with shop.begin() as tx:
        for seller_id in sorted(order.sellers):
            await tx.shipments.add(Shipment(order.id, seller_id, "DHL", "JJD00033", NOW))
        await tx.commit()
    await _advance(shop, order, OrderStatus.SHIPPED)


async def _advance(shop: Shop, order: Order, status: OrderStatus) -> None:
    async with shop.begin() as tx:
        await tx.orders.advance({order.id: status}, NOW)
        await tx.commit()


async def balance(
    shop: Shop, seller: User | None = None, release: Release = RELEASE, *, currency: str = "USD"
) -> SellerBalance:
    """Return what the shop's seller is owed in a currency; it adds up to the ledger."""
    seller = seller or shop.seller
    async with shop.begin() as tx:
        found: list[SellerBalance] = list(await tx.payouts.balance(seller.id, release))
        ledger = {
            row.currency: -row.balance_minor
            for row in await all_balances(tx)
            if row.account == f"seller_payable:{seller.id}"
        }
    sums = Counter({each.currency: sum(parts(each)) for each in found})
    assert sums == Counter(ledger), "the parts of the balance do not add up to the ledger's"
    return next((each for each in found if each.currency == currency), SellerBalance(currency, 0, 0, 0, 0))


def parts(balance: SellerBalance) -> tuple[int, int, int]:
    """Return what is pending, available and on its way."""
    return balance.pending_minor, balance.available_minor, balance.in_payout_minor
