"""What operators ask of a running system, and what they tell it."""

import asyncio
import json
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from redis import Redis
from typer.testing import Result

from db.broker import CeleryQueue
from db.unit_of_work import Database
from domain.settlement.model import StuckReason
from domain.work import Work
from ops.errors import BadValue, OperatorError
from ops.stack import Stack
from tests.builders import Shop, a_requested_refund
from tests.captured import captured

Command = Callable[..., Result]


@pytest.fixture
def servers(valkey: Stack, monkeypatch: pytest.MonkeyPatch) -> Stack:
    """Redis and the broker, empty."""
    for name, url in (("REDIS_URL", valkey.info.redis_url), ("BROKER_URL", valkey.info.broker_url)):
        monkeypatch.setenv(f"MARKETFLOW_{name}", url)
        with Redis.from_url(url) as client:
            client.flushdb()
    return valkey


@pytest.fixture
def absent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Addresses at which nobody listens."""
    for name in ("REDIS_URL", "BROKER_URL"):
        monkeypatch.setenv(f"MARKETFLOW_{name}", "redis://127.0.0.1:1/0")


@pytest.fixture
async def trade(database: Database) -> Shop:
    """Users and products that every connection sees."""
    return await Shop(database.begin).open()


def read(result: Result, exit_code: int = 0) -> Any:
    assert result.exit_code == exit_code, result.output
    return json.loads(result.stdout)


async def test_queues_show_rows_and_messages(command: Command, servers: Stack) -> None:
    queue = CeleryQueue(servers.info.broker_url, socket_timeout_s=60.0)
    await queue.publish(Work.REFUNDS, ["a"])
    queue.close()

    queues = {found["name"]: found for found in await asyncio.to_thread(lambda: read(command("queues", "--json")))}

    assert set(queues) == {*Work, "maintenance"}
    assert {name: found["messages"] for name, found in queues.items()} == {
        **dict.fromkeys(queues, 0),
        "refunds": 1,
    }
    assert isinstance(queues["charges"]["due"], int)
    assert queues["maintenance"]["due"] is None


@pytest.mark.usefixtures("absent")
def test_queues_without_a_broker_show_the_rows_and_end_with_three(command: Command) -> None:
    queues = read(command("queues", "--json"), exit_code=3)

    assert {found["messages"] for found in queues} == {None}
    assert isinstance(queues[0]["due"], int)


async def test_stuck_payment_is_shown_and_retried(command: Command, trade: Shop) -> None:
    payment = await trade.payment(await trade.order())
    async with trade.begin() as tx:
        await tx.payment_work.quarantine(payment.id, "of this test", payment.created_at)
        await tx.commit()

    shown = await asyncio.to_thread(lambda: read(command("payments", "stuck", "--json", "--limit", "1000")))
    told = await asyncio.to_thread(lambda: read(command("payments", "retry", str(payment.id), "--json")))

    (found,) = [one for one in shown if one["id"] == str(payment.id)]
    assert (found["reason"], found["detail"]) == (StuckReason.QUARANTINED, "of this test")
    assert told == {"id": str(payment.id), "status": "pending"}


@pytest.mark.usefixtures("servers")
async def test_refund_in_quarantine_is_shown_and_let_go(command: Command, trade: Shop) -> None:
    refund = a_requested_refund(await captured(trade), trade)
    async with trade.begin() as tx:
        await tx.refunds.add([refund], publish_at=refund.created_at)
        await tx.refund_work.quarantine(refund.id, "of this test", refund.created_at)
        await tx.commit()
    name = ("quarantine", "release", "refunds", str(refund.id))

    shown = await asyncio.to_thread(
        lambda: read(command("quarantine", "list", "--json", "--limit", "1000"), exit_code=1)
    )
    queues = {found["name"]: found for found in await asyncio.to_thread(lambda: read(command("queues", "--json")))}
    told = await asyncio.to_thread(lambda: read(command(*name, "--json")))
    again = await asyncio.to_thread(lambda: command(*name))

    (found,) = [one for one in shown if one["id"] == str(refund.id)]
    assert (found["work"], found["reason"]) == ("refunds", "of this test")
    assert queues["refunds"]["quarantined"] >= 1
    assert told == {"work": "refunds", "id": str(refund.id)}
    assert isinstance(again.exception, OperatorError)
    assert again.exception.exit_code == 1


async def test_brackets_of_a_reason_are_shown_as_they_are(command: Command, trade: Shop) -> None:
    refund = a_requested_refund(await captured(trade), trade)
    async with trade.begin() as tx:
        await tx.refunds.add([refund], publish_at=refund.created_at)
        await tx.refund_work.quarantine(refund.id, "[/x] [y]", refund.created_at)
        await tx.commit()

    shown = await asyncio.to_thread(lambda: command("quarantine", "list", "--limit", "1000"))
    await asyncio.to_thread(lambda: command("quarantine", "release", "refunds", str(refund.id)))

    assert "[/x] [y]" in shown.output


@pytest.mark.parametrize("row", [("refunds", str(uuid4())), ("charges", str(uuid4())), ("refunds", "x")])
def test_what_cannot_be_let_go_is_refused(command: Command, row: tuple[str, str]) -> None:
    result = command("quarantine", "release", *row)

    assert isinstance(result.exception, BadValue | SystemExit)
    assert result.exit_code != 0


def test_payment_that_does_not_exist_is_a_message(command: Command) -> None:
    result = command("payments", "retry", str(uuid4()))

    assert isinstance(result.exception, BadValue)
    assert "no such payment" in str(result.exception)


def test_breaker_is_shown_and_reset(command: Command, servers: Stack) -> None:
    assert read(command("breaker", "status", "--json")) == {"state": "closed", "wait_s": 0}
    with Redis.from_url(servers.info.redis_url) as client:
        client.set("stripe:breaker:half_open_at", "99999999999999999")
    assert read(command("breaker", "status", "--json"), exit_code=1)["state"] == "open"

    assert read(command("breaker", "reset", "--json")) == {"state": "closed", "changed": True}

    assert read(command("breaker", "status", "--json"))["state"] == "closed"
    assert read(command("breaker", "reset", "--json"))["changed"] is False


@pytest.mark.usefixtures("absent")
def test_breaker_without_redis_is_a_message(command: Command) -> None:
    result = command("breaker", "status")

    assert isinstance(result.exception, OperatorError)
    assert "Redis does not answer" in str(result.exception)
    assert result.exception.exit_code == 3


@pytest.mark.usefixtures("servers")
@pytest.mark.parametrize("arguments", [("queues",), ("payments", "stuck"), ("breaker", "status")])
def test_people_read_words(command: Command, arguments: tuple[str, ...]) -> None:
    result = command(*arguments)

    assert result.exit_code == 0, result.output
    assert any(word in result.output for word in ("rows due", "stuck", "closed"))
