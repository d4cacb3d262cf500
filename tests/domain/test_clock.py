from datetime import UTC, datetime

from domain.clock import SystemClock


def test_system_clock_is_aware_and_in_utc() -> None:
    before, now, after = datetime.now(UTC), SystemClock().now(), datetime.now(UTC)

    assert before <= now <= after
    assert now.tzinfo is UTC
