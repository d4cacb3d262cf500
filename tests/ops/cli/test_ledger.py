"""`marketflow ledger verify` says whether the books are right, to people and to programs."""

import json
from collections.abc import Callable, Iterator

import psycopg
import pytest
from typer.testing import Result

from domain.ledger.model import Account, Balance
from ops.cli.ledger import balance_table

Command = Callable[..., Result]
PLANTED = "the-account-of-this-test"


@pytest.fixture
def wrong_books(superuser_url: str) -> Iterator[None]:
    """A folded balance without entries, as only a superuser's hand can make it."""
    with psycopg.connect(superuser_url, autocommit=True) as hand:
        hand.execute("SET session_replication_role = replica")
        hand.execute("INSERT INTO balances VALUES (%s, 'USD', 1)", [PLANTED])
        yield
        hand.execute("DELETE FROM balances WHERE account = %s", [PLANTED])


def test_right_books_end_with_zero(command: Command) -> None:
    result = command("ledger", "verify")

    assert result.exit_code == 0, result.output
    assert "The books are right." in result.output


@pytest.mark.usefixtures("wrong_books")
def test_wrong_books_end_with_one_and_say_where(command: Command) -> None:
    result = command("ledger", "verify")

    assert result.exit_code == 1, result.output
    assert PLANTED in result.output
    assert "The books are wrong." in result.output


@pytest.mark.usefixtures("wrong_books")
def test_programs_read_the_faults_as_json(command: Command) -> None:
    result = command("ledger", "verify", "--json")

    assert result.exit_code == 1
    assert [PLANTED in fault["where"] for fault in json.loads(result.output)["faults"]] == [True]


def test_table_shows_both_sides_and_equal_totals() -> None:
    balances = [
        Balance(Account("stripe_balance"), "USD", 1911),
        Balance(Account("seller_payable:1"), "USD", -1861),
        Balance(Account("commission_revenue"), "USD", -50),
        Balance(Account("stripe_balance"), "JPY", 7),
        Balance(Account("commission_revenue"), "JPY", -7),
    ]

    debits, credits_ = [list(column.cells) for column in balance_table(balances).columns[2:]]

    assert debits == ["19.11", "", "", "7", "", "7", "19.11"]
    assert credits_ == ["", "18.61", "0.50", "", "7", "7", "19.11"]
