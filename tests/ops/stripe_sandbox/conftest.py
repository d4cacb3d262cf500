"""A real sandbox process, the real SDK, and a receiver of webhooks."""

import asyncio
import json
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import stripe
from aiohttp import web

ROOT = Path(__file__).resolve().parents[3]
SECRET = "whsec_of_the_tests"
API_KEY = "sk_test_of_the_tests"
DEADLINE_S = 120.0

Check = Callable[[], Any]


async def until(check: Check, deadline_s: float = DEADLINE_S) -> Any:
    """Wait until a check (plain or async) is truthy and return what it returned."""
    end = time.monotonic() + deadline_s
    while True:
        value = check()
        if isinstance(value, Awaitable):
            value = await value
        if value:
            return value
        if time.monotonic() > end:
            pytest.fail(f"not true within {deadline_s} s: {check}")
        await asyncio.sleep(0.02)


@pytest.fixture(scope="session")
def wait_until() -> Callable[..., Awaitable[Any]]:
    return until


@dataclass
class Delivery:
    headers: dict[str, str]
    body: bytes
    status: int

    @property
    def event(self) -> dict[str, Any]:
        return json.loads(self.body)


@dataclass
class Receiver:
    """A webhook endpoint; `statuses` are answered first, then 200."""

    url: str = ""
    deliveries: list[Delivery] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)

    async def receive(self, request: web.Request) -> web.Response:
        status = self.statuses.pop(0) if self.statuses else 200
        self.deliveries.append(Delivery(dict(request.headers), await request.read(), status))
        return web.Response(status=status)

    def events(self, event_type: str | None = None) -> list[dict[str, Any]]:
        acknowledged = [delivery.event for delivery in self.deliveries if delivery.status == 200]
        return [event for event in acknowledged if event_type in (None, event["type"])]

    def clear(self) -> None:
        self.deliveries.clear()
        self.statuses.clear()


