"""`/v1/reconciliations`: asked for, read as JSON, CSV or a page, and decided on."""

import asyncio
import csv
import io
import itertools
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import httpx
import pytest

from api.reconciliation.page import render_page
from api.reconciliation.spreadsheet import render_csv, safe
from domain.identity.model import Role, User
from domain.ids import ExceptionId, ReconciliationId, UserId, uuid7
from domain.reconciliation.model import (
    NOTHING_BOOKED,
    AgeBand,
    BreakKind,
    CurrencyBalance,
    DayTotal,
    ExceptionCount,
    ExceptionStatus,
    Finding,
    ReconciliationException,
    Report,
    Resolution,
    RunStatus,
    Standing,
    Statement,
    Step,
    Total,
)
from domain.reconciliation.service import new_run
from tests.api.operations import assert_problem
from tests.builders import NOW, Shop, a_line_of_stripe, a_user, unique

TokenOf = Callable[[User | Role], dict[str, str]]
PERIOD = {"from": "2026-11-01T00:00:00Z", "to": "2026-11-02T00:00:00Z"}


@pytest.fixture
async def finance(shop: Shop, token_of: TokenOf) -> dict[str, str]:
    user = a_user(Role.FINANCE)
    async with shop.begin() as tx:
        await tx.users.add(user)
        await tx.commit()
    return token_of(user)


HOURS = itertools.count()
"""Each run has an hour of its own, long ago, in which nothing else has happened."""


@pytest.fixture
async def ended(shop: Shop) -> ReconciliationId:
    """A run that has ended and found a charge of nobody, whose ids look like a formula."""
    began = datetime(2012, 1, 1, tzinfo=UTC) + timedelta(hours=next(HOURS))
    run = new_run(began, began + timedelta(hours=1), NOW)
    line = a_line_of_stripe(
        id=unique("=HYPERLINK"), source="<script>alert(1)</script>", created_at=began + timedelta(minutes=30)
    )
    async with shop.begin() as tx:
        await tx.runs.add(run)
        leased = await tx.runs.lease(NOW + timedelta(hours=1), NOW + timedelta(hours=2))
        while leased.id != run.id:  # those of other tests were asked for before
            await tx.runs.save(leased, due_at=NOW + timedelta(days=1), until=None)
            leased = await tx.runs.lease(NOW + timedelta(hours=1), NOW + timedelta(hours=2))
        await tx.comparisons.record(leased, [Finding(line, NOTHING_BOOKED, BreakKind.UNKNOWN_SOURCE)], NOW)
        done = replace(leased, status=RunStatus.SUCCEEDED, step=Step.DONE, finished_at=NOW)
        assert await tx.runs.finish(done, statement_timeout_s=10)
        await tx.commit()
    return run.id


async def test_period_is_accepted_and_can_be_read(api: httpx.AsyncClient, finance: dict[str, str]) -> None:
    accepted = await api.post("/v1/reconciliations", json=PERIOD, headers=finance)

    assert (accepted.status_code, accepted.json()["status"]) == (202, "pending")
    assert {name: accepted.json()[name] for name in PERIOD} == PERIOD
    read = await api.get(accepted.headers["Location"], headers=finance)
    assert (read.status_code, read.json()["statement"]) == (200, None)


async def test_period_is_the_last_day_if_not_given(api: httpx.AsyncClient, finance: dict[str, str]) -> None:
    until_now = (await api.post("/v1/reconciliations", headers=finance)).json()
    earlier = (await api.post("/v1/reconciliations", json={"to": PERIOD["to"]}, headers=finance)).json()

    begun, ended, asked = (datetime.fromisoformat(until_now[name]) for name in ("from", "to", "created_at"))
    assert ended - begun == timedelta(days=1)
    assert ended == asked.replace(microsecond=0)
    assert earlier["to"] == PERIOD["to"]
    assert datetime.fromisoformat(PERIOD["to"]) - datetime.fromisoformat(earlier["from"]) == timedelta(days=1)


async def test_period_has_no_other_names(api: httpx.AsyncClient, finance: dict[str, str]) -> None:
    period = {"from_at": PERIOD["from"], "to_at": PERIOD["to"]}

    assert_problem(await api.post("/v1/reconciliations", json=period, headers=finance), 422, "fields_invalid")


@pytest.mark.parametrize(
    "period",
    [
        {"from": PERIOD["to"], "to": PERIOD["from"]},
        {"from": PERIOD["from"], "to": "2999-01-01T00:00:00Z"},
        {"from": "2011-01-01T00:00:00Z", "to": PERIOD["to"]},
    ],
)
async def test_period_that_is_none_is_refused(
    api: httpx.AsyncClient, finance: dict[str, str], period: dict[str, str]
) -> None:
    answer = await api.post("/v1/reconciliations", json=period, headers=finance)

    assert_problem(answer, 422, "period_invalid")


