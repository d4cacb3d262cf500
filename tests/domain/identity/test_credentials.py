from dataclasses import replace

import pytest

from domain.errors import Invalid, RateLimited, Unauthenticated, Unavailable
from domain.identity.credentials import CredentialRules, Proof
from domain.identity.model import User
from domain.identity.ports import Attempt
from domain.identity.service import IdentityService
from tests.domain.fakes import Memory
from tests.domain.identity.conftest import PASSWORD, FakeThrottle, PlainHasher


@pytest.mark.parametrize(
    ("password", "code"),
    [
        ("1234567", "password_too_short"),
        ("x" * 257, "password_too_long"),
        ("trustno1", "password_guessable"),
        ("ANN@example.com", "password_guessable"),
        ("ann-of-the-shop", "password_guessable"),
    ],
)
async def test_password_that_is_short_long_or_guessed_first_is_refused(
    rules: CredentialRules, password: str, code: str
) -> None:
    email = "ann-of-the-shop@example.com" if password.startswith("ann-") else "ann@example.com"

    with pytest.raises(Invalid) as refusal:
        await rules.hash(password, email=email)

    assert refusal.value.code == code


@pytest.mark.parametrize("password", ["12345678", "x" * 256, "        ", "пароль и соль", "🐎🔋📎✅🐎🔋📎✅"])
async def test_characters_of_a_password_are_its_users_choice(rules: CredentialRules, password: str) -> None:
    assert await rules.hash(password, email="ann@example.com") == f"hash 1 of {password}"


async def test_password_is_the_same_however_it_is_composed(rules: CredentialRules) -> None:
    assert await rules.hash("cafe\u0301 noir", email="a@b.c") == await rules.hash("caf\u00e9 noir", email="a@b.c")


async def test_password_proves_its_user(proof: Proof, ann: User) -> None:
    assert await proof.of_user(" ANN@example.com", PASSWORD, address="::1") == ann


@pytest.mark.parametrize("email", ["ann@example.com", "nobody@example.com", "no address"])
async def test_wrong_address_and_wrong_password_look_alike(
    proof: Proof, hasher: PlainHasher, ann: User, email: str
) -> None:
    with pytest.raises(Unauthenticated) as refusal:
        await proof.of_user(email, "wrong", address="::1")

    assert refusal.value.code == "credentials_wrong"
    assert len(hasher.verified) == 1


async def test_unknown_address_is_refused_whatever_the_hasher_says(memory: Memory, throttle: FakeThrottle) -> None:
    class GullibleHasher(PlainHasher):
        async def verify(self, password_hash: str | None, password: str) -> bool:
            return True

    rules = CredentialRules(GullibleHasher(), str.lower, lambda _: False)

    with pytest.raises(Unauthenticated):
        await Proof(memory.begin, rules, throttle).of_user("nobody@example.com", PASSWORD, address="::1")


async def test_too_many_failures_are_refused_before_anything_is_compared(
    proof: Proof, throttle: FakeThrottle, hasher: PlainHasher, ann: User
) -> None:
    throttle.at_most = 2
    for email in ("ann@example.com", "Ann@Example.COM"):
        with pytest.raises(Unauthenticated):
            await proof.of_user(email, "wrong", address="::1")

    with pytest.raises(RateLimited) as refusal:
        await proof.of_user(ann.email, PASSWORD, address="::2")

    assert (refusal.value.code, len(hasher.verified)) == ("login_throttled", 2)


async def test_success_is_no_failure(proof: Proof, throttle: FakeThrottle, ann: User) -> None:
    throttle.at_most = 1

    for _ in range(3):
        await proof.of_user(ann.email, PASSWORD, address="::1")

    assert throttle.attempts == []


async def test_network_is_known_by_a_password_that_fits_alone(
    proof: Proof, throttle: FakeThrottle, ann: User
) -> None:
    with pytest.raises(Unauthenticated):
        await proof.of_user(ann.email, "wrong", address="::1")

    await proof.of_user("ANN@example.com", PASSWORD, address="::2")

    assert throttle.remembered == [Attempt(ann.email, "::2")]


async def test_nobody_fails_where_nothing_was_compared(memory: Memory, throttle: FakeThrottle) -> None:
    class BusyHasher(PlainHasher):
        async def verify(self, password_hash: str | None, password: str) -> bool:
            raise Unavailable("too many passwords wait to be checked", code="overloaded")

    proof = Proof(memory.begin, CredentialRules(BusyHasher(), str.lower, lambda _: False), throttle)

    with pytest.raises(Unavailable):
        await proof.of_user("ann@example.com", PASSWORD, address="::1")

    assert throttle.attempts == throttle.remembered == []


async def test_password_that_fits_gets_a_hash_of_today(
    proof: Proof, hasher: PlainHasher, memory: Memory, ann: User
) -> None:
    hasher.version = 2
    with pytest.raises(Unauthenticated):
        await proof.of_user(ann.email, "wrong", address="::1")
    assert memory.state.users[ann.id] == ann

    renewed = await proof.of_user(ann.email, PASSWORD, address="::1")

    assert renewed == memory.state.users[ann.id] == replace(ann, password_hash=f"hash 2 of {PASSWORD}")
    assert await proof.of_user(ann.email, PASSWORD, address="::1") == renewed


async def test_old_password_is_renewed_whatever_new_ones_must_be(
    memory: Memory, throttle: FakeThrottle, ann: User
) -> None:
    stricter = CredentialRules(PlainHasher(version=2), str.lower, lambda _: True, min_password_chars=100)

    renewed = await Proof(memory.begin, stricter, throttle).of_user(ann.email, PASSWORD, address="::1")

    assert renewed.password_hash == f"hash 2 of {PASSWORD}"


async def test_login_succeeds_while_nothing_can_be_hashed(
    memory: Memory, throttle: FakeThrottle, ann: User
) -> None:
    class BusyHasher(PlainHasher):
        async def hash(self, password: str) -> str:
            raise Unavailable("too many passwords wait to be checked", code="overloaded")

    proof = Proof(memory.begin, CredentialRules(BusyHasher(version=2), str.lower, lambda _: False), throttle)

    assert await proof.of_user(ann.email, PASSWORD, address="::1") == ann


@pytest.mark.parametrize("new", [PASSWORD, "battery staple"])
async def test_hash_is_not_renewed_over_another_password(
    memory: Memory, identity: IdentityService, hasher: PlainHasher, throttle: FakeThrottle, ann: User, new: str
) -> None:
    hasher.version = 2

    class SlowHasher(PlainHasher):
        """Meanwhile the password is changed, or renewed by another login."""

        async def hash(self, password: str) -> str:
            await identity.replace_password(ann, new)
            return await super().hash(password)

    proof = Proof(memory.begin, CredentialRules(SlowHasher(version=2), str.lower, lambda _: False), throttle)

    if new == PASSWORD:
        assert await proof.of_user(ann.email, PASSWORD, address="::1") == memory.state.users[ann.id]
    else:
        with pytest.raises(Unauthenticated):
            await proof.of_user(ann.email, PASSWORD, address="::1")
    assert memory.state.users[ann.id].password_hash == f"hash 2 of {new}"
