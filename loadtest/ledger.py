"""Journals posted a second by Python, beside the same statement in pgbench."""

import asyncio
import time
from collections.abc import Sequence
from datetime import UTC, datetime

from db.pool import make_pool
from db.unit_of_work import Database
from domain.ids import JournalId, PaymentId, UserId, uuid7
from domain.ledger.model import Journal, JournalKind
from domain.ledger.postings import Share, post_charge
from loadtest.bed import Bed
from loadtest.figures import Figure, Findings, Tell
from loadtest.pgbench import transactions_per_second
from ops.stack import Stack, postgres

BATCH = 64
_SELLERS = 10

# What db/ledger.py sends, with the rows made in the server instead of sent to it.
_SCRIPT = """\\set seller random(0, {last})
WITH batch AS MATERIALIZED (
    SELECT uuidv7() AS id, uuidv7() AS payment_id FROM generate_series(1, {batch})
), posted AS (
    INSERT INTO journals (id, kind, source, payment_id, currency, entry_count, created_at)
    SELECT id, 'charge', 'ch_' || id, payment_id, 'USD', 3, now() FROM batch
)
INSERT INTO entries (journal_id, line, account, currency, amount_minor)
SELECT b.id, l.line, l.account, 'USD', l.amount_minor
FROM batch b, (VALUES
    (1, 'stripe_balance', 1999),
    (2, 'seller_payable:00000000-0000-4000-8000-' || lpad(:seller::text, 12, '0'), -1949),
    (3, 'commission_revenue', -50)) AS l (line, account, amount_minor);
"""


def measure(bed: Bed, tell: Tell) -> Findings:
    """Post charges of three entries in batches of 64, all on the same commission account.

    One process and one connection each, a commit a batch, on a database of their own.
    """
    seconds = 4.0 if bed.quick else 8.0
    tell("starting another PostgreSQL")
    with Stack(bed.directory / "ledger", programs={"postgres"}) as stack:
        script = bed.directory / "ledger.sql"
        script.write_text(_SCRIPT.format(last=_SELLERS - 1, batch=BATCH))
        address = postgres.url(stack.layout, postgres.APPLICATION)

        def limit() -> float:
            tell("pgbench posts journals")
            return BATCH * transactions_per_second(script, address, clients=1, seconds=seconds / 2)

        before = limit()
        tell("Python posts journals")
        rate = asyncio.run(_post(stack.info.database_url, seconds))
        after = limit()
    mean = (before + after) / 2
    return Findings(
        (
            Figure(
                "journals posted against pgbench",
                rate / mean,
                "x",
                f"{rate:,.0f}/s against {mean:,.0f}/s ({before:,.0f}, {after:,.0f}), one connection each",
                must=0.5,
            ),
        ),
        {"per_second": rate, "pgbench": mean},
    )


async def _post(url: str, seconds: float) -> float:
    pool = make_pool(url, pool_size=1, statement_timeout_s=10)
    database = Database(pool)
    sellers = [UserId(uuid7()) for _ in range(_SELLERS)]
    posted, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        batch = _batch(sellers[posted // BATCH % _SELLERS])
        async with database.begin() as tx:
            await tx.ledger.post(batch)
            await tx.commit()
        posted += len(batch)
    elapsed = time.perf_counter() - started
    await pool.close()
    return posted / elapsed


def _batch(seller_id: UserId) -> Sequence[Journal]:
    now = datetime.now(UTC)
    entries = post_charge(1999, [Share(seller_id, 1999, 250)])
    ids = [JournalId(uuid7()) for _ in range(BATCH)]
    return [Journal(id_, JournalKind.CHARGE, f"ch_{id_}", PaymentId(uuid7()), "USD", entries, now) for id_ in ids]
