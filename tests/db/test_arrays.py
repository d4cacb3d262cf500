"""Arrays say to PostgreSQL what psycopg's own arrays say."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.ext.asyncio import AsyncEngine

from db.arrays import read_array_types, write_array, write_binary
from db.connection import borrow
from db.sql import Sql
from db.unit_of_work import Database
from domain.errors import Refused
from domain.payments.model import PaymentStatus

# PostgreSQL's text holds no NUL, and no half of a surrogate pair.
TEXT = st.text(st.characters(blacklist_characters="\x00", blacklist_categories=("Cs",)))
TIMES = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC))  # noqa: DTZ001 - bounds are naive
NAIVE = datetime(2026, 1, 1)  # noqa: DTZ001 - as said


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
async def test_every_value_comes_back_as_it_was(engine: AsyncEngine, columns: Sequence[list[object]]) -> None:
    kinds = ("text", "bytea", "bigint", "integer", "smallint", "uuid", "boolean", "timestamptz")
    casts = [f"CAST(:p{number} AS {kind}[])" for number, kind in enumerate(kinds)]
    values = {f"p{number}": column for number, column in enumerate(columns)}

    async with borrow(engine, autocommit=True) as connection:
        row = (await connection.execute(Sql(f"SELECT {', '.join(casts)}"), values)).one()

    assert list(row) == list(values.values())


async def test_documents_come_back_as_they_were(engine: AsyncEngine) -> None:
    documents = [{"a": 'quoted "b" \\ and é'}, None, []]

    async with borrow(engine, autocommit=True) as connection:
        values = {"documents": [document if document is None else json.dumps(document) for document in documents]}
        row = (await connection.execute(Sql("SELECT CAST(:documents AS jsonb[])"), values)).one()

    assert row[0] == documents


@given(st.lists(TEXT), st.lists(st.uuids()))
async def test_array_that_is_only_compared_finds_its_elements(
    engine: AsyncEngine, texts: list[str], ids: list[UUID]
) -> None:
    query = Sql(
        "SELECT (SELECT count(*) FROM unnest(CAST(:texts AS text[])) AS t WHERE t = ANY(:same_texts)),"
        " (SELECT count(*) FROM unnest(CAST(:ids AS uuid[])) AS i WHERE i = ANY(:same_ids))"
    )

    async with borrow(engine, autocommit=True) as connection:
        values = {"texts": texts, "same_texts": texts, "ids": ids, "same_ids": ids}
        row = (await connection.execute(query, values)).one()

    assert tuple(row) == (len(texts), len(ids))


def test_statement_says_of_what_its_arrays_are() -> None:
    statement = "SELECT CAST(:ids AS uuid[]), CAST(:sum AS bigint) WHERE 'a' = ANY(:names)"

    assert read_array_types(statement) == {"ids": "uuid"}
    with pytest.raises(ValueError, match="numeric"):
        read_array_types("SELECT CAST(:sums AS numeric[])")


@pytest.mark.parametrize(("value", "kind"), [(2**63, "bigint"), (2**31, "integer"), (-(2**15) - 1, "smallint")])
async def test_number_that_does_not_fit_is_refused_as_the_server_would(
    database: Database, value: int, kind: str
) -> None:
    with pytest.raises(Refused):
        async with database.begin() as tx:
            await tx._connection.execute(Sql(f"SELECT CAST(:numbers AS {kind}[])"), {"numbers": [value]})


@pytest.mark.parametrize(("value", "kind"), [(1, "text"), ("1", "uuid"), ("1", "boolean"), (NAIVE, "timestamptz")])
def test_value_of_another_kind_is_an_error(value: object, kind: str) -> None:
    with pytest.raises((TypeError, AttributeError, KeyError)):
        write_binary([value], kind)


def test_state_is_written_as_its_text() -> None:
    assert write_array([PaymentStatus.PENDING]) == '{"pending"}'


@pytest.mark.parametrize("value", [1.5, [1], {"a": 1}, None])
def test_what_no_repository_compares_is_an_error(value: Any) -> None:
    with pytest.raises(TypeError):
        write_array([value])
