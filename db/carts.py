"""Carts in Redis: a hash a user, with a field a product; and who orders one."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from uuid import UUID

from redis.asyncio import Redis
from redis.exceptions import RedisError

from domain.cart.model import CartItem
from domain.errors import Unavailable
from domain.ids import ProductId, UserId

_PUT = """
local field, item, max_items, ttl_s = unpack(ARGV)
if redis.call('HEXISTS', KEYS[1], field) == 0 and redis.call('HLEN', KEYS[1]) >= tonumber(max_items) then
    return 0
end
redis.call('HSET', KEYS[1], field, item)
redis.call('EXPIRE', KEYS[1], ttl_s)
return 1
"""
_DISCARD = """
for i = 1, #ARGV, 2 do
    if redis.call('HGET', KEYS[1], ARGV[i]) == ARGV[i + 1] then
        redis.call('HDEL', KEYS[1], ARGV[i])
    end
end
"""
_CLAIM = """
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then
    return 0
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
"""
_RELEASE = """
if redis.call('GET', KEYS[1]) == ARGV[1] then
    redis.call('DEL', KEYS[1])
end
"""
_MS_PER_S = 1000


class Carts:
    """`domain.cart.ports.CartStore`."""

    def __init__(self, redis: Redis, *, ttl_s: int) -> None:
        """Keep the client, and how many seconds after its last change a cart is forgotten."""
        self._redis = redis
        self._ttl_s = ttl_s
        self._put = redis.register_script(_PUT)
        self._discard = redis.register_script(_DISCARD)
        self._claim = redis.register_script(_CLAIM)
        self._release = redis.register_script(_RELEASE)

    async def get(self, user_id: UserId) -> Sequence[CartItem]:
        """Return a cart's items, in the order in which they were put in."""
        with _translated_errors():
            fields = await self._redis.hgetall(_key(user_id))
        items = [_read(field, item) for field, item in fields.items()]
        return sorted(items, key=lambda item: (item.put_at, item.product_id))

    async def put(self, user_id: UserId, item: CartItem, *, max_items: int) -> bool:
        """Put an item in, in the place of one of the same product; False when the cart is full."""
        field = str(item.product_id)
        with _translated_errors():
            put = await self._put(keys=[_key(user_id)], args=[field, _write(item), max_items, self._ttl_s])
        return bool(put)

    async def remove(self, user_id: UserId, product_id: ProductId) -> None:
        """Take a product out, if it is there."""
        with _translated_errors():
            await self._redis.hdel(_key(user_id), str(product_id))

    async def discard(self, user_id: UserId, items: Sequence[CartItem]) -> None:
        """Take out those of the items that are still exactly as given."""
        args = [part for item in items for part in (str(item.product_id), _write(item))]
        with _translated_errors():
            await self._discard(keys=[_key(user_id)], args=args)

    async def clear(self, user_id: UserId) -> None:
        """Take everything out."""
        with _translated_errors():
            await self._redis.delete(_key(user_id))

    async def claim(self, user_id: UserId, key: str, *, for_s: float) -> bool:
        """Let those who order the cart under a key have it for a while; False while another key has it."""
        with _translated_errors():
            return bool(await self._claim(keys=[_claim_key(user_id)], args=[key, int(for_s * _MS_PER_S)]))

    async def release(self, user_id: UserId, key: str) -> None:
        """Let others order the cart, if this key has it."""
        with _translated_errors():
            await self._release(keys=[_claim_key(user_id)], args=[key])


@contextmanager
def _translated_errors() -> Iterator[None]:
    try:
        yield
    except (RedisError, OSError, TimeoutError) as error:
        raise Unavailable("the carts are out of reach", code="cart_unavailable") from error


def _key(user_id: UserId) -> str:
    return f"cart:{user_id}"


def _claim_key(user_id: UserId) -> str:
    return f"cart-order:{user_id}"


def _write(item: CartItem) -> str:
    """Return an item as text, the same item always as the same text."""
    return json.dumps([item.quantity, item.price_minor, item.currency, item.put_at.isoformat()])


def _read(field: bytes | str, item: bytes | str) -> CartItem:
    quantity, price_minor, currency, put_at = json.loads(item)
    product_id = ProductId(UUID(field.decode() if isinstance(field, bytes) else field))
    return CartItem(product_id, quantity, price_minor, currency, datetime.fromisoformat(put_at))
