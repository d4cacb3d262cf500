from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import Forbidden, Invalid, Unauthenticated
from domain.identity.credentials import CredentialRules, Proof
from domain.identity.model import EndReason, Principal, Role, User
from domain.identity.service import IdentityService
from domain.identity.sessions import MAX_SESSIONS, Grant, SessionPolicy, SessionService, Use, judge
from domain.identity.tokens import digest
from domain.ids import ApiKeyId, SessionId, UserId, uuid7
from tests.builders import NOW, a_refresh_token, a_session, a_user
from tests.domain.fakes import FakeClock, Memory
from tests.domain.identity.conftest import PASSWORD, FakeThrottle, PlainHasher, plainly

GRACE_S = SessionPolicy().grace_s
DAY_S = 86_400.0


@pytest.fixture
async def grant(sessions: SessionService, ann: User) -> Grant:
    return await sessions.log_in(ann.email, PASSWORD, address="::1")


def of(grant: Grant) -> Principal:
    return Principal(grant.user.id, grant.user.role, session_id=grant.session_id)


async def refusal_of(sessions: SessionService, refresh_token: str) -> str:
    with pytest.raises(Unauthenticated) as refusal:
        await sessions.refresh(refresh_token)
    return refusal.value.code


def test_token_is_judged_by_its_age_and_by_its_successors() -> None:
    session = a_session(a_user(Role.BUYER))
    newest = a_refresh_token(session)
    rotated = replace(newest, rotated_at=NOW, seed=bytes(32))
    grace = timedelta(seconds=GRACE_S)
    ended = replace(session, ended_at=NOW)

    assert judge(session, newest, NOW, grace_s=GRACE_S) is Use.ROTATION
    assert judge(session, rotated, NOW + grace, grace_s=GRACE_S) is Use.REPETITION
    assert judge(session, rotated, NOW + 1.01 * grace, grace_s=GRACE_S) is Use.REUSE
    assert judge(session, replace(rotated, seed=None), NOW, grace_s=GRACE_S) is Use.REUSE
    assert judge(session, newest, newest.expires_at, grace_s=GRACE_S) is Use.VAIN
    assert judge(session, rotated, newest.expires_at, grace_s=GRACE_S) is Use.VAIN
    assert judge(replace(session, expires_at=NOW), newest, NOW, grace_s=GRACE_S) is Use.VAIN
    assert {judge(ended, token, NOW, grace_s=GRACE_S) for token in (newest, rotated)} == {Use.VAIN}


async def test_tokens_are_kept_by_their_hash_alone(memory: Memory, grant: Grant) -> None:
    assert list(memory.state.refresh_tokens) == [digest(grant.refresh_token)]
    assert grant.refresh_token not in repr(memory.state)


async def test_refresh_keeps_the_session_and_changes_the_token(sessions: SessionService, grant: Grant) -> None:
    tokens = [grant.refresh_token]
    for _ in range(3):
        follower = await sessions.refresh(tokens[-1])
        assert (follower.session_id, follower.user) == (grant.session_id, grant.user)
        tokens.append(follower.refresh_token)

    assert len(set(tokens)) == 4


async def test_refresh_whose_answer_was_lost_is_answered_again(
    sessions: SessionService, grant: Grant, clock: FakeClock
) -> None:
    lost = await sessions.refresh(grant.refresh_token)
    clock.advance(GRACE_S)

    again = await sessions.refresh(grant.refresh_token)

    assert again == lost
    assert await sessions.refresh(again.refresh_token)


async def test_rotated_token_ends_the_session_after_the_grace(
    sessions: SessionService, memory: Memory, grant: Grant, clock: FakeClock
) -> None:
    follower = await sessions.refresh(grant.refresh_token)
    clock.advance(GRACE_S + 0.1)

    assert await refusal_of(sessions, grant.refresh_token) == "refresh_token_reused"

    assert await refusal_of(sessions, follower.refresh_token) == "refresh_token_invalid"
    assert memory.state.end_reasons == {grant.session_id: EndReason.TOKEN_REUSED}
    assert [(event.type, event.data) for event in memory.state.events] == [
        ("session.ended", {"reason": "token_reused"})
    ]


async def test_rotated_token_ends_the_session_at_once_when_its_successor_was_used(
    sessions: SessionService, grant: Grant
) -> None:
    first = await sessions.refresh(grant.refresh_token)
    second = await sessions.refresh(first.refresh_token)

    assert await refusal_of(sessions, grant.refresh_token) == "refresh_token_reused"
    assert await refusal_of(sessions, second.refresh_token) == "refresh_token_invalid"


async def test_one_session_ends_and_the_others_go_on(
    sessions: SessionService, ann: User, grant: Grant, clock: FakeClock
) -> None:
    other = await sessions.log_in(ann.email, PASSWORD, address="::1")
    await sessions.refresh(grant.refresh_token)
    clock.advance(DAY_S)

    await refusal_of(sessions, grant.refresh_token)

    assert await sessions.are_over([other.session_id, grant.session_id]) == [False, True]
    assert await sessions.refresh(other.refresh_token)


async def test_unknown_token_is_refused(sessions: SessionService) -> None:
    assert await refusal_of(sessions, "mfr_of_nobody") == "refresh_token_invalid"


