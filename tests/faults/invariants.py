"""What must be true after every case, whatever was done to the stack."""

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import psycopg

from db.pool import make_pool
from db.unit_of_work import Database
from domain.ledger.service import LedgerService
from domain.payments.model import PAYMENT_TRANSITIONS, PaymentStatus
from tests.faults.load import Load
from tests.faults.resources import kept

if TYPE_CHECKING:
    from tests.faults.harness import Harness

Violation = str

_UNSETTLED = """
    SELECT 'payment ' || id || ': ' || concat_ws(', ', status, attempts || ' attempts', 'due ' || due_at,
                                                 'published ' || publish_at, 'locked ' || locked_until)
    FROM payments WHERE due_at IS NOT NULL OR status NOT IN ('succeeded', 'failed', 'canceled')
    UNION ALL
    SELECT 'event ' || id || ': ' || concat_ws(', ', type, attempts || ' attempts', 'due ' || due_at,
                                               'published ' || publish_at, 'locked ' || locked_until)
    FROM stripe_events WHERE due_at IS NOT NULL
    UNION ALL
    SELECT 'refund ' || id || ': ' || concat_ws(', ', status, attempts || ' attempts', 'due ' || due_at)
    FROM refunds WHERE due_at IS NOT NULL OR status = 'pending'
    UNION ALL
    SELECT 'payout ' || id || ': ' || concat_ws(', ', status, attempts || ' attempts', 'due ' || due_at)
    FROM payouts WHERE due_at IS NOT NULL OR status IN ('pending', 'processing', 'unknown')
    UNION ALL
    SELECT 'reversal ' || id || ': ' || concat_ws(', ', status, attempts || ' attempts', 'due ' || due_at)
    FROM payout_reversals WHERE due_at IS NOT NULL OR status = 'pending'
"""
_SHOWN = 20
_TOLD = "SELECT count(*) FROM stripe_events"
# Nobody waits for one, so none is waited for: what was asked for that long ago must have ended.
_UNRECONCILED = """
    SELECT 'reconciliation ' || id || ': ' || concat_ws(', ', status, step) FROM reconciliations
    WHERE status <> 'succeeded' AND created_at < now() - make_interval(secs => %s)
"""
_QUARANTINED = " UNION ALL ".join(
    [
        *(
            f"SELECT '{table}', id::text, quarantine_reason FROM {table} WHERE quarantined_at IS NOT NULL"
            for table in ("payments", "refunds", "payouts", "payout_reversals")
        ),
        "SELECT 'stripe_events', id, type FROM stripe_events WHERE status = 'quarantined'",
    ]
)
_OVER = frozenset({"succeeded", "canceled"})
"""The states of an intent that nobody can pay any more."""
_MONEY = ("charges", "refunds", "transfers", "transfer_reversals", "balance_transactions")
# What each of our rows that moves captured money on, or back, was made for at Stripe, and with which amount.
_MOVED = {
    "refunds": (
        "refund_id",
        "SELECT id::text, amount_minor FROM refunds WHERE status = 'succeeded' AND origin <> 'external'",
    ),
    "transfers": ("payout_id", "SELECT id::text, amount_minor FROM payouts WHERE stripe_transfer_id IS NOT NULL"),
    "reversals": ("reversal_id", "SELECT id::text, amount_minor FROM payout_reversals WHERE status = 'succeeded'"),
}


async def check(harness: "Harness", load: Load, *, timeout_s: float) -> list[Violation]:
    """Return every invariant that does not hold once everything has settled, or the time is over."""
    deadline = time.monotonic() + timeout_s
    while True:
        state = await _money(harness)
        found = load.problems + await _all_final(harness, timeout_s)
        with harness.database() as connection:
            found += _promises_kept(connection, load)
            found += none_quarantined(connection)
            found += _no_state_went_back(connection)
            found += _charges_booked(connection, state)
            found += _moved_once(connection, state)
            found += _ledger_ties(connection, state)
            found += _reconciled(connection, timeout_s)
        found += await _books_right(harness)
        # A payout on schedule may have begun in between, and then both sides were not read at one time.
        if await _money(harness) == state or time.monotonic() > deadline:
            found += await _none_payable(harness, timeout_s)
            return found + await _all_told(harness, timeout_s) + await _given_back(harness, timeout_s)


