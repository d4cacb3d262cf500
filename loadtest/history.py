"""A past for a marketplace: settled payments, multiplied with their journals, entries and events, and paid out."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import psycopg

_COPIES_AT_ONCE = 25
_AT_ONCE = 2
_TABLES = ("payments", "journals", "entries", "events")
_MADE = ("balances", "payouts", "payout_entries", "payout_floors")
_WITHOUT_INDEXES = (*_TABLES, "payout_entries")

# An id begins with its milliseconds, so a copy's id lies as much earlier as the copy: the indexes stay as in life.
_FUNCTION = """
    CREATE SCHEMA bench;
    CREATE FUNCTION bench.earlier(id uuid, ms bigint) RETURNS uuid IMMUTABLE LANGUAGE sql AS $$
        SELECT encode(
            substr(int8send(('x0000' || encode(substr(uuid_send(id), 1, 6), 'hex'))::bit(64)::bigint - ms), 3)
                || substr(uuid_send(id), 7),
            'hex'
        )::uuid
    $$;
"""
_SPAN_MS = "SELECT ceil(1000 * extract(epoch FROM max(created_at) - min(created_at)))::bigint + 1000 FROM payments"
_COPY = """
    INSERT INTO {table} ({columns})
    SELECT {values}
    FROM bench.{table} AS it, (SELECT %(number)s::bigint AS n, %(span)s::bigint AS ms) AS copy
"""
# What is not copied is given to a copy by its own insert.
_COLUMNS = """
    SELECT column_name FROM information_schema.columns
    WHERE table_schema = 'public' AND table_name = %s AND is_identity = 'NO' AND column_name <> 'transaction_id'
"""
_MOVED = {
    "payments": {
        "id": "bench.earlier(it.id, n * ms)",
        "idempotency_key": "it.idempotency_key || '-' || n",
        "stripe_intent_id": "it.stripe_intent_id || n",
        "stripe_charge_id": "it.stripe_charge_id || n",
        "created_at": "it.created_at - n * ms * interval '1 ms'",
        "updated_at": "it.updated_at - n * ms * interval '1 ms'",
    },
    "journals": {
        "id": "bench.earlier(it.id, n * ms)",
        "source": "it.source || '-' || n",
        "payment_id": "bench.earlier(it.payment_id, n * ms)",
        "created_at": "it.created_at - n * ms * interval '1 ms'",
    },
    "entries": {"journal_id": "bench.earlier(it.journal_id, n * ms)"},
    "events": {
        "id": "bench.earlier(it.id, n * ms)",
        "subject_id": "bench.earlier(it.subject_id, n * ms)",
        "created_at": "it.created_at - n * ms * interval '1 ms'",
    },
}
"""What is another in a copy than in what it copies."""
# What is not ready PostgreSQL does not write to, what is not valid it does not read; making it anew makes it both.
_SET_ASIDE = "UPDATE pg_index SET indisready = false, indisvalid = false WHERE indrelid::regclass::text = ANY(%s)"
# Each seller's shares went to it in one transfer a currency, but for those of the payments that were copied.
_PAY_OUT = """
    CREATE TABLE bench.payouts AS
    WITH floor AS (SELECT id FROM bench.journals ORDER BY id LIMIT 1)
    SELECT uuidv7() AS id, floor.id AS floor, bench.earlier(floor.id, row_number() OVER ()) AS journal_id,
           e.account, split_part(e.account, ':', 2)::uuid AS seller_id, e.currency,
           -sum(e.amount_minor)::bigint AS amount_minor
    FROM entries e, floor WHERE e.account LIKE 'seller_payable:%' AND e.journal_id < floor.id
    GROUP BY floor.id, e.account, e.currency;
    INSERT INTO payouts (id, seller_id, stripe_account_id, amount_minor, currency, status, origin,
                         stripe_transfer_id, created_at, updated_at)
    SELECT id, seller_id, 'acct_bench', amount_minor, currency, 'paid', 'scheduled', 'tr_' || id, now(), now()
    FROM bench.payouts;
    INSERT INTO journals (id, kind, source, currency, entry_count, created_at)
    SELECT journal_id, 'payout', 'tr_' || id, currency, 2, now() FROM bench.payouts;
    INSERT INTO entries (journal_id, line, account, currency, amount_minor)
    SELECT journal_id, 1, account, currency, amount_minor FROM bench.payouts
    UNION ALL SELECT journal_id, 2, 'stripe_balance', currency, -amount_minor FROM bench.payouts;
    INSERT INTO payout_entries (journal_id, line, payout_id)
    SELECT e.journal_id, e.line, p.id FROM bench.payouts p JOIN entries e USING (account, currency)
    WHERE e.journal_id < p.floor;
    INSERT INTO payout_floors (seller_id, journal_id) SELECT DISTINCT seller_id, floor FROM bench.payouts;
