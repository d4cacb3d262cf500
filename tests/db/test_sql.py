"""Statements name their parameters, and PostgreSQL counts them."""

from uuid import UUID

import pytest

from db.arrays import write_array, write_binary
from db.sql import Sql

ID = UUID(int=7)


def test_parameters_are_counted_in_the_order_of_their_names() -> None:
    statement = Sql("SELECT :b, :a WHERE x = :b")

    assert statement.query == b"SELECT $1, $2 WHERE x = $1"
    assert statement.bind({"a": 1, "b": 2, "c": 3}) == [2, 1]


@pytest.mark.parametrize(
    "sql", ["SELECT 'a'::text", "SELECT to_char(now(), 'HH24:mi:ss')", "SELECT 'a: b', 7 % 2"]
)
def test_other_colons_are_left_alone(sql: str) -> None:
    statement = Sql(sql)

    assert statement.query == sql.encode()
    assert statement.bind({}) == []


def test_lists_become_arrays_of_what_the_statement_says() -> None:
    statement = Sql("SELECT CAST(:ids AS uuid[]) WHERE x = ANY(:names)")

    assert statement.bind({"ids": [ID], "names": ["a"]}) == [write_binary([ID], "uuid"), write_array(["a"])]


def test_missing_value_is_told() -> None:
    with pytest.raises(KeyError, match="id"):
        Sql("SELECT :id").bind({})
