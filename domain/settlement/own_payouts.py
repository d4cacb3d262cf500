"""Payouts from the platform's own balance at Stripe to its bank: they are made there, and booked here."""

from collections.abc import Iterator
from datetime import datetime

from domain.clock import Clock
from domain.errors import Unavailable
from domain.ids import JournalId, uuid7
from domain.ledger.model import Entry, Journal, JournalKind
from domain.ledger.postings import post_bank_payout, post_stripe_fee
from domain.settlement.answers import Absent, OwnPayout, StripeTransaction
from domain.settlement.gateways import TransferGateway
from domain.settlement.ports import SettlementTransaction
from domain.transactions import Begin


class OwnPayouts:
    """Books what Stripe says of them, whoever brings the news: a webhook or reconciliation."""

    def __init__(self, begin: Begin[SettlementTransaction], gateway: TransferGateway, clock: Clock) -> None:
        """Keep the collaborators."""
        self._begin = begin
        self._gateway = gateway
        self._clock = clock

    async def follow(self, stripe_payout_id: str) -> bool:
        """Book what a payout has moved and is not booked yet; return whether Stripe knows of any movement.

        Safe to repeat. Errors: Unavailable where Stripe does not say; Refused where somebody else has booked it
        meanwhile.
        """
        payout = await self._gateway.own_payout(stripe_payout_id)
        if isinstance(payout, Absent):
            return False
        if not isinstance(payout, OwnPayout):
            raise Unavailable("Stripe does not say what the payout moved", code="stripe_unavailable")
        journals = list(_journals(payout, self._clock.now()))
        async with self._begin() as tx:
            known = [await tx.ledger.by_source(journal.kind, journal.source) for journal in journals]
            missing = [journal for journal, found in zip(journals, known, strict=True) if found is None]
            await tx.ledger.post(missing)
            await tx.commit()
        return bool(journals)


def _journals(payout: OwnPayout, now: datetime) -> Iterator[Journal]:
    for kind, moved in (
        (JournalKind.BANK_PAYOUT, payout.transaction),
        (JournalKind.BANK_PAYOUT_RETURNED, payout.returned),
    ):
        if moved is None:
            continue
        yield _journal(kind, payout.stripe_payout_id, moved, post_bank_payout(moved.amount_minor), now)
        if moved.fee_minor:
            fee = post_stripe_fee(moved.fee_minor, (), seller_bears=False)
            yield _journal(JournalKind.BANK_PAYOUT_FEE, moved.id, moved, fee, now)


def _journal(
    kind: JournalKind, source: str, moved: StripeTransaction, entries: tuple[Entry, ...], now: datetime
) -> Journal:
    return Journal(JournalId(uuid7()), kind, source, None, moved.currency, entries, now)
