"""Several processes of the real server count a user's requests together, as exactly as one would."""

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass

import pytest

from domain.identity.model import Role, User
from ops.settings import Settings
from tests.api.clocked_app import PROCESS, SharedTime
from tests.api.test_hostile_clients import Server, free_port, serving
from tests.eventually import eventually

TokenOf = Callable[[User | Role], dict[str, str]]
PER_MINUTE, BURST, PROCESSES = 1_000, 200, 3
FILES = 4_096
DEADLINE_S = 120.0
# So many requests are on their way at once; each of them comes at its own time by the clock of the limits.
AT_ONCE = 12


class Line:
    """A connection to one of the processes, on which one request follows the other."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> None:
        self.reader, self.writer, self.request = reader, writer, request
        self.process = ""

    async def ask(self) -> int:
        """Send the request; return the status of the answer, and remember who gave it."""
        async with asyncio.timeout(DEADLINE_S):
            self.writer.write(self.request)
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
            status, *lines = head.strip().split("\r\n")
            fields = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
            await self.reader.readexactly(int(fields["content-length"]))
        self.process = fields[PROCESS.lower()]
        return int(status.split()[1])


@dataclass
class Fleet:
    """Lines to all processes, and the clock of their limits."""

    clock: SharedTime
    lines: list[Line]
    random: random.Random

    async def send(self, moments: Iterable[float]) -> int:
        """Send a request at each of these moments through whichever process; return how many passed.

        What passes is refused for what it asks, before it costs the database anything.
        """
        statuses = Counter[int]()
        for moment in moments:
            self.clock.set(moment)
            chosen = self.random.sample(self.lines, AT_ONCE)
            statuses.update(await asyncio.gather(*(line.ask() for line in chosen)))
        assert set(statuses) <= {422, 429}, statuses
        return statuses[422]


@pytest.fixture
async def fleet(
    settings: Settings, tmp_path_factory: pytest.TempPathFactory, token_of: TokenOf
) -> AsyncIterator[Fleet]:
    var = tmp_path_factory.mktemp("fleet")
    clock = SharedTime(var)
    given = {
        "RATE_LIMIT_PER_MINUTE": str(PER_MINUTE),
        "RATE_LIMIT_BURST": str(BURST),
        "API_WORKERS": str(PROCESSES),
        "REDIS_TIMEOUT_S": str(DEADLINE_S),
    }
    fields = {"Host": "x", **token_of(Role.BUYER)}
    head = ["GET /v1/orders?limit=0 HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
    request = "\r\n".join([*head, "", ""]).encode()
    async with (
        serving(settings, "tests.api.clocked_app:create()", free_port(), var, FILES, **given) as server,
        contextlib.AsyncExitStack() as opened,
    ):
        lines: list[Line] = []

        async def all_processes_answer() -> bool:
            lines.append(await open_line(server, request, opened))
            return len({line.process for line in lines}) == PROCESSES and len(lines) >= 2 * AT_ONCE

        await eventually(all_processes_answer, DEADLINE_S)
        yield Fleet(clock, lines, random.Random(8))


async def open_line(server: Server, request: bytes, opened: contextlib.AsyncExitStack) -> Line:
    reader, writer = await server.open()
    opened.callback(writer.close)
    line = Line(reader, writer, request)
    await line.ask()
    return line


async def test_processes_let_pass_together_what_the_limit_says(fleet: Fleet) -> None:
    """A user who spends the burst and goes on for two minutes, always a fifth faster than it may."""
    began = fleet.clock() + 60
    # Each process may have a hundredth of it in hand that was counted before.
    assert BURST <= await fleet.send([began] * (2 * BURST // AT_ONCE)) <= BURST * (1 + PROCESSES / 100)

    rounds = round(2 * 1.2 * PER_MINUTE / AT_ONCE)
    passed = await fleet.send(began + 120 * (number + 1) / rounds for number in range(rounds))

    assert passed == pytest.approx(2 * PER_MINUTE, rel=0.01)
