"""Many clients that follow events of one API process: what they weigh, and how soon they are told."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

import httpx
import psutil

from api.client import Client, EventStream
from loadtest.bed import BUYERS, Bed
from loadtest.client import quantile
from loadtest.figures import Figure, Findings, Tell
from loadtest.peer import free_port, running, wait_for_port

STREAMS = 1_000
_MIB = 1024 * 1024
_PAYMENTS_EACH = 2
_EVENTS_A_PAYMENT = 2  # it is accepted, and it succeeds
_EXPECTED = STREAMS * _PAYMENTS_EACH * _EVENTS_A_PAYMENT
_TIMEOUT_S = 60.0


@dataclass(slots=True)
class Followers:
    """The open streams, and how long after it happened each event came."""

    delays_ms: list[float] = field(default_factory=list)

    async def follow(self, http: httpx.AsyncClient, token: str) -> asyncio.Task[None]:
        """Open a stream and return once it is open; the task reads it for as long as it lasts."""
        stream = Client("", bearer=token, http=http).events()
        reading = asyncio.create_task(self._read(stream))
        await stream.opened()
        return reading

    async def _read(self, stream: EventStream) -> None:
        async with stream:
            async for event in stream:
                happened = datetime.fromisoformat(event["created_at"])
                self.delays_ms.append((datetime.now(UTC) - happened).total_seconds() * 1000)


@dataclass(slots=True)
class Weights:
    """The process's memory in MiB: without streams, with them, and after they were told of everything."""

    before: float = 0.0
    opened: float = 0.0
    told: float = 0.0


def measure(bed: Bed, tell: Tell) -> Findings:
    """Weigh one API process without and with its streams, and tell them of payments."""
    bed.stack.start_program("workers")
    with _one_process(bed) as (port, process):
        followers, weights = asyncio.run(_follow(bed, port, process, tell))
    delays = sorted(followers.delays_ms)
    weight = weights.opened - weights.before
    return Findings(
        (
            Figure(
                f"memory of {STREAMS:,} open streams on one API process",
                weight,
                "MiB",
                f"{weight * 1024 / STREAMS:.0f} KiB each; without them the process has {weights.before:.0f} MiB, "
                f"after {_EXPECTED:,} events {weights.told:.0f} MiB (PSS)",
            ),
            Figure(
                "events that did not reach a stream",
                _EXPECTED - len(delays),
                "",
                f"of {_EXPECTED:,}; after {quantile(delays, 0.5):.0f} ms, p99 {quantile(delays, 0.99):.0f} ms",
                must=0,
                lower_is_better=True,
            ),
        ),
        {"before_mib": weights.before, "opened_mib": weights.opened, "told_mib": weights.told},
    )


async def _follow(bed: Bed, port: int, process: psutil.Process, tell: Tell) -> tuple[Followers, Weights]:
    unlimited = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(
        base_url=f"http://127.0.0.1:{port}", timeout=_TIMEOUT_S, limits=unlimited, trust_env=False
    ) as http:
        followers, weights, streams = Followers(), Weights(before=_weigh(process)), []
        for token in bed.tokens:
            streams += [await followers.follow(http, token) for _ in range(STREAMS // BUYERS)]
            tell(f"{len(streams):,} streams are open")
        weights.opened = _weigh(process)
        await asyncio.to_thread(bed.accept, seconds=_TIMEOUT_S, limit=BUYERS * _PAYMENTS_EACH, connections=10)
        deadline = time.monotonic() + _TIMEOUT_S
        while len(followers.delays_ms) < _EXPECTED and time.monotonic() < deadline:
            tell(f"{len(followers.delays_ms):,} events have come")
            await asyncio.sleep(0.1)
        weights.told = _weigh(process)
        for stream in streams:
            stream.cancel()
        await asyncio.gather(*streams, return_exceptions=True)
    return followers, weights


def _weigh(process: psutil.Process) -> float:
    return float(process.memory_full_info().pss) / _MIB


@contextmanager
def _one_process(bed: Bed) -> Iterator[tuple[int, psutil.Process]]:
    """Run an API with one worker beside the stack's own."""
    port = free_port()
    environment = {
        **bed.stack.plan.environment,
        "MARKETFLOW_API_PORT": str(port),
        "MARKETFLOW_API_WORKERS": "1",
        "MARKETFLOW_PROMETHEUS_DIR": str(bed.directory / "prometheus-streams"),
    }
    with running("gunicorn", "-c", "api/gunicorn_conf.py", "api.main:create()", environment=environment) as master:
        wait_for_port(port)
        httpx.get(f"http://127.0.0.1:{port}/health/ready", timeout=_TIMEOUT_S, trust_env=False)
        (worker,) = psutil.Process(master.pid).children()
        yield port, worker
