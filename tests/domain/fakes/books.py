"""The ledger and the event log, in memory."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from domain.errors import Refused
from domain.events import Event
from domain.ids import PaymentId, UserId
from domain.ledger.model import Account, Balance, Begun, CurrencyTotal, Journal, JournalKind, TrialBalance
from domain.pages import LONGEST_PAGE, Page, PageRequest
from tests.domain.fakes.notifications import append_events
from tests.domain.fakes.state import Repository, ordered_page_of

_CHARGES = {JournalKind.CHARGE, JournalKind.UNAPPLIED_CHARGE}


class FakeLedger(Repository):
    async def post(self, journals: Sequence[Journal]) -> None:
        for journal in journals:
            if any((other.kind, other.source) == (journal.kind, journal.source) for other in self._state.journals):
                raise Refused("journals_kind_source_key")
            self._state.journals.append(journal)

    async def by_source(self, kind: JournalKind, source: str) -> Journal | None:
        return next((j for j in self._state.journals if (j.kind, j.source) == (kind, source)), None)

    async def balances_of(self, accounts: Collection[Account]) -> Sequence[Balance]:
        return [balance for balance in self._balances() if balance.account in accounts]

    async def claim(self, accounts: Collection[Account]) -> None:
        pass

    async def payments_of(self, charge_ids: Collection[str]) -> Mapping[str, PaymentId]:
        return {
            journal.source: journal.payment_id
            for journal in self._state.journals
            if journal.kind in _CHARGES and journal.source in charge_ids and journal.payment_id is not None
        }

    async def trial_balance(
        self, after: tuple[str, str], *, at: datetime | None, limit: int, begun: Begun | None = None
    ) -> TrialBalance:
        balances = self._balances(at)
        sides: defaultdict[str, list[int]] = defaultdict(lambda: [0, 0])
        for balance in balances:
            sides[balance.currency][balance.balance_minor < 0] += abs(balance.balance_minor)
        shown = [balance for balance in balances if (balance.account, balance.currency) > after][:limit]
        totals = [CurrencyTotal(currency, *both) for currency, both in sorted(sides.items())]
        return TrialBalance(shown, totals, snapshot="1:1:")

    def _balances(self, at: datetime | None = None) -> list[Balance]:
        sums: defaultdict[tuple[Any, str], int] = defaultdict(int)
        for journal in self._state.journals:
            if at is None or journal.created_at <= at:
                for entry in journal.entries:
                    sums[entry.account, journal.currency] += entry.amount_minor
        return [Balance(*key, balance_minor) for key, balance_minor in sorted(sums.items())]


class FakeEvents(Repository):
    async def append(self, events: Sequence[Event]) -> None:
        append_events(self._state, events)

    async def of_subject(
        self, subject_id: UUID, request: PageRequest = LONGEST_PAGE, *, concerning: UserId | None = None
    ) -> Page[Event]:
        events = [event for event in self._state.events if event.subject_id == subject_id]
        told = [event for event in events if concerning is None or concerning in event.audience]
        return ordered_page_of(told, request)
