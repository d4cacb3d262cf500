"""Payouts and their runs, in memory."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from domain.disputes.model import OPEN, DisputeFunds
from domain.errors import Refused
from domain.identity.model import Principal
from domain.ids import JournalId, PaymentId, PayoutId, UserId
from domain.ledger.model import Entry, EntryRef, Journal, JournalKind, seller_disputed, seller_payable
from domain.money import movable, step_minor
from domain.orders.model import OrderStatus
from domain.pages import Page, PageRequest
from domain.payments.model import PaymentStatus
from domain.payouts.model import (
    PAYOUT_TRANSITIONS,
    UNDER_WAY,
    Destination,
    Payout,
    PayoutStatus,
    Release,
    RunLease,
    SellerBalance,
)
from domain.refunds.model import RefundStatus
from domain.work import Work
from tests.domain.fakes.state import (
    Due,
    PayoutRunRow,
    Repository,
    State,
    count_attempt,
    lease_due,
    page_of,
    present_of,
)

SHARES = {
    JournalKind.CHARGE,
    JournalKind.CONVERSION_SETTLED,
    JournalKind.REFUND_FAILED,
    JournalKind.DISPUTE_WON,
}


class FakeDestinations(Repository):
    async def of_seller(self, seller_id: UserId) -> Destination | None:
        return self._state.destinations.get(seller_id)

    async def enabled(self, *, after: UserId | None, limit: int) -> Sequence[Destination]:
        accounts = sorted(self._state.destinations.values(), key=lambda account: account.seller_id)
        users = self._state.users
        suspended = {user_id for user_id, user in users.items() if user.suspended_at is not None}
        found = [each for each in accounts if each.payouts_enabled and each.seller_id not in suspended]
        return [each for each in found if after is None or each.seller_id > after][:limit]


class FakePayouts(Repository):
    async def claim_seller(self, seller_id: UserId) -> None:
        pass

    async def available(self, seller_id: UserId, release: Release) -> dict[str, int]:
        sums: Counter[str] = Counter()
        for journal, _, entry in _open_entries(self._state, seller_id):
            if _is_released(self._state, journal, release):
                sums[journal.currency] -= entry.amount_minor
        return dict(sorted(sums.items()))

    async def draft(
        self, payout: Payout, release: Release, *, least_minor: int, publish_at: datetime
    ) -> Payout | None:
        taken = [
            (journal.id, line, entry.amount_minor)
            for journal, line, entry in _open_entries(self._state, payout.seller_id)
            if journal.currency == payout.currency and _is_released(self._state, journal, release)
        ]
        total_minor = -sum(amount_minor for _, _, amount_minor in taken)
        step = step_minor(payout.currency)
        if total_minor < max(least_minor, step):
            return None
        amount_minor = movable(total_minor, payout.currency)
        drafted = replace(payout, amount_minor=amount_minor, carried_minor=total_minor - amount_minor)
        self._state.payouts[payout.id] = drafted
        self._state.payout_entries |= {(journal_id, line): payout.id for journal_id, line, _ in taken}
        self._state.due[Work.PAYOUTS][payout.id] = Due(payout.created_at, publish_at)
        return drafted

    async def net(self, seller_id: UserId, release: Release) -> bool:
        sums: Counter[tuple[PaymentId | None, str]] = Counter()
        released = [
            (journal, line, entry)
            for journal, line, entry in _open_entries(self._state, seller_id)
            if journal.payment_id is not None and _is_released(self._state, journal, release)
        ]
        for journal, _, entry in released:
            sums[journal.payment_id, journal.currency] += entry.amount_minor
        for journal, line, _ in released:
            if not sums[journal.payment_id, journal.currency]:
                self._state.payout_entries[journal.id, line] = None
        return True

    async def raise_floor(self, seller_id: UserId, now: datetime) -> None:
        pass

    async def by_key(self, requested_by: UserId, idempotency_key: str) -> Payout | None:
        key = (requested_by, idempotency_key)
        payouts = self._state.payouts.values()
        return next((p for p in payouts if (p.requested_by, p.idempotency_key) == key), None)

    async def visible(self, principal: Principal, payout_id: PayoutId) -> Payout | None:
        payout = self._state.payouts.get(payout_id)
        return payout if payout and (principal.sees_all or principal.user_id == payout.seller_id) else None

    async def page(self, principal: Principal, request: PageRequest) -> Page[Payout]:
        return page_of([p for p in self._state.payouts.values() if await self.visible(principal, p.id)], request)

    async def balance(self, seller_id: UserId, release: Release) -> Sequence[SellerBalance]:
        pending, available, going, disputed = Counter[str](), Counter[str](), Counter[str](), Counter[str]()
        for journal, _, entry in _open_entries(self._state, seller_id):
            side = available if _is_released(self._state, journal, release) else pending
            side[journal.currency] -= entry.amount_minor
        for payout in self._state.payouts.values():
            if payout.seller_id == seller_id and payout.status in UNDER_WAY:
                going[payout.currency] += payout.amount_minor + payout.carried_minor
        accounts, currencies = {seller_payable(seller_id), seller_disputed(seller_id)}, set()
        for journal in self._state.journals:
            for entry in journal.entries:
                if entry.account in accounts:
                    currencies.add(journal.currency)
                if entry.account == seller_disputed(seller_id):
                    disputed[journal.currency] -= entry.amount_minor
        return [
            SellerBalance(currency, *(side[currency] for side in (pending, available, going, disputed)))
            for currency in sorted(currencies)
        ]


def taken_by(state: State, payout_id: PayoutId) -> list[tuple[Journal, int, Entry]]:
    """The entries that a payout takes."""
    return [
        (journal, line, entry)
        for journal in state.journals
        for line, entry in enumerate(journal.entries, 1)
        if state.payout_entries.get((journal.id, line)) == payout_id
    ]


def _open_entries(state: State, seller_id: UserId) -> list[tuple[Journal, int, Entry]]:
    return [
        (journal, line, entry)
        for journal in state.journals
        for line, entry in enumerate(journal.entries, 1)
        if entry.account == seller_payable(seller_id) and (journal.id, line) not in state.payout_entries
    ]


def _is_released(state: State, journal: Journal, release: Release) -> bool:
    if journal.payment_id is None:
        return True
    payment = state.payments[journal.payment_id]
    if payment.status is not PaymentStatus.SUCCEEDED:
        return True
    if payment.funds_available_at is None or payment.funds_available_at > release.now:
        return False
    if _is_wanted_back(state, payment.id):
        return False
    if payment.order_id is None:
        return payment.created_at <= release.direct_before
    order = state.orders[payment.order_id]
    interrupted = order.status is OrderStatus.DISPUTED and order.resumes_as is OrderStatus.COMPLETED
    return order.status in {OrderStatus.COMPLETED, OrderStatus.REFUNDED} or interrupted


def _is_wanted_back(state: State, payment_id: PaymentId) -> bool:
    """Whether a refund or a dispute is about to take of a payment's money."""
    refunds = [refund for refund in state.refunds.values() if refund.payment_id == payment_id]
    disputes = [dispute for dispute in state.disputes.values() if dispute.payment_id == payment_id]
    return any(refund.status is RefundStatus.PENDING and not refund.is_booked for refund in refunds) or any(
        dispute.status in OPEN and dispute.funds is DisputeFunds.NONE for dispute in disputes
    )


