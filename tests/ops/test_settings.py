"""Addresses in the forms that there are for them, and ports that there are."""

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


@pytest.mark.parametrize("name", ["database_url", "migration_database_url"])
def test_percent_sign_that_encodes_nothing_is_refused(name: str) -> None:
    with pytest.raises(ValidationError, match="%25"):
        Settings(**{name: "postgresql://u:s3%cret@h/d"})

    encoded = "postgresql://u:s3%25cret@h/d"
    assert getattr(Settings(**{name: encoded}), name) == encoded


def test_owner_may_come_as_keywords_and_with_the_driver() -> None:
    for given, read in (
        ("host=h password=s3%cret", "host=h password=s3%cret"),
        (f"postgresql+psycopg{PLACE}", f"postgresql{PLACE}"),
    ):
        assert Settings(migration_database_url=given).migration_database_url == read


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATABASE_URL", "mysql://u:s3cret@h"),
        ("DATABASE_URL", "postgresql://u:s3cret%@h"),
        ("REDIS_URL", "redis:/:s3cret@h"),
        ("BROKER_URL", "ampq://u:s3cret@h"),
    ],
)
def test_what_is_refused_is_not_repeated(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"MARKETFLOW_{name}", value)

    with pytest.raises(ValidationError, match=name.lower()) as refused:
        Settings()

    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("broker_url", "http://h"),
        ("broker_url", "h:5672"),
        ("stripe_api_base", "api.stripe.com"),
        ("stripe_api_base", "sk_live_x"),
        *(
            (port, value)
            for port in ("api_port", "flower_port", "stripe_port", "redis_port")
            for value in (0, 65_536)
        ),
    ],
)
def test_what_nothing_can_reach_is_refused(name: str, value: object) -> None:
    with pytest.raises(ValidationError, match=name):
        Settings(**{name: value})


@pytest.mark.parametrize(
    "url", ["", "redis://h/1", "rediss://h", "redis+socket:///s", "amqp://h", "amqps://a;amqps://b"]
)
def test_brokers_are_redis_and_rabbitmq(url: str) -> None:
    assert Settings(broker_url=url).broker_url == url
