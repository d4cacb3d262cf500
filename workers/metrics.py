"""What the workers count."""

from prometheus_client import Counter, Histogram

ANNOUNCEMENTS_LOST = Counter(
    "marketflow_worker_announcements_lost_total",
    "Rows that the broker did not take; the sweeper announces them later.",
)
CHANGES_LOST = Counter(
    "marketflow_worker_changes_lost_total", "Changes that Redis did not take; who waits for them looks later."
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
