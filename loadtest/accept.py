"""How many payments are accepted a second, beside what PostgreSQL does with the same rows."""

import statistics
from dataclasses import asdict

from loadtest.bed import ACCEPTED, BUYERS, Bed
from loadtest.client import Result
from loadtest.figures import Figure, Findings, Tell, alternate, middle
from loadtest.pgbench import transactions_per_second
from ops.stack import postgres

PGBENCH_CLIENTS = 32

_TABLES = """
    DROP TABLE IF EXISTS bench_payments, bench_three;
    CREATE TABLE bench_payments (LIKE payments INCLUDING ALL);
    CREATE TABLE bench_three (LIKE payments INCLUDING DEFAULTS INCLUDING CONSTRAINTS, PRIMARY KEY (id),
                              UNIQUE (payer_id, idempotency_key));
    CREATE INDEX ON bench_three (publish_at) WHERE publish_at IS NOT NULL;
"""
_INSERT = """\\set buyer random(1, {buyers})
INSERT INTO {table} (id, payer_id, seller_id, amount_minor, currency, commission_bps, payment_method, capture,
    status, idempotency_key, request_hash, created_at, updated_at, due_at, publish_at)
VALUES (uuidv7(), ('00000000-0000-4000-8000-' || lpad(:buyer::text, 12, '0'))::uuid,
    '00000000-0000-4000-9000-000000000001', 1999, 'USD', 250, 'pm_card_visa', 'automatic', 'pending',
    gen_random_uuid()::text, '\\x{digest}', now(), now(), now(), now() + interval '30 s');
"""


def measure(bed: Bed, tell: Tell) -> Findings:
    """Accept for some seconds, several times, with pgbench before, between and after.

    The workers are stopped meanwhile, so the payments stay pending: this is the speed of promising alone.
    """
    seconds, count = (3.0, 1) if bed.quick else (3.0, 3)
    bed.stack.stop_program("workers")
    rounds = alternate(
        lambda: bed.accept(lambda done: tell(f"{done:,} payments sent"), seconds=seconds, warm_up_s=1.0),
        lambda: _insert(bed, "bench_payments", seconds, tell),
        count,
    )
    three = _insert(bed, "bench_three", seconds, tell)
    median = middle(rounds, _rate)
    rate, limit = _rate(median.measured), median.limit
    p99_ms = statistics.median(each.measured.p99_ms for each in rounds)
    return Findings(
        (
            Figure(
                "accepted against pgbench",
                rate / limit,
                "x",
                f"{rate:,.0f}/s against {limit:,.0f}/s; "
                f"rounds: {', '.join(f'{_rate(each.measured) / each.limit:.2f}' for each in rounds)}",
                must=0.35,
                goal=0.5,
            ),
            Figure("… with three indexes in pgbench", rate / three, "x", f"{rate:,.0f}/s against {three:,.0f}/s"),
            Figure(
                "accept latency, p99",
                p99_ms,
                "ms",
                f"p50 {median.measured.p50_ms:.1f} ms, most {median.measured.max_ms:.0f} ms, 64 connections",
                must=40,
                goal=25,
                lower_is_better=True,
            ),
            Figure(
                "accept: other answers than 202",
                sum(each.measured.failures(ACCEPTED) for each in rounds),
                "",
                "",
                must=0,
                lower_is_better=True,
            ),
        ),
        {
            "rounds": [{"pgbench": each.limit, **asdict(each.measured)} for each in rounds],
            "pgbench_three_indexes": three,
        },
    )


def _rate(result: Result) -> float:
    return result.per_second


def _insert(bed: Bed, table: str, seconds: float, tell: Tell) -> float:
    """Insert the same row into a copy of the table, which goes again afterwards."""
    tell(f"pgbench: {PGBENCH_CLIENTS} clients insert into {table}")
    script = bed.directory / f"{table}.sql"
    script.write_text(_INSERT.format(buyers=BUYERS, table=table, digest="ab" * 32))
    with bed.database() as connection:
        connection.execute(_TABLES.encode())
        try:
            return transactions_per_second(
                script,
                postgres.url(bed.stack.layout, postgres.SUPERUSER),
                clients=PGBENCH_CLIENTS,
                seconds=seconds,
            )
        finally:
            connection.execute(b"DROP TABLE bench_payments, bench_three")
            connection.execute(b"CHECKPOINT")
