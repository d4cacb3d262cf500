import pytest

from domain.errors import Conflict, DomainError, Forbidden, Unauthenticated
from domain.identity.model import OPEN_ROLES, Principal, Role, normalise_email, require_role
from domain.identity.service import IdentityService
from domain.ids import UserId, uuid7
from tests.domain.fakes import FakeClock, Memory

EMAIL, PASSWORD = "Ann@Example.com ", "correct horse"


class PlainHasher:
    """A hasher that keeps the password as it is, and what it was asked to verify."""

    def __init__(self) -> None:
        self.verified: list[str | None] = []

    async def hash(self, password: str) -> str:
        return f"hash of {password}"

    async def verify(self, password_hash: str | None, password: str) -> bool:
        self.verified.append(password_hash)
        return password_hash == f"hash of {password}"


class GullibleHasher(PlainHasher):
    """A hasher that finds every password right."""

    async def verify(self, password_hash: str | None, password: str) -> bool:
        return True


@pytest.fixture
def hasher() -> PlainHasher:
    return PlainHasher()


@pytest.fixture
def identity(memory: Memory, hasher: PlainHasher, clock: FakeClock) -> IdentityService:
    return IdentityService(memory.begin, hasher, clock)


async def test_registered_user_proves_who_it_is(identity: IdentityService, clock: FakeClock) -> None:
    user = await identity.register(EMAIL, PASSWORD, Role.SELLER)

    assert await identity.authenticate(" aNN@example.COM", PASSWORD) == user
    assert (user.email, user.created_at) == ("ann@example.com", clock.now())
    assert user.password_hash != PASSWORD


async def test_address_is_taken_once_however_it_is_written(identity: IdentityService) -> None:
    await identity.register(EMAIL, PASSWORD, Role.BUYER)

    with pytest.raises(Conflict) as refusal:
        await identity.register(EMAIL.upper(), "another", Role.SELLER)

    assert refusal.value.code == "email_taken"


@pytest.mark.parametrize("email", [EMAIL, "nobody@example.com"])
async def test_wrong_address_and_wrong_password_look_alike(
    identity: IdentityService, hasher: PlainHasher, email: str
) -> None:
    await identity.register(EMAIL, PASSWORD, Role.BUYER)

    with pytest.raises(Unauthenticated) as refusal:
        await identity.authenticate(email, "wrong")

    assert refusal.value.code == "credentials_wrong"
    assert len(hasher.verified) == 1


async def test_unknown_address_is_refused_whatever_the_hasher_says(memory: Memory, clock: FakeClock) -> None:
    identity = IdentityService(memory.begin, GullibleHasher(), clock)

    with pytest.raises(Unauthenticated):
        await identity.authenticate("nobody@example.com", PASSWORD)


@pytest.mark.parametrize("role", sorted(set(Role) - OPEN_ROLES))
async def test_operators_make_the_other_roles(identity: IdentityService, role: Role) -> None:
    with pytest.raises(Forbidden) as refusal:
        await identity.register(EMAIL, PASSWORD, role)
    assert refusal.value.code == "role_not_open"

    assert (await identity.create(EMAIL, PASSWORD, role)).role is role


def test_role_that_is_not_asked_for_is_forbidden() -> None:
    seller = Principal(UserId(uuid7()), Role.SELLER)

    require_role(seller, Role.BUYER, Role.SELLER)
    with pytest.raises(Forbidden, match="buyer, finance"):
        require_role(seller, Role.BUYER, Role.FINANCE)


def test_finance_and_admin_alone_see_all() -> None:
    assert {role for role in Role if Principal(UserId(uuid7()), role).sees_all} == {Role.FINANCE, Role.ADMIN}


def test_normalised_address_stays_as_it_is() -> None:
    assert normalise_email(normalise_email(EMAIL)) == normalise_email(EMAIL) == "ann@example.com"


def test_error_carries_its_code_and_facts() -> None:
    error = DomainError("no", code="odd", amount_minor=5)

    assert (error.message, error.code, error.facts, str(error)) == ("no", "odd", {"amount_minor": 5}, "no")
    assert Forbidden("no").code == "forbidden"
