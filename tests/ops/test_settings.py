"""The database's address in the forms that there are for it."""

import pytest
from pydantic import ValidationError

from ops.settings import Settings

PLACE = "://u@h/d?x=y"


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ("postgresql", "postgresql"),
        ("postgres", "postgres"),
        ("postgresql+psycopg", "postgresql"),  # as SQLAlchemy names the driver
    ],
)
def test_address_of_the_database_is_read_as_libpq_reads_it(given: str, read: str) -> None:
    assert Settings(database_url=f"{given}{PLACE}").database_url == f"{read}{PLACE}"


@pytest.mark.parametrize("url", ["mysql://u@h/d", "postgresql:u@h", "postgresql+asyncpg://u@h/d"])
def test_other_addresses_are_refused(url: str) -> None:
    with pytest.raises(ValidationError, match="database_url"):
        Settings(database_url=url)
