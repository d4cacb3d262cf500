"""Users, sessions and API keys: one contract for PostgreSQL and for the fakes in memory."""

from dataclasses import replace
from datetime import timedelta

import pytest

from domain.errors import Refused
from domain.identity.model import EndReason, Principal, Role, Scope
from domain.ids import ApiKeyId, SessionId, UserId, uuid7
from domain.pages import PageRequest
from tests.builders import NOW, Begin, Shop, a_refresh_token, a_session, a_user, an_api_key, principal
from tests.db.contracts.reading import read_all

LATER = NOW + timedelta(seconds=60)
ADMIN = Principal(UserId(uuid7()), Role.ADMIN)


async def test_user_is_found_and_locked_by_id(any_begin: Begin, shop: Shop) -> None:
    async with any_begin() as tx:
        assert await tx.users.by_id(shop.buyer.id) == await tx.users.lock(shop.buyer.id) == shop.buyer
        assert await tx.users.by_id(UserId(uuid7())) is None
        assert await tx.users.lock(UserId(uuid7())) is None


async def test_password_and_standing_of_one_user_change(any_begin: Begin, shop: Shop) -> None:
    async with any_begin() as tx:
        await tx.users.set_password(shop.buyer.id, "another hash")
        await tx.users.set_suspended(shop.buyer.id, LATER)
        changed = replace(shop.buyer, password_hash="another hash", suspended_at=LATER)

        assert await tx.users.by_email(shop.buyer.email) == changed
        assert await tx.users.by_id(shop.seller.id) == shop.seller
        await tx.users.set_suspended(shop.buyer.id, None)
        assert await tx.users.by_id(shop.buyer.id) == replace(changed, suspended_at=None)


async def test_hash_is_renewed_where_it_is_as_it_was(any_begin: Begin, shop: Shop) -> None:
    async with any_begin() as tx:
        assert await tx.users.renew_hash(shop.buyer.id, old=shop.buyer.password_hash, new="renewed")
        assert not await tx.users.renew_hash(shop.buyer.id, old=shop.buyer.password_hash, new="again")

        assert await tx.users.by_id(shop.buyer.id) == replace(shop.buyer, password_hash="renewed")
        assert await tx.users.by_id(shop.seller.id) == shop.seller


async def test_pages_of_users_are_complete_and_newest_first(any_begin: Begin) -> None:
    users = [a_user(Role.BUYER) for _ in range(5)]
    async with any_begin() as tx:
        for user in users:
            await tx.users.add(user)

        rows = await read_all(lambda request: tx.users.page(request, email=None), limit=2)
        found = await tx.users.page(PageRequest(), email=users[1].email)

    assert [row for row in rows if row in users] == users[::-1]
    assert found.rows == [users[1]]


async def test_token_comes_back_with_its_session(any_begin: Begin, shop: Shop) -> None:
    session = a_session(shop.buyer)
    token = a_refresh_token(session)

    async with any_begin() as tx:
        await tx.sessions.start(session, token)
        assert await tx.sessions.lock(token.hash) == (session, token)
        assert await tx.sessions.lock(bytes(32)) is None


async def test_rotation_keeps_the_seed_of_the_last_step_alone(any_begin: Begin, shop: Shop) -> None:
    session = a_session(shop.buyer)
    tokens = [a_refresh_token(session, generation=generation) for generation in (1, 2, 3)]
    rotated = [replace(token, rotated_at=LATER, seed=token.hash) for token in tokens]

    async with any_begin() as tx:
        await tx.sessions.start(session, tokens[0])
        await tx.sessions.rotate(rotated[0], tokens[1])
        assert await tx.sessions.lock(tokens[0].hash) == (session, rotated[0])
        await tx.sessions.rotate(rotated[1], tokens[2])

        found = [(await tx.sessions.lock(token.hash))[1] for token in tokens]

    assert found == [replace(rotated[0], seed=None), rotated[1], tokens[2]]


async def test_session_ends_once(any_begin: Begin, shop: Shop) -> None:
    session, other = a_session(shop.buyer), a_session(shop.buyer)
    token = a_refresh_token(session)

    async with any_begin() as tx:
        await tx.sessions.start(session, token)
        await tx.sessions.start(other, a_refresh_token(other))
        assert await tx.sessions.end(session.id, EndReason.LOGGED_OUT, LATER)
        assert not await tx.sessions.end(session.id, EndReason.SUSPENDED, LATER)
        assert not await tx.sessions.end(SessionId(uuid7()), EndReason.LOGGED_OUT, LATER)

        assert await tx.sessions.lock(token.hash) == (replace(session, ended_at=LATER), token)
        assert set(await tx.sessions.ended([session.id, other.id, SessionId(uuid7())])) == {session.id}


async def test_session_that_is_over_takes_no_token(any_begin: Begin, shop: Shop) -> None:
    session = a_session(shop.buyer)
    token = a_refresh_token(session)
    async with any_begin() as tx:
        await tx.sessions.start(session, token)
        await tx.sessions.end(session.id, EndReason.LOGGED_OUT, LATER)
        await tx.commit()

    with pytest.raises(Refused):
        async with any_begin() as tx:
            await tx.sessions.rotate(replace(token, rotated_at=LATER), a_refresh_token(session, generation=2))