@pytest.fixture(scope="session")
async def webhook_endpoint() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    app = web.Application()
    app.router.add_post("/hook", receiver.receive)
    runner = web.AppRunner(app, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    yield receiver
    await runner.cleanup()


@contextmanager
def free_port() -> Iterator[int]:
    """A port for a server of the test's own, which nobody else is given meanwhile."""
    with socket.socket() as taken:
        # Servers set this too, and so may listen where somebody else only holds the port.
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", 0))
        yield int(taken.getsockname()[1])


@dataclass
class SandboxProcess:
    """A running sandbox and its control API."""

    url: str
    process: subprocess.Popen[bytes]
    http: aiohttp.ClientSession
    stripe_http: stripe.AIOHTTPClient

    @property
    def client(self) -> stripe.StripeClient:
        return self.stripe_with(API_KEY)

    def stripe_with(self, key: str) -> stripe.StripeClient:
        return stripe.StripeClient(
            key, base_addresses={"api": self.url}, http_client=self.stripe_http, max_network_retries=0
        )

    async def call(self, method: str, path: str, **kwargs: Any) -> tuple[int, Any]:
        async with self.http.request(method, path, **kwargs) as answer:
            text = await answer.text()
            return answer.status, json.loads(text) if text else None

    async def state(self) -> dict[str, Any]:
        status, state = await self.call("GET", "/_sandbox/state")
        assert status == 200
        return state

    async def fault(self, match: str, effect: str, **more: Any) -> None:
        status, body = await self.call("POST", "/_sandbox/faults", json={"match": match, "effect": effect, **more})
        assert status == 201, body

    async def set_clock(self, offset_s: float) -> None:
        status, _ = await self.call("POST", "/_sandbox/clock", json={"offset_s": offset_s})
        assert status == 200


def _start(command: list[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, cwd=ROOT)


@asynccontextmanager
async def running(webhook_url: str, *arguments: str) -> AsyncIterator[SandboxProcess]:
    with free_port() as port:
        async with running_on(port, webhook_url, *arguments) as sandbox:
            yield sandbox


@asynccontextmanager
async def running_on(port: int, webhook_url: str, *arguments: str) -> AsyncIterator[SandboxProcess]:
    command = [sys.executable, "-m", "ops.stripe_sandbox", "--port", str(port), "--webhook-url", webhook_url]
    command += ["--webhook-secret", SECRET, "--webhook-retry-base-s", "0.1", "--dispute-delay-s", "0.1"]
    process = _start([*command, *arguments])
    url = f"http://127.0.0.1:{port}"
    async with aiohttp.ClientSession(url) as http:
        stripe_http = stripe.AIOHTTPClient(timeout=60)
        sandbox = SandboxProcess(url, process, http, stripe_http)
        try:
            await until(lambda: _is_healthy(sandbox))
            yield sandbox
        finally:
            await stripe_http.close_async()
            process.terminate()
            await asyncio.to_thread(process.wait, 60)


async def _is_healthy(sandbox: SandboxProcess) -> bool:
    assert sandbox.process.poll() is None, "the sandbox ended"
    try:
        status, _ = await sandbox.call("GET", "/_sandbox/health")
    except aiohttp.ClientError:
        return False
    return status == 200


@pytest.fixture(scope="session")
def run_sandbox() -> Callable[..., Any]:
    return running


@pytest.fixture(scope="session")
async def process(webhook_endpoint: Receiver) -> AsyncIterator[SandboxProcess]:
    async with running(webhook_endpoint.url) as sandbox:
        yield sandbox


@pytest.fixture
async def sandbox(process: SandboxProcess, webhook_endpoint: Receiver) -> SandboxProcess:
    """Return the shared sandbox, emptied and with its clock set right."""
    await process.call("DELETE", "/_sandbox/state")
    webhook_endpoint.clear()
    return process


@pytest.fixture
def receiver(webhook_endpoint: Receiver) -> Receiver:
    return webhook_endpoint


@pytest.fixture
def client(sandbox: SandboxProcess) -> stripe.StripeClient:
    return sandbox.client


@pytest.fixture
def pay(client: stripe.StripeClient) -> Callable[..., Awaitable[stripe.PaymentIntent]]:
    """Return a call that makes and confirms an intent; every parameter can be replaced."""

    async def make(key: str | None = None, **changes: Any) -> stripe.PaymentIntent:
        params: Any = {
            "amount": 1999,
            "currency": "usd",
            "confirm": True,
            "payment_method": "pm_card_visa",
            "payment_method_types": ["card"],
            **changes,
        }
        params = {name: value for name, value in params.items() if value is not None}
        return await client.v1.payment_intents.create_async(
            params=params, options={"idempotency_key": key} if key else {}
        )

    return make


@pytest.fixture
def seller(sandbox: SandboxProcess, client: stripe.StripeClient) -> Callable[..., Awaitable[stripe.Account]]:
    """Return a call that opens an account and completes its onboarding; every parameter can be replaced."""

    async def open_account(**changes: Any) -> stripe.Account:
        params: Any = {
            "controller": {"stripe_dashboard": {"type": "express"}, "losses": {"payments": "application"}},
            "capabilities": {"transfers": {"requested": True}},
            **changes,
        }
        account = await client.v1.accounts.create_async(params=params)
        status, _ = await sandbox.call("POST", f"/_sandbox/accounts/{account.id}", json={"payouts_enabled": True})
        assert status == 200
        return await client.v1.accounts.retrieve_async(account.id)

    return open_account


@pytest.fixture
def send(client: stripe.StripeClient) -> Callable[..., Awaitable[stripe.Transfer]]:
    """Return a call that transfers money to an account; every parameter can be replaced."""

    async def transfer(account: stripe.Account, key: str | None = None, **changes: Any) -> stripe.Transfer:
        params: Any = {"amount": 1000, "currency": "usd", "destination": account.id, **changes}
        return await client.v1.transfers.create_async(
            params=params, options={"idempotency_key": key} if key else {}
        )

    return transfer
