"""Calls that the sandbox holds until a test lets them go."""

import httpx

HELD_S = 3_600
HELD = f"delay_ms:{HELD_S * 1000}"
"""The fault that holds a call, unless the sandbox's clock is put forward, for far longer than any test takes."""


async def are_held(sandbox: httpx.AsyncClient, count: int) -> bool:
    """Tell whether so many calls are held, under the one fault that was ordered."""
    (fault,) = (await sandbox.get("/faults")).json()["faults"]
    return bool(fault["hits"] == count)


async def let_go(sandbox: httpx.AsyncClient) -> None:
    """Let the calls that are held arrive."""
    answer = await sandbox.post("/clock", json={"offset_s": HELD_S + 1})
    assert answer.status_code == 200, answer.text
