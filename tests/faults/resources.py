"""What the processes of a stack hold: memory, and connections to PostgreSQL and to Redis."""

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import psutil

if TYPE_CHECKING:
    from tests.faults.harness import Harness

_PROGRAMS = ("api", "workers", "deliveries", "beat")
_MEBIBYTE = 2**20
_GROWTH = 2.0
_SPARE_BYTES = 64 * _MEBIBYTE
"""Caches fill up: each process may take as much again as at first, and so much more."""
_SPARE_CONNECTIONS = 10
"""Celery keeps as many connections to the broker as it ever needed at once, up to so many by its default."""
# Those of the stack; the cases look on over sessions that say so by their name.
_SESSIONS = """
    SELECT count(*), count(*) FILTER (WHERE state <> 'idle') FROM pg_stat_activity
    WHERE backend_type = 'client backend' AND usename = current_user AND application_name = ''
        AND pid <> pg_backend_pid()
"""


@dataclass(frozen=True, slots=True)
class Resources:
    """What the process of each program holds that holds most; and all of them together of PostgreSQL."""

    rss_bytes: Mapping[str, int]
    redis: Mapping[str, int]
    sessions: int
    busy: int
    """Sessions that are within a transaction."""


def measure(harness: "Harness") -> Resources:
    """Look at all processes as they are now."""
    ports = {urlsplit(url).port for url in (harness.stack.info.redis_url, harness.stack.info.broker_url)}
    with harness.database() as connection:
        row = connection.execute(_SESSIONS).fetchone()
    return Resources(
        rss_bytes=_most(harness, lambda process: int(process.memory_info().rss)),
        redis=_most(harness, lambda process: _connections(process, ports)),
        sessions=row[0] if row else 0,
        busy=row[1] if row else 0,
    )


def kept(harness: "Harness", before: Resources) -> list[str]:
    """Say what the processes hold that they should have given back by now."""
    now, settings = measure(harness), harness.stack.plan.settings
    found = [
        f"{program} takes {size // _MEBIBYTE} MiB, and took {before.rss_bytes[program] // _MEBIBYTE} at first"
        for program, size in now.rss_bytes.items()
        if size > _GROWTH * before.rss_bytes[program] + _SPARE_BYTES
    ]
    found += [
        f"{program} has {count} connections to Redis, and had {before.redis[program]} at first"
        for program, count in now.redis.items()
        if count > before.redis[program] + settings.redis_pool_size + _SPARE_CONNECTIONS
    ]
    # Each process has one pool; what delivers webhooks is a worker as well.
    pooled = settings.database_pool_size * (settings.api_workers + settings.worker_processes + 1)
    if now.sessions > pooled:
        found.append(f"PostgreSQL has {now.sessions} sessions, and the pools hold {pooled}")
    if now.busy:
        found.append(f"{now.busy} of the sessions are not idle")
    return found


def _most(harness: "Harness", amount: Callable[[psutil.Process], int]) -> dict[str, int]:
    """Return the largest amount that one process of each program has."""
    return {program: max(_amounts(harness, program, amount), default=0) for program in _PROGRAMS}


def _amounts(harness: "Harness", program: str, amount: Callable[[psutil.Process], int]) -> Iterator[int]:
    for pid in harness.stack.pids(program, children=True):
        with suppress(psutil.NoSuchProcess):  # it ended a moment ago
            yield amount(psutil.Process(pid))


def _connections(process: psutil.Process, ports: Collection[int | None]) -> int:
    return sum(1 for each in process.net_connections("tcp") if each.raddr and each.raddr.port in ports)
