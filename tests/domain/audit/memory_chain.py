"""Random histories in memory, sealed by the sealer itself, for tests that then lay hands on them."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from domain.audit.model import Log, Record, Seal


class MemoryAudit:
    """`domain.audit.ports.AuditTransaction`, with its repositories, over lists; everything is final at once."""

    def __init__(self) -> None:
        self.rows: dict[Log, list[Record]] = {log: [] for log in Log}
        self.chain: list[Seal] = []
        self.is_locked = False
        self.at = datetime.now(UTC)
        self.running: list[int] = []

    @property
    def audit(self) -> "MemoryAudit":
        return self

    @property
    def feed(self) -> Any:
        return self

    @asynccontextmanager
    async def begin(self) -> AsyncIterator["MemoryAudit"]:
        yield self

    async def commit(self) -> None:
        pass

    async def last_position(self) -> int:
        return max((row.position for row in self.rows[Log.EVENTS]), default=0)

    async def barrier(self) -> int:
        return 1_000_000

    async def oldest_running(self) -> int:
        return self.running.pop(0) if self.running else 1_000_001

    async def try_lock(self) -> bool:
        return not self.is_locked

    async def last_seal(self) -> Seal | None:
        return self.chain[-1] if self.chain else None

    async def sealed_through(self, log: Log, *, before: int | None = None) -> int:
        ends = [s.last_position for s in self.chain if s.log is log and (before is None or s.number < before)]
        return max(ends, default=0)

    async def oldest_unsealed(self) -> datetime | None:
        through = await self.sealed_through(Log.EVENTS)
        return self.at if any(row.position > through for row in self.rows[Log.EVENTS]) else None

    async def records(self, log: Log, after: int, through: int, *, limit: int) -> Sequence[Record]:
        found = [row for row in self.rows[log] if after < row.position <= through]
        found.sort(key=lambda row: (row.position, row.key))
        last = found[limit - 1].position if len(found) >= limit else through
        return [row for row in found if row.position <= last]

    async def add(self, seal: Seal) -> None:
        self.chain.append(seal)

    async def seals(self, first: int, *, limit: int) -> Sequence[Seal]:
        return [seal for seal in self.chain if seal.number >= first][:limit]