async def test_report_tells_totals_balances_and_exceptions(
    api: httpx.AsyncClient, finance: dict[str, str], ended: ReconciliationId
) -> None:
    report = (await api.get(f"/v1/reconciliations/{ended}", headers=finance)).json()

    assert report["status"] == "succeeded"
    assert report["exceptions"] == [{"kind": "unknown_source", "status": "open", "count": 1}]
    assert report["statement"]["totals"] == [
        {
            "category": "charge",
            "currency": "USD",
            "lines": 1,
            "stripe_minor": 1999,
            "stripe_fee_minor": 88,
            "ledger_minor": 0,
            "ledger_fee_minor": 0,
            "difference_minor": -1911,
        }
    ]
    day = report["from"].partition("T")[0]
    assert report["statement"]["days"] == [
        {"day": day, "currency": "USD", "stripe_minor": 1911, "ledger_minor": 0}
    ]
    (usd,) = [each for each in report["statement"]["balances"] if each["currency"] == "USD"]
    moved = {name: usd["closing"][name] - usd["opening"][name] for name in usd["closing"]}
    assert moved == {
        "stripe_minor": 1911,
        "ledger_minor": 0,
        "difference_minor": -1911,
        "in_transit_minor": 0,
        "exceptions_minor": -1911,
        "unexplained_minor": 0,
    }
    assert report["open_by_age"] == [{"days": days, "count": int(days == 0)} for days in (0, 1, 3, 7, 30)]
    (found,) = (await api.get(f"/v1/reconciliations/{ended}/exceptions", headers=finance)).json()["data"]
    assert (found["stripe"]["amount_minor"], found["stripe"]["fee_minor"], found["ledger"]) == (1999, 88, None)
    assert found["suggested_action"]


async def test_resolution_is_booked_once_however_often_it_is_sent(
    api: httpx.AsyncClient, finance: dict[str, str], ended: ReconciliationId
) -> None:
    (found,) = (await api.get(f"/v1/reconciliations/{ended}/exceptions", headers=finance)).json()["data"]
    path = f"/v1/reconciliations/{ended}/exceptions/{found['id']}/resolution"
    entries = [
        {"account": "stripe_balance", "debit_minor": 1911},
        {"account": "unapplied_charges", "credit_minor": 1911},
    ]
    body = {"reason": "another shop of ours", "correction": {"currency": "USD", "entries": entries}}

    resolved, again = await asyncio.gather(*(api.post(path, json=body, headers=finance) for _ in range(2)))

    assert again.json() == resolved.json()
    assert (resolved.status_code, resolved.json()["status"]) == (200, "resolved")
    journal = resolved.json()["resolution"]["journal_id"]
    posted = (await api.get(f"/v1/ledger/journals/{journal}", headers=finance)).json()
    assert (posted["kind"], posted["entries"][0]["debit_minor"]) == ("correction", 1911)
    for entry, sides in zip(
        entries, (("debit_minor", "credit_minor"), ("credit_minor", "debit_minor")), strict=True
    ):
        entry[sides[1]] = entry.pop(sides[0])
    back = await api.post(path, json={**body, "reason": "it was none of ours"}, headers=finance)
    assert (back.status_code, back.json()["resolution"]["reason"]) == (200, "it was none of ours")
    assert back.json()["resolution"]["journal_id"] != journal


async def test_correction_that_does_not_balance_is_refused(
    api: httpx.AsyncClient, finance: dict[str, str], ended: ReconciliationId
) -> None:
    (found,) = (await api.get(f"/v1/reconciliations/{ended}/exceptions", headers=finance)).json()["data"]
    path = f"/v1/reconciliations/{ended}/exceptions/{found['id']}/resolution"
    entries = [{"account": "stripe_balance", "debit_minor": 2}, {"account": "processing_fees", "credit_minor": 1}]

    answer = await api.post(
        path, json={"reason": "x", "correction": {"currency": "USD", "entries": entries}}, headers=finance
    )

    assert_problem(answer, 422, "correction_invalid")


async def test_correction_of_what_nobody_has_is_refused(
    api: httpx.AsyncClient, finance: dict[str, str], ended: ReconciliationId
) -> None:
    (found,) = (await api.get(f"/v1/reconciliations/{ended}/exceptions", headers=finance)).json()["data"]
    path = f"/v1/reconciliations/{ended}/exceptions/{found['id']}/resolution"
    sides = {"stripe_balance": "debit_minor", "processing_fees": "credit_minor"}
    entries = [{"account": account, side: 2**53} for account, side in sides.items() for _ in range(50)]

    answer = await api.post(
        path, json={"reason": "x", "correction": {"currency": "USD", "entries": entries}}, headers=finance
    )

    assert_problem(answer, 422, "amount_out_of_range")


