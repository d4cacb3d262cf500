"""What a run finds, and by how much the sides differ."""

from collections.abc import Callable, Sequence
from typing import Any

from domain.identity.model import Role
from domain.ids import ExceptionId
from domain.pages import PageRequest
from domain.reconciliation.desk import ReconciliationDesk
from domain.reconciliation.model import BreakKind, ExceptionStatus, ReconciliationException, Report, Run
from tests.builders import a_user, principal

Reconcile = Callable[..., Any]


async def found(run: Run, desk: ReconciliationDesk) -> list[ReconciliationException]:
    finance = principal(a_user(Role.FINANCE))
    exceptions: list[ReconciliationException] = []
    after: ExceptionId | None = None
    while True:
        page = await desk.exceptions(finance, run.id, PageRequest(limit=100, after=after))
        exceptions += page.rows
        if page.next_after is None:
            return exceptions
        after = ExceptionId(page.next_after)


def kinds(exceptions: Sequence[ReconciliationException]) -> list[tuple[BreakKind, ExceptionStatus]]:
    return sorted((each.kind, each.status) for each in exceptions)


async def closing(report: Report, before: tuple[int, int] = (0, 0)) -> tuple[int, int]:
    """By how much the sides differ more at the end than at the beginning, and how much of that is unexplained.

    Both are without what they were before.
    """
    usd = next((each for each in report.statement.balances if each.currency == "USD"), None)
    if usd is None:
        return 0, 0
    return usd.closing.difference_minor - usd.opening.difference_minor - before[0], (
        usd.closing.unexplained_minor - usd.opening.unexplained_minor - before[1]
    )
