from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.batches import halving
from domain.errors import Refused


class Table:
    """Takes batches all or nothing; a batch with a negative number is refused."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []

    async def apply(self, items: Sequence[int]) -> list[str]:
        if any(item < 0 for item in items):
            raise Refused("negative")
        self.batches.append(list(items))
        return [f"kept {item}" for item in items]


async def refuse(item: int, refused: Refused) -> str:
    return f"{refused.message} {item}"


@given(st.lists(st.integers(-1, 3), max_size=40))
async def test_bad_items_stand_alone_and_their_neighbours_go_through(items: list[int]) -> None:
    table = Table()

    answers = await halving(items, table.apply, refuse)

    assert answers == [f"negative {item}" if item < 0 else f"kept {item}" for item in items]
    assert [item for batch in table.batches for item in batch] == [item for item in items if item >= 0]


async def test_good_batch_is_applied_whole() -> None:
    table = Table()

    await halving([1, 2, 3], table.apply, refuse)

    assert table.batches == [[1, 2, 3]]


async def test_other_errors_pass_through() -> None:
    async def broken(_: Sequence[int]) -> list[str]:
        raise OSError("away")

    with pytest.raises(OSError, match="away"):
        await halving([1, 2], broken, refuse)
