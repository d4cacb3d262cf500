"""What an account has: its balance transactions, added up per currency."""

import heapq
from collections import defaultdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ops.stripe_sandbox.store import Table

Amounts = dict[str, int]


class Funds:
    """The available and the pending money of one account at a time of the sandbox's clock.

    PERF: balance transactions are only ever added, so each is looked at when it is new and once more when its
    money becomes available; a transfer would otherwise cost a sum over the whole history.
    """

    def __init__(self, transactions: "Table") -> None:
        self._transactions = transactions
        self.forget()

    def forget(self) -> None:
        """Begin from the first balance transaction again."""
        self._read = 0
        self._as_of = 0.0
        self._available: defaultdict[str, int] = defaultdict(int)
        self._pending: defaultdict[str, int] = defaultdict(int)
        self._waiting: list[tuple[int, str, int]] = []

    def at(self, now: float) -> tuple[Amounts, Amounts]:
        """Return what is available and what is pending at a time, per currency."""
        if now < self._as_of:
            self.forget()
        self._as_of = now
        for row in self._transactions.rows[self._read :]:
            self._pending[row["currency"]] += row["net"]
            heapq.heappush(self._waiting, (row["available_on"], row["currency"], row["net"]))
        self._read = len(self._transactions.rows)
        while self._waiting and self._waiting[0][0] <= now:
            _, currency, net_minor = heapq.heappop(self._waiting)
            self._pending[currency] -= net_minor
            self._available[currency] += net_minor
        return dict(self._available), dict(self._pending)
