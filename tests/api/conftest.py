"""The application in this process, over ASGI, on the real PostgreSQL and a real Valkey."""

import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import httpx
import pytest

from api.app import create_app
from api.services import Services, build_services
from db.unit_of_work import Database
from domain.identity.model import Role, User
from domain.ids import SessionId, uuid7
from ops.settings import Settings
from ops.stack import Stack
from tests.api.operations import WEBHOOK_SECRET
from tests.builders import Shop, a_user
from tests.refusals import noting

JWT_SECRET = "a secret of the tests, long enough for HS256"
ENCRYPTION_KEY = "a2V5IG9mIHRoZSB0ZXN0cywgMzIgYnl0ZXMgbG9uZyE="
OLD_WEBHOOK_SECRET = "whsec_of_last_year"

Open = Callable[..., Awaitable[tuple[httpx.AsyncClient, Services]]]


@pytest.fixture(scope="session")
def settings(database_url: str, valkey: Stack) -> Settings:
    values: dict[str, Any] = {
        "database_url": database_url,
        "redis_url": valkey.info.redis_url,
        "broker_url": valkey.info.broker_url,
        "jwt_secret": JWT_SECRET,
        "stripe_webhook_secrets": f"{WEBHOOK_SECRET},{OLD_WEBHOOK_SECRET}",
        "encryption_keys": ENCRYPTION_KEY,
        "webhooks_allow_private_targets": True,
        "rate_limit_per_minute": 1_000_000,
        "address_limit_per_minute": 1_000_000,
        "rate_limit_burst": 100_000,
        "login_failures_per_address": 1_000_000,
        "prometheus_dir": None,
        # What does not answer within these is away. A machine that stands still for a second or two is not: here a
        # part that is away refuses at once.
        "redis_timeout_s": 30.0,
        "broker_timeout_s": 30.0,
        "database_statement_timeout_s": 30.0,
    }
    return Settings(**values)


@pytest.fixture(scope="session")
async def open_app(settings: Settings) -> AsyncIterator[Open]:
    """Open applications with other settings; they are closed at the end."""
    async with contextlib.AsyncExitStack() as opened:

        async def open_one(**changes: object) -> tuple[httpx.AsyncClient, Services]:
            services = build_services(settings.model_copy(update=changes))
            opened.push_async_callback(services.close)
            transport = httpx.ASGITransport(create_app(services))
            client = httpx.AsyncClient(transport=transport, base_url="http://api.test", event_hooks=noting(500))
            return await opened.enter_async_context(client), services

        yield open_one


@pytest.fixture(scope="session")
async def opened(open_app: Open) -> tuple[httpx.AsyncClient, Services]:
    """The application, whose streams end at once: this transport returns whole answers alone."""
    client, services = await open_app()
    services.feed.release()
    return client, services


@pytest.fixture(scope="session")
def api(opened: tuple[httpx.AsyncClient, Services]) -> httpx.AsyncClient:
    return opened[0]


@pytest.fixture(scope="session")
def services(opened: tuple[httpx.AsyncClient, Services]) -> Services:
    return opened[1]


@pytest.fixture(scope="session")
def token_of(services: Services) -> Callable[[User | Role], dict[str, str]]:
    """Return the header with which a user, or a new one of a role, calls."""

    def header(user: User | Role) -> dict[str, str]:
        known = user if isinstance(user, User) else a_user(user)
        return {"Authorization": f"Bearer {services.identity.tokens.issue(known, SessionId(uuid7()))}"}

    return header


@pytest.fixture(scope="session")
def finance(token_of: Callable[[Role], dict[str, str]]) -> dict[str, str]:
    return token_of(Role.FINANCE)


@pytest.fixture
async def shop(database: Database) -> Shop:
    return await Shop(database.begin).open()


@pytest.fixture(scope="session")
def closed_port() -> Iterator[int]:
    """A port on which nobody listens, and nobody else can."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield int(held.getsockname()[1])
