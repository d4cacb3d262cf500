"""What the workers count."""

from prometheus_client import Counter, Gauge, Histogram

from domain.audit.model import Log
from domain.payments.model import SETTLED
from domain.work import Work

ANNOUNCEMENTS_LOST = Counter(
    "marketflow_worker_announcements_lost_total",
    "Rows that the broker did not take; the sweeper announces them later.",
)
CHANGES_LOST = Counter(
    "marketflow_worker_changes_lost_total", "Changes that Redis did not take; who waits for them looks later."
)
TASK_SECONDS = Histogram(
    "marketflow_task_seconds",
    "Duration of tasks: done, postponed (a part was out of reach), timed_out or failed.",
    ["task", "outcome"],
    buckets=(0.005, 0.025, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)
SETTLE_SECONDS = Histogram(
    "marketflow_settle_seconds",
    "Time from accepting a payment to the transaction that settled it, by where it stands then.",
    ["status"],
    buckets=(0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 3600),
)
BATCH_SIZE = Histogram(
    "marketflow_worker_batch_size",
    "How many rows shared one transaction.",
    ["batch"],
    buckets=(1, 2, 4, 8, 16, 32, 64, 128),
)
TRANSACTIONS_OPEN = Gauge(
    "marketflow_worker_transactions_open",
    "Database transactions open or waiting for a connection: more than the pool holds, and some wait.",
)
ROWS_SWEPT = Counter(
    "marketflow_rows_swept_total", "Rows that the sweeper announced, since they were due and forgotten.", ["work"]
)
STRIPE_CALL_SECONDS = Histogram(
    "marketflow_stripe_call_seconds",
    "Duration of calls to Stripe, without the wait for their turn.",
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
STRIPE_CALLS = Counter(
    "marketflow_stripe_calls_total",
    "Calls to Stripe: answered, failed, unknown (throttled, replayed or cut off), or not_made.",
    ["outcome"],
)
STRIPE_TURN_SECONDS = Histogram(
    "marketflow_stripe_turn_seconds",
    "How long calls to Stripe waited for their turn.",
    buckets=(0.01, 0.05, 0.1, 0.25, 0.5, 1, 2, 5),
)
ROWS_POSTPONED = Counter(
    "marketflow_rows_postponed_total", "Rows put back because Stripe could not be asked about them.", ["work"]
)
EGRESS_ALONE = Counter(
    "marketflow_stripe_egress_alone_total",
    "Times that a process decided alone about calls to Stripe, because Redis was out of reach.",
)
DELIVERY_SECONDS = Histogram(
    "marketflow_delivery_seconds",
    "Duration of webhooks to clients: delivered, refused (any answer but 2xx) or unanswered.",
    ["outcome"],
    buckets=(0.025, 0.1, 0.25, 0.5, 1, 2.5, 5, 15),
)
AUDIT_RECORDS = Counter("marketflow_audit_records_total", "Records that were sealed.", ["log"])
AUDIT_SEAL = Gauge(
    "marketflow_audit_seal", "The number of the last seal that this process has made; the greatest is the head."
)
AUDIT_HEAD = Gauge("marketflow_audit_head", "The first 48 bits of the hash of that seal, as a number.")

# A series that begins with its first event hides that event from every rate.
for _status in SETTLED:
    SETTLE_SECONDS.labels(str(_status))
for _outcome in ("answered", "failed", "unknown", "not_made"):
    STRIPE_CALLS.labels(_outcome)
for _outcome in ("delivered", "refused", "unanswered"):
    DELIVERY_SECONDS.labels(_outcome)
BATCH_SIZE.labels("settle")
for _work in Work:
    ROWS_POSTPONED.labels(str(_work))
    ROWS_SWEPT.labels(str(_work))
for _log in Log:
    AUDIT_RECORDS.labels(str(_log))
