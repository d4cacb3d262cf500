"""The time that a refusal takes tells nobody whether an address is registered."""

import time
from collections.abc import Sequence
from typing import Any

import httpx

from tests.api.test_sessions import a_registration, log_in, register

PAIRS = 24
# Of 0.5, so far may chance take it: four standard deviations of the rank statistic for so many pairs.
TOLERANCE = 0.35


def share_greater(some: Sequence[float], others: Sequence[float]) -> float:
    """How often one of these is greater than one of those (Mann and Whitney's U): 0.5 is no news."""
    return sum((a > b) + 0.5 * (a == b) for a in some for b in others) / (len(some) * len(others))


async def seconds(api: httpx.AsyncClient, user: dict[str, Any], password: str) -> float:
    began = time.perf_counter()
    answer = await log_in(api, user, password=password)
    taken = time.perf_counter() - began
    assert answer.status_code == 401, answer.text
    return taken


async def test_unknown_address_takes_as_long_as_a_wrong_password(api: httpx.AsyncClient) -> None:
    """A difference shows each time; what the machine does besides, once."""
    for _ in range(3):
        known, unknown, refused_at_once = await timed(api)
        is_alike = abs(share_greater(known, unknown) - 0.5) < TOLERANCE
        # What compares nothing is told apart at once, or all this would show nothing.
        if is_alike and share_greater(unknown, refused_at_once) > 0.5 + TOLERANCE:
            return
    raise AssertionError(f"known: {known}, unknown: {unknown}, refused at once: {refused_at_once}")


async def timed(api: httpx.AsyncClient) -> tuple[list[float], list[float], list[float]]:
    """The samples alternate, so that whatever else the machine does falls on both."""
    known, unknown, refused_at_once = [], [], []
    user: dict[str, Any] = {}
    for number in range(PAIRS):
        # A throttled login would compare nothing.
        user = user if number % 8 else await register(api)
        known.append(await seconds(api, user, "wrong horse"))
        unknown.append(await seconds(api, a_registration(), "wrong horse"))
        began = time.perf_counter()
        await api.post("/v1/tokens", json={})
        refused_at_once.append(time.perf_counter() - began)
    return known, unknown, refused_at_once
