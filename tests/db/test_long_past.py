"""What is read of an account does not depend on how long its past is."""

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import psycopg
import pytest

from db import ledger, payouts, reconciliation_runs, statements
from db.sql import Sql
from domain.ids import uuid7

PAST = 300
"""So many entries each account has, all but the last few folded into its balance long ago."""

SELLER = uuid7()
ACCOUNT = f"seller_payable:{SELLER}"
LAST = UUID(int=2**128 - 1)
NOW = datetime.now(UTC)

_PAST = """
    INSERT INTO entries (journal_id, line, account, currency, amount_minor, transaction_id)
    SELECT gen_random_uuid(), 1, (%(accounts)s::text[])[1 + n %% cardinality(%(accounts)s::text[])], 'USD', 1,
           CASE WHEN n > %(past)s - 20 THEN pg_current_xact_id()::text::bigint ELSE 3 END
    FROM generate_series(1, %(past)s) AS n
"""
ACCOUNTS = [ACCOUNT, "stripe_balance", *(f"seller_payable:{uuid7()}" for _ in range(150))]

READ: Mapping[str, tuple[Sql, Mapping[str, object]]] = {
    "balances": (ledger._BALANCES_OF, {"accounts": [ACCOUNT, "stripe_balance"]}),
    "seller's balance": (
        payouts._BALANCE,
        {"seller_id": SELLER, "account": ACCOUNT, "disputed": "nobody", "now": NOW, "direct_before": NOW},
    ),
    "opening of a statement": (
        statements._OPENING,
        {
            "account": ACCOUNT,
            "currency": "USD",
            "floor": LAST,
            "start": NOW,
            "end": NOW,
            "after": LAST,
            "snapshot": None,
        },
    ),
    "standing of a reconciliation": (
        reconciliation_runs._STANDING,
        {"first_id": LAST, "at": NOW, "midnight": NOW, "day": NOW.date()},
    ),
}


@pytest.fixture(scope="module")
def past(superuser_url: str) -> Iterator[psycopg.Connection]:
    """A transaction that is never committed, in which accounts have a long past."""
    with psycopg.connect(superuser_url) as connection:
        connection.execute(b"SET LOCAL session_replication_role = replica")
        connection.execute(b"SET LOCAL enable_seqscan = off")  # these are few for a table, and many for one read
        connection.execute(_PAST.encode(), {"accounts": ACCOUNTS, "past": PAST * len(ACCOUNTS)})
        connection.execute(
            b"UPDATE balance_folds SET through = pg_snapshot_xmin(pg_current_snapshot())::text::bigint"
        )
        connection.execute(b"INSERT INTO payout_floors (seller_id, journal_id) VALUES (%s, %s)", (SELLER, LAST))
        connection.execute(b"ANALYZE entries")
        yield connection
        connection.rollback()


@pytest.mark.parametrize("name", READ)
def test_what_is_folded_is_not_read_again(past: psycopg.Connection, name: str) -> None:
    statement, values = READ[name]
    row = _explain(past, b"ANALYZE, TIMING OFF, BUFFERS OFF, FORMAT JSON", statement, values)
    assert row is not None
    scans = list(_scans(row[0][0]["Plan"]))
    by_account = sum(_seen(scan) for scan in scans if _goes_through_an_account(scan))
    by_time = sum(_seen(scan) for scan in scans if scan.get("Relation Name") == "entries")
    assert by_account == 0, json.dumps(row[0], indent=1)
    assert 0 < by_time < PAST * len(ACCOUNTS) / 2, json.dumps(row[0], indent=1)


def test_planner_knows_that_few_are_open(past: psycopg.Connection) -> None:
    statement, values = READ["seller's balance"]
    row = _explain(past, b"FORMAT JSON", statement, values)
    assert row is not None
    expected = [
        scan["Plan Rows"] for scan in _scans(row[0][0]["Plan"]) if scan.get("Index Name") == "entries_account_idx"
    ]
    assert expected
    assert all(rows < PAST / 10 for rows in expected), json.dumps(row[0], indent=1)


def _explain(
    past: psycopg.Connection, options: bytes, statement: Sql, values: Mapping[str, object]
) -> tuple[Any, ...] | None:
    query = b"EXPLAIN (%s) %s" % (options, statement.query)
    return psycopg.RawCursor(past).execute(query, statement.bind(values)).fetchone()


def _scans(plan: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the scans of a plan, those of indexes too."""
    if "Relation Name" in plan or "Index Name" in plan:
        yield plan
    for part in plan.get("Plans", []):
        yield from _scans(part)


def _goes_through_an_account(scan: Mapping[str, Any]) -> bool:
    """Whether a scan reads an account's entries, rather than those of one journal."""
    return scan.get("Index Name") == "entries_account_idx" and "(journal_id =" not in scan.get("Index Cond", "")


def _seen(scan: Mapping[str, Any]) -> float:
    """Return how many rows a scan looked at."""
    rows = ("Actual Rows", "Rows Removed by Filter", "Rows Removed by Index Recheck")
    return float(scan["Actual Loops"]) * sum(scan.get(name, 0) for name in rows)
