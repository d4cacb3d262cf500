"""What the API measures. Labels are route templates, methods and codes alone: few, and no one's data."""

from prometheus_client import Counter, Histogram

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
RATE_LIMITER_FAILURES = Counter(
    "marketflow_rate_limiter_failures_total", "Requests let through because Redis was out of reach."
)
