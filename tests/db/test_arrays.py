"""Array literals say to PostgreSQL what psycopg's own arrays say."""

from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from db.arrays import write_array
from db.connection import borrow
from domain.payments.model import PaymentStatus

# PostgreSQL's text holds no NUL, and no half of a surrogate pair.
TEXT = st.text(st.characters(blacklist_characters="\x00", blacklist_categories=("Cs",)))
TIMES = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC))  # noqa: DTZ001 - bounds are naive


@given(
    st.lists(st.none() | TEXT),
    st.lists(st.none() | st.binary()),
    st.lists(st.none() | st.integers(-(2**63), 2**63 - 1)),
    st.lists(st.none() | st.uuids()),
    st.lists(st.none() | st.booleans()),
    st.lists(st.none() | TIMES),
)
async def test_every_value_comes_back_as_it_was(
    engine: AsyncEngine,
    texts: list[str | None],
    blobs: list[bytes | None],
    numbers: list[int | None],
    ids: list[UUID | None],
    flags: list[bool | None],
    times: list[datetime | None],
) -> None:
    query = text(
        "SELECT CAST(:texts AS text[]), CAST(:blobs AS bytea[]), CAST(:numbers AS bigint[]), CAST(:ids AS uuid[]),"
        " CAST(:flags AS boolean[]), CAST(:times AS timestamptz[])"
    )
    given_values = {
        "texts": texts,
        "blobs": blobs,
        "numbers": numbers,
        "ids": ids,
        "flags": flags,
        "times": times,
    }

    async with borrow(engine, autocommit=True) as connection:
        row = (await connection.execute(query, given_values)).one()

    assert list(row) == list(given_values.values())


def test_state_is_written_as_its_text() -> None:
    assert write_array([PaymentStatus.PENDING, None]) == '{"pending",NULL}'


@pytest.mark.parametrize("value", [1.5, [1], {"a": 1}])
def test_what_no_repository_sends_is_refused(value: object) -> None:
    with pytest.raises(TypeError):
        write_array([value])
