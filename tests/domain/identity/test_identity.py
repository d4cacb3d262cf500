from dataclasses import replace

import pytest

from domain.errors import Conflict, DomainError, Forbidden, Invalid, NotFound
from domain.identity.api_keys import ApiKeyService
from domain.identity.model import OPEN_ROLES, OPERATOR, EndReason, Principal, Role, Scope, User, require_role
from domain.identity.service import IdentityService
from domain.identity.sessions import SessionService
from domain.ids import UserId, uuid7
from domain.pages import PageRequest
from tests.builders import principal
from tests.domain.fakes import FakeClock, Memory
from tests.domain.identity.conftest import PASSWORD

EMAIL = "Ann@Example.com "
ADMIN = Principal(UserId(uuid7()), Role.ADMIN)


async def test_user_is_known_by_its_normalised_address(identity: IdentityService, clock: FakeClock) -> None:
    user = await identity.register(EMAIL, PASSWORD, Role.SELLER)

    assert (user.email, user.created_at) == ("ann@example.com", clock.now())
    assert user.password_hash != PASSWORD
    assert await identity.by_email(EMAIL.upper()) == user


async def test_address_is_taken_once_however_it_is_written(identity: IdentityService, ann: User) -> None:
    with pytest.raises(Conflict) as refusal:
        await identity.register(ann.email.upper(), "another one", Role.SELLER)

    assert refusal.value.code == "email_taken"


async def test_what_is_no_address_is_refused(identity: IdentityService) -> None:
    with pytest.raises(Invalid) as refusal:
        await identity.register("ann", PASSWORD, Role.BUYER)

    assert refusal.value.code == "email_invalid"


@pytest.mark.parametrize("role", sorted(set(Role) - OPEN_ROLES))
async def test_operators_make_the_other_roles(identity: IdentityService, role: Role) -> None:
    with pytest.raises(Forbidden) as refusal:
        await identity.register(EMAIL, PASSWORD, role)
    assert refusal.value.code == "role_not_open"

    assert (await identity.create(EMAIL, PASSWORD, role)).role is role


async def test_who_becomes_what_is_told_and_by_whom(identity: IdentityService, memory: Memory) -> None:
    seller = await identity.register(EMAIL, PASSWORD, Role.SELLER)
    admin = await identity.create("eve@example.com", PASSWORD, Role.ADMIN)
    with pytest.raises(Conflict):
        await identity.create(EMAIL, PASSWORD, Role.ADMIN)

    assert [(event.type, event.subject_id, event.audience, event.data) for event in memory.state.events] == [
        ("user.created", seller.id, (seller.id,), {"role": "seller", "by": str(seller.id)}),
        ("user.created", admin.id, (admin.id,), {"role": "admin", "by": OPERATOR}),
    ]


async def test_other_password_ends_all_sessions_and_is_told(
    identity: IdentityService, sessions: SessionService, memory: Memory, ann: User
) -> None:
    grants = [await sessions.log_in(ann.email, PASSWORD, address="::1") for _ in range(2)]

    await identity.replace_password(ann, "battery staple")

    assert memory.state.end_reasons == {grant.session_id: EndReason.PASSWORD_CHANGED for grant in grants}
    assert [(event.type, event.audience) for event in memory.state.events] == [
        ("user.password_changed", (ann.id,))
    ]
    assert await sessions.log_in(ann.email, "battery staple", address="::1")


async def test_it_is_told_who_changed_a_password(
    identity: IdentityService, sessions: SessionService, memory: Memory, ann: User
) -> None:
    await sessions.change_password(principal(ann), PASSWORD, "battery staple", address="::1")
    await identity.replace_password(await identity.by_email(ann.email), "a lost password found")

    assert [event.data for event in memory.state.events] == [{"by": str(ann.id)}, {"by": OPERATOR}]


async def test_password_changed_meanwhile_is_not_replaced(identity: IdentityService, ann: User) -> None:
    await identity.replace_password(ann, "battery staple")

    with pytest.raises(Conflict) as refusal:
        await identity.replace_password(ann, "what the thief wants")

    assert refusal.value.code == "password_changed"


