"""How many payments are settled a second out of a backlog, beside the ordinary way to build such a backend."""

import time

import psycopg

from loadtest.bed import Bed, scalar
from loadtest.figures import Figure, Findings, Tell
from loadtest.peer import PeerRates, open_peer

BACKLOG = 10_000
BACKLOG_QUICK = 3_000
PEER_BACKLOG = 1_500
PEER_BACKLOG_QUICK = 600

_SPAN = """
    SELECT count(*), extract(epoch FROM max(e.created_at) - min(e.created_at))::float8
    FROM events e JOIN payments p ON p.id = e.subject_id
    WHERE e.type = 'payment.succeeded' AND e.created_at >= %s
"""


def measure(bed: Bed, tell: Tell) -> Findings:
    """Let both settle a backlog that was accepted while their workers were held or stopped.

    Both charge through Stripe's SDK against a sandbox of the same kind, both get its webhooks, and of both the
    rows tell when the first and the last payment was settled.
    """
    settled, seconds = _settle(bed, tell)
    peer = _settle_peer(bed, tell)
    rate = (settled - 1) / seconds
    return Findings(
        (
            Figure(
                "settled against the ordinary way",
                rate / peer.settled_per_second,
                "x",
                f"{rate:,.0f}/s ({settled:,} in {seconds:.1f} s) against {peer.settled_per_second:,.0f}/s",
                must=6,
                goal=10,
            ),
            Figure(
                "… accepts of the ordinary way",
                peer.accepted_per_second,
                "/s",
                f"p99 {peer.accept_p99_ms:.0f} ms, 64 connections",
            ),
            Figure(
                "… not settled by the ordinary way",
                peer.unsettled,
                "",
                "refused, lost, failed, or still waiting: then its rates say nothing",
                must=0,
                lower_is_better=True,
            ),
        ),
        {"settled_per_second": rate, "settled": settled, "seconds": seconds, "peer": peer.plain()},
    )


def _settle(bed: Bed, tell: Tell) -> tuple[int, float]:
    """Settle a backlog; return how many payments and the seconds from the first to the last.

    An earlier measurement may have left one that is long enough.
    """
    wanted = BACKLOG_QUICK if bed.quick else BACKLOG
    with bed.database() as connection:
        if bed.pending(connection) >= wanted:
            bed.analyze()
            started = scalar(connection, "SELECT now()")
            bed.stack.start_program("workers")
        else:
            clear(bed, connection, tell)
            with bed.workers_held():
                bed.accept(
                    lambda done: tell(f"{done:,} of {wanted:,} payments accepted"), seconds=120, limit=wanted
                )
                bed.analyze()
                started = scalar(connection, "SELECT now()")
        bed.drain(connection, tell)
        row = connection.execute(_SPAN.encode(), (started,)).fetchone()
        assert row is not None  # noqa: S101 - an aggregate
        bed.drain_events(connection, tell)
    return int(row[0]), float(row[1])


def clear(bed: Bed, connection: psycopg.Connection, tell: Tell) -> None:
    """Let the workers finish what earlier measurements left."""
    bed.stack.start_program("workers")
    bed.drain(connection, tell)
    bed.drain_events(connection, tell)


def _settle_peer(bed: Bed, tell: Tell) -> PeerRates:
    wanted = PEER_BACKLOG_QUICK if bed.quick else PEER_BACKLOG
    with open_peer(bed, tell) as peer:
        accepted = peer.accept(
            lambda done: tell(f"the ordinary way: {done:,} of {wanted:,} accepted"), limit=wanted
        )
        peer.start_workers()
        deadline = time.monotonic() + 120
        while (left := peer.pending()) and time.monotonic() < deadline:
            tell(f"the ordinary way: {left:,} payments to settle")
            time.sleep(0.3)
        unsettled = wanted - peer.settled()
        return PeerRates(accepted.per_second, accepted.p99_ms, peer.settled_per_second(), unsettled)
