"""A reconciliation as a page to read and to print on A4. It loads nothing from elsewhere."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from html import escape

from api.reconciliation.chart import daily_totals
from domain.money import major
from domain.reconciliation.model import ReconciliationException, Report, Standing, Statement

_PLAIN: Mapping[str, str] = {}
CONTENT_SECURITY_POLICY = "default-src 'none'; style-src 'unsafe-inline'"

_STYLE = """
@page { size: A4; margin: 15mm; }
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { font: 14px/1.45 system-ui, sans-serif; color: #1c2330; background: #fff; margin: 2rem auto;
  max-width: 64rem; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin: 0 0 .25rem; }
h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; break-after: avoid; }
p { margin: .25rem 0; }
.verdict { display: inline-block; padding: .2rem .6rem; border-radius: .3rem; font-weight: 600; }
.good { background: #d9f2e3; color: #0b5132; }
.bad { background: #fbdcd9; color: #7a1810; }
.decided { background: #fbf0cf; color: #6b4d00; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
thead { display: table-header-group; }
tr { break-inside: avoid; }
th, td { padding: .3rem .5rem; border-bottom: 1px solid #d8dde6; text-align: left; vertical-align: top; }
th { background: #f2f4f8; font-weight: 600; }
.number { text-align: right; white-space: nowrap; }
.amount { text-align: right; min-width: 5.5rem; }
.told { min-width: 10rem; }
.id { font-family: ui-monospace, monospace; font-size: .85em; overflow-wrap: anywhere; }
svg { width: 100%; height: auto; break-inside: avoid; }
svg text { font: 11px system-ui, sans-serif; fill: #4a5365; }
@media print {
  body { font-size: 9pt; margin: 0; max-width: none; padding: 0; -webkit-print-color-adjust: exact;
    print-color-adjust: exact; }
  .scroll { overflow: visible; }
}
"""


def render_page(report: Report, exceptions: Sequence[ReconciliationException], now: datetime) -> str:
    """Return the page; `exceptions` are the first ones, the open ones before the others and the oldest first."""
    run = report.run
    title = f"Reconciliation {run.from_at:%Y-%m-%d %H:%M} to {run.to_at:%Y-%m-%d %H:%M} UTC"
    found = sum(each.count for each in report.counts)
    parts = [
        f"<h1>{title}</h1>",
        f'<p class="id">{run.id}</p>',
        f"<p>{run.lines:,} lines of Stripe compared, {found:,} exceptions found. {_verdict(report)}</p>",
        *(_statement(report.statement) if report.statement is not None else ()),
        "<h2>Exceptions by kind</h2>",
        _table(
            ("Kind", "Status", "#Number"),
            [(_words(each.kind), each.status, f"{each.count:,}") for each in report.counts],
        ),
        "<h2>Open exceptions by age</h2>",
        _table(("Open for at least", "#Number"), [(f"{age.days} days", f"{age.count:,}") for age in report.ages]),
        "<h2>Exceptions, the open ones first, oldest first</h2>",
        _exceptions(exceptions, now),
    ]
    if found > len(exceptions):
        parts.append(f"<p>{found - len(exceptions):,} more are in the list of the API.</p>")
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{_STYLE}</style></head>'
        f"<body><main>{''.join(parts)}</main></body></html>"
    )


def _verdict(report: Report) -> str:
    if report.statement is None:
        return '<span class="verdict bad">It has not ended.</span>'
    if not report.statement.ties:
        return '<span class="verdict bad">The books do not tie.</span>'
    still_open = sum(each.count for each in report.counts if each.status == "open")
    if still_open:
        return f'<span class="verdict bad">{still_open:,} open; they explain every difference.</span>'
    if any(each.closing.exceptions_minor for each in report.statement.balances):
        # Somebody found these right; that the sides are equal is another thing, and a correction may be wrong.
        return '<span class="verdict decided">Nothing is open; decisions explain the difference.</span>'
    return '<span class="verdict good">Every cent is explained.</span>'


def _statement(statement: Statement) -> Iterable[str]:
    yield "<h2>Balances</h2>"
    columns = ("", "Currency", "#Stripe", "#Ledger", "#Difference", "#In transit", "#Exceptions", "#Unexplained")
    rows = [
        (name, each.currency, *_figures(standing, each.currency))
        for each in statement.balances
        for name, standing in (("Opening", each.opening), ("Closing", each.closing))
    ]
    yield _table(columns, rows)
    yield "<h2>Totals by category</h2>"
    totals = [
        (
            _words(total.category),
            total.currency,
            f"{total.lines:,}",
            *(
                major(minor, total.currency)
                for minor in (
                    total.stripe_minor,
                    total.stripe_fee_minor,
                    total.ledger_minor,
                    total.ledger_fee_minor,
                    total.difference_minor,
                )
            ),
        )
        for total in statement.totals
    ]
    heads = ("Category", "Currency", "#Lines", "#Stripe", "#Its fees", "#Ledger", "#Its fees", "#Difference")
    yield _table(heads, totals)
    for currency in sorted({day.currency for day in statement.days}):
        yield f"<h2>Daily totals in {escape(currency)}, fees taken</h2>"
        yield daily_totals([day for day in statement.days if day.currency == currency], currency)


def _figures(standing: Standing, currency: str) -> list[str]:
    figures = (
        standing.stripe_minor,
        standing.ledger_minor,
        standing.difference_minor,
        standing.in_transit_minor,
        standing.exceptions_minor,
        standing.unexplained_minor,
    )
    return [major(minor, currency) for minor in figures]


def _exceptions(exceptions: Sequence[ReconciliationException], now: datetime) -> str:
    rows = []
    for each in exceptions:
        age_days = (now - each.opened_at).days
        sides = (
            _amount(each.stripe_amount_minor, each.stripe_fee_minor, each.stripe_currency) + _contents(each),
            _amount(each.ledger_amount_minor, each.ledger_fee_minor, each.ledger_currency),
        )
        source = each.stripe_source or each.stripe_transaction_id or (each.journal_ids or [""])[0]
        todo = each.suggested_action if each.resolution is None else f"Resolved: {each.resolution.reason}"
        rows.append((_words(each.kind), each.status, f"{age_days}", *sides, str(source), todo))
    columns = ("Kind", "Status", "#Days", "Stripe", "Ledger", "Source", "What to do")
    kinds = {"Stripe": "amount", "Ledger": "amount", "Source": "id told", "What to do": "told"}
    return _table(columns, rows, kinds=kinds)


def _amount(amount_minor: int | None, fee_minor: int | None, currency: str | None) -> str:
    if amount_minor is None or currency is None:
        return "-"
    fee = f", fee {major(fee_minor, currency)}" if fee_minor else ""
    return f"{major(amount_minor, currency)} {currency}{fee}"


def _contents(each: ReconciliationException) -> str:
    if each.contents_minor is None or each.stripe_currency is None:
        return ""
    return f", its transactions {major(each.contents_minor, each.stripe_currency)}"


def _words(name: str) -> str:
    return name.replace("_", " ")


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, kinds: Mapping[str, str] = _PLAIN) -> str:
    """Return a table; the name of a column of numbers begins with #, `kinds` are the classes of others."""
    if not rows:
        return "<p>None.</p>"
    classes = ["number" if name.startswith("#") else kinds.get(name, "") for name in columns]
    head = "".join(
        f'<th class="{kind}">{escape(name.removeprefix("#"))}</th>'
        for name, kind in zip(columns, classes, strict=True)
    )
    body = "".join(
        "<tr>"
        + "".join(f'<td class="{kind}">{escape(cell)}</td>' for cell, kind in zip(row, classes, strict=True))
        + "</tr>"
        for row in rows
    )
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
