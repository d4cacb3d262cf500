"""Batches: how one that the database refuses is taken apart, so that one bad item does not fail its neighbours."""

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from domain.errors import Refused

Item = TypeVar("Item")
Answer = TypeVar("Answer")


async def halving(
    items: Sequence[Item],
    apply: Callable[[Sequence[Item]], Awaitable[list[Answer]]],
    on_refused: Callable[[Item, Refused], Awaitable[Answer]],
) -> list[Answer]:
    """Apply a batch; when it is refused, halve it until the bad item stands alone.

    `apply` does all or nothing and returns an answer for each item, in order. `on_refused` answers for an item
    that is refused alone. Returns the answers in the order of the items. Errors other than Refused pass through.
    """
    if not items:
        return []
    try:
        return await apply(items)
    except Refused as refused:
        if len(items) == 1:
            return [await on_refused(items[0], refused)]
    middle = len(items) // 2
    return [
        *await halving(items[:middle], apply, on_refused),
        *await halving(items[middle:], apply, on_refused),
    ]
