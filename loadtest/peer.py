"""Runs the peer of `loadtest/plain` on the same PostgreSQL and Valkey, with a sandbox of its own."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from urllib.parse import quote

import psycopg

from loadtest.bed import WEBHOOKS, Bed, run_client, scalar
from loadtest.client import Plan, Result
from loadtest.figures import Tell
from ops.stack import postgres
from ops.stack.layout import ROOT

_DATABASE = "plain"
_START_TIMEOUT_S = 30.0
_WEBHOOK_SECRET = "whsec_plain"  # noqa: S105 - guards test data between two processes
_MODELS = "from loadtest.plain.models import Base, engine; Base.metadata.create_all(engine)"


@dataclass(frozen=True, slots=True)
class PeerRates:
    """What the ordinary way reached."""

    accepted_per_second: float
    accept_p99_ms: float
    settled_per_second: float
    unsettled: int
    """What it was asked for and did not settle: then its rates say nothing."""

    def plain(self) -> Mapping[str, float]:
        """Return the rates as JSON has them."""
        return asdict(self)


class Peer:
    """The running peer; its worker starts on demand."""

    def __init__(self, bed: Bed, processes: ExitStack, environment: Mapping[str, str], port: int) -> None:
        """Keep where it runs."""
        self._bed = bed
        self._processes = processes
        self._environment = environment
        self._port = port
        self._database = processes.enter_context(
            psycopg.connect(_address(bed, scheme="postgresql"), autocommit=True)
        )

    def accept(self, tell: Callable[[int], None], *, limit: int) -> Result:
        """Put payments on its API."""
        return run_client(Plan("127.0.0.1", self._port, self._bed.payments(), seconds=120, limit=limit), tell)

    def start_workers(self) -> None:
        """Start the worker with its two processes."""
        arguments = ("-A", "loadtest.plain.tasks", "worker", "-P", "prefork", "-c", "2", "-l", "WARNING")
        self._processes.enter_context(running("celery", *arguments, environment=self._environment))

    def pending(self) -> int:
        """Return how many payments are not settled."""
        return int(scalar(self._database, "SELECT count(*) FROM payments WHERE status = 'pending'"))

    def settled(self) -> int:
        """Return how many payments are."""
        return int(scalar(self._database, "SELECT count(*) FROM payments WHERE status = 'succeeded'"))

    def settled_per_second(self) -> float:
        """Return the rate from the first to the last settled payment; 0 where there is none."""
        query = """
            SELECT coalesce((count(*) - 1) / nullif(extract(epoch FROM max(settled_at) - min(settled_at)), 0), 0)
            FROM payments WHERE status = 'succeeded'
        """
        return float(scalar(self._database, query))


@contextmanager
def open_peer(bed: Bed, tell: Tell) -> Iterator[Peer]:
    """Start the peer's API and sandbox on an empty database; end them, and drop it, afterwards."""
    tell("starting the ordinary way")
    port, stripe_port = free_port(), free_port()
    environment = _environment(bed, stripe_port)
    with bed.database() as connection, ExitStack() as processes:
        connection.execute(f"DROP DATABASE IF EXISTS {_DATABASE} WITH (FORCE)".encode())
        connection.execute(f"CREATE DATABASE {_DATABASE}".encode())
        processes.callback(connection.execute, f"DROP DATABASE {_DATABASE} WITH (FORCE)".encode())
        subprocess.run([sys.executable, "-c", _MODELS], cwd=ROOT, env=environment, check=True)  # noqa: S603 - our own
        hook = f"http://127.0.0.1:{port}/v1/webhooks/stripe"
        sandbox = (
            *("--port", str(stripe_port), "--webhook-url", hook),
            *("--webhook-secret", _WEBHOOK_SECRET, "--enabled-events", WEBHOOKS),
        )
        processes.enter_context(running("ops.stripe_sandbox", *sandbox, environment=environment))
        arguments = ("-k", "gthread", "-w", "2", "--threads", "8", "--keep-alive", "75", "--no-control-socket")
        bind = ("-b", f"127.0.0.1:{port}", "loadtest.plain.app:app")
        processes.enter_context(running("gunicorn", *arguments, *bind, environment=environment))
        for listening in (port, stripe_port):
            wait_for_port(listening)
        yield Peer(bed, processes, environment, port)


def _environment(bed: Bed, stripe_port: int) -> Mapping[str, str]:
    info, plan = bed.stack.info, bed.stack.plan
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("MARKETFLOW_")},
        "PLAIN_DATABASE_URL": _address(bed, scheme="postgresql+psycopg"),
        "PLAIN_BROKER_URL": f"{info.broker_url.rpartition('/')[0]}/5",
        "PLAIN_REDIS_URL": f"{info.redis_url.rpartition('/')[0]}/6",
        "PLAIN_JWT_SECRET": plan.settings.jwt_secret.get_secret_value(),
        "PLAIN_WEBHOOK_SECRET": _WEBHOOK_SECRET,
        "PLAIN_STRIPE_API_KEY": info.stripe_api_key,
        "PLAIN_STRIPE_API_BASE": f"http://127.0.0.1:{stripe_port}",
    }


def _address(bed: Bed, *, scheme: str) -> str:
    host = quote(str(bed.stack.layout.postgres_socket_dir))
    return f"{scheme}://{postgres.SUPERUSER}@/{_DATABASE}?host={host}"


@contextmanager
def running(module: str, *arguments: str, environment: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """Run a Python module as a process and end it afterwards."""
    with subprocess.Popen(  # noqa: S603 - our own arguments
        [sys.executable, "-m", module, *arguments],
        cwd=ROOT,
        env=dict(environment),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for_port(port: int) -> None:
    """Wait until somebody listens."""
    deadline = time.monotonic() + _START_TIMEOUT_S
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        if time.monotonic() > deadline:
            raise TimeoutError(f"nobody listens on port {port}")
        time.sleep(0.02)
