"""Two hundred schedules of the pipeline; `make faults` runs as many as one likes."""

import pytest

from tests.domain.simulation.run import simulate

SCHEDULES = 200
SEED = 20_261_126
_CHUNK = 50


@pytest.mark.parametrize("first", range(SEED, SEED + SCHEDULES, _CHUNK))
def test_no_order_of_steps_crashes_and_redeliveries_loses_or_doubles_money(first: int) -> None:
    for seed in range(first, first + _CHUNK):
        simulate(seed)


def test_schedule_repeats_exactly() -> None:
    assert simulate(SEED) == simulate(SEED)
    assert simulate(SEED) != simulate(SEED + 1)
