"""The contract of the repositories, in PostgreSQL and in memory: users, and what is seen of uncommitted work."""

from dataclasses import replace

from domain.events import event
from domain.identity.model import Role
from domain.ids import UserId, uuid7
from tests.builders import NOW, Begin, Shop, a_user, an_order


async def test_uncommitted_work_is_gone(any_begin: Begin, shop: Shop) -> None:
    order = an_order(buyer_id=shop.buyer.id)
    async with any_begin() as tx:
        await tx.events.append([event("order.placed", order.id, NOW, audience=order.parties)])

    async with any_begin() as tx:
        assert list((await tx.events.of_subject(order.id)).rows) == []


async def test_user_is_found_by_address_and_the_address_is_taken_once(any_begin: Begin) -> None:
    user, namesake = a_user(Role.FINANCE), a_user(Role.BUYER)

    async with any_begin() as tx:
        assert await tx.users.add(user)
        assert not await tx.users.add(replace(namesake, email=user.email))
        assert await tx.users.by_email(user.email) == user
        assert await tx.users.by_email(namesake.email) is None


async def test_sellers_alone_have_rates(any_begin: Begin, shop: Shop) -> None:
    async with any_begin() as tx:
        rates = await tx.users.seller_rates({shop.seller.id, shop.buyer.id, UserId(uuid7())})

    assert rates == {shop.seller.id: None}


async def test_sellers_rate_is_set_and_taken_back(any_begin: Begin, shop: Shop) -> None:
    ids = [shop.seller.id, shop.other_seller.id]
    async with any_begin() as tx:
        assert await tx.users.set_seller_rate(shop.seller.id, 0)
        assert await tx.users.seller_rates(ids) == dict(zip(ids, [0, None], strict=True))
        assert await tx.users.set_seller_rate(shop.seller.id, None)
        assert await tx.users.seller_rates(ids) == dict.fromkeys(ids)
        assert not await tx.users.set_seller_rate(shop.buyer.id, 100)
