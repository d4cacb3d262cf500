"""Hot products: read once for many, never older than the change that was told, and read without Redis as well."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from redis.asyncio import Redis

from db.product_cache import ProductCache
from domain.catalog.model import Product
from domain.errors import Unavailable
from domain.ids import ProductId, UserId, uuid7
from ops.stack import Stack
from tests.builders import a_product

TTL_S = 1000.0
Open = Callable[..., ProductCache]


class Shelf:
    """Where products are loaded from, slowly, and counted."""

    def __init__(self, product: Product | None) -> None:
        self.product = product
        self.loads = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def load(self) -> Product | None:
        self.loads += 1
        product = self.product
        await self.gate.wait()
        return product


@pytest.fixture
async def redis(valkey: Stack) -> AsyncIterator[Redis]:
    client: Redis = Redis.from_url(valkey.info.redis_url)
    yield client
    await client.aclose()


@pytest.fixture
def reads() -> Counter[str]:
    return Counter()


@pytest.fixture
def open_cache(redis: Redis, reads: Counter[str]) -> Open:
    """Open the cache of one process; by chance nothing is loaded early."""

    def open_one(client: Redis = redis, chance: float = 0.5) -> ProductCache:
        count: Callable[[str], None] = lambda result: reads.update([result])  # noqa: E731 - its type is said
        return ProductCache(client, ttl_s=TTL_S, timeout_s=60, on_read=count, chance=lambda: chance)

    return open_one


@pytest.fixture
def product() -> Product:
    return a_product(UserId(uuid7()), image_urls=("https://images.example.com/a.jpg",), attributes={"a": [1]})


async def test_product_is_loaded_once_and_read_whole_by_other_processes(
    open_cache: Open, product: Product, reads: Counter[str]
) -> None:
    shelf = Shelf(product)

    assert [await open_cache().get(product.id, shelf.load) for _ in range(3)] == [product] * 3
    assert shelf.loads == 1
    assert reads == {"miss": 1, "hit": 2}


async def test_readers_at_one_moment_share_one_load(
    open_cache: Open, product: Product, reads: Counter[str]
) -> None:
    shelf, cache = Shelf(product), open_cache()
    shelf.gate.clear()
    readers = [asyncio.create_task(cache.get(product.id, shelf.load)) for _ in range(50)]
    while not shelf.loads:
        await asyncio.sleep(0)
    readers[0].cancel()
    shelf.gate.set()

    assert await asyncio.gather(*readers[1:]) == [product] * 49
    assert shelf.loads == 1
    assert reads == {"miss": 1, "shared": 49}


async def test_change_is_read_at_once_everywhere(open_cache: Open, product: Product) -> None:
    shelf = Shelf(product)
    here, there = open_cache(), open_cache()
    await here.get(product.id, shelf.load)
    changed = replace(product, title="New", updated_at=product.updated_at + timedelta(microseconds=1))

    await here.put(changed)

    assert [await cache.get(product.id, shelf.load) for cache in (here, there)] == [changed] * 2


async def test_late_writer_does_not_bring_back_what_was_changed(open_cache: Open, product: Product) -> None:
    """One process reads the product, another changes it, and only then does the first write what it read."""
    shelf, slow, quick = Shelf(product), open_cache(), open_cache()
    shelf.gate.clear()
    reader = asyncio.create_task(slow.get(product.id, shelf.load))
    while not shelf.loads:
        await asyncio.sleep(0)
    changed = replace(product, price_minor=1, updated_at=product.updated_at + timedelta(seconds=1))
    await quick.put(changed)
    shelf.gate.set()
    await reader

    assert await quick.get(product.id, shelf.load) == changed


async def test_entry_ends_and_is_loaded_early_by_chance(
    open_cache: Open, redis: Redis, product: Product, reads: Counter[str]
) -> None:
    shelf = Shelf(product)
    await open_cache().get(product.id, shelf.load)
    left_ms = await redis.pttl(f"product:{product.id}")
    assert 0.79 * TTL_S * 1000 <= left_ms <= TTL_S * 1000

    await redis.expire(f"product:{product.id}", int(TTL_S / 10))
    await open_cache(chance=0.999).get(product.id, shelf.load)
    await open_cache(chance=0.0).get(product.id, shelf.load)

    assert reads == {"miss": 1, "hit": 1, "early": 1}
    assert shelf.loads == 2


async def test_products_that_are_loaded_together_do_not_end_together_nor_too_late(
    open_cache: Open, redis: Redis
) -> None:
    lasting_s = []
    for chance in (0.0, 0.5, 0.999):
        product = a_product(UserId(uuid7()))
        await open_cache(chance=chance).get(product.id, Shelf(product).load)
        lasting_s.append(await redis.pttl(f"product:{product.id}") / 1000)

    last, middle, first = lasting_s
    assert 0.75 * TTL_S < first <= 0.81 * TTL_S < 0.85 * TTL_S < middle <= 0.9 * TTL_S < 0.95 * TTL_S < last
    assert last <= TTL_S


async def test_what_is_not_there_is_not_kept(open_cache: Open, redis: Redis) -> None:
    product_id, shelf = ProductId(uuid7()), Shelf(None)

    assert await open_cache().get(product_id, shelf.load) is None
    assert not await redis.exists(f"product:{product_id}")


@pytest.mark.parametrize("entry", ["", "x", json.dumps({"id": 1}), "null", "[]"])
async def test_entry_of_another_form_is_loaded_anew(
    open_cache: Open, redis: Redis, product: Product, entry: str
) -> None:
    await redis.set(f"product:{product.id}", f"{0:020d}{entry}", ex=1000)

    assert await open_cache().get(product.id, Shelf(product).load) == product


async def test_error_is_told_to_all_and_kept_by_nobody(open_cache: Open, product: Product) -> None:
    async def fail() -> Product | None:
        raise Unavailable("the database is out of reach")

    cache = open_cache()
    answers = await asyncio.gather(*(cache.get(product.id, fail) for _ in range(3)), return_exceptions=True)

    assert [type(answer) for answer in answers] == [Unavailable] * 3
    assert await cache.get(product.id, Shelf(product).load) == product


async def test_without_redis_products_are_read_and_changed(
    open_cache: Open, product: Product, reads: Counter[str]
) -> None:
    nowhere: Redis = Redis.from_url("redis://127.0.0.1:1")
    shelf, cache = Shelf(product), open_cache(nowhere)

    await cache.put(product)

    assert [await cache.get(product.id, shelf.load) for _ in range(3)] == [product] * 3
    assert reads == {"bypass": 3}
    await nowhere.aclose()
