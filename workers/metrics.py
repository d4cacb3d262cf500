"""What the workers count."""

from prometheus_client import Counter

ANNOUNCEMENTS_LOST = Counter(
    "marketflow_worker_announcements_lost_total",
    "Rows that the broker did not take; the sweeper announces them later.",
)
CHANGES_LOST = Counter(
    "marketflow_worker_changes_lost_total", "Changes that Redis did not take; who waits for them looks later."
)
