"""Arrays say to PostgreSQL what psycopg's own arrays say."""

import json
import struct
from collections.abc import Sequence
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from db.arrays import read_array_types, write_array, write_binary
from db.connection import borrow
from domain.payments.model import PaymentStatus

# PostgreSQL's text holds no NUL, and no half of a surrogate pair.
TEXT = st.text(st.characters(blacklist_characters="\x00", blacklist_categories=("Cs",)))
TIMES = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC))  # noqa: DTZ001 - bounds are naive
BINARY, TEXTUAL = "CAST(:{0} AS {1}[])", "CAST((:{0}) AS {1}[])"
"""A cast that is read, and one that is not."""


@pytest.mark.parametrize("form", [BINARY, TEXTUAL], ids=["binary", "text"])
@given(
    columns=st.tuples(
        st.lists(st.none() | TEXT),
        st.lists(st.none() | st.binary()),
        st.lists(st.none() | st.integers(-(2**63), 2**63 - 1)),
        st.lists(st.none() | st.integers(-(2**31), 2**31 - 1)),
        st.lists(st.none() | st.integers(-(2**15), 2**15 - 1)),
        st.lists(st.none() | st.uuids()),
        st.lists(st.none() | st.booleans()),
        st.lists(st.none() | TIMES),
    )
)
async def test_every_value_comes_back_as_it_was(
    engine: AsyncEngine, form: str, columns: Sequence[list[object]]
) -> None:
    kinds = ("text", "bytea", "bigint", "integer", "smallint", "uuid", "boolean", "timestamptz")
    casts = [form.format(f"p{number}", kind) for number, kind in enumerate(kinds)]
    values = {f"p{number}": column for number, column in enumerate(columns)}

    async with borrow(engine, autocommit=True) as connection:
        row = (await connection.execute(text(f"SELECT {', '.join(casts)}"), values)).one()

    assert list(row) == list(values.values())


@pytest.mark.parametrize("form", [BINARY, TEXTUAL], ids=["binary", "text"])
async def test_documents_come_back_as_they_were(engine: AsyncEngine, form: str) -> None:
    documents = [{"a": 'quoted "b" \\ and é'}, None, []]

    async with borrow(engine, autocommit=True) as connection:
        values = {"documents": [document if document is None else json.dumps(document) for document in documents]}
        row = (await connection.execute(text(f"SELECT {form.format('documents', 'jsonb')}"), values)).one()

    assert row[0] == documents


def test_arrays_of_which_kind_the_statement_says_travel_in_binary() -> None:
    statement = "SELECT CAST(:ids AS uuid[]), CAST(:sums AS numeric[]) WHERE 'a' = ANY(:names)"

    assert read_array_types(statement) == {"ids": "uuid"}


@pytest.mark.parametrize(("value", "kind"), [(1, "text"), ("1", "uuid"), ("1", "bigint"), (2**31, "integer")])
def test_value_of_another_kind_is_refused(value: object, kind: str) -> None:
    with pytest.raises((TypeError, AttributeError, struct.error)):
        write_binary([value], kind)


def test_state_is_written_as_its_text() -> None:
    assert write_array([PaymentStatus.PENDING, None]) == '{"pending",NULL}'


@pytest.mark.parametrize("value", [1.5, [1], {"a": 1}])
def test_what_no_repository_sends_is_refused(value: object) -> None:
    with pytest.raises(TypeError):
        write_array([value])
