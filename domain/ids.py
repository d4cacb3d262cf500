"""Identifiers: UUID version 7 (RFC 9562), so that new rows land at the end of their index."""

import os
import threading
import time
from datetime import datetime, timedelta
from typing import NewType
from uuid import UUID

UserId = NewType("UserId", UUID)
ProductId = NewType("ProductId", UUID)
OrderId = NewType("OrderId", UUID)
PaymentId = NewType("PaymentId", UUID)
RefundId = NewType("RefundId", UUID)
DisputeId = NewType("DisputeId", UUID)
PayoutId = NewType("PayoutId", UUID)
ReversalId = NewType("ReversalId", UUID)
JournalId = NewType("JournalId", UUID)
EventId = NewType("EventId", UUID)
SessionId = NewType("SessionId", UUID)
ApiKeyId = NewType("ApiKeyId", UUID)
ReconciliationId = NewType("ReconciliationId", UUID)
ExceptionId = NewType("ExceptionId", UUID)
WebhookEndpointId = NewType("WebhookEndpointId", UUID)
DeliveryId = NewType("DeliveryId", UUID)

_SEQUENCE_BITS = 12
_lock = threading.Lock()
_last_tick = 0
_ahead_ns = 0
# PERF: asking the kernel costs several times what the rest of an id does, so it is asked for many at once.
_POOL_BYTES = 4_096
_pool = bytearray()
os.register_at_fork(after_in_child=_pool.clear)


def uuid7() -> UUID:
    """Return a new UUIDv7, greater than every earlier one of this process.

    48 bits of milliseconds, 12 bits of a fraction of the millisecond that also counts up within one tick
    (RFC 9562, section 6.2, method 3), 62 random bits.
    """
    with _lock:
        tick, random_bytes = _next_tick(), _random(8)
    milliseconds, sequence = divmod(tick, 1 << _SEQUENCE_BITS)
    random_bits = int.from_bytes(random_bytes, "big") & ((1 << 62) - 1)
    return UUID(int=(milliseconds << 80) | (0x7 << 76) | (sequence << 64) | (0b10 << 62) | random_bits)


def correct_time(by: timedelta) -> None:
    """Let the time in new ids be the machine's and that much more, as it is in the rows that bear them."""
    global _ahead_ns  # noqa: PLW0603 - one clock a process
    _ahead_ns = by // timedelta(microseconds=1) * 1_000


def time_ns() -> int:
    """Return the time that ids are made by, in nanoseconds since 1970."""
    return time.time_ns() + _ahead_ns


def lowest_uuid7(at: datetime) -> UUID:
    """Return what no UUIDv7 of that millisecond or a later one is below."""
    return UUID(int=max(int(at.timestamp() * 1000), 0) << 80)


def _next_tick() -> int:
    """Return the time in 1/4096 ms, or one more than the last tick when the clock has not moved on.

    The caller holds the lock.
    """
    global _last_tick  # noqa: PLW0603 - monotonic order across calls needs state
    _last_tick = max((time_ns() << _SEQUENCE_BITS) // 1_000_000, _last_tick + 1)
    return _last_tick


def _random(count: int) -> bytes:
    """Return bytes of the kernel's randomness, each handed out once; a forked process begins a pool of its own.

    The caller holds the lock.
    """
    if len(_pool) < count:
        _pool.extend(os.urandom(_POOL_BYTES))
    taken = bytes(_pool[-count:])
    del _pool[-count:]
    return taken
