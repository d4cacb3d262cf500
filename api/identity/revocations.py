"""Makes this process forget what was revoked, here or elsewhere."""

import asyncio
import time

import structlog

from api.identity.authenticator import Authenticator
from domain.errors import DomainError
from domain.identity.api_keys import ApiKeyService
from domain.identity.upkeep import RevocationService

_OVERLAP_S = 60.0
"""Longer than a transaction may last: what was noted before the last look may have been committed after it."""
_MAX_STALE_S = 30.0

log = structlog.get_logger(__name__)


class Revocations:
    """Asks the database every few seconds what has ended, and writes which API keys were used."""

    def __init__(
        self, authenticator: Authenticator, revocations: RevocationService, keys: ApiKeyService, *, poll_s: float
    ) -> None:
        """Keep the collaborators; `poll_s` is the time between two looks, in seconds."""
        self._authenticator = authenticator
        self._revocations = revocations
        self._keys = keys
        self._poll_s = poll_s
        self._looked_at = time.monotonic()
        self._runner: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look, in the process that serves: nothing was remembered before."""
        self._looked_at = time.monotonic()
        self._runner = asyncio.get_running_loop().create_task(self._run())

    async def close(self) -> None:
        """Look no more, and write which keys were used since the last look."""
        if self._runner is not None:
            self._runner.cancel()
            await asyncio.gather(self._runner, return_exceptions=True)
        await self.note_uses()

    async def look(self) -> None:
        """Forget what has ended since the last look; everything, when the database could not be asked for long.

        What was remembered since then was checked after it, so a longer look back finds nothing more.
        """
        now = time.monotonic()
        try:
            ended = await self._revocations.recent(now - self._looked_at + _OVERLAP_S)
        except DomainError as error:
            if now - self._looked_at > _MAX_STALE_S:
                log.warning("revocations_unknown", code=error.code)
                self._authenticator.forget_all()
            return
        self._authenticator.forget(ended)
        self._looked_at = now

    async def note_uses(self) -> None:
        """Write the uses of keys; those that cannot be written are lost, since nothing depends on them."""
        if used := self._authenticator.take_used():
            try:
                await self._keys.note_uses(used)
            except DomainError as error:
                log.warning("key_uses_lost", code=error.code, count=len(used))

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._poll_s)
            try:
                await self.look()
                await self.note_uses()
            except Exception:
                log.exception("revocations_failed")