async def test_all_sessions_of_a_user_end_but_the_newest(any_begin: Begin, shop: Shop) -> None:
    sessions = [a_session(shop.buyer) for _ in range(4)]
    foreign = a_session(shop.seller)
    async with any_begin() as tx:
        for session in (*sessions, foreign):
            await tx.sessions.start(session, a_refresh_token(session))
        ids = [session.id for session in (*sessions, foreign)]

        await tx.sessions.end_all(shop.buyer.id, EndReason.SUPERSEDED, LATER, except_newest=2)
        assert set(await tx.sessions.ended(ids)) == set(ids[:2])
        await tx.sessions.end_all(shop.buyer.id, EndReason.PASSWORD_CHANGED, LATER)
        assert set(await tx.sessions.ended(ids)) == set(ids[:4])


async def test_what_ended_is_noted(any_begin: Begin, shop: Shop) -> None:
    sessions = [a_session(shop.buyer) for _ in range(3)]
    key, living = an_api_key(shop.buyer.id), an_api_key(shop.buyer.id)
    async with any_begin() as tx:
        for session in sessions:
            await tx.sessions.start(session, a_refresh_token(session))
        for one in (key, living):
            await tx.api_keys.add(one)
        await tx.sessions.end(sessions[0].id, EndReason.LOGGED_OUT, LATER)
        await tx.sessions.end_all(shop.buyer.id, EndReason.SUPERSEDED, LATER, except_newest=1)
        await tx.api_keys.end(principal(shop.buyer), key.id, LATER)

        noted = [sessions[0].id, sessions[1].id, key.id]
        assert set(noted) <= set(await tx.revocations.recent(60, after=None, limit=1_000))
        known = {sessions[2].id, living.id}
        assert not known & set(await tx.revocations.recent(60, after=None, limit=1_000))
        first = await tx.revocations.recent(60, after=None, limit=1)
        assert list(first) < list(await tx.revocations.recent(60, after=first[0], limit=1))


async def test_expired_sessions_and_tokens_are_pruned_up_to_the_limit(any_begin: Begin, shop: Shop) -> None:
    expired = {"created_at": NOW - timedelta(days=60), "expires_at": NOW - timedelta(days=30)}
    old, other, live = a_session(shop.buyer, **expired), a_session(shop.buyer, **expired), a_session(shop.buyer)
    async with any_begin() as tx:
        for session in (old, other, live):
            await tx.sessions.start(session, a_refresh_token(session, expires_at=NOW - timedelta(days=40)))

        assert await tx.sessions.prune(NOW - timedelta(days=20), limit=1) == 1
        assert await tx.sessions.prune(NOW - timedelta(days=20), limit=10) == 2
        assert await tx.sessions.prune(NOW - timedelta(days=20), limit=10) == 0


async def test_keys_alive_are_found_by_prefix_with_their_owners(any_begin: Begin, shop: Shop) -> None:
    keys = [an_api_key(user.id, scopes=frozenset(Scope)) for user in (shop.buyer, shop.seller)]
    ended = an_api_key(shop.buyer.id)
    async with any_begin() as tx:
        for key in (*keys, ended):
            await tx.api_keys.add(key)
        await tx.api_keys.end(principal(shop.buyer), ended.id, LATER)

        found = await tx.api_keys.by_prefixes({*(key.prefix for key in keys), ended.prefix, "0" * 12})

        assert found == {keys[0].prefix: (keys[0], shop.buyer), keys[1].prefix: (keys[1], shop.seller)}
        assert await tx.api_keys.count(shop.buyer.id) == 1


async def test_keys_are_seen_and_ended_by_their_owner_and_by_admins(any_begin: Begin, shop: Shop) -> None:
    keys = [an_api_key(shop.buyer.id) for _ in range(3)]
    foreign = an_api_key(shop.seller.id)
    buyer, seller = principal(shop.buyer), principal(shop.seller)
    async with any_begin() as tx:
        for key in (*keys, foreign):
            await tx.api_keys.add(key)

        own = await read_all(lambda request: tx.api_keys.page(buyer, request, user_id=None), limit=2)
        every = await read_all(lambda request: tx.api_keys.page(ADMIN, request, user_id=None), limit=2)
        assert own == keys[::-1]
        assert [key for key in every if key in (*keys, foreign)] == [foreign, *keys[::-1]]
        assert (await tx.api_keys.page(ADMIN, PageRequest(), user_id=shop.seller.id)).rows == [foreign]
        assert not (await tx.api_keys.page(buyer, PageRequest(), user_id=shop.seller.id)).rows
        assert await tx.api_keys.end(seller, keys[0].id, LATER) is None
        assert await tx.api_keys.end(buyer, keys[0].id, LATER) == replace(keys[0], ended_at=LATER)
        assert await tx.api_keys.end(ADMIN, keys[1].id, LATER) == replace(keys[1], ended_at=LATER)
        assert await tx.api_keys.end(ADMIN, keys[1].id, LATER) is None
        await tx.api_keys.end_all(shop.buyer.id, LATER)
        assert await tx.api_keys.count(shop.buyer.id) == 0
        assert await tx.api_keys.count(shop.seller.id) == 1


async def test_uses_of_keys_are_noted(any_begin: Begin, shop: Shop) -> None:
    used, unused = an_api_key(shop.buyer.id), an_api_key(shop.buyer.id)
    async with any_begin() as tx:
        for key in (used, unused):
            await tx.api_keys.add(key)

        await tx.api_keys.note_uses([ApiKeyId(used.id)], LATER)

        found = await tx.api_keys.by_prefixes({used.prefix, unused.prefix})
        assert [found[key.prefix][0].last_used_at for key in (used, unused)] == [LATER, None]
