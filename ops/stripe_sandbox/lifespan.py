"""What runs beside the API calls: the journal, the webhook dispatcher and the timers."""

import asyncio
import contextlib
import gc
from collections.abc import Mapping
from typing import Any

from ops.stripe_sandbox.actions import act
from ops.stripe_sandbox.sandbox import Sandbox
from ops.stripe_sandbox.webhooks import Dispatcher

_TICK_S = 0.05
# PERF: the state is millions of objects without cycles; looking through all of them stops every call for
# hundreds of milliseconds, so the oldest generation is collected practically never.
_GC_THRESHOLDS = (20_000, 20, 1_000_000)


class Lifespan:
    """Falcon middleware that starts and stops what runs in the background."""

    def __init__(self, sandbox: Sandbox, dispatcher: Dispatcher) -> None:
        self._sandbox = sandbox
        self._dispatcher = dispatcher
        self._ticker: asyncio.Task[None] | None = None

    async def process_startup(self, scope: Mapping[str, Any], event: Mapping[str, Any]) -> None:
        """Read the kept state and begin."""
        gc.set_threshold(*_GC_THRESHOLDS)
        gc.disable()
        self._sandbox.journal.open(self._sandbox.store)
        self._sandbox.timers.load()
        gc.freeze()
        gc.enable()
        self._sandbox.on_event = self._dispatcher.submit
        await self._dispatcher.start()
        self._ticker = asyncio.create_task(self._tick_forever())

    async def process_shutdown(self, scope: Mapping[str, Any], event: Mapping[str, Any]) -> None:
        """Stop and write what is not written yet."""
        if self._ticker is not None:
            self._ticker.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._ticker
        await self._dispatcher.stop()
        self._sandbox.journal.close()

    async def _tick_forever(self) -> None:
        while True:
            await asyncio.sleep(_TICK_S)
            self._dispatcher.tick()
            act(self._sandbox)
