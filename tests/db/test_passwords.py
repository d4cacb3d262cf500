"""Argon2 in few threads: nobody is told from nobody by the time it takes, and nobody stops the rest."""

import asyncio
import threading

import pytest
from argon2 import PasswordHasher, extract_parameters
from argon2.exceptions import VerifyMismatchError

from db.passwords import Argon2Hasher
from domain.errors import Unavailable
from tests.eventually import eventually


@pytest.fixture(scope="module")
def hasher() -> Argon2Hasher:
    return Argon2Hasher()


async def test_password_fits_its_hash_alone(hasher: Argon2Hasher) -> None:
    encoded = await hasher.hash("correct horse")

    assert encoded != await hasher.hash("correct horse")
    assert await hasher.verify(encoded, "correct horse")
    assert not await hasher.verify(encoded, "correct horse ")
    assert not await hasher.verify("no hash", "correct horse")


async def test_unknown_user_costs_what_a_known_one_does(hasher: Argon2Hasher) -> None:
    assert extract_parameters(hasher._dummy) == extract_parameters(await hasher.hash("correct horse"))
    with pytest.raises(VerifyMismatchError):  # and no InvalidHashError, which would cost nothing
        PasswordHasher().verify(hasher._dummy, "correct horse")
    assert not await hasher.verify(None, "no user has this password either")


async def test_hash_of_other_parameters_is_outdated(hasher: Argon2Hasher) -> None:
    weaker = PasswordHasher(time_cost=1).hash("correct horse")

    assert await hasher.verify(weaker, "correct horse")
    assert hasher.is_outdated(weaker)
    assert not hasher.is_outdated(await hasher.hash("correct horse"))


async def test_event_loop_goes_on_meanwhile(hasher: Argon2Hasher, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, went_on = threading.Event(), threading.Event()

    class Slow(PasswordHasher):
        """Hashes once the loop has gone on."""

        def hash(self, password: str | bytes, *, salt: bytes | None = None) -> str:
            begun.set()
            assert went_on.wait(60), "the event loop waits for the hash"
            return super().hash(password, salt=salt)

    monkeypatch.setattr(hasher, "_hasher", Slow())
    hashing = asyncio.create_task(hasher.hash("correct horse"))
    await eventually(begun.is_set)
    went_on.set()

    assert await hasher.verify(await hashing, "correct horse")


async def test_too_many_at_once_are_sent_away(hasher: Argon2Hasher, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("db.passwords._MAX_WAITING", 3)

    answers = await asyncio.gather(*(hasher.verify(None, "x") for _ in range(5)), return_exceptions=True)

    assert [type(answer) for answer in answers] == [bool, bool, bool, Unavailable, Unavailable]
    assert await hasher.verify(None, "x") is False, "later there is room again"