async def test_document_names_each_form_of_a_report(
    api: httpx.AsyncClient, finance: dict[str, str], ended: ReconciliationId
) -> None:
    paths = (await api.get("/openapi.json")).json()["paths"]
    content = paths["/v1/reconciliations/{run_id}"]["get"]["responses"]["200"]["content"]
    forms = list(content)
    assert forms == ["application/json", "text/csv", "text/html"]

    answers = [
        await api.get(f"/v1/reconciliations/{ended}", headers={**finance, "Accept": form}) for form in forms
    ]

    assert [answer.headers["Content-Type"].partition(";")[0] for answer in answers] == forms


async def test_csv_is_one_table_without_formulas(
    api: httpx.AsyncClient, finance: dict[str, str], ended: ReconciliationId
) -> None:
    answer = await api.get(f"/v1/reconciliations/{ended}", headers={**finance, "Accept": "text/csv"})

    assert answer.headers["Content-Type"].startswith("text/csv")
    assert answer.content.startswith(b"\xef\xbb\xbf")
    rows = list(csv.DictReader(io.StringIO(answer.content.decode("utf-8-sig"))))
    (exception,) = [row for row in rows if row["record"] == "exception"]
    assert (exception["stripe"], exception["stripe_fee"], exception["currency"]) == ("19.99", "0.88", "USD")
    assert exception["stripe_transaction"].startswith("'=HYPERLINK")
    assert {row["name"] for row in rows if row["record"] == "balance"} == {"opening", "closing"}
    assert not [cell for row in rows for cell in row.values() if re.match(r"[=+@\t\r]|-(?![\d.]+$)", cell)]


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"])
def test_formulas_are_text_in_csv(text: str) -> None:
    assert safe(text) == f"'{text}"
    assert safe("ch_1") == "ch_1"


def test_no_cell_of_an_exception_is_a_formula() -> None:
    """Whatever of it Stripe, or a person, has written."""
    formula = "=HYPERLINK(1)"
    exception = an_exception(
        stripe_transaction_id=formula,
        stripe_source=formula,
        resolution=Resolution(UserId(uuid7()), formula, NOW),
    )
    report = a_report()
    assert report.statement is not None
    totals = [replace(report.statement.totals[0], category=formula)]

    written = render_csv(replace(report, statement=replace(report.statement, totals=totals)), [exception], NOW)

    cells = [cell for row in csv.reader(io.StringIO(written.decode("utf-8-sig"))) for cell in row]
    assert [cell for cell in cells if formula in cell] == [f"'{formula}"] * 4


def test_csv_tells_each_amount_with_its_currency() -> None:
    exchanged = an_exception(
        kind=BreakKind.CURRENCY_MISMATCH, stripe_amount_minor=2199, stripe_fee_minor=94, stripe_currency="JPY"
    )

    (row,) = [row for row in rows_of(a_report(), exchanged) if row["record"] == "exception"]

    assert (row["currency"], row["stripe"], row["stripe_fee"]) == ("JPY", "2199", "94")
    assert (row["ledger_currency"], row["ledger"], row["ledger_fee"]) == ("USD", "19.90", "0.88")


def test_csv_explains_the_difference_of_the_balances() -> None:
    report = a_report()
    assert report.statement is not None
    balance = replace(report.statement.balances[0], closing=Standing(1_000, 900, 80, 15))
    report = replace(report, statement=replace(report.statement, balances=[balance]))

    (row,) = [row for row in rows_of(report) if row["name"] == "closing"]

    names = ("difference", "in_transit", "exceptions", "unexplained")
    expected = [getattr(balance.closing, f"{name}_minor") for name in names]
    assert [round(float(row[name]) * 100) for name in names] == expected
    assert expected[-1]


def test_csv_says_what_it_does_not_hold() -> None:
    """The report has 40 exceptions."""
    found = [an_exception()] * 40
    whole, cut = rows_of(a_report(), *found), rows_of(a_report(), *found[1:])
    unfinished = rows_of(replace(a_report(), run=new_run(NOW, NOW, NOW), statement=None), *found)

    assert [row["status"] for row in (whole[0], unfinished[0])] == ["succeeded", "pending"]
    assert {row["record"] for row in (whole[0], unfinished[0])} == {"run"}
    assert "left_out" not in {row["record"] for row in whole}
    assert (cut[-1]["record"], cut[-1]["lines"]) == ("left_out", "1")


