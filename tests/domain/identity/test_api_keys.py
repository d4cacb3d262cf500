from datetime import timedelta

import pytest

from domain.errors import Conflict, NotFound, Unauthenticated
from domain.identity.api_keys import MAX_KEYS, ApiKeyService, NewApiKey
from domain.identity.model import Principal, Role, Scope, User
from domain.identity.service import IdentityService
from domain.identity.tokens import digest, new_api_key, prefix_of
from domain.identity.upkeep import RevocationService
from domain.ids import ApiKeyId, UserId, uuid7
from domain.pages import PageRequest
from tests.builders import NOW, a_refresh_token, a_session, principal
from tests.domain.fakes import FakeClock, Memory
from tests.domain.identity.conftest import PASSWORD

ADMIN = Principal(UserId(uuid7()), Role.ADMIN)
SCOPES = frozenset({Scope.ORDERS_READ, Scope.PAYMENTS_WRITE})


@pytest.fixture
async def new(api_keys: ApiKeyService, ann: User) -> NewApiKey:
    return await api_keys.create(principal(ann), "shop backend", SCOPES)


@pytest.fixture
async def bob(identity: IdentityService) -> User:
    return await identity.register("bob@example.com", PASSWORD, Role.SELLER)


async def prove(api_keys: ApiKeyService, credential: str) -> Principal | Unauthenticated:
    return (await api_keys.prove([credential]))[0]


async def test_key_proves_its_owner_within_its_scopes(api_keys: ApiKeyService, ann: User, new: NewApiKey) -> None:
    assert await prove(api_keys, new.credential) == Principal(ann.id, ann.role, key_id=new.key.id, scopes=SCOPES)


async def test_key_is_kept_by_its_hash_and_known_by_its_prefix(memory: Memory, new: NewApiKey) -> None:
    assert new.credential.startswith(f"mf_{new.key.prefix}_")
    assert new.key.hash == digest(new.credential)
    assert new.credential.removeprefix(f"mf_{new.key.prefix}_") not in repr(memory.state)


async def test_each_of_a_batch_is_answered_in_its_place(
    api_keys: ApiKeyService, new: NewApiKey, bob: User
) -> None:
    other = await api_keys.create(principal(bob), "other", {Scope.SELLERS_READ})
    forged = new.credential[:-1] + ("0" if new.credential[-1] != "0" else "1")

    answers = await api_keys.prove([other.credential, forged, "mf_", new_api_key()[1], new.credential])

    assert [answer.user_id if isinstance(answer, Principal) else answer.code for answer in answers] == [
        bob.id,
        "api_key_invalid",
        "api_key_invalid",
        "api_key_invalid",
        new.key.user_id,
    ]


@pytest.mark.parametrize("text", ["", "mf_", "mfr_x", "mf_0123456789ab_", "MF_0123456789ab_" + "0" * 64])
def test_what_has_not_the_form_of_a_key_has_no_prefix(text: str) -> None:
    assert prefix_of(text) is None
    assert prefix_of(new_api_key()[1] + "\n") is None


async def test_revoked_key_is_no_key(api_keys: ApiKeyService, memory: Memory, ann: User, new: NewApiKey) -> None:
    await api_keys.revoke(principal(ann), new.key.id)

    assert isinstance(await prove(api_keys, new.credential), Unauthenticated)
    with pytest.raises(NotFound):
        await api_keys.revoke(principal(ann), new.key.id)
    assert [event.type for event in memory.state.events] == ["api_key.created", "api_key.revoked"]


async def test_keys_of_others_are_not_there_but_for_admins(
    api_keys: ApiKeyService, ann: User, bob: User, new: NewApiKey
) -> None:
    with pytest.raises(NotFound):
        await api_keys.revoke(principal(bob), new.key.id)
    for user_id in (None, ann.id, bob.id):
        assert not (await api_keys.page(principal(bob), PageRequest(), user_id=user_id)).rows
    assert (await api_keys.page(principal(ann), PageRequest())).rows == [new.key]
    assert (await api_keys.page(ADMIN, PageRequest(), user_id=ann.id)).rows == [new.key]
    assert not (await api_keys.page(ADMIN, PageRequest(), user_id=bob.id)).rows
    await api_keys.revoke(ADMIN, new.key.id)


async def test_keys_of_a_user_are_bounded(api_keys: ApiKeyService, ann: User, new: NewApiKey) -> None:
    for _ in range(MAX_KEYS - 1):
        await api_keys.create(principal(ann), "another", SCOPES)

    with pytest.raises(Conflict) as refusal:
        await api_keys.create(principal(ann), "one more", SCOPES)
    await api_keys.revoke(principal(ann), new.key.id)

    assert refusal.value.code == "too_many_api_keys"
    assert await api_keys.create(principal(ann), "one instead", SCOPES)


async def test_use_is_noted(api_keys: ApiKeyService, ann: User, new: NewApiKey, clock: FakeClock) -> None:
    clock.advance(60)

    await api_keys.note_uses({ApiKeyId(new.key.id)})

    assert (await api_keys.page(principal(ann), PageRequest())).rows[0].last_used_at == clock.now()


async def test_all_that_ended_is_told_however_much_it_is(memory: Memory, clock: FakeClock) -> None:
    ids = {uuid7() for _ in range(2_500)}
    memory.state.revoked |= ids

    assert set(await RevocationService(memory.begin, clock).recent(60)) == ids


async def test_what_expired_long_ago_is_forgotten(memory: Memory, clock: FakeClock, ann: User) -> None:
    old, live = a_session(ann, expires_at=NOW + timedelta(days=1)), a_session(ann)
    async with memory.begin() as tx:
        for session in (old, live):
            await tx.sessions.start(session, a_refresh_token(session))
        await tx.commit()
    clock.advance(8 * 86_400 + 1)

    assert await RevocationService(memory.begin, clock).prune() == 1

    assert list(memory.state.sessions) == [live.id]
    assert [token.session_id for token in memory.state.refresh_tokens.values()] == [live.id]
