"""How a payout stands, what was told of it, and what the books say that Stripe holds."""

from domain.ledger.model import STRIPE_BALANCE
from domain.payouts.model import Payout, PayoutStatus
from tests.balances import all_balances
from tests.builders import Shop

PENDING, IN_TRANSIT, PAID = PayoutStatus.PENDING, PayoutStatus.IN_TRANSIT, PayoutStatus.PAID
FAILED, UNKNOWN, REVERSED = PayoutStatus.FAILED, PayoutStatus.UNKNOWN, PayoutStatus.REVERSED


async def stored(shop: Shop, payout: Payout) -> Payout:
    async with shop.begin() as tx:
        found: Payout = (await tx.payout_work.by_ids([payout.id]))[payout.id]
    return found


async def events_of(shop: Shop, payout: Payout) -> list[str]:
    async with shop.begin() as tx:
        return [told.type for told in (await tx.events.of_subject(payout.id)).rows]


async def stripe_balance(shop: Shop) -> int:
    async with shop.begin() as tx:
        found = {row.account: row.balance_minor for row in await all_balances(tx) if row.currency == "USD"}
    return int(found.get(STRIPE_BALANCE, 0))
