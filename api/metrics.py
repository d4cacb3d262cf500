"""What the API measures. Labels are route templates, methods and codes alone: few, and no one's data."""

import os
from collections.abc import Iterator, Sequence
from datetime import datetime

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, values
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from domain.reconciliation.model import Drift
from domain.settlement.model import Backlog


class _Process:
    """This process's id, as the kernel says it; it changes by forking alone.

    PERF: the library asks the kernel at each increment, which costs more than the increment.
    """

    id = os.getpid()

    @classmethod
    def forget(cls) -> None:
        """Ask again after a fork."""
        cls.id = os.getpid()


os.register_at_fork(after_in_child=_Process.forget)
if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
    values.ValueClass = values.MultiProcessValue(lambda: _Process.id)  # type: ignore[no-untyped-call]  # it has no types

REQUEST_SECONDS = Histogram(
    "marketflow_http_request_seconds",
    "Duration of requests.",
    ["method", "route", "status"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 30),
)
REFUSALS = Counter(
    "marketflow_refusals_total",
    "Requests refused, by their problem's code: `credentials_wrong`, `refresh_token_reused` tell of attacks.",
    ["code"],
)
BATCH_SIZE = Histogram(
    "marketflow_batch_size",
    "How many requests shared one statement.",
    ["batch"],
    buckets=(1, 2, 4, 8, 16, 32, 64, 128),
)
IDEMPOTENT_REPLAYS = Counter(
    "marketflow_idempotent_replays_total", "Requests answered from an earlier one.", ["of"]
)
ANNOUNCEMENTS_LOST = Counter(
    "marketflow_api_announcements_lost_total",
    "Rows that the broker did not take; the sweeper announces them later.",
)
CHANGES_LOST = Counter(
    "marketflow_api_changes_lost_total", "Changes that Redis did not take; who waits for them looks later."
)
PRODUCT_READS = Counter(
    "marketflow_product_cache_total",
    "Reads of single products through the cache: hit, shared (with another request), miss, early (loaded anew "
    "before the entry ended), bypass (Redis was out of reach). The hit rate is that of hit and shared.",
    ["result"],
)
RATE_LIMITER_FAILURES = Counter(
    "marketflow_rate_limiter_failures_total", "Requests let through because Redis was out of reach."
)
TRANSACTIONS_OPEN = Gauge(
    "marketflow_api_transactions_open",
    "Database transactions open or waiting for a connection: more than the pool holds, and some wait.",
    multiprocess_mode="livesum",
)
STREAMS_OPEN = Gauge("marketflow_streams_open", "Clients that follow events.", multiprocess_mode="livesum")
STREAMS_STALLED = Gauge(
    "marketflow_streams_stalled_seconds",
    "For how long no stream of events has gone on, because a transaction is open that may still bring an earlier "
    "event; 0 where they go on, and where nobody follows.",
    multiprocess_mode="livemax",
)
STREAMS_CUT = Counter("marketflow_streams_cut_total", "Streams that were ended because their clients were slow.")
BREAKER_UNREAD = Counter(
    "marketflow_api_breaker_unread_total", "Times that the breaker's state was asked for while Redis was away."
)


class _BreakerGauge(Collector):
    """One sample for each state; the present one is 1."""

    def __init__(self, state: str) -> None:
        self._state = state

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the gauge."""
        text = "Where the circuit breaker before Stripe stands: 1 for the state that holds."
        gauge = GaugeMetricFamily("marketflow_stripe_breaker_state", text, labels=["state"])
        for state in ("closed", "open", "half_open", "quiet"):
            gauge.add_metric([state], float(state == self._state))
        yield gauge


class _BacklogGauges(Collector):
    """What is due, and for how long, and what waits for a person, of each kind of work."""

    def __init__(self, backlogs: Sequence[Backlog], now: datetime) -> None:
        self._backlogs = backlogs
        self._now = now

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the gauges."""
        due = GaugeMetricFamily("marketflow_work_due", "Rows that are due and that nobody holds.", labels=["work"])
        age = GaugeMetricFamily(
            "marketflow_work_oldest_seconds", "For how long the oldest of them has been due.", labels=["work"]
        )
        kept = GaugeMetricFamily(
            "marketflow_work_quarantined",
            "Rows that wait for a person: what the database refused, and refunds of late money that failed.",
            labels=["work"],
        )
        for backlog in self._backlogs:
            waited = self._now - (backlog.oldest_at or self._now)
            due.add_metric([str(backlog.work)], backlog.due)
            age.add_metric([str(backlog.work)], waited.total_seconds())
            kept.add_metric([str(backlog.work)], backlog.quarantined)
        yield from (due, age, kept)


class _DriftGauges(Collector):
    """What the last reconciliation says, and what has been open since."""

    def __init__(self, drift: Drift, now: datetime) -> None:
        self._drift = drift
        self._now = now

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the gauges; when nothing was ever reconciled, the last success was in 1970."""
        drift = self._drift
        difference = GaugeMetricFamily(
            "marketflow_reconciliation_difference_minor",
            "The ledger's balance at Stripe minus Stripe's, where the last reconciliation ends, in minor units; "
            "what is in transit then is left out.",
            labels=["currency"],
        )
        for currency, minor in drift.differences:
            difference.add_metric([currency], minor)
        yield difference
        yield GaugeMetricFamily(
            "marketflow_reconciliation_open_exceptions",
            "Exceptions that wait for the other side, or for a person.",
            value=drift.open_exceptions,
        )
        yield GaugeMetricFamily(
            "marketflow_reconciliation_oldest_open_seconds",
            "For how long the oldest of them has been open.",
            value=(self._now - (drift.oldest_open_at or self._now)).total_seconds(),
        )
        yield GaugeMetricFamily(
            "marketflow_reconciliation_succeeded_timestamp_seconds",
            "When a reconciliation last ended.",
            value=drift.succeeded_at.timestamp() if drift.succeeded_at else 0,
        )


def drift_page(drift: Drift, now: datetime) -> bytes:
    """Render the state of reconciliation, which all processes share too."""
    registry = CollectorRegistry()
    registry.register(_DriftGauges(drift, now))
    return generate_latest(registry)


def backlog_page(backlogs: Sequence[Backlog], now: datetime) -> bytes:
    """Render what is due, which all processes share as well."""
    registry = CollectorRegistry()
    registry.register(_BacklogGauges(backlogs, now))
    return generate_latest(registry)


class _SealingGauge(Collector):
    """How far the sealing of the audit log is behind."""

    def __init__(self, oldest_at: datetime | None, now: datetime) -> None:
        self._waited = now - (oldest_at or now)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the gauge."""
        yield GaugeMetricFamily(
            "marketflow_audit_unsealed_seconds",
            "For how long the oldest event that is not sealed in the audit log has waited; 0 where all are.",
            value=max(self._waited.total_seconds(), 0),
        )


def sealing_page(oldest_at: datetime | None, now: datetime) -> bytes:
    """Render how far sealing is behind, which all processes share as well."""
    registry = CollectorRegistry()
    registry.register(_SealingGauge(oldest_at, now))
    return generate_latest(registry)


def breaker_page(state: str) -> bytes:
    """Render the breaker's state, which all processes share: it is read when it is asked for, not counted."""
    registry = CollectorRegistry()
    registry.register(_BreakerGauge(state))
    return generate_latest(registry)
