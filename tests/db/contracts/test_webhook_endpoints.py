"""Webhook endpoints: one contract for PostgreSQL and for the fakes of the domain's tests."""

from dataclasses import replace

import pytest

from domain.errors import Refused
from domain.identity.model import Principal, Role
from domain.ids import UserId, WebhookEndpointId, uuid7
from domain.notifications.model import (
    DisabledReason,
    EndpointStatus,
    FormerSecret,
)
from domain.pages import PageRequest
from tests.builders import (
    NOW,
    Begin,
    Shop,
    an_endpoint,
    principal,
)
from tests.db.contracts.delivering import UNTIL, add


async def test_endpoint_is_kept_as_it_was_made(any_begin: Begin, shop: Shop) -> None:
    endpoint = an_endpoint(shop.buyer.id, events=("order.paid", "payment.*"))
    async with any_begin() as tx:
        assert await tx.webhook_endpoints.add(endpoint, most=1)
        assert not await tx.webhook_endpoints.add(an_endpoint(shop.buyer.id), most=1)

        assert await tx.webhook_endpoints.visible(principal(shop.buyer), endpoint.id) == endpoint
        assert await tx.webhook_endpoints.visible(Principal(UserId(uuid7()), Role.ADMIN), endpoint.id) == endpoint
        for stranger in (principal(shop.seller), Principal(UserId(uuid7()), Role.FINANCE)):
            assert await tx.webhook_endpoints.visible(stranger, endpoint.id) is None
        assert await tx.webhook_endpoints.lock([WebhookEndpointId(uuid7()), endpoint.id]) == {
            endpoint.id: endpoint
        }


async def test_every_change_of_an_endpoint_is_kept(any_begin: Begin, shop: Shop) -> None:
    async with any_begin() as tx:
        endpoint = await add(tx, shop.buyer.id)
        changed = replace(
            endpoint,
            secret="sealed other",
            previous_secret=endpoint.secret,
            previous_expires_at=UNTIL,
            older=(FormerSecret("sealed old", UNTIL), FormerSecret("sealed older", NOW)),
            status=EndpointStatus.DISABLED,
            disabled_reason=DisabledReason.FAILING,
            failures=12,
            failing_since=NOW,
            resume_at=UNTIL,
            updated_at=UNTIL,
        )
        await tx.webhook_endpoints.save([changed])

        assert await tx.webhook_endpoints.visible(principal(shop.buyer), endpoint.id) == changed


async def test_deleted_endpoint_is_seen_by_nobody_and_makes_room(any_begin: Begin, shop: Shop) -> None:
    async with any_begin() as tx:
        endpoint = await add(tx, shop.buyer.id, status=EndpointStatus.DELETED, secret="")

        assert await tx.webhook_endpoints.visible(principal(shop.buyer), endpoint.id) is None
        assert (await tx.webhook_endpoints.page(principal(shop.buyer), PageRequest(10), user_id=None)).rows == []
        assert await tx.webhook_endpoints.add(an_endpoint(shop.buyer.id), most=1)


async def test_endpoints_are_listed_newest_first_in_pages(any_begin: Begin, shop: Shop) -> None:
    async with any_begin() as tx:
        mine = [await add(tx, shop.buyer.id) for _ in range(3)]
        await add(tx, shop.seller.id)

        first = await tx.webhook_endpoints.page(principal(shop.buyer), PageRequest(2), user_id=None)
        rest = await tx.webhook_endpoints.page(
            principal(shop.buyer), PageRequest(2, first.next_after), user_id=None
        )

    assert [endpoint.id for endpoint in (*first.rows, *rest.rows)] == [endpoint.id for endpoint in mine[::-1]]
    assert rest.next_after is None


async def test_admin_lists_the_endpoints_of_one_user_and_nobody_else_does(any_begin: Begin, shop: Shop) -> None:
    admin = Principal(UserId(uuid7()), Role.ADMIN)
    async with any_begin() as tx:
        older, theirs, newer = [await add(tx, user.id) for user in (shop.buyer, shop.seller, shop.buyer)]

        first = await tx.webhook_endpoints.page(admin, PageRequest(1), user_id=shop.buyer.id)
        rest = await tx.webhook_endpoints.page(admin, PageRequest(1, first.next_after), user_id=shop.buyer.id)
        every = await tx.webhook_endpoints.page(admin, PageRequest(3), user_id=None)
        named = await tx.webhook_endpoints.page(principal(shop.seller), PageRequest(), user_id=shop.seller.id)
        assert not (
            await tx.webhook_endpoints.page(principal(shop.seller), PageRequest(), user_id=shop.buyer.id)
        ).rows

    assert [endpoint.id for endpoint in (*first.rows, *rest.rows)] == [newer.id, older.id]
    assert rest.next_after is None
    assert [endpoint.id for endpoint in every.rows] == [newer.id, theirs.id, older.id]
    assert [endpoint.id for endpoint in named.rows] == [theirs.id]


@pytest.mark.parametrize("status", [EndpointStatus.ENABLED, EndpointStatus.DISABLED])
async def test_deleted_endpoint_never_comes_back(begin: Begin, status: EndpointStatus) -> None:
    shop = await Shop(begin).open()
    async with begin() as tx:
        endpoint = await add(tx, shop.buyer.id, status=EndpointStatus.DELETED, secret="")
        await tx.commit()
    reason = DisabledReason.GONE if status is EndpointStatus.DISABLED else None

    with pytest.raises(Refused):
        async with begin() as tx:
            await tx.webhook_endpoints.save(
                [replace(endpoint, status=status, disabled_reason=reason, secret="sealed x")]
            )
