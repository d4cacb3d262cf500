"""What a process remembers it also forgets: what ended, and everything when nobody can say what ended."""

from collections.abc import Iterable

import pytest

from api.identity.authenticator import Authenticator
from api.identity.revocations import Revocations
from api.services import Services
from domain.errors import Unavailable
from domain.identity.model import Principal, Role, Scope
from domain.ids import ApiKeyId, SessionId, uuid7
from tests.builders import a_user
from tests.domain.fakes import FakeClock

ANN = a_user(Role.BUYER)


@pytest.fixture
def authenticator(services: Services) -> Authenticator:
    return Authenticator(services.identity.tokens, None, None, services.clock)  # type: ignore[arg-type]  # nothing is proven


class Database:
    """A database that says what ended, or is away; a mutable clock says when it was asked."""

    def __init__(self) -> None:
        self.away = False
        self.asked: list[float] = []
        self.noted: list[set[ApiKeyId]] = []

    async def recent(self, within_s: float) -> list[object]:
        if self.away:
            raise Unavailable("the database is out of reach", code="database_unavailable")
        self.asked.append(within_s)
        return []

    async def note_uses(self, ids: Iterable[ApiKeyId]) -> None:
        if self.away:
            raise Unavailable("the database is out of reach", code="database_unavailable")
        self.noted.append(set(ids))


@pytest.fixture
def database() -> Database:
    return Database()


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The monotonic clock, which a test sets."""
    time = [1_000.0]
    monkeypatch.setattr("api.identity.revocations.time.monotonic", lambda: time[0])
    return time


@pytest.fixture
def revocations(authenticator: Authenticator, database: Database, now: list[float]) -> Revocations:
    return Revocations(authenticator, database, database, poll_s=2.0)  # type: ignore[arg-type]  # it plays both


def in_session(session_id: SessionId) -> Principal:
    return Principal(ANN.id, ANN.role, session_id=session_id)


def with_key(key_id: ApiKeyId) -> Principal:
    return Principal(ANN.id, ANN.role, key_id=key_id, scopes=frozenset(Scope))


def remember(authenticator: Authenticator, *credentials: tuple[str, Principal]) -> None:
    for credential, caller in credentials:
        authenticator._remember(credential, caller, float("inf"))


def test_credentials_of_one_session_or_key_are_forgotten(authenticator: Authenticator) -> None:
    one, two, key = SessionId(uuid7()), SessionId(uuid7()), ApiKeyId(uuid7())
    credentials = {"a": in_session(one), "b": in_session(one), "c": in_session(two), "k": with_key(key)}
    remember(authenticator, *credentials.items())

    authenticator.hear(one.bytes + uuid7().bytes)

    assert [authenticator.known(name) for name in "abck"] == [None, None, credentials["c"], credentials["k"]]
    authenticator.forget([key])
    assert [authenticator.known(name) for name in "ck"] == [credentials["c"], None]
    authenticator.forget([ANN.id])
    assert authenticator.known("c") is None


def test_remembered_token_expires(services: Services) -> None:
    clock = FakeClock()
    authenticator = Authenticator(services.identity.tokens, None, None, clock)  # type: ignore[arg-type]  # as above
    caller = in_session(SessionId(uuid7()))
    authenticator._remember("a", caller, clock.now().timestamp() + 900)

    clock.advance(899)
    assert authenticator.known("a") == caller
    clock.advance(1)
    assert authenticator.known("a") is None


def test_what_is_remembered_is_bounded(authenticator: Authenticator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.identity.authenticator._MAX_KNOWN", 2)

    for name in "abcde":
        remember(authenticator, (name, in_session(SessionId(uuid7()))))

    assert len(authenticator._known) <= 2
    assert len(authenticator._credentials_of) <= 1 + 2


def test_nothing_is_left_of_what_was_forgotten(authenticator: Authenticator) -> None:
    ended, lasting, key = SessionId(uuid7()), SessionId(uuid7()), ApiKeyId(uuid7())
    remember(authenticator, ("a", in_session(ended)), ("a", in_session(ended)), ("c", in_session(lasting)))
    remember(authenticator, ("k", with_key(key)))

    authenticator.forget([ended, key])

    assert dict(authenticator._credentials_of) == {ANN.id.bytes: ["c"], lasting.bytes: ["c"]}
    authenticator.forget([ANN.id])
    assert not authenticator._credentials_of


async def test_each_look_reaches_back_before_the_last_one(
    revocations: Revocations, database: Database, now: list[float]
) -> None:
    await revocations.look()
    now[0] += 2
    await revocations.look()
    now[0] += 5
    database.away = True
    await revocations.look()
    now[0] += 5
    database.away = False
    await revocations.look()

    assert database.asked == [60, 62, 70]


async def test_nothing_is_believed_when_the_database_is_silent_for_long(
    revocations: Revocations, authenticator: Authenticator, database: Database, now: list[float]
) -> None:
    caller = in_session(SessionId(uuid7()))
    remember(authenticator, ("a", caller))
    database.away = True

    now[0] += 29
    await revocations.look()
    assert authenticator.known("a") == caller
    now[0] += 2
    await revocations.look()

    assert authenticator.known("a") is None


async def test_uses_are_written_once_or_lost(
    revocations: Revocations, authenticator: Authenticator, database: Database
) -> None:
    key = ApiKeyId(uuid7())
    remember(authenticator, ("k", with_key(key)))

    await revocations.note_uses()
    for _ in range(3):
        authenticator.known("k")
    await revocations.note_uses()
    authenticator.known("k")
    database.away = True
    await revocations.note_uses()
    database.away = False
    await revocations.close()

    assert database.noted == [{key}]
