"""Webhooks that an operator sends again."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from typer.testing import Result

from db.unit_of_work import Database
from domain.events import Event, event
from domain.ids import uuid7
from domain.notifications.decide import conclude
from domain.notifications.model import (
    Answered,
    Delivery,
    DeliveryPolicy,
    DisabledReason,
    EndpointStatus,
    WebhookEndpoint,
)
from domain.pages import PageRequest
from ops.errors import BadValue, Denied
from tests.builders import Shop, an_endpoint

Command = Callable[..., Result]


class Customer:
    """A customer's endpoint and what was promised to it."""

    def __init__(self, database: Database, endpoint: WebhookEndpoint) -> None:
        self.database, self.endpoint = database, endpoint

    async def tell(self, times: int = 1) -> list[Event]:
        now = datetime.now(UTC)
        events = [event("order.paid", uuid7(), now, audience=[self.endpoint.owner_id]) for _ in range(times)]
        async with self.database.begin() as tx:
            await tx.events.append(events)
            await tx.commit()
        return events

    async def answer(self, *statuses: int) -> None:
        """Send what waits, as a worker does, and be answered so."""
        now = datetime.now(UTC)
        async with self.database.begin() as tx:
            leased = await tx.deliveries.lease({self.endpoint.id: 99}, now, now, limit=99)
            pairs = zip(sorted(leased, key=lambda one: one.event_id), statuses, strict=True)
            ends = [conclude(one, Answered(status, 1), now, DeliveryPolicy(), 0.5) for one, status in pairs]
            await tx.deliveries.conclude(ends)
            await tx.commit()

    async def save(self, **changes: Any) -> None:
        async with self.database.begin() as tx:
            await tx.webhook_endpoints.save([replace(self.endpoint, **changes)])
            await tx.commit()

    async def deliveries(self) -> list[Delivery]:
        """The oldest event's first."""
        async with self.database.begin() as tx:
            page = await tx.deliveries.page(self.endpoint.id, PageRequest(99), status=None)
        return sorted(page.rows, key=lambda one: one.event_id)


@pytest.fixture
async def customer(database: Database) -> Customer:
    shop = await Shop(database.begin).open()
    endpoint = an_endpoint(shop.buyer.id)
    async with database.begin() as tx:
        await tx.webhook_endpoints.add(endpoint, most=9)
        await tx.commit()
    return Customer(database, endpoint)


@pytest.fixture
def told(command: Command) -> Callable[..., Any]:
    async def run(*arguments: object) -> Any:
        result = await asyncio.to_thread(command, "deliveries", "retry", "--json", *map(str, arguments))
        assert result.exit_code == 0, result.output or result.exception
        return json.loads(result.stdout)

    return run


async def test_delivery_is_due_again_by_its_id(customer: Customer, told: Callable[..., Any]) -> None:
    await customer.tell(2)
    await customer.answer(200, 410)
    _, failed = await customer.deliveries()

    answer = await told(failed.id)

    assert answer == {
        "scheduled": 1,
        "id": str(failed.id),
        "endpoint_id": str(customer.endpoint.id),
        "event_id": str(failed.event_id),
        "event_type": "order.paid",
        "status": "pending",
        "attempts": 1,
    }
    assert [one.status for one in await customer.deliveries()] == ["delivered", "pending"]


@pytest.mark.parametrize(("more", "scheduled"), [((), 2), (("--all",), 3)])
async def test_span_of_an_endpoint_is_due_again_with_what_it_missed(
    customer: Customer, told: Callable[..., Any], more: tuple[str, ...], scheduled: int
) -> None:
    await customer.tell(2)
    await customer.answer(200, 410)
    await customer.save(status=EndpointStatus.DISABLED, disabled_reason=DisabledReason.GONE)
    await customer.tell()
    await customer.save()

    answer = await told("--endpoint", customer.endpoint.id, "--since", "1h", *more)

    assert (answer["scheduled"], answer["endpoint_id"]) == (scheduled, str(customer.endpoint.id))
    assert datetime.fromisoformat(answer["until"]) - datetime.fromisoformat(answer["since"]) == timedelta(hours=1)
    assert len(await customer.deliveries()) == 3
    assert sum(one.status == "pending" for one in await customer.deliveries()) == scheduled


async def test_named_events_are_due_again(customer: Customer, told: Callable[..., Any]) -> None:
    first, _, third = await customer.tell(3)
    await customer.answer(200, 200, 200)

    answer = await told("--endpoint", customer.endpoint.id, "--event", first.id, "--event", third.id)

    assert answer == {"scheduled": 2, "endpoint_id": str(customer.endpoint.id)}
    assert [one.status for one in await customer.deliveries()] == ["pending", "delivered", "pending"]


async def test_people_read_a_sentence(customer: Customer, command: Command) -> None:
    await customer.tell()
    (delivery,) = await customer.deliveries()

    result = await asyncio.to_thread(command, "deliveries", "retry", str(delivery.id))

    assert "due now" in result.output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((str(uuid4()),), "no such delivery"),
        (("--endpoint", str(uuid4()), "--since", "1h"), "no such webhook endpoint"),
        (("--endpoint", str(uuid4()), "--since", "1h", "--until", "2h"), "ends before"),
        (("--endpoint", str(uuid4()), "--since", "soon"), "neither a time"),
        ((), "Give a delivery's ID"),
        (("--endpoint", str(uuid4())), "Give a delivery's ID"),
        (("--since", "1h"), "Give a delivery's ID"),
        ((str(uuid4()), "--endpoint", str(uuid4())), "Give a delivery's ID"),
        (("--endpoint", str(uuid4()), "--event", str(uuid4()), "--since", "1h"), "Give a delivery's ID"),
        (("--endpoint", str(uuid4()), "--event", str(uuid4()), "--all"), "Give a delivery's ID"),
    ],
)
def test_what_cannot_be_done_is_a_message(command: Command, arguments: tuple[str, ...], words: str) -> None:
    result = command("deliveries", "retry", *arguments)

    assert isinstance(result.exception, BadValue), result.output
    assert words in str(result.exception)


async def test_disabled_endpoint_must_be_activated_first(customer: Customer, command: Command) -> None:
    await customer.tell()
    await customer.answer(410)
    await customer.save(status=EndpointStatus.DISABLED, disabled_reason=DisabledReason.GONE)
    (delivery,) = await customer.deliveries()

    result = await asyncio.to_thread(command, "deliveries", "retry", str(delivery.id))

    assert "activate it first" in str(result.exception)
    assert isinstance(result.exception, Denied)


def test_help_says_how(command: Command) -> None:
    result = command("deliveries", "retry", "--help")

    assert result.exit_code == 0
    assert all(option in result.output for option in ("--endpoint", "--since", "--until", "--event", "--json"))
