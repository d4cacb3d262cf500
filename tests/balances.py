"""The balances of all accounts, on the real database or in memory."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from domain.ledger.model import Balance


async def all_balances(tx: Any, *, at: datetime | None = None) -> Sequence[Balance]:
    """Return the balance of each account and currency, sorted; `at` counts what was posted by then."""
    trial = await tx.ledger.trial_balance(("", ""), at=at, limit=1_000_000)
    balances: Sequence[Balance] = trial.balances
    return balances
