"""`marketflow secrets reseal`."""

import asyncio
import base64
import os
from collections.abc import Callable

import pytest
from typer.testing import Result

from db.pool import make_pool
from db.secret_box import FernetBox
from db.unit_of_work import Database
from domain.errors import Unavailable
from domain.notifications.model import WebhookEndpoint
from ops.errors import OperatorError
from tests.builders import Shop, an_endpoint

Command = Callable[..., Result]


def a_key() -> str:
    return base64.urlsafe_b64encode(os.urandom(32)).decode()


@pytest.fixture
def stored(database_url: str) -> Callable[[str], WebhookEndpoint]:
    """Store an endpoint with that sealed secret."""

    def store(sealed: str) -> WebhookEndpoint:
        async def run(database: Database) -> WebhookEndpoint:
            shop = await Shop(database.begin).open()
            endpoint = an_endpoint(shop.buyer.id, secret=sealed)
            async with database.begin() as tx:
                await tx.webhook_endpoints.add(endpoint, most=1)
                await tx.commit()
            return endpoint

        return _with_database(database_url, run)

    return store


@pytest.fixture
def sealed_now(database_url: str) -> Callable[[WebhookEndpoint], str]:
    """What is stored of an endpoint's secret."""

    def look(endpoint: WebhookEndpoint) -> str:
        async def run(database: Database) -> str:
            async with database.begin() as tx:
                return (await tx.webhook_endpoints.lock([endpoint.id]))[endpoint.id].secret

        return _with_database(database_url, run)

    return look


def _with_database(url: str, run: Callable) -> object:
    async def connected() -> object:
        pool = make_pool(url, pool_size=1, statement_timeout_s=60)
        try:
            return await run(Database(pool))
        finally:
            await pool.close()

    return asyncio.run(connected())


def test_old_key_is_needed_no_more(
    command: Command,
    monkeypatch: pytest.MonkeyPatch,
    stored: Callable[[str], WebhookEndpoint],
    sealed_now: Callable[[WebhookEndpoint], str],
) -> None:
    old, new = a_key(), a_key()
    endpoint = stored(FernetBox([old]).seal("whsec_of_a_client"))
    with pytest.raises(Unavailable):
        FernetBox([new]).open(sealed_now(endpoint))
    monkeypatch.setenv("MARKETFLOW_ENCRYPTION_KEYS", f"{new},{old}")

    command("secrets", "reseal")
    sealed = sealed_now(endpoint)
    command("secrets", "reseal")

    assert FernetBox([new]).open(sealed) == "whsec_of_a_client"
    assert sealed_now(endpoint) == sealed, "what is sealed with the newest key is left as it is"


def test_secret_that_no_key_opens_is_named(
    command: Command, monkeypatch: pytest.MonkeyPatch, stored: Callable[[str], WebhookEndpoint]
) -> None:
    endpoint = stored(FernetBox([a_key()]).seal("whsec_of_a_client"))
    monkeypatch.setenv("MARKETFLOW_ENCRYPTION_KEYS", a_key())

    result = command("secrets", "reseal")

    assert result.exit_code == 1
    assert str(endpoint.id) in result.output
    assert "whsec" not in result.output


@pytest.mark.parametrize("keys", ["", "too short"])
def test_keys_that_are_none_are_refused(command: Command, monkeypatch: pytest.MonkeyPatch, keys: str) -> None:
    monkeypatch.setenv("MARKETFLOW_ENCRYPTION_KEYS", keys)

    assert isinstance(command("secrets", "reseal").exception, OperatorError)