async def test_unused_session_expires(sessions: SessionService, grant: Grant, clock: FakeClock) -> None:
    clock.advance(SessionPolicy().refresh_ttl_s)

    assert await refusal_of(sessions, grant.refresh_token) == "refresh_token_invalid"


async def test_used_session_expires_in_the_end(sessions: SessionService, grant: Grant, clock: FakeClock) -> None:
    token = grant.refresh_token
    for _ in range(2):
        clock.advance(13 * DAY_S)
        token = (await sessions.refresh(token)).refresh_token
    clock.advance(4 * DAY_S)

    assert await refusal_of(sessions, token) == "refresh_token_invalid"


async def test_who_logged_out_is_out(sessions: SessionService, memory: Memory, grant: Grant) -> None:
    for _ in range(2):
        await sessions.log_out(of(grant))

    assert await refusal_of(sessions, grant.refresh_token) == "refresh_token_invalid"
    assert [(event.subject_id, event.data["reason"]) for event in memory.state.events] == [
        (grant.session_id, "logged_out")
    ]


async def test_api_key_has_no_session_to_end(sessions: SessionService) -> None:
    key = Principal(UserId(uuid7()), Role.BUYER, key_id=ApiKeyId(uuid7()), scopes=frozenset())

    with pytest.raises(Forbidden) as refusal:
        await sessions.log_out(key)

    assert refusal.value.code == "session_needed"


async def test_changed_password_proves_and_ends_all_sessions(
    sessions: SessionService, ann: User, grant: Grant
) -> None:
    other = await sessions.log_in(ann.email, PASSWORD, address="::1")

    await sessions.change_password(of(grant), PASSWORD, "battery staple", address="::1")

    assert await sessions.are_over([grant.session_id, other.session_id]) == [True, True]
    with pytest.raises(Unauthenticated):
        await sessions.log_in(ann.email, PASSWORD, address="::1")
    assert await sessions.log_in(ann.email, "battery staple", address="::1")


async def test_password_is_not_changed_without_the_present_one(
    sessions: SessionService, throttle: FakeThrottle, ann: User, grant: Grant
) -> None:
    with pytest.raises(Unauthenticated):
        await sessions.change_password(of(grant), "wrong", "battery staple", address="::1")
    with pytest.raises(Invalid):
        await sessions.change_password(of(grant), PASSWORD, "trustno1", address="::1")

    assert [attempt.account for attempt in throttle.attempts] == [ann.email]
    assert await sessions.are_over([grant.session_id]) == [False]


async def test_login_that_lost_a_race_against_a_new_password_is_refused(
    memory: Memory, clock: FakeClock, identity: IdentityService, throttle: FakeThrottle, ann: User
) -> None:
    class SlowHasher(PlainHasher):
        """Meanwhile the password is changed, and all sessions are ended."""

        async def verify(self, password_hash: str | None, password: str) -> bool:
            await identity.replace_password(ann, "battery staple")
            return await super().verify(password_hash, password)

    rules = CredentialRules(SlowHasher(), plainly, lambda _: False)
    sessions = SessionService(memory.begin, Proof(memory.begin, rules, throttle), identity, clock, SessionPolicy())

    with pytest.raises(Unauthenticated):
        await sessions.log_in(ann.email, PASSWORD, address="::1")

    assert memory.state.sessions == {}


async def test_sessions_of_a_user_are_bounded(sessions: SessionService, ann: User) -> None:
    grants = [await sessions.log_in(ann.email, PASSWORD, address="::1") for _ in range(MAX_SESSIONS + 2)]

    over = await sessions.are_over([grant.session_id for grant in grants])

    assert over == [True, True] + [False] * MAX_SESSIONS


async def test_session_that_is_not_there_is_not_over(sessions: SessionService) -> None:
    assert await sessions.are_over([SessionId(uuid7())]) == [False]


@given(st.lists(st.tuples(st.sampled_from(["owner", "thief"]), st.floats(0, 40)), max_size=12))
async def test_there_is_one_line_of_tokens_and_who_leaves_it_ends_it(uses: list[tuple[str, float]]) -> None:
    """A token is stolen, and both who have it go on as they like, each with the newest token that it got."""
    memory, clock, throttle = Memory(), FakeClock(), FakeThrottle()
    rules = CredentialRules(PlainHasher(), plainly, lambda _: False)
    proof, identity = Proof(memory.begin, rules, throttle), IdentityService(memory.begin, rules, clock)
    sessions = SessionService(memory.begin, proof, identity, clock, SessionPolicy())
    await identity.register("ann@example.com", PASSWORD, Role.BUYER)
    stolen = (await sessions.log_in("ann@example.com", PASSWORD, address="::1")).refresh_token
    held = {"owner": stolen, "thief": stolen}

    for who, pause_s in uses:
        clock.advance(pause_s)
        try:
            held[who] = (await sessions.refresh(held[who])).refresh_token
        except Unauthenticated:
            assert set(memory.state.end_reasons.values()) == {EndReason.TOKEN_REUSED}
            assert [await refusal_of(sessions, token) for token in held.values()] == ["refresh_token_invalid"] * 2
            return
        newest = [token.hash for token in memory.state.refresh_tokens.values() if token.rotated_at is None]
        assert newest == [digest(held[who])]
