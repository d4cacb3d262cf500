"""Hot products in Redis: read through it, told of every change, and never waited for when it is away."""

import asyncio
import json
import math
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from redis.asyncio import Redis
from redis.exceptions import RedisError

from domain.catalog.model import Product
from domain.catalog.ports import LoadProduct
from domain.ids import ProductId, UserId

# An entry begins with the time of the product's last change, in a fixed width. Whoever read a product before it
# was changed and comes to write it afterwards finds the newer one, and leaves it.
_PUT = """
local known = redis.call('GETRANGE', KEYS[1], 0, 19)
if known ~= '' and known > ARGV[1] then
    return 0
end
redis.call('SET', KEYS[1], ARGV[1] .. ARGV[2], 'PX', ARGV[3])
return 1
"""
_CHANGED_CHARS = 20
_JITTER = 0.2
_EARLY_SHARE = 0.02
_PAUSE_S = 1.0
_US_PER_S = 1_000_000
_MS_PER_S = 1000


class ProductCache:
    """`domain.catalog.ports.ProductCache`.

    Three things keep a hot product that expires from falling on PostgreSQL at once: requests of this process that
    want it at the same moment share one look; the times of expiry are spread; and the nearer the end of an entry,
    the likelier one of its readers loads it anew while all others still read the old one (optimal probabilistic
    cache stampede prevention, Vattani et al., 2015).
    """

    def __init__(
        self,
        redis: Redis,
        *,
        ttl_s: float,
        timeout_s: float,
        on_read: Callable[[str], None],
        chance: Callable[[], float] = random.random,
    ) -> None:
        """Keep the client, how long an entry lives at most, how long Redis may take, and who hears of each read.

        `on_read` hears `hit`, `shared`, `miss`, `early` or `bypass`.
        """
        self._redis = redis
        self._put = redis.register_script(_PUT)
        self._ttl_s = ttl_s
        self._timeout_s = timeout_s
        self._on_read = on_read
        self._chance = chance
        self._looks: dict[ProductId, asyncio.Task[Product | None]] = {}
        self._silent_until = 0.0

    async def get(self, product_id: ProductId, load: LoadProduct) -> Product | None:
        """Return a product from the cache, or load it and keep it; what is not there is not kept.

        Errors: those of `load`, for all who wait for it.
        """
        look = self._looks.get(product_id)
        if look is None:
            look = asyncio.create_task(self._look(product_id, load))
            self._looks[product_id] = look
            look.add_done_callback(lambda done: self._forget(product_id, done))
        else:
            self._on_read("shared")
        try:
            # Whoever gives up does not take the answer away from the others.
            return await asyncio.shield(look)
        finally:
            del look  # PERF: an error that it holds would hold it in turn, until a search for cycles

    async def put(self, product: Product) -> None:
        """Keep a product as it is after a committed change; an older entry gives way, a newer one stays."""
        # Who asks from now on must not be given what an earlier look has read.
        self._looks.pop(product.id, None)
        await self._store(product)

    def _forget(self, product_id: ProductId, look: asyncio.Task[Product | None]) -> None:
        if self._looks.get(product_id) is look:
            del self._looks[product_id]
        if not look.cancelled():
            look.exception()  # somebody has heard of it, or everybody has gone

    async def _look(self, product_id: ProductId, load: LoadProduct) -> Product | None:
        found = await self._find(product_id)
        if isinstance(found, Product):
            self._on_read("hit")
            return found
        self._on_read(found)
        product = await load()
        if product is not None:
            await self._store(product)
        return product

    async def _find(self, product_id: ProductId) -> Product | str:
        """Return the entry, or why it is not to be used."""
        key = _key(product_id)

        async def read() -> tuple[bytes | None, int]:
            async with self._redis.pipeline(transaction=False) as pipe:
                pipe.get(key)
                pipe.pttl(key)
                raw, left_ms = await pipe.execute()
                return raw, left_ms

        answer = await self._ask(read)
        if answer is None:
            return "bypass"
        raw, left_ms = answer
        product = None if raw is None else _read(raw)
        if product is None:
            return "miss"
        return "early" if self._is_near_its_end(left_ms / _MS_PER_S) else product

    def _is_near_its_end(self, left_s: float) -> bool:
        return left_s < -math.log(max(self._chance(), 1e-9)) * self._ttl_s * _EARLY_SHARE

    async def _store(self, product: Product) -> None:
        ttl_s = self._ttl_s * (1 - _JITTER * self._chance())
        changed = f"{int(product.updated_at.timestamp() * _US_PER_S):0{_CHANGED_CHARS}d}"
        arguments: list[str | int] = [changed, _write(product), max(1, int(ttl_s * _MS_PER_S))]
        await self._ask(lambda: self._put(keys=[_key(product.id)], args=arguments))

    async def _ask(self, question: Callable[[], Awaitable[Any]]) -> Any:
        """Ask Redis; return None when it is away, and then leave it alone for a second."""
        if time.monotonic() < self._silent_until:
            return None
        try:
            async with asyncio.timeout(self._timeout_s):
                return await question()
        except (RedisError, OSError, TimeoutError):
            self._silent_until = time.monotonic() + _PAUSE_S
            return None


def _key(product_id: ProductId) -> str:
    return f"product:{product_id}"


def _write(product: Product) -> str:
    return json.dumps(asdict(product), default=str)


def _read(entry: bytes) -> Product | None:
    """Return the product of an entry; None for one that another release wrote in another form."""
    try:
        fields = json.loads(entry[_CHANGED_CHARS:])
        product = Product(**fields)
        return replace(
            product,
            id=ProductId(UUID(fields["id"])),
            seller_id=UserId(UUID(fields["seller_id"])),
            created_at=datetime.fromisoformat(fields["created_at"]),
            updated_at=datetime.fromisoformat(fields["updated_at"]),
            withdrawn_at=fields["withdrawn_at"] and datetime.fromisoformat(fields["withdrawn_at"]),
            image_urls=tuple(fields["image_urls"]),
        )
    except (ValueError, TypeError, KeyError):
        return None
