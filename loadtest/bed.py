"""The stack under test, its users, and the load client that is put on it."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import httpx
import psycopg

from api.client import SyncClient
from domain.settlement.inbox.intent_events import CHARGE_EVENTS
from loadtest.client import KEY, Plan, Result
from loadtest.figures import Tell
from loadtest.spans import collector
from ops.stack import Stack, postgres
from ops.stack.layout import ROOT

BUYERS = 50
SELLERS = 10
ACCEPTED = 202
DRAIN_TIMEOUT_S = 180.0
START_TIMEOUT_S = 60.0

# An endpoint at Stripe is set to the types of events that its owner uses.
WEBHOOKS = ",".join(sorted(CHARGE_EVENTS))
# Every feature stays on; of the traces 5 % are sampled, as by default. The user's limit is raised, or it would be
# what is measured; a token lasts for the run.
OVERRIDES = {
    "MARKETFLOW_RATE_LIMIT_PER_MINUTE": "10000000",
    "MARKETFLOW_RATE_LIMIT_BURST": "1000000",
    "MARKETFLOW_ACCESS_TOKEN_TTL_S": "7200",
    "MARKETFLOW_SANDBOX_ENABLED_EVENTS": WEBHOOKS,
}


@dataclass(slots=True)
class Bed:
    """A running stack with users who pay. `accepted` counts every 202 of the run."""

    stack: Stack
    directory: Path
    quick: bool
    token_of: Mapping[UUID, str]
    sellers: Sequence[UUID]
    seller_login: tuple[str, str]
    scale: bool
    """Whether the big tables are wanted, which take long to make."""
    started_s: float
    """How long the stack took to start: databases made, migrated and seeded, every program ready."""
    accepted: int = 0
    refused: dict[int, int] = field(default_factory=dict)

    @property
    def tokens(self) -> Sequence[str]:
        """Return the buyers' tokens."""
        return tuple(self.token_of.values())

    @property
    def address(self) -> tuple[str, int]:
        """Return where the API listens."""
        return address_of(self.stack.info.api)

    def payments(self) -> list[str]:
        """Return requests for direct payments, a template for each buyer."""
        return [
            http_request(
                "POST",
                "/v1/payments",
                {"Authorization": f"Bearer {token}", "Idempotency-Key": KEY, "Content-Type": "application/json"},
                {
                    "seller_id": str(self.sellers[number % len(self.sellers)]),
                    "amount_minor": 1999,
                    "currency": "USD",
                    "payment_method": "pm_card_visa",
                },
            )
            for number, token in enumerate(self.tokens)
        ]

    def accept(self, tell: Callable[[int], None] = lambda _: None, **plan: Any) -> Result:
        """Put payments on the API and count those that it accepts; `plan` as in Plan."""
        host, port = self.address
        result = run_client(Plan(host, port, self.payments(), **plan), tell)
        self.accepted += result.statuses.get(ACCEPTED, 0)
        for status, count in result.statuses.items():
            if status != ACCEPTED:
                self.refused[status] = self.refused.get(status, 0) + count
        return result

    @contextmanager
    def database(self) -> Iterator[psycopg.Connection]:
        """Open the database for questions that no benchmark times."""
        address = postgres.url(self.stack.layout, postgres.SUPERUSER)
        with psycopg.connect(address, autocommit=True) as connection:
            yield connection

    def pending(self, connection: psycopg.Connection) -> int:
        """Return how many payments wait for work; the index of the due rows answers."""
        return int(scalar(connection, "SELECT count(*) FROM payments WHERE publish_at IS NOT NULL"))

    @contextmanager
    def workers_held(self) -> Iterator[None]:
        """Let no worker run while the block lasts; then they go on, started up and connected as before.

        Starting one takes seconds of CPU time, which a measurement of their work would take for a part of it.
        """
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._workers_serve():
            if time.monotonic() > deadline:
                raise TimeoutError(f"the workers have not started after {START_TIMEOUT_S:.0f} s")
            time.sleep(0.1)
        self.stack.kill("workers", signal.SIGSTOP)
        try:
            yield
        finally:
            self.stack.kill("workers", signal.SIGCONT)

    def _workers_serve(self) -> bool:
        """Tell whether each worker has started up: only then it shows its metrics."""
        try:
            return all(httpx.get(url, trust_env=False).is_success for url in self.stack.info.worker_metrics)
        except httpx.HTTPError:
            return False

    def analyze(self) -> None:
        """Give the planner the statistics that it has in any database older than a few minutes."""
        with self.database() as connection:
            connection.execute(b"ANALYZE")

    def drain(self, connection: psycopg.Connection, tell: Tell, timeout_s: float = DRAIN_TIMEOUT_S) -> None:
        """Wait until no payment is left to be worked on."""
        deadline = time.monotonic() + timeout_s
        while left := self.pending(connection):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{left} payments are not settled after {timeout_s:.0f} s")
            tell(f"{left:,} payments to settle")
            time.sleep(0.3)

    def drain_events(self, connection: psycopg.Connection, tell: Tell) -> None:
        """Wait until the sandbox's webhooks are in and worked off, so that they burden nobody else."""
        quiet_since, seen = time.monotonic(), -1
        deadline = quiet_since + DRAIN_TIMEOUT_S
        while time.monotonic() < deadline and time.monotonic() - quiet_since < 1.5:  # noqa: PLR2004
            received = int(
                scalar(connection, "SELECT n_tup_ins FROM pg_stat_user_tables WHERE relname = 'stripe_events'")
            )
            left = int(scalar(connection, "SELECT count(*) FROM stripe_events WHERE publish_at IS NOT NULL"))
            if received != seen or left:
                quiet_since, seen = time.monotonic(), received
            tell(f"{received:,} webhooks received, {left:,} to work off")
            time.sleep(0.3)


