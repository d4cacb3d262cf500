"""Accepted and settled at once: the highest rate at which nothing piles up."""

import time
from dataclasses import dataclass

import psycopg

from loadtest.bed import ACCEPTED, Bed, scalar
from loadtest.figures import Figure, Findings, Tell
from loadtest.settle import clear

FIRST_RATE = 1_000.0
STEP = 1.2
_PROBE_S = 10.0
_HELD = 0.85
"""Of what a machine can do at most: how much can be asked of it without a queue that grows."""
_PAST = 10_000
"""The planner knows nothing of an empty table, as no database's is for long."""
_LATE_MS = 1_000.0

_LATENCIES = """
    SELECT coalesce(percentile_cont(0.5) WITHIN GROUP (ORDER BY s.ms), 0)::float8,
           coalesce(percentile_cont(0.99) WITHIN GROUP (ORDER BY s.ms), 0)::float8
    FROM (
        SELECT 1000 * extract(epoch FROM e.created_at - p.created_at) AS ms
        FROM payments p JOIN events e ON e.subject_id = p.id AND e.type = 'payment.succeeded'
        WHERE p.created_at >= %s
    ) AS s
"""


@dataclass(frozen=True, slots=True)
class Trial:
    """What a rate led to; `backlog` is what was accepted and not settled when the last answer was in.

    `per_second` were accepted while requests came, `done_per_second` both accepted and settled until all were.
    """

    rate: float
    per_second: float
    done_per_second: float
    accept_p99_ms: float
    settle_p50_ms: float
    settle_p99_ms: float
    backlog: int
    failures: int

    @property
    def is_steady(self) -> bool:
        """Tell whether all kept up: less than a second's worth waits at the end, neither answer took longer."""
        return (
            self.per_second >= 0.97 * self.rate
            and self.backlog <= self.rate
            and max(self.accept_p99_ms, self.settle_p99_ms) <= _LATE_MS
            and not self.failures
        )

    @property
    def has_room(self) -> bool:
        """Tell whether it would go on so for long: half of what is allowed is enough for a few seconds."""
        late_ms = max(self.accept_p99_ms, self.settle_p99_ms)
        return self.is_steady and self.backlog <= self.rate / 2 and late_ms <= _LATE_MS / 2

    @property
    def bearable_rate(self) -> float:
        """Return this rate, or, where it was too much, one at which this machine should keep up."""
        return self.rate if self.is_steady else min(self.rate / STEP, _HELD * self.done_per_second)


def measure(bed: Bed, tell: Tell) -> Findings:
    """Hold for long the bar's rate, a higher one that had room for a while, or a lower one that should be borne.

    Requests are due at even distances whether the server keeps up or not, and their latencies count from then.
    """
    seconds = 20.0 if bed.quick else 60.0
    with bed.database() as connection:
        clear(bed, connection, tell)
        if scalar(connection, "SELECT count(*) FROM payments") < _PAST:
            bed.accept(lambda done: tell(f"{done:,} of {_PAST:,} payments accepted"), seconds=120, limit=_PAST)
            clear(bed, connection, tell)
        bed.analyze()
        probe = try_rate(bed, connection, FIRST_RATE, _PROBE_S, tell)
        rate = probe.bearable_rate
        while probe.has_room:
            probe = try_rate(bed, connection, rate * STEP, _PROBE_S, tell)
            rate = rate * STEP if probe.has_room else rate
        trial = try_rate(bed, connection, rate, seconds, tell)
    steady = "steady" if trial.is_steady else "not steady"
    return Findings(
        (
            Figure(
                "accepted and settled at once",
                trial.rate if trial.is_steady else 0.0,
                "/s",
                f"{trial.per_second:,.0f}/s, {steady} for {seconds:.0f} s; {trial.backlog:,} unsettled; "
                f"accept p99 {trial.accept_p99_ms:.0f} ms, {trial.failures:,} requests without a 202",
                must=1_000,
                goal=2_000,
            ),
            Figure(
                "from accepted to settled, p99",
                trial.settle_p99_ms,
                "ms",
                f"p50 {trial.settle_p50_ms:.0f} ms; from the rows, to the beginning of the settling transaction",
                must=_LATE_MS,
                lower_is_better=True,
            ),
        ),
        {"rate": trial.rate, "steady": trial.is_steady, "per_second": trial.per_second, "backlog": trial.backlog},
    )


def try_rate(bed: Bed, connection: psycopg.Connection, rate: float, seconds: float, tell: Tell) -> Trial:
    """Accept at a rate for some seconds; tell how the workers kept up."""
    started, begun = scalar(connection, "SELECT now()"), time.monotonic()
    result = bed.accept(lambda done: tell(f"{rate:,.0f}/s, {done:,} sent"), seconds=seconds, rate=rate)
    backlog = bed.pending(connection)
    bed.drain(connection, tell)
    done_per_second = result.statuses.get(ACCEPTED, 0) / (time.monotonic() - begun)
    bed.drain_events(connection, tell)
    row = connection.execute(_LATENCIES.encode(), (started,)).fetchone()
    assert row is not None  # noqa: S101 - an aggregate
    return Trial(
        rate,
        result.per_second,
        done_per_second,
        result.p99_ms,
        row[0],
        row[1],
        backlog,
        result.failures(ACCEPTED),
    )
