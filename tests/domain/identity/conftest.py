import pytest

from domain.errors import Invalid, RateLimited
from domain.identity.api_keys import ApiKeyService
from domain.identity.credentials import CredentialRules, Proof
from domain.identity.model import Role, User
from domain.identity.ports import Attempt
from domain.identity.service import IdentityService
from domain.identity.sessions import SessionPolicy, SessionService
from tests.domain.fakes import FakeClock, Memory

PASSWORD = "correct horse"


class PlainHasher:
    """A hasher that keeps the password as it is, and what it was asked to verify; `version` are its parameters."""

    def __init__(self, version: int = 1) -> None:
        self.version = version
        self.verified: list[str | None] = []

    async def hash(self, password: str) -> str:
        return f"hash {self.version} of {password}"

    async def verify(self, password_hash: str | None, password: str) -> bool:
        self.verified.append(password_hash)
        return password_hash is not None and password_hash.partition(" of ")[2] == password

    def is_outdated(self, password_hash: str) -> bool:
        return not password_hash.startswith(f"hash {self.version} ")


class FakeThrottle:
    """Counts the failures of an account, whatever their address; `at_most` of them are let through."""

    def __init__(self, at_most: int = 1000) -> None:
        self.at_most = at_most
        self.attempts: list[Attempt] = []
        self.remembered: list[Attempt] = []

    async def take(self, attempt: Attempt) -> None:
        if len([a for a in self.attempts if a.account == attempt.account]) >= self.at_most:
            raise RateLimited("too many failed logins", code="login_throttled", retry_after_s=90)
        self.attempts.append(attempt)

    async def give_back(self, attempt: Attempt) -> None:
        self.attempts.remove(attempt)

    async def remember(self, attempt: Attempt) -> None:
        self.attempts.remove(attempt)
        self.remembered.append(attempt)


def plainly(email: str) -> str:
    if "@" not in email:
        raise Invalid("this is no e-mail address", code="email_invalid")
    return email.strip().lower()


@pytest.fixture
def hasher() -> PlainHasher:
    return PlainHasher()


@pytest.fixture
def throttle() -> FakeThrottle:
    return FakeThrottle()


@pytest.fixture
def rules(hasher: PlainHasher) -> CredentialRules:
    return CredentialRules(hasher, plainly, lambda password: password == "trustno1")


@pytest.fixture
def proof(memory: Memory, rules: CredentialRules, throttle: FakeThrottle) -> Proof:
    return Proof(memory.begin, rules, throttle)


@pytest.fixture
def identity(memory: Memory, rules: CredentialRules, clock: FakeClock) -> IdentityService:
    return IdentityService(memory.begin, rules, clock)


@pytest.fixture
def sessions(memory: Memory, proof: Proof, identity: IdentityService, clock: FakeClock) -> SessionService:
    return SessionService(memory.begin, proof, identity, clock, SessionPolicy())


@pytest.fixture
def api_keys(memory: Memory, clock: FakeClock) -> ApiKeyService:
    return ApiKeyService(memory.begin, clock)


@pytest.fixture
async def ann(identity: IdentityService, memory: Memory) -> User:
    """A user of whom nothing was told yet."""
    user = await identity.register("ann@example.com", PASSWORD, Role.BUYER)
    memory.state.events.clear()
    return user