async def test_suspended_user_keeps_nothing_and_does_not_get_in(
    identity: IdentityService, sessions: SessionService, api_keys: ApiKeyService, memory: Memory, ann: User
) -> None:
    await sessions.log_in(ann.email, PASSWORD, address="::1")
    await api_keys.create(principal(ann), "shop", {Scope.ORDERS_READ})

    suspended = await identity.suspend(ADMIN, ann.id)

    assert suspended == replace(ann, suspended_at=suspended.suspended_at)
    assert set(memory.state.end_reasons.values()) == {EndReason.SUSPENDED}
    assert not (await api_keys.page(ADMIN, PageRequest())).rows
    with pytest.raises(Forbidden) as refusal:
        await sessions.log_in(ann.email, PASSWORD, address="::1")
    assert refusal.value.code == "user_suspended"
    with pytest.raises(Forbidden):
        await api_keys.create(principal(ann), "late", {Scope.ORDERS_READ})


async def test_reinstated_user_logs_in_again(
    identity: IdentityService, sessions: SessionService, memory: Memory, ann: User
) -> None:
    for _ in range(2):
        await identity.suspend(ADMIN, ann.id)
    for _ in range(2):
        assert await identity.reinstate(ADMIN, ann.id) == ann

    assert await sessions.log_in(ann.email, PASSWORD, address="::1")
    events = [event for event in memory.state.events if event.subject_id == ann.id]
    assert [event.type for event in events] == ["user.suspended", "user.reinstated"]
    assert {event.data["by"] for event in events} == {str(ADMIN.user_id)}


@pytest.mark.parametrize("role", [Role.BUYER, Role.SELLER, Role.FINANCE])
async def test_admins_alone_see_and_suspend_others(identity: IdentityService, ann: User, role: Role) -> None:
    other = Principal(UserId(uuid7()), role)

    with pytest.raises(Forbidden):
        await identity.suspend(other, ann.id)
    with pytest.raises(Forbidden):
        await identity.reinstate(other, ann.id)
    with pytest.raises(Forbidden):
        await identity.page(other, PageRequest())
    with pytest.raises(NotFound):
        await identity.get(other, ann.id)
    assert await identity.get(principal(ann), ann.id) == await identity.get(ADMIN, ann.id) == ann


async def test_admin_does_not_lock_itself_out(identity: IdentityService) -> None:
    with pytest.raises(Conflict) as refusal:
        await identity.suspend(ADMIN, ADMIN.user_id)

    assert refusal.value.code == "own_suspension"


async def test_user_that_is_not_there_is_not_found(identity: IdentityService) -> None:
    nobody = UserId(uuid7())

    for attempt in (identity.get(ADMIN, nobody), identity.suspend(ADMIN, nobody), identity.by_email("a@b.c")):
        with pytest.raises(NotFound):
            await attempt


async def test_admin_finds_a_user_by_address(identity: IdentityService, ann: User) -> None:
    bob = await identity.register("bob@example.com", PASSWORD, Role.BUYER)

    assert (await identity.page(ADMIN, PageRequest())).rows == [bob, ann]
    assert (await identity.page(ADMIN, PageRequest(), email=EMAIL)).rows == [ann]


def test_role_that_is_not_asked_for_is_forbidden() -> None:
    seller = Principal(UserId(uuid7()), Role.SELLER)

    require_role(seller, Role.BUYER, Role.SELLER)
    with pytest.raises(Forbidden, match="buyer, finance"):
        require_role(seller, Role.BUYER, Role.FINANCE)


def test_finance_and_admin_alone_see_all() -> None:
    assert {role for role in Role if Principal(UserId(uuid7()), role).sees_all} == {Role.FINANCE, Role.ADMIN}


def test_error_carries_its_code_and_facts() -> None:
    error = DomainError("no", code="odd", amount_minor=5)

    assert (error.message, error.code, error.facts, str(error)) == ("no", "odd", {"amount_minor": 5}, "no")
    assert Forbidden("no").code == "forbidden"
