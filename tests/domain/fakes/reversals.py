"""Reversals of payouts, in memory."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime

from domain.disputes.model import DisputeFunds
from domain.errors import Refused
from domain.ids import PayoutId, ReversalId
from domain.ledger.model import Account, EntryRef, Journal, JournalKind, seller_of, seller_payable
from domain.payouts.model import REVERSAL_TRANSITIONS, PaidDebit, Payout, Reversal, ReversalStatus
from domain.refunds.model import RefundStatus
from domain.work import Work
from tests.domain.fakes.payouts import SHARES, taken_by
from tests.domain.fakes.state import Due, Repository, State, count_attempt, lease_due

_LOSSES = {JournalKind.REFUND, JournalKind.DISPUTE_OPENED, JournalKind.CONVERSION_SETTLED}


class FakeReversalWork(Repository):
    async def lock_payers(self, losses: Collection[EntryRef]) -> None:
        pass

    async def debits_of(self, losses: Collection[EntryRef]) -> Sequence[PaidDebit]:
        return sorted(
            (
                PaidDebit(
                    journal.id,
                    line,
                    entry.amount_minor,
                    journal.payment_id,
                    payout.id,
                    payout.currency,
                    payout.amount_minor - payout.reversed_minor,
                )
                for journal in self._state.journals
                if journal.payment_id and self._takes_from_sellers(journal) and not self._is_undone(journal)
                for line, entry in enumerate(journal.entries, 1)
                if (journal.id, line) in losses and entry.amount_minor > 0
                if seller_of(entry.account) is not None and self._is_open(EntryRef(journal.id, line))
                if (payout := self._payer(journal, entry.account)) is not None and payout.is_booked
            ),
            key=lambda debit: (debit.payout_id, debit.journal_id, debit.line),
        )

    async def losses_of(self, payout_id: PayoutId) -> Collection[EntryRef]:
        taken = taken_by(self._state, payout_id)
        payments = {journal.payment_id for journal, _, _ in taken if journal.kind in SHARES}
        account = seller_payable(self._state.payouts[payout_id].seller_id)
        return [
            EntryRef(journal.id, line)
            for journal in self._state.journals
            if journal.kind in _LOSSES and journal.payment_id in payments
            for line, entry in enumerate(journal.entries, 1)
            if entry.account == account and entry.amount_minor > 0 and self._is_open(EntryRef(journal.id, line))
        ]

    def _is_open(self, loss: EntryRef) -> bool:
        """Whether no payout has made up for a loss, and nothing was taken back for it."""
        reversals = self._state.reversals.values()
        return loss not in self._state.payout_entries and loss not in {(r.journal_id, r.line) for r in reversals}

    def _takes_from_sellers(self, journal: Journal) -> bool:
        """Whether a journal's debits are what sellers lose; of what is exchanged the other half has them."""
        if journal.kind in {JournalKind.REFUND, JournalKind.DISPUTE_OPENED}:
            return not any(
                other.kind is JournalKind.CONVERSION_CHARGED and other.payment_id == journal.payment_id
                for other in self._state.journals
            )
        return journal.kind is JournalKind.CONVERSION_SETTLED

    def _is_undone(self, journal: Journal) -> bool:
        """Whether the refund failed after all, or the dispute was won."""
        refunds, disputes = self._state.refunds.values(), self._state.disputes.values()
        failed = [refund for refund in refunds if refund.status is RefundStatus.FAILED]
        won = {
            transaction_id
            for dispute in disputes
            for transaction_id in dispute.transaction_ids
            if dispute.funds is DisputeFunds.REINSTATED or transaction_id != dispute.withdrawal_id
        }
        return journal.source in won or any(
            journal.source in {refund.stripe_refund_id, refund.transaction_id} for refund in failed
        )

    def _payer(self, debit: Journal, account: Account) -> Payout | None:
        """The last payout that took a share of a payment in the currency of a debit, and has something left."""
        takers = {
            (journal.id, line): self._state.payout_entries.get((journal.id, line))
            for journal in self._state.journals
            if journal.kind in SHARES
            if (journal.payment_id, journal.currency) == (debit.payment_id, debit.currency)
            for line, entry in enumerate(journal.entries, 1)
            if entry.account == account and entry.amount_minor < 0
        }
        payouts = [self._state.payouts[takers[share]] for share in sorted(takers, reverse=True) if takers[share]]
        return next((payout for payout in payouts if payout.reversed_minor < payout.amount_minor), None)

    async def add(self, reversals: Sequence[Reversal]) -> None:
        for reversal in reversals:
            self._state.reversals[reversal.id] = reversal
            self._state.due[Work.REVERSALS][reversal.id] = Due(reversal.created_at, reversal.created_at)
            _count_reversals(self._state, reversal.payout_id)

    async def lease(self, ids: Sequence[ReversalId], now: datetime, locked_until: datetime) -> Sequence[Reversal]:
        for reversal_id in (leased := lease_due(self._state.due[Work.REVERSALS], ids, now, locked_until)):
            reversal = count_attempt(self._state.reversals, reversal_id)
            self._state.reversals[reversal_id] = replace(reversal, first_sent_at=reversal.first_sent_at or now)
        return [self._state.reversals[reversal_id] for reversal_id in leased]

    async def find(self, reversal_id: ReversalId | None, stripe_reversal_id: str | None) -> Reversal | None:
        reversals = self._state.reversals
        known = (r for r in reversals.values() if r.stripe_reversal_id == stripe_reversal_id is not None)
        return next(known, None) or (reversals.get(reversal_id) if reversal_id is not None else None)

    async def of_payout(self, payout_id: PayoutId) -> Sequence[Reversal]:
        found = [reversal for reversal in self._state.reversals.values() if reversal.payout_id == payout_id]
        return sorted(found, key=lambda reversal: reversal.id)

    async def lock(self, reversal_id: ReversalId) -> Reversal:
        return self._state.reversals[reversal_id]

    async def save(self, reversal: Reversal, *, due_at: datetime | None) -> None:
        before = self._state.reversals[reversal.id]
        if reversal.status is not before.status and reversal.status not in REVERSAL_TRANSITIONS[before.status]:
            raise Refused("a constraint of payout_reversals")
        self._state.reversals[reversal.id] = reversal
        self._state.due[Work.REVERSALS][reversal.id] = Due(due_at, due_at)
        self._state.quarantined_payouts.pop(reversal.id, None)
        _count_reversals(self._state, reversal.payout_id)

    async def reversed_minor(self, payout_id: PayoutId) -> int:
        made = [r for r in await self.of_payout(payout_id) if r.status is ReversalStatus.SUCCEEDED]
        return sum(reversal.amount_minor for reversal in made)

    async def quarantine(self, reversal_id: ReversalId, reason: str, at: datetime) -> None:
        self._state.quarantined_payouts[reversal_id] = reason
        self._state.due[Work.REVERSALS][reversal_id] = Due(None, None)


def _count_reversals(state: State, payout_id: PayoutId) -> None:
    """What triggers count, and a CHECK holds to what was transferred."""
    reversals = [r for r in state.reversals.values() if r.payout_id == payout_id]
    reversed_minor = sum(r.amount_minor for r in reversals if r.status is not ReversalStatus.FAILED)
    payout = state.payouts[payout_id]
    if reversed_minor > (payout.amount_minor if payout.is_booked else 0):
        raise Refused("payouts_reversed")
    state.payouts[payout_id] = replace(payout, reversed_minor=reversed_minor)