@contextmanager
def open_bed(
    directory: Path,
    *,
    quick: bool,
    tell: Tell,
    scale: bool = False,
    programs: Collection[str] | None = None,
    buyers: int = BUYERS,
) -> Iterator[Bed]:
    """Start the stack in a directory, register the users, and stop the stack at the end.

    `programs` are those of the stack that are wanted, if not all. A buyer takes a third of a second, since its
    password is hashed twice.
    """
    begun = time.monotonic()
    with (
        collector() as endpoint,
        Stack(
            directory / "var", {**OVERRIDES, "MARKETFLOW_OTLP_ENDPOINT": endpoint}, programs, on_progress=tell
        ) as stack,
    ):
        started_s = time.monotonic() - begun
        tell("registering users")
        run = uuid4().hex[:12]
        with SyncClient(stack.info.api, timeout_s=30) as market:
            names = [f"buyer-{run}-{number}" for number in range(buyers)]
            tokens = {_register(market, name, "buyer"): _token(market, name) for name in names}
            sellers = [_register(market, f"seller-{run}-{number}", "seller") for number in range(SELLERS)]
        login = _login(f"seller-{run}-0")
        yield Bed(stack, directory, quick, tokens, sellers, login, scale, started_s)


def _register(market: SyncClient, name: str, role: str) -> UUID:
    email, password = _login(name)
    return UUID(market.run(lambda: market.client.users.register(email, password, role))["id"])


def _token(market: SyncClient, name: str) -> str:
    market.log_in(*_login(name))
    return market.client.credentials.bearer or ""


def _login(name: str) -> tuple[str, str]:
    return f"{name}@example.com", f"of {name}"


def http_request(
    method: str, path: str, headers: Mapping[str, str], body: Mapping[str, object] | None = None
) -> str:
    """Return a request as it goes over the wire; a key in it does not count for the length of the body."""
    content = "" if body is None else json.dumps(body)
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", *(f"{k}: {v}" for k, v in headers.items())]
    if body is not None:
        lines.append(f"Content-Length: {len(content)}")
    return "\r\n".join([*lines, "", content])


def run_client(plan: Plan, tell: Callable[[int], None] = lambda _: None) -> Result:
    """Run the load client in a process of its own; `tell` hears how many requests have ended."""
    command = [sys.executable, "-m", "loadtest.client"]
    with subprocess.Popen(  # noqa: S603 - our own arguments
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None  # noqa: S101 - a pipe was asked for
        assert process.stdout is not None  # noqa: S101 - the same
        json.dump(asdict(plan), process.stdin)
        process.stdin.close()
        for line in process.stdout:
            message = json.loads(line)
            if "done" not in message:
                message["statuses"] = {int(status): n for status, n in message["statuses"].items()}
                return Result(**message)
            tell(message["done"])
    raise RuntimeError("the load client ended without a result")


def scalar(connection: psycopg.Connection, query: str, *values: object) -> Any:
    """Return the one value of a query."""
    row = connection.execute(query.encode(), values).fetchone()
    assert row is not None  # noqa: S101 - queries of one value alone
    return row[0]


def address_of(url: str) -> tuple[str, int]:
    """Return host and port of a URL."""
    parts = urlsplit(url)
    return parts.hostname or "127.0.0.1", parts.port or 80
