"""The event loop, where nothing but its turns takes time."""

import asyncio


async def many_turns() -> None:
    """Let everything happen that is about to."""
    for _ in range(20):
        await asyncio.sleep(0)
