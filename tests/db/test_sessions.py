"""Sessions with several connections: of two who race, one waits and then sees what the other did."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from uuid import uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from db.unit_of_work import Database
from domain.errors import Refused, Unauthenticated
from domain.identity.credentials import CredentialRules, Proof
from domain.identity.model import EndReason, Principal, Role, User
from domain.identity.service import IdentityService
from domain.identity.sessions import Grant, SessionPolicy, SessionService
from domain.identity.tokens import digest
from domain.identity.upkeep import RevocationService
from tests.builders import NOW, Begin, Shop, a_refresh_token, a_session, an_api_key
from tests.domain.fakes import FakeClock
from tests.domain.identity.conftest import PASSWORD, FakeThrottle, PlainHasher, plainly

Blocked = Callable[[int], Awaitable[None]]


@pytest.fixture
def rules() -> CredentialRules:
    return CredentialRules(PlainHasher(), plainly, lambda _: False)


@pytest.fixture
def identity(database: Database, rules: CredentialRules, clock: FakeClock) -> IdentityService:
    return IdentityService(database.begin, rules, clock)


@pytest.fixture
def sessions(
    database: Database, rules: CredentialRules, identity: IdentityService, clock: FakeClock
) -> SessionService:
    proof = Proof(database.begin, rules, FakeThrottle())
    return SessionService(database.begin, proof, identity, clock, SessionPolicy())


@pytest.fixture
async def ann(identity: IdentityService) -> User:
    return await identity.register(f"{uuid4().hex}@example.com", PASSWORD, Role.BUYER)


@pytest.fixture
async def grant(sessions: SessionService, ann: User) -> Grant:
    return await sessions.log_in(ann.email, PASSWORD, address="::1")


async def test_refreshes_at_the_same_moment_get_the_same_successor(
    sessions: SessionService, database: Database, grant: Grant
) -> None:
    grants = await asyncio.gather(*(sessions.refresh(grant.refresh_token) for _ in range(8)))

    assert len({grant.refresh_token for grant in grants}) == 1
    assert await sessions.refresh(grants[0].refresh_token)


async def test_refresh_waits_for_a_rotation_and_then_sees_it(
    sessions: SessionService, database: Database, blocked: Blocked, grant: Grant
) -> None:
    async with database.begin() as tx:
        session, token = (await tx.sessions.lock(digest(grant.refresh_token))) or pytest.fail("no such token")
        late = asyncio.create_task(sessions.refresh(grant.refresh_token))
        await blocked(1)
        # Long ago, so that its repetition comes too late.
        rotated = replace(token, rotated_at=NOW - timedelta(hours=1), seed=bytes(32))
        await tx.sessions.rotate(rotated, a_refresh_token(session, generation=2))
        await tx.commit()

    with pytest.raises(Unauthenticated) as refusal:
        await late
    assert refusal.value.code == "refresh_token_reused"


async def test_refresh_that_waited_for_the_end_of_its_session_is_refused(
    sessions: SessionService, identity: IdentityService, database: Database, blocked: Blocked, grant: Grant
) -> None:
    async with database.begin() as tx:
        await tx.sessions.end_all(grant.user.id, EndReason.PASSWORD_CHANGED, NOW)
        late = asyncio.create_task(sessions.refresh(grant.refresh_token))
        await blocked(1)
        await tx.commit()

    with pytest.raises(Unauthenticated):
        await late


async def test_login_that_waited_for_a_new_password_is_refused(
    sessions: SessionService, database: Database, blocked: Blocked, ann: User
) -> None:
    async with database.begin() as tx:
        await tx.users.lock(ann.id)
        late = asyncio.create_task(sessions.log_in(ann.email, PASSWORD, address="::1"))
        await blocked(1)
        await tx.users.set_password(ann.id, "another hash")
        await tx.commit()

    with pytest.raises(Unauthenticated):
        await late


async def test_locked_user_can_be_referred_to(database: Database, ann: User) -> None:
    async with database.begin() as login, database.begin() as payment:
        await login.users.lock(ann.id)
        session = a_session(ann)

        # It refers to the user as payments do, and would wait for a stronger lock.
        await asyncio.wait_for(payment.sessions.start(session, a_refresh_token(session)), 60)


async def test_refreshes_and_the_end_of_all_sessions_never_deadlock(
    sessions: SessionService, identity: IdentityService, ann: User
) -> None:
    grants = [await sessions.log_in(ann.email, PASSWORD, address="::1") for _ in range(10)]

    results = await asyncio.gather(
        *(sessions.refresh(grant.refresh_token) for grant in grants),
        identity.replace_password(ann, "battery staple"),
        *(sessions.refresh(grant.refresh_token) for grant in grants),
        return_exceptions=True,
    )

    assert {type(result) for result in results} <= {Grant, Unauthenticated, type(None)}
    assert all(await sessions.are_over([grant.session_id for grant in grants]))


async def test_logins_of_one_moment_renew_a_hash_and_all_succeed(
    sessions: SessionService, database: Database, rules: CredentialRules, ann: User
) -> None:
    assert isinstance(rules.hasher, PlainHasher)
    rules.hasher.version = 2

    grants = await asyncio.gather(*(sessions.log_in(ann.email, PASSWORD, address="::1") for _ in range(8)))

    assert not any(await sessions.are_over([grant.session_id for grant in grants]))
    async with database.begin() as tx:
        assert await tx.users.by_id(ann.id) == replace(ann, password_hash=f"hash 2 of {PASSWORD}")


async def test_end_of_a_session_is_known_by_the_clock_of_the_database(
    sessions: SessionService, database: Database, clock: FakeClock, grant: Grant, ann: User
) -> None:
    clock.advance(-3_600)  # this host is late by an hour

    await sessions.log_out(Principal(ann.id, ann.role, session_id=grant.session_id))

    assert grant.session_id in await RevocationService(database.begin, clock).recent(60)


async def test_revocations_are_forgotten_when_they_are_old(connection: AsyncConnection, begin: Begin) -> None:
    async with begin() as tx:
        assert await tx.revocations.prune(3_600, limit=10) == 0
        await tx.revocations.prune(-1, limit=1_000_000)
        assert not await tx.revocations.recent(3_600, after=None, limit=10)


@pytest.fixture
async def ended(begin: Begin, shop: Shop) -> None:
    """A session that is over, a token that is rotated, a key that is revoked."""
    session, key = a_session(shop.buyer), an_api_key(shop.buyer.id)
    token = a_refresh_token(session)
    async with begin() as tx:
        await tx.sessions.start(session, token)
        await tx.sessions.rotate(replace(token, rotated_at=NOW), a_refresh_token(session, generation=2))
        await tx.sessions.end(session.id, EndReason.LOGGED_OUT, NOW)
        await tx.api_keys.add(key)
        await tx.api_keys.end_all(shop.buyer.id, NOW)
        await tx.commit()


@pytest.mark.usefixtures("ended")
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE sessions SET ended_at = NULL, end_reason = NULL WHERE ended_at IS NOT NULL",
        "UPDATE sessions SET ended_at = now() + interval '1 day' WHERE ended_at IS NOT NULL",
        "UPDATE refresh_tokens SET rotated_at = NULL WHERE rotated_at IS NOT NULL",
        "UPDATE refresh_tokens SET rotated_at = now() + interval '1 day' WHERE rotated_at IS NOT NULL",
        "UPDATE api_keys SET ended_at = NULL WHERE ended_at IS NOT NULL",
    ],
)
async def test_what_is_over_is_not_revived(connection: AsyncConnection, statement: str) -> None:
    with pytest.raises(DBAPIError, match="is refused"):
        await connection.execute(text(statement))


async def test_session_has_one_newest_token(begin: Begin, shop: Shop) -> None:
    session = a_session(shop.buyer)
    async with begin() as tx:
        await tx.sessions.start(session, a_refresh_token(session))
        await tx.commit()

    with pytest.raises(Refused, match="refresh_tokens_one_newest"):
        async with begin() as tx:
            await tx.sessions.rotate(a_refresh_token(session), a_refresh_token(session, generation=2))


async def test_key_has_known_scopes_and_at_least_one(begin: Begin, shop: Shop) -> None:
    for scopes in (frozenset(), frozenset({"everything:write"})):
        with pytest.raises(Refused):
            async with begin() as tx:
                await tx.api_keys.add(an_api_key(shop.buyer.id, scopes=scopes))
