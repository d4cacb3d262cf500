"""`marketflow users create` and the users that a stack begins with."""

import asyncio
from collections.abc import Callable
from uuid import uuid4

import pytest
from typer.testing import Result

from db.credentials import credential_rules
from db.pool import make_pool
from db.unit_of_work import Database
from domain.clock import SystemClock
from domain.identity.model import User
from domain.identity.service import IdentityService
from ops.errors import OperatorError
from ops.seed import seed
from ops.sessions import with_database
from ops.settings import Settings
from ops.stack.info import Credentials

Command = Callable[..., Result]
PASSWORD = "a long enough password"


@pytest.fixture
def email() -> str:
    return f"{uuid4().hex}@example.com"


def authenticate(database_url: str, email: str, password: str = PASSWORD) -> User | None:
    """The user, if this is its password."""

    async def prove() -> User | None:
        pool = make_pool(database_url, pool_size=1, statement_timeout_s=60)
        rules = credential_rules(min_password_chars=8)
        try:
            user = await IdentityService(Database(pool).begin, rules, SystemClock()).by_email(email)
            return user if await rules.fits(user, password) else None
        finally:
            await pool.close()

    return asyncio.run(prove())


def role_of(database_url: str, email: str) -> str:
    user = authenticate(database_url, email)
    assert user is not None
    return user.role


@pytest.mark.parametrize("role", ["finance", "admin", "buyer"])
def test_operator_creates_a_user_of_any_role(
    command: Command, database_url: str, email: str, role: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MARKETFLOW_NEW_PASSWORD", PASSWORD)

    result = command("users", "create", "--email", email, "--role", role)

    assert result.exit_code == 0, result.output
    assert PASSWORD not in result.output
    assert role_of(database_url, email) == role


def test_password_is_asked_for_twice(command: Command, database_url: str, email: str) -> None:
    result = command("users", "create", "--email", email, "--role", "finance", input=f"{PASSWORD}\n{PASSWORD}\n")

    assert result.exit_code == 0, result.output
    assert role_of(database_url, email) == "finance"


@pytest.mark.parametrize(
    ("role", "password", "message"),
    [
        ("owner", PASSWORD, "There is no role owner"),
        ("finance", "short", "at least 8 characters"),
        ("finance", "password123", "attackers try first"),
    ],
)
def test_wrong_role_and_short_password_are_refused(
    command: Command, email: str, role: str, password: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MARKETFLOW_NEW_PASSWORD", password)

    result = command("users", "create", "--email", email, "--role", role)

    assert isinstance(result.exception, OperatorError)
    assert message in str(result.exception)


def test_taken_address_is_an_answer_and_no_traceback(
    command: Command, email: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MARKETFLOW_NEW_PASSWORD", PASSWORD)
    command("users", "create", "--email", email, "--role", "admin")

    again = command("users", "create", "--email", email.upper(), "--role", "admin")

    assert isinstance(again.exception, OperatorError)


def test_operator_gives_a_user_another_password(
    command: Command, database_url: str, email: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MARKETFLOW_NEW_PASSWORD", PASSWORD)
    command("users", "create", "--email", email, "--role", "buyer")
    monkeypatch.setenv("MARKETFLOW_NEW_PASSWORD", "a lost password found")

    result = command("users", "password", "--email", email.upper())

    assert result.exit_code == 0, result.output
    assert authenticate(database_url, email, "a lost password found")
    assert authenticate(database_url, email) is None
    unknown = command("users", "password", "--email", f"no-{email}")
    assert isinstance(unknown.exception, OperatorError)


def test_missing_database_is_named() -> None:
    with pytest.raises(OperatorError, match="MARKETFLOW_DATABASE_URL"):
        with_database(Settings(database_url=""), lambda _: asyncio.sleep(0))


def test_seed_creates_each_user_once(database_url: str, email: str) -> None:
    settings = Settings(database_url=database_url)
    seed(settings, {"finance": Credentials(email=email, password=PASSWORD)})

    seed(settings, {"finance": Credentials(email=email, password="another password")})

    assert role_of(database_url, email) == "finance"
    assert authenticate(database_url, email, "another password") is None
