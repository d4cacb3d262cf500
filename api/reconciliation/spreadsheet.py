"""A reconciliation as CSV (RFC 4180): one table, which spreadsheets open without surprises."""

import csv
import io
from collections.abc import Iterator, Sequence
from datetime import datetime

from domain.money import major
from domain.reconciliation.model import ReconciliationException, Report

COLUMNS = (
    "record",
    "name",
    "status",
    "currency",
    "lines",
    "stripe",
    "stripe_fee",
    "stripe_contents",
    "ledger_currency",
    "ledger",
    "ledger_fee",
    "difference",
    "in_transit",
    "exceptions",
    "unexplained",
    "age_days",
    "stripe_transaction",
    "stripe_source",
    "journals",
    "payment",
    "opened_at",
    "what_to_do",
)
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
_BYTE_ORDER_MARK = "\ufeff"
"""Without it Excel takes UTF-8 for something else."""


def render_csv(report: Report, exceptions: Sequence[ReconciliationException], now: datetime) -> bytes:
    """Return the run, its balances, totals and exceptions, a record a row; amounts with a decimal point.

    `ledger_currency` is that of the ledger's amounts, which for an exception may be another one than Stripe's.
    `exceptions` are the first ones. Where there are more, a last row says how many: a table that is cut off, or of
    a run that has not ended, looks like any other.
    """
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, restval="", lineterminator="\r\n")
    writer.writeheader()
    writer.writerow(_run(report))
    for row in (*_balances(report), *_totals(report), *(_exception(each, now) for each in exceptions)):
        writer.writerow(row)
    left_out = sum(each.count for each in report.counts) - len(exceptions)
    if left_out > 0:
        writer.writerow(
            {
                "record": "left_out",
                "name": "exceptions",
                "lines": str(left_out),
                "what_to_do": "Read them from the list of the API.",
            }
        )
    return (_BYTE_ORDER_MARK + out.getvalue()).encode()


def safe(text: object) -> str:
    """Return text that no spreadsheet takes for a formula (owasp.org/www-community/attacks/CSV_Injection)."""
    plain = "" if text is None else str(text)
    return f"'{plain}" if plain.startswith(_FORMULA) else plain


def _run(report: Report) -> dict[str, str]:
    run = report.run
    return {"record": "run", "name": f"{run.from_at.isoformat()} to {run.to_at.isoformat()}", "status": run.status}


def _balances(report: Report) -> Iterator[dict[str, str]]:
    for each in report.statement.balances if report.statement else ():
        for name, standing in (("opening", each.opening), ("closing", each.closing)):
            yield {
                "record": "balance",
                "name": name,
                "status": "unexplained" if standing.unexplained_minor else "explained",
                "currency": each.currency,
                "stripe": major(standing.stripe_minor, each.currency),
                "ledger_currency": each.currency,
                "ledger": major(standing.ledger_minor, each.currency),
                "difference": major(standing.difference_minor, each.currency),
                "in_transit": major(standing.in_transit_minor, each.currency),
                "exceptions": major(standing.exceptions_minor, each.currency),
                "unexplained": major(standing.unexplained_minor, each.currency),
            }


def _totals(report: Report) -> Iterator[dict[str, str]]:
    for total in report.statement.totals if report.statement else ():
        yield {
            "record": "total",
            "name": safe(total.category),
            "currency": total.currency,
            "lines": str(total.lines),
            "stripe": major(total.stripe_minor, total.currency),
            "stripe_fee": major(total.stripe_fee_minor, total.currency),
            "ledger_currency": total.currency,
            "ledger": major(total.ledger_minor, total.currency),
            "ledger_fee": major(total.ledger_fee_minor, total.currency),
            "difference": major(total.difference_minor, total.currency),
        }


def _exception(each: ReconciliationException, now: datetime) -> dict[str, str]:
    return {
        "record": "exception",
        "name": each.kind,
        "status": each.status,
        "currency": each.stripe_currency or each.ledger_currency or "",
        "ledger_currency": each.ledger_currency or "",
        "stripe": _amount(each.stripe_amount_minor, each.stripe_currency),
        "stripe_fee": _amount(each.stripe_fee_minor, each.stripe_currency),
        "stripe_contents": _amount(each.contents_minor, each.stripe_currency),
        "ledger": _amount(each.ledger_amount_minor, each.ledger_currency),
        "ledger_fee": _amount(each.ledger_fee_minor, each.ledger_currency),
        "age_days": str((now - each.opened_at).days),
        "stripe_transaction": safe(each.stripe_transaction_id),
        "stripe_source": safe(each.stripe_source),
        "journals": " ".join(str(journal_id) for journal_id in each.journal_ids),
        "payment": safe(each.payment_id),
        "opened_at": each.opened_at.isoformat(),
        "what_to_do": safe(each.resolution.reason if each.resolution else each.suggested_action),
    }


def _amount(minor: int | None, currency: str | None) -> str:
    return major(minor, currency) if minor is not None and currency is not None else ""
