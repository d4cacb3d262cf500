"""A small world for the authorisation matrix: callers, and one object of each kind that belongs to two of them."""

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

from argon2 import PasswordHasher

from domain.events import event
from domain.identity.model import Role, User
from domain.ids import WebhookEndpointId, uuid7
from domain.pages import PageRequest
from domain.reconciliation.model import NOTHING_BOOKED, BreakKind, Finding
from domain.reconciliation.service import new_run
from tests.api.operations import SOME_ID, Call
from tests.builders import (
    NOW,
    Shop,
    a_dispute,
    a_journal,
    a_line_of_stripe,
    a_requested_refund,
    a_user,
    an_api_key,
    an_endpoint,
)
from tests.captured import captured
from tests.paid_out import drafted, earned

# Of the password in the good bodies, by the cheapest parameters of Argon2 that there are.
PASSWORD_HASH = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash("correct horse")
CALLERS = ("nobody", "buyer", "other buyer", "seller", "other seller", "finance", "admin")
ID = re.compile(r"{(\w+):uuid}")


@dataclass(frozen=True)
class World:
    """Users of every role. What has an owner belongs to `shop.buyer`, or to `shop.seller`, or to both."""

    shop: Shop
    callers: dict[str, User]
    ids: dict[str, str] = field(default_factory=dict)

    @classmethod
    async def create(cls, shop: Shop) -> "World":
        """Store the users that an opened shop has not."""
        others = {"other buyer": a_user(Role.BUYER), "finance": a_user(Role.FINANCE), "admin": a_user(Role.ADMIN)}
        async with shop.begin() as tx:
            for user in others.values():
                await tx.users.add(user)
            for user in (*others.values(), shop.buyer, shop.seller, shop.other_seller):
                await tx.users.set_password(user.id, PASSWORD_HASH)
            await tx.commit()
        return cls(shop, {**others, "buyer": shop.buyer, "seller": shop.seller, "other seller": shop.other_seller})

    async def id(self, name: str) -> str:
        """Return the id of this world's object that is so called in paths and bodies."""
        if name not in self.ids:
            self.ids[name] = await OBJECTS[name](self)
        return self.ids[name]

    async def path(self, call: Call) -> str:
        """Return the path of a call with the ids of real objects."""
        template = call.template.replace("{account}", "stripe_balance").replace("{any_id}", "{payment_id:uuid}")
        ids = [await self.id(name) for name in ID.findall(template)]
        return ID.sub(lambda _: ids.pop(0), template)

    async def body(self, body: Any) -> Any:
        """Return a good body with the ids of real objects, and with an address that nobody has."""
        if isinstance(body, list):
            return [await self.body(value) for value in body]
        if not isinstance(body, dict):
            return body
        return {
            name: await self.id(name) if value == SOME_ID else await self.body(value)
            for name, value in body.items()
        } | ({"email": f"{uuid4().hex}@example.com"} if "email" in body else {})


async def _journal(world: World) -> str:
    journal = a_journal()
    async with world.shop.begin() as tx:
        await tx.ledger.post([journal])
        await tx.commit()
    return str(journal.id)


async def _key(world: World) -> str:
    key = an_api_key(world.shop.buyer.id)
    async with world.shop.begin() as tx:
        await tx.api_keys.add(key)
        await tx.commit()
    return str(key.id)


async def _order(world: World) -> str:
    return str((await world.shop.order()).id)


async def _payment(world: World) -> str:
    return str((await world.shop.payment(await world.shop.order())).id)


async def _product(world: World) -> str:
    return str(world.shop.product.id)


async def _dispute(world: World) -> str:
    dispute = a_dispute(await captured(world.shop, await world.shop.order()))
    async with world.shop.begin() as tx:
        await tx.disputes.save(dispute)
        await tx.commit()
    return str(dispute.id)


async def _payout(world: World) -> str:
    await earned(world.shop)
    payout = await drafted(world.shop)
    assert payout is not None
    return str(payout.id)


async def _endpoint(world: World) -> str:
    endpoint = an_endpoint(world.shop.buyer.id)
    async with world.shop.begin() as tx:
        await tx.webhook_endpoints.add(endpoint, most=100)
        await tx.commit()
    return str(endpoint.id)


async def _delivery(world: World) -> str:
    endpoint_id = WebhookEndpointId(UUID(await world.id("endpoint_id")))
    async with world.shop.begin() as tx:
        await tx.events.append([event("order.paid", uuid7(), NOW, audience=[world.shop.buyer.id])])
        await tx.commit()
    async with world.shop.begin() as tx:
        page = await tx.deliveries.page(endpoint_id, PageRequest(1), status=None)
    return str(page.rows[0].id)


async def _refund(world: World) -> str:
    refund = a_requested_refund(await captured(world.shop, await world.shop.order()), world.shop)
    async with world.shop.begin() as tx:
        await tx.refunds.add([refund], publish_at=refund.created_at)
        await tx.commit()
    return str(refund.id)


async def _run(world: World) -> str:
    run = new_run(NOW - timedelta(days=1), NOW, NOW)
    async with world.shop.begin() as tx:
        await tx.runs.add(run)
        await tx.commit()
    return str(run.id)


async def _exception(world: World) -> str:
    run = replace(new_run(NOW - timedelta(days=1), NOW, NOW), id=UUID(await world.id("run_id")))
    finding = Finding(a_line_of_stripe(), NOTHING_BOOKED, BreakKind.UNKNOWN_SOURCE)
    async with world.shop.begin() as tx:
        await tx.comparisons.record(run, [finding], NOW)
        await tx.commit()
        page = await tx.reconciliations.exceptions(run.id, PageRequest(), None)
    return str(page.rows[0].id)


async def _user(world: World) -> str:
    return str(world.shop.buyer.id)


# Makes an object and returns its id, by the name that the id has in paths and bodies. An object inside another
# asks the world for that one: `await world.id("order_id")`.
OBJECTS: dict[str, Callable[[World], Awaitable[str]]] = {
    "delivery_id": _delivery,
    "dispute_id": _dispute,
    "endpoint_id": _endpoint,
    "exception_id": _exception,
    "journal_id": _journal,
    "key_id": _key,
    "order_id": _order,
    "payment_id": _payment,
    "payout_id": _payout,
    "product_id": _product,
    "refund_id": _refund,
    "run_id": _run,
    "user_id": _user,
}
