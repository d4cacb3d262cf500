"""One contract for the carts in Redis and for the fake of the domain's tests."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from redis.asyncio import Redis

from db.carts import Carts
from domain.cart.model import CartItem
from domain.cart.ports import CartStore
from domain.errors import Unavailable
from domain.ids import ProductId, UserId, uuid7
from ops.stack import Stack
from tests.builders import NOW, a_cart_item
from tests.domain.fakes import FakeCarts
from tests.eventually import eventually

TTL_S = 1000


@pytest.fixture
async def redis(valkey: Stack) -> AsyncIterator[Redis]:
    client: Redis = Redis.from_url(valkey.info.redis_url)
    yield client
    await client.aclose()


@pytest.fixture(params=["memory", "valkey"])
def carts(request: pytest.FixtureRequest) -> CartStore:
    if request.param == "memory":
        return FakeCarts()
    return Carts(request.getfixturevalue("redis"), ttl_s=TTL_S)


@pytest.fixture
def user_id() -> UserId:
    return UserId(uuid7())


async def fill(carts: CartStore, user_id: UserId, *items: CartItem) -> None:
    for item in items:
        assert await carts.put(user_id, item, max_items=100)


async def test_items_come_back_in_the_order_in_which_they_were_put_in(carts: CartStore, user_id: UserId) -> None:
    items = [a_cart_item(put_at=NOW + timedelta(microseconds=at)) for at in (0, 0, 1, 5)]

    await fill(carts, user_id, *items[::-1])

    assert await carts.get(user_id) == items
    assert await carts.get(UserId(uuid7())) == []


async def test_product_stands_once_and_full_is_full(carts: CartStore, user_id: UserId) -> None:
    one, two = a_cart_item(), a_cart_item()
    again = a_cart_item(product_id=one.product_id, quantity=5, price_minor=7, currency="JPY")

    assert await carts.put(user_id, one, max_items=1)
    assert not await carts.put(user_id, two, max_items=1)
    assert await carts.put(user_id, again, max_items=1)

    assert await carts.get(user_id) == [again]


async def test_items_are_removed_and_all_are_cleared(carts: CartStore, user_id: UserId) -> None:
    one, two = a_cart_item(), a_cart_item()
    await fill(carts, user_id, one, two)

    await carts.remove(user_id, one.product_id)
    await carts.remove(user_id, ProductId(uuid7()))
    assert await carts.get(user_id) == [two]
    for _ in range(2):
        await carts.clear(user_id)
        assert await carts.get(user_id) == []


async def test_item_is_discarded_only_as_it_was(carts: CartStore, user_id: UserId) -> None:
    gone, stays, changed = a_cart_item(), a_cart_item(), a_cart_item()
    await fill(carts, user_id, gone, stays, changed)
    since = a_cart_item(product_id=changed.product_id, put_at=changed.put_at + timedelta(microseconds=1))
    await fill(carts, user_id, since)

    await carts.discard(user_id, [gone, changed, a_cart_item()])
    await carts.discard(user_id, [])

    assert sorted(await carts.get(user_id), key=lambda item: item.put_at) == [stays, since]


async def test_cart_is_ordered_under_one_key_at_a_time(carts: CartStore, user_id: UserId) -> None:
    assert await carts.claim(user_id, "one", for_s=60)
    assert not await carts.claim(user_id, "other", for_s=60)
    assert await carts.claim(user_id, "one", for_s=60)
    assert await carts.claim(UserId(uuid7()), "other", for_s=60)

    await carts.release(user_id, "other")
    assert not await carts.claim(user_id, "other", for_s=60)
    for _ in range(2):
        await carts.release(user_id, "one")
    assert await carts.claim(user_id, "other", for_s=60)


async def test_who_breaks_off_does_not_have_the_cart_for_ever(redis: Redis, user_id: UserId) -> None:
    carts = Carts(redis, ttl_s=TTL_S)

    await carts.claim(user_id, "one", for_s=0.001)

    async def free() -> bool:
        return await carts.claim(user_id, "other", for_s=60)

    await eventually(free)


async def test_cart_is_forgotten_some_time_after_its_last_change(redis: Redis, user_id: UserId) -> None:
    carts = Carts(redis, ttl_s=TTL_S)
    await fill(carts, user_id, a_cart_item())
    await redis.expire(f"cart:{user_id}", 10)

    await fill(carts, user_id, a_cart_item())

    assert 10 < await redis.ttl(f"cart:{user_id}") <= TTL_S


async def test_many_at_once_do_not_overfill_a_cart(redis: Redis, user_id: UserId) -> None:
    carts = Carts(redis, ttl_s=TTL_S)

    put = await asyncio.gather(*(carts.put(user_id, a_cart_item(), max_items=10) for _ in range(50)))

    assert (sum(put), len(await carts.get(user_id))) == (10, 10)


async def test_redis_that_is_away_is_told(user_id: UserId) -> None:
    client: Redis = Redis.from_url("redis://127.0.0.1:1")
    carts = Carts(client, ttl_s=TTL_S)
    item = a_cart_item()

    for call in (
        carts.get(user_id),
        carts.put(user_id, item, max_items=1),
        carts.remove(user_id, item.product_id),
        carts.discard(user_id, [item]),
        carts.clear(user_id),
        carts.claim(user_id, "key", for_s=60),
        carts.release(user_id, "key"),
    ):
        with pytest.raises(Unavailable) as refusal:
            await call
        assert refusal.value.code == "cart_unavailable"
    await client.aclose()
