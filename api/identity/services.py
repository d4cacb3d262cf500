"""The identity part of the composition root."""

from dataclasses import dataclass

from redis.asyncio import Redis

from api.identity.authenticator import Authenticator
from api.identity.revocations import Revocations
from api.identity.tokens import TokenCodec, key_ring
from db.credentials import credential_rules
from db.login_throttle import RedisLoginThrottle, ThrottlePolicy
from db.unit_of_work import Database
from domain.clock import Clock
from domain.coalescer import Coalescer
from domain.identity.api_keys import ApiKeyService
from domain.identity.credentials import Proof
from domain.identity.service import IdentityService
from domain.identity.sessions import SessionPolicy, SessionService
from domain.identity.upkeep import RevocationService
from ops.settings import Settings

_MAX_BATCH = 64


@dataclass(frozen=True, slots=True)
class Identity:
    """Who uses the API, and how they prove who they are."""

    users: IdentityService
    sessions: SessionService
    api_keys: ApiKeyService
    tokens: TokenCodec
    authenticator: Authenticator
    revocations: Revocations


def build_identity(settings: Settings, database: Database, redis: Redis, clock: Clock) -> Identity:
    """Put identity together. Errors: ValueError for a key that signs tokens and is missing or weak."""
    rules = credential_rules(min_password_chars=settings.min_password_chars)
    throttle = RedisLoginThrottle(
        redis,
        ThrottlePolicy(
            per_account=settings.login_failures_per_account,
            per_address=settings.login_failures_per_address,
            window_s=settings.login_failure_window_s,
        ),
    )
    policy = SessionPolicy(settings.session_ttl_s, settings.refresh_token_ttl_s, settings.refresh_grace_s)
    users = IdentityService(database.begin, rules, clock)
    sessions = SessionService(
        database.begin, Proof(database.begin, rules, throttle), users, clock, policy, each=database.each
    )
    api_keys = ApiKeyService(database.begin, clock, each=database.each)
    tokens = TokenCodec(key_ring(settings), clock, ttl_s=settings.access_token_ttl_s)
    authenticator = Authenticator(
        tokens,
        Coalescer(sessions.are_over, max_batch=_MAX_BATCH),
        Coalescer(api_keys.prove, max_batch=_MAX_BATCH),
        clock,
    )
    return Identity(
        users=users,
        sessions=sessions,
        api_keys=api_keys,
        tokens=tokens,
        authenticator=authenticator,
        revocations=Revocations(
            authenticator, RevocationService(database.each, clock), api_keys, poll_s=settings.revocation_poll_s
        ),
    )