async def _money(harness: "Harness") -> Mapping[str, Any]:
    """Return what moved money in the sandbox's truth."""
    state = await harness.sandbox_state()
    return {name: state[name] for name in _MONEY}


async def _none_payable(harness: "Harness", timeout_s: float) -> list[Violation]:
    """No intent at Stripe can be paid any more, since no payment is left that waits for it.

    A declined intent stays payable by whoever holds its client secret, and one may have come late.
    """
    deadline = time.monotonic() + timeout_s
    while (found := payable(await harness.sandbox_state())) and time.monotonic() < deadline:
        await asyncio.sleep(0.2)
    return found


def payable(state: Mapping[str, Any]) -> list[Violation]:
    """Return what can still be paid in the sandbox's truth."""
    return [
        f"payment {intent['metadata'].get('payment_id')}: its intent is still {intent['status']}"
        for intent in state["payment_intents"]
        if intent["status"] not in _OVER
    ]


async def _all_final(harness: "Harness", timeout_s: float) -> list[Violation]:
    """Every 202 reaches a final state within the bound, and nothing waits for work.

    The bound begins anew while Stripe still tells of what was done: a slow machine has webhooks to come for long.
    """
    deadline, told = time.monotonic() + timeout_s, 0
    with harness.database() as connection:
        while left := connection.execute(f"{_UNSETTLED} LIMIT {_SHOWN}".encode()).fetchall():
            before, told = told, int(connection.execute(_TOLD).fetchall()[0][0])
            if told > before:
                deadline = time.monotonic() + timeout_s
            elif time.monotonic() >= deadline:
                break
            await asyncio.sleep(0.2)
    return [f"not final after {timeout_s} s: {row}" for (row,) in left]


def _promises_kept(connection: psycopg.Connection[Any], load: Load) -> list[Violation]:
    """Every payment, refund and payout that was promised with a 202 exists, once for its key."""
    found = []
    for table, promised in (("payments", load.accepted), ("refunds", load.refunds), ("payouts", load.payouts)):
        query = f"SELECT idempotency_key, id::text FROM {table} WHERE idempotency_key = ANY(%s)"
        stored = dict(connection.execute(query.encode(), [list(promised)]).fetchall())
        found += [
            f"{table}: {each} was promised and is lost"
            for key, each in promised.items()
            if stored.get(key) != each
        ]
    return found


def none_quarantined(connection: psycopg.Connection[Any]) -> list[Violation]:
    rows = connection.execute(_QUARANTINED.encode())
    return [f"{table}: {row_id} is quarantined: {reason}" for table, row_id, reason in rows]


def _no_state_went_back(connection: psycopg.Connection[Any]) -> list[Violation]:
    """The events of each payment, in the order of their commit, walk along its state machine."""
    rows = connection.execute(
        "SELECT subject_id::text, split_part(type, '.', 2) FROM events"
        " WHERE type LIKE 'payment.%' ORDER BY position"
    )
    walks: defaultdict[str, list[PaymentStatus]] = defaultdict(lambda: [PaymentStatus.PROCESSING])
    for payment_id, name in rows:
        if name in set(PaymentStatus):
            walks[payment_id].append(PaymentStatus(name))
    return [
        f"payment {payment_id} went {' → '.join(walk)}"
        for payment_id, walk in walks.items()
        if any(after not in PAYMENT_TRANSITIONS[before] for before, after in pairwise(walk))
    ]


