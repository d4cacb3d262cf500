"""Which rate is held for a minute, and when it counts as steady."""

import pytest

from loadtest.steady import Trial


def trial(
    *,
    rate: float = 1_000,
    accepted: float = 1_000,
    done: float = 1_000,
    accept_p99_ms: float = 100,
    settle_p99_ms: float = 300,
    backlog: int = 200,
    failures: int = 0,
) -> Trial:
    return Trial(rate, accepted, done, accept_p99_ms, 150, settle_p99_ms, backlog, failures)


@pytest.mark.parametrize(
    "kept_up",
    [
        trial(accepted=960),
        trial(accept_p99_ms=1_001),
        trial(settle_p99_ms=1_001),
        trial(backlog=1_001),
        trial(failures=1),
    ],
    ids=["accepts", "answers", "settling", "backlog", "failures"],
)
def test_rate_is_steady_only_where_all_keep_up(kept_up: Trial) -> None:
    assert trial().is_steady
    assert not kept_up.is_steady


def test_rate_that_is_borne_is_held_and_a_higher_one_tried_where_half_of_the_time_is_left() -> None:
    assert trial().bearable_rate == 1_000
    assert trial().has_room
    assert not trial(settle_p99_ms=501).has_room
    assert not trial(backlog=501).has_room


@pytest.mark.parametrize(("done", "held"), [(990, 1_000 / 1.2), (500, 425)], ids=["just missed", "far too much"])
def test_rate_that_was_too_much_gives_way_to_one_that_the_machine_can_bear(done: float, held: float) -> None:
    assert trial(done=done, backlog=1_001).bearable_rate == pytest.approx(held)