"""
# As if the roll-up had come by, which sums what is new since it came last.
_FOLD = """
    DELETE FROM balances;
    INSERT INTO balances (account, currency, balance_minor)
    SELECT account, currency, sum(amount_minor) FROM entries GROUP BY account, currency;
    UPDATE balance_folds SET through = pg_snapshot_xmin(pg_current_snapshot())::text::bigint;
"""


def multiply(address: str, times: int, on_progress: Callable[[int], None]) -> None:
    """Let there be `times` as many payments, the new ones before those of now; `address` is the superuser's.

    What they brought the sellers is paid out. Triggers stand still and indexes are set aside meanwhile, so that a
    million take a minute or two. The database is then as it would be later on: indexes made, statistics taken,
    balances rolled up.
    """
    with psycopg.connect(address, autocommit=True) as connection:
        connection.execute(_FUNCTION.encode())
        span_ms = _one(connection, _SPAN_MS)
        for table in _TABLES:
            connection.execute(f"CREATE TABLE bench.{table} AS SELECT * FROM {table}".encode())
        with _each_page_once(connection):
            with _without_indexes(connection, address):
                for done in _copies(address, times, span_ms):
                    on_progress(done)
                connection.execute(b"SET session_replication_role = replica")
                connection.execute(_PAY_OUT.encode())
            connection.execute(_FOLD.encode())
            _run_each(address, [f"VACUUM (ANALYZE, FREEZE) {table}" for table in (*_TABLES, *_MADE)])
        connection.execute(b"CHECKPOINT")


@contextmanager
def _each_page_once(connection: psycopg.Connection) -> Iterator[None]:
    """Write no page to the log whole while the block lasts: a past that a crash tears apart is made anew."""
    for statement in ("ALTER SYSTEM SET full_page_writes = off", "SELECT pg_reload_conf()"):
        connection.execute(statement.encode())
    yield
    for statement in ("ALTER SYSTEM RESET full_page_writes", "SELECT pg_reload_conf()"):
        connection.execute(statement.encode())


@contextmanager
def _without_indexes(connection: psycopg.Connection, address: str) -> Iterator[None]:
    """Set the indexes aside while the block lasts; they are made anew afterwards, at a fraction of the cost."""
    connection.execute(_SET_ASIDE.encode(), (list(_WITHOUT_INDEXES),))
    yield
    _run_each(address, [f"REINDEX TABLE {table}" for table in _WITHOUT_INDEXES])


def _run_each(address: str, statements: Sequence[str]) -> None:
    """Run statements that make or clear up something large, two at a time."""

    def run(statement: str) -> None:
        with psycopg.connect(address, autocommit=True) as connection:
            connection.execute(b"SET maintenance_work_mem = '512MB'")
            connection.execute(statement.encode())

    with ThreadPoolExecutor(max_workers=_AT_ONCE) as pool:
        tuple(pool.map(run, statements))


def _copies(address: str, times: int, span_ms: int) -> Iterator[int]:
    """Make the copies, two batches at a time; yield how many there are now."""
    firsts = range(1, times, _COPIES_AT_ONCE)
    with ThreadPoolExecutor(max_workers=_AT_ONCE) as pool:
        batches = pool.map(
            lambda first: _copy(address, first, min(first + _COPIES_AT_ONCE, times) - 1, span_ms), reversed(firsts)
        )
        for number, _ in enumerate(batches, 1):
            yield min(number * _COPIES_AT_ONCE + 1, times)


def _copy(address: str, first: int, last: int, span_ms: int) -> None:
    with psycopg.connect(address) as connection:
        connection.execute(b"SET LOCAL synchronous_commit = off")
        connection.execute(b"SET LOCAL session_replication_role = replica")
        for table in _TABLES:
            columns = [str(name) for (name,) in connection.execute(_COLUMNS.encode(), (table,))]
            values = [_MOVED[table].get(name, f"it.{name}") for name in columns]
            statement = _COPY.format(table=table, columns=", ".join(columns), values=", ".join(values))
            for number in range(last, first - 1, -1):
                connection.execute(statement.encode(), {"number": number, "span": span_ms})


def _one(connection: psycopg.Connection, query: str) -> int:
    row = connection.execute(query.encode()).fetchone()
    assert row is not None  # noqa: S101 - an aggregate
    return int(row[0])