def _charges_booked(connection: psycopg.Connection[Any], state: Mapping[str, Any]) -> list[Violation]:
    """At most one successful charge a payment in the sandbox's truth, and each is booked with its amount."""
    charges = [c for c in state["charges"] if c["status"] == "succeeded" and c["captured"]]
    counts = Counter(charge["metadata"].get("payment_id") for charge in charges)
    found = [f"payment {payment_id} was charged {n} times" for payment_id, n in counts.items() if n > 1]
    rows = connection.execute("SELECT id::text, captured_minor FROM payments WHERE captured_minor > 0")
    booked = dict(rows.fetchall())
    taken = {charge["metadata"].get("payment_id"): charge["amount_captured"] for charge in charges}
    differing = {key for key in booked.keys() | taken.keys() if booked.get(key) != taken.get(key)}
    return found + [f"payment {key}: taken {taken.get(key)}, booked {booked.get(key)}" for key in differing]


def _moved_once(connection: psycopg.Connection[Any], state: Mapping[str, Any]) -> list[Violation]:
    """Each refund, transfer and reversal of ours is at Stripe once, with its amount, and none besides."""
    found = []
    made = {
        "refunds": [each for each in state["refunds"] if each["status"] == "succeeded"],
        "transfers": state["transfers"],
        "reversals": state["transfer_reversals"],
    }
    for kind, (name, query) in _MOVED.items():
        theirs = [(each["metadata"][name], each["amount"]) for each in made[kind] if each["metadata"].get(name)]
        booked = Counter((row_id, amount_minor) for row_id, amount_minor in connection.execute(query.encode()))
        differing = (Counter(theirs) - booked) + (booked - Counter(theirs))
        found += [f"{kind}: {each} is not once on both sides" for each in differing]
    return found


def _ledger_ties(connection: psycopg.Connection[Any], state: Mapping[str, Any]) -> list[Violation]:
    """The ledger's Stripe balance is the sandbox's to the cent, in each currency."""
    theirs: Counter[str] = Counter()
    for transaction in state["balance_transactions"]:
        theirs[transaction["currency"].upper()] += transaction["net"]
    rows = connection.execute(
        "SELECT currency, sum(amount_minor)::bigint FROM entries"
        " WHERE account = 'stripe_balance' GROUP BY currency"
    )
    ours = Counter(dict(rows.fetchall()))
    return [
        f"{currency}: the ledger has {ours[currency]}, the sandbox {theirs[currency]}"
        for currency in sorted(ours.keys() | theirs.keys())
        if ours[currency] != theirs[currency]
    ]


def _reconciled(connection: psycopg.Connection[Any], timeout_s: float) -> list[Violation]:
    """Every reconciliation ends within the bound."""
    return [f"not over after {timeout_s} s: {row}" for (row,) in connection.execute(_UNRECONCILED, [timeout_s])]


async def _all_told(harness: "Harness", timeout_s: float) -> list[Violation]:
    """Every event of the listener's came by webhook at least once, and once on its stream, in order."""
    listener = harness.listener
    if listener is None:
        return []
    with harness.database() as connection:
        return await _left(lambda: listener.missing(connection), timeout_s)


async def _given_back(harness: "Harness", timeout_s: float) -> list[Violation]:
    """Memory and connections return to where they were."""
    before = harness.before
    return [] if before is None else await _left(lambda: kept(harness, before), timeout_s)


async def _left(look: Callable[[], list[Violation]], timeout_s: float) -> list[Violation]:
    """Look until there is nothing, or the time is over; return what is left."""
    deadline = time.monotonic() + timeout_s
    while (found := look()) and time.monotonic() < deadline:
        await asyncio.sleep(0.1)
    return found


async def _books_right(harness: "Harness") -> list[Violation]:
    pool = make_pool(harness.stack.info.database_url, pool_size=1, statement_timeout_s=60)
    try:
        verification = await LedgerService(Database(pool).begin).verify()
    finally:
        await pool.close()
    return [f"{fault.what}: {fault.where}" for fault in verification.faults]