def _check_payout(state: State, payout_id: PayoutId) -> None:
    """What triggers hold: the entries that a payout takes come to its amount, and once it is booked to nothing."""
    payout = state.payouts[payout_id]
    total_minor = -sum(entry.amount_minor for _, _, entry in taken_by(state, payout_id))
    over = payout.is_booked or payout.status is PayoutStatus.FAILED
    if total_minor != (0 if over else payout.amount_minor + payout.carried_minor):
        raise Refused("payout_entries_sum")


class FakePayoutRuns(Repository):
    async def claim(self, run_at: datetime, now: datetime, locked_until: datetime) -> RunLease | None:
        runs = self._state.payout_runs
        for begun_at, row in runs.items():
            if not row.is_finished:
                if row.locked_until > now:
                    return None
                runs[begun_at] = replace(row, locked_until=locked_until)
                return RunLease(begun_at, locked_until, row.after)
        is_first = not runs
        if not is_first and run_at <= max(runs):
            return None
        runs[run_at] = PayoutRunRow(locked_until, is_finished=is_first)
        return None if is_first else RunLease(run_at, locked_until)

    async def advance(self, lease: RunLease, seller_id: UserId | None, *, made: int) -> bool:
        return self._change(lease, after=seller_id)

    async def pause(self, lease: RunLease, now: datetime) -> None:
        self._change(lease, locked_until=now)

    async def finish(self, lease: RunLease, now: datetime) -> None:
        self._change(lease, is_finished=True)

    def _change(self, lease: RunLease, **changes: Any) -> bool:
        row = self._state.payout_runs[lease.run_at]
        if row.is_finished or row.locked_until != lease.locked_until:
            return False
        self._state.payout_runs[lease.run_at] = replace(row, **changes)
        return True


