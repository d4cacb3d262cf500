"""Payments on both sides of a reconciliation: a Stripe that is a list, and the shop's books."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from domain.errors import Unavailable
from domain.ledger.model import BANK, STRIPE_BALANCE, JournalKind, seller_payable
from domain.reconciliation.model import StripeLine
from domain.reconciliation.ports import LinePage
from tests.builders import Shop, a_journal, a_line_of_stripe, unique

PAGE = 3


@dataclass
class ListedStripe:
    """Stripe's list in pages of three; `fails_after` so many pages it is out of reach once."""

    lines: list[StripeLine] = field(default_factory=list)
    payouts: dict[str, list[StripeLine]] = field(default_factory=dict)
    in_progress: set[str] = field(default_factory=set)
    asked_in_payouts: list[str | None] = field(default_factory=list)
    payout_fails_at: int | None = None
    pages: int = 0
    fails_at: int | None = None

    async def page(self, from_at: datetime, to_at: datetime, after: str | None) -> LinePage:
        self.pages += 1
        if self.pages == self.fails_at:
            raise Unavailable("Stripe is away", code="stripe_unavailable")
        newest_first = sorted(self.lines, key=lambda line: (line.created_at, line.id), reverse=True)
        found = [line for line in newest_first if from_at <= line.created_at < to_at]
        start = next((place + 1 for place, line in enumerate(found) if line.id == after), 0)
        return LinePage(found[start : start + PAGE], len(found) > start + PAGE)

    async def in_payout(self, payout_id: str, after: str | None) -> LinePage | None:
        self.asked_in_payouts.append(after)
        if len(self.asked_in_payouts) == self.payout_fails_at:
            raise Unavailable("Stripe is away", code="stripe_unavailable")
        if payout_id not in self.payouts or payout_id in self.in_progress:
            return None
        found = sorted(self.payouts[payout_id], key=lambda line: line.id)
        start = next((place + 1 for place, line in enumerate(found) if line.id == after), 0)
        return LinePage(found[start : start + PAGE], len(found) > start + PAGE)

    async def of_source(self, source: str) -> Sequence[StripeLine]:
        return [line for line in self.lines if line.source == source]

    async def line(self, transaction_id: str) -> StripeLine | None:
        return next((line for line in self.lines if line.id == transaction_id), None)


@dataclass
class Healer:
    """Books a charge that it is told to heal."""

    books: "Books"
    heals: set[str] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)

    async def mend(self, line: StripeLine) -> bool:
        self.asked.append(line.id)
        if line.id in self.heals:
            await self.books.post(line)
        return line.id in self.heals


class Books:
    """Payments of the shop with their lines at Stripe and their journals."""

    def __init__(self, shop: Shop, stripe: ListedStripe) -> None:
        self.shop = shop
        self.stripe = stripe

    async def charge(self, **changes: Any) -> StripeLine:
        """A charge at Stripe of a payment of ours, as yet unbooked."""
        payment = await self.shop.payment()
        line = a_line_of_stripe(payment_id=payment.id, charge_id=f"ch_{payment.id}", intent_id=f"pi_{payment.id}")
        line = replace(line, source=line.charge_id, **changes)
        self.stripe.lines.append(line)
        return line

    async def post(
        self, line: StripeLine, *, amount_minor: int | None = None, fee_minor: int | None = None
    ) -> None:
        """Book a charge and its fee."""
        seller = seller_payable(self.shop.seller.id)
        amount = line.amount_minor if amount_minor is None else amount_minor
        fee = line.fee_minor if fee_minor is None else fee_minor
        changes = {"payment_id": line.payment_id, "created_at": line.created_at, "currency": line.currency}
        journals = [a_journal((STRIPE_BALANCE, amount), (seller, -amount), source=line.source, **changes)]
        if fee:
            fee_changes = {**changes, "kind": JournalKind.STRIPE_FEE, "source": line.id}
            journals.append(a_journal((seller, fee), (STRIPE_BALANCE, -fee), **fee_changes))
        async with self.shop.begin() as tx:
            await tx.ledger.post(journals)
            await tx.commit()

    async def paid_out(self, lines: Sequence[StripeLine], *, less_minor: int = 0) -> StripeLine:
        """A payout to our bank of what is in lines, or of less, that both sides have."""
        amount = sum(line.net_minor for line in lines) - less_minor
        payout = a_line_of_stripe(category="payout", source=unique("po"), amount_minor=-amount, fee_minor=0)
        self.stripe.lines.append(payout)
        self.stripe.payouts[payout.source or ""] = [payout, *lines]
        kind, source = JournalKind.BANK_PAYOUT, payout.source
        journal = a_journal(
            (BANK, amount), (STRIPE_BALANCE, -amount), kind=kind, source=source, created_at=payout.created_at
        )
        async with self.shop.begin() as tx:
            await tx.ledger.post([journal])
            await tx.commit()
        return payout

    async def paid(self, **changes: Any) -> StripeLine:
        """A charge that both sides have."""
        line = await self.charge(**changes)
        await self.post(line)
        return line
