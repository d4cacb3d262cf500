"""What is sent: one JSON form for all events, versioned. `api/webhooks/payloads.py` describes it to clients."""

import json
from datetime import UTC

from domain.notifications.model import LeasedDelivery

VERSION = 1


def render(delivery: LeasedDelivery) -> bytes:
    """Return the body of a delivery; the same event has the same body at every attempt."""
    return json.dumps(
        {
            "id": str(delivery.event_id),
            "type": delivery.event_type,
            "version": VERSION,
            "timestamp": delivery.occurred_at.astimezone(UTC).isoformat().replace("+00:00", "Z"),
            "subject_id": str(delivery.subject_id),
            "sequence": delivery.sequence,
            "data": dict(delivery.data),
        },
        separators=(",", ":"),
    ).encode()