def rows_of(report: Report, *exceptions: ReconciliationException) -> list[dict[str, str]]:
    written = render_csv(report, exceptions, NOW).decode("utf-8-sig")
    return list(csv.DictReader(io.StringIO(written)))


async def test_page_loads_nothing_and_runs_nothing(
    api: httpx.AsyncClient, finance: dict[str, str], ended: ReconciliationId
) -> None:
    answer = await api.get(f"/v1/reconciliations/{ended}", headers={**finance, "Accept": "text/html"})

    assert answer.headers["Content-Type"].startswith("text/html")
    assert answer.headers["Content-Security-Policy"] == "default-src 'none'; style-src 'unsafe-inline'"
    assert re.findall(r"<(script|link|img|iframe|object|embed|base|form)\b", answer.text) == []
    assert re.findall(r"(?:src|href|action)=|url\(|@import", answer.text) == []
    assert "&lt;script&gt;" in answer.text
    assert "<svg" in answer.text
    assert "size: A4" in answer.text


async def test_metrics_tell_the_drift(
    api: httpx.AsyncClient, finance: dict[str, str], ended: ReconciliationId
) -> None:
    page = (await api.get("/metrics")).text

    assert re.search(r'^marketflow_reconciliation_difference_minor\{currency="USD"\} ', page, re.MULTILINE)
    assert re.search(r"^marketflow_reconciliation_open_exceptions [1-9]", page, re.MULTILINE)
    assert re.search(r"^marketflow_reconciliation_oldest_open_seconds \d", page, re.MULTILINE)
    assert re.search(r"^marketflow_reconciliation_succeeded_timestamp_seconds 1\.", page, re.MULTILINE)


def a_report(days: int = 30) -> Report:
    """A month with one day on which the sides differ."""
    first = date(2026, 10, 1)
    totals = [
        DayTotal(first + timedelta(days=day), "USD", 90_000 + 997 * day, 90_000 + 997 * day) for day in range(days)
    ]
    totals[7] = replace(totals[7], ledger_minor=60_000)
    standing = Standing(1_000_000, 970_000, -10_000, -20_000)
    run = replace(
        new_run(datetime(2026, 10, 1, tzinfo=UTC), datetime(2026, 10, 31, tzinfo=UTC), NOW),
        status=RunStatus.SUCCEEDED,
        lines=12_345,
    )
    return Report(
        run=run,
        statement=Statement(
            totals=[
                Total("charge", "USD", 12_000, 3_000_000, 90_000, 2_980_000, 90_000),
                Total("refund", "USD", 345, -9_000, 0, -9_000, 0),
            ],
            days=totals,
            balances=[CurrencyBalance("USD", Standing(0, 0, 0, 0), standing)],
        ),
        counts=[ExceptionCount(BreakKind.AMOUNT_MISMATCH, ExceptionStatus.OPEN, 40)],
        ages=[AgeBand(0, 30), AgeBand(1, 10)],
    )


def an_exception(**changes: Any) -> ReconciliationException:
    values: dict[str, Any] = {
        "id": ExceptionId(uuid7()),
        "kind": BreakKind.AMOUNT_MISMATCH,
        "status": ExceptionStatus.OPEN,
        "category": "charge",
        "stripe_transaction_id": "txn_1",
        "stripe_source": "ch_3Px7ZkLkdIwHu7ix0snN0B15",
        "stripe_amount_minor": 1999,
        "stripe_fee_minor": 88,
        "stripe_currency": "USD",
        "stripe_created_at": NOW,
        "journal_ids": (),
        "ledger_amount_minor": 1990,
        "ledger_fee_minor": 88,
        "ledger_currency": "USD",
        "ledger_created_at": NOW,
        "payment_id": None,
        "opened_at": NOW - timedelta(days=3),
        "updated_at": NOW,
    }
    return ReconciliationException(**{**values, **changes})


def test_page_says_what_does_not_tie() -> None:
    report = a_report()
    assert report.statement is not None
    broken = replace(report.statement.balances[0], closing=Standing(10, 9, 0, 0))

    decided = replace(report, counts=[ExceptionCount(BreakKind.AMOUNT_MISMATCH, ExceptionStatus.RESOLVED, 40)])
    in_transit = replace(report.statement.balances[0], closing=Standing(1_000_000, 990_000, -10_000, 0))
    equal = replace(decided, statement=replace(report.statement, balances=[in_transit]))
    torn = replace(report, statement=replace(report.statement, balances=[broken]))

    assert "decisions explain the difference" in render_page(decided, [], NOW)
    assert "Every cent is explained" in render_page(equal, [], NOW)
    assert "explain every difference" in render_page(report, [an_exception()], NOW)
    assert "The books do not tie." in render_page(torn, [], NOW)
    assert "39 more" in render_page(report, [an_exception()], NOW)