class FakePayoutWork(Repository):
    async def lease(self, ids: Sequence[PayoutId], now: datetime, locked_until: datetime) -> Sequence[Payout]:
        for payout_id in (leased := lease_due(self._state.due[Work.PAYOUTS], ids, now, locked_until)):
            payout = count_attempt(self._state.payouts, payout_id)
            pending = payout.status is PayoutStatus.PENDING
            self._state.payouts[payout_id] = replace(
                payout,
                status=PayoutStatus.PROCESSING if pending else payout.status,
                first_sent_at=payout.first_sent_at or now,
            )
        return [self._state.payouts[payout_id] for payout_id in leased]

    async def by_ids(self, ids: Collection[PayoutId]) -> Mapping[PayoutId, Payout]:
        return present_of(self._state.payouts, ids)

    async def of_transfers(self, transfer_ids: Collection[str]) -> Sequence[Payout]:
        return [p for p in self._state.payouts.values() if p.stripe_transfer_id in transfer_ids]

    async def of_bank_payouts(self, stripe_payout_ids: Collection[str]) -> Sequence[Payout]:
        return [p for p in self._state.payouts.values() if p.stripe_payout_id in stripe_payout_ids]

    async def lock(self, ids: Sequence[PayoutId]) -> Sequence[Payout]:
        return list(present_of(self._state.payouts, sorted(ids)).values())

    async def save(self, payout: Payout, *, due_at: datetime | None) -> None:
        before = self._state.payouts[payout.id]
        if payout.status is not before.status and payout.status not in PAYOUT_TRANSITIONS[before.status]:
            raise Refused("a constraint of payouts")
        self._state.payouts[payout.id] = replace(payout, reversed_minor=before.reversed_minor)
        self._state.due[Work.PAYOUTS][payout.id] = Due(due_at, due_at)
        self._state.quarantined_payouts.pop(payout.id, None)

    async def close(self, payout_id: PayoutId, journal_id: JournalId) -> None:
        self._state.payout_entries[journal_id, 1] = payout_id
        _check_payout(self._state, payout_id)

    async def of_same_payments(self, payout_id: PayoutId) -> Sequence[PayoutId]:
        payments = {journal.payment_id for journal, _, _ in taken_by(self._state, payout_id)} - {None}
        return sorted(
            payout.id
            for payout in self._state.payouts.values()
            if payout.id != payout_id
            and any(
                journal.kind in SHARES and journal.payment_id in payments
                for journal, _, _ in taken_by(self._state, payout.id)
            )
            if payout.seller_id == self._state.payouts[payout_id].seller_id
        )

    async def let_go(self, payout_id: PayoutId) -> Collection[EntryRef]:
        payout = self._state.payouts[payout_id]
        if payout.status is not PayoutStatus.FAILED or payout.is_booked:
            raise Refused("payout_entries_stay")
        taken = taken_by(self._state, payout_id)
        for journal, line, _ in taken:
            del self._state.payout_entries[journal.id, line]
        return [EntryRef(journal.id, line) for journal, line, entry in taken if entry.amount_minor > 0]

    async def quarantine(self, payout_id: PayoutId, reason: str, at: datetime) -> None:
        self._state.quarantined_payouts[payout_id] = reason
        self._state.due[Work.PAYOUTS][payout_id] = Due(None, None)
