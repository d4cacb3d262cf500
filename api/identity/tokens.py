"""Access tokens: signed JWTs, fifteen minutes, every claim required."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Literal, TypeVar
from uuid import UUID, uuid4

from pydantic import BaseModel, ConfigDict, ValidationError

from api.identity.signing import Ed25519SigningKey, Ed25519VerifyingKey, HmacKey, Key, KeyRing, SigningKey
from domain.clock import Clock
from domain.errors import Unauthenticated
from domain.identity.model import Principal, Role, User
from domain.ids import SessionId, UserId
from ops.settings import Settings

AnyKey = TypeVar("AnyKey", bound=Key)

_MAX_TOKEN_CHARS = 4_096
_LEEWAY = timedelta(seconds=60)
"""How far the clocks of two hosts may differ."""


class Claims(BaseModel):
    """What an access token says (RFC 7519, section 4.1); `sid` is the session that it belongs to."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    iss: Literal["marketflow"]
    aud: Literal["marketflow-api"]
    sub: UUID
    sid: UUID
    role: Role
    iat: int
    exp: int
    jti: str


class TokenCodec:
    """Issues and reads access tokens."""

    def __init__(self, keys: KeyRing, clock: Clock, *, ttl_s: int) -> None:
        """Keep the keys."""
        self._keys = keys
        self._clock = clock
        self.ttl_s = ttl_s

    def issue(self, user: User, session_id: SessionId) -> str:
        """Return a new access token of a user's session."""
        now = int(self._clock.now().timestamp())
        claims = Claims(
            iss="marketflow",
            aud="marketflow-api",
            sub=user.id,
            sid=session_id,
            role=user.role,
            iat=now,
            exp=now + self.ttl_s,
            jti=uuid4().hex,
        )
        return self._keys.sign(claims.model_dump_json().encode())

    def read(self, token: str) -> tuple[Principal, datetime]:
        """Return whose token it is, and until when it holds. Errors: Unauthenticated `token_invalid`."""
        if len(token) > _MAX_TOKEN_CHARS:
            raise _invalid()
        try:
            claims = Claims.model_validate_json(self._keys.verify(token), strict=True)
            issued_at, expires_at = (datetime.fromtimestamp(at, UTC) for at in (claims.iat, claims.exp))
        except (ValidationError, ValueError, OverflowError, OSError):
            raise _invalid() from None
        now = self._clock.now()
        if expires_at <= now or issued_at > now + _LEEWAY:
            raise _invalid()
        session_id = SessionId(claims.sid)
        return Principal(UserId(claims.sub), claims.role, session_id=session_id), expires_at


def key_ring(settings: Settings) -> KeyRing:
    """Return the keys of the settings. Errors: ValueError for one that is missing, weak or of another kind."""
    secret = settings.jwt_secret.get_secret_value()
    private_key = settings.jwt_private_key.get_secret_value()
    other_secret = settings.jwt_other_secret.get_secret_value()
    signing: SigningKey = (
        _read("JWT_PRIVATE_KEY", Ed25519SigningKey, private_key)
        if settings.jwt_algorithm == "EdDSA"
        else _read("JWT_SECRET", HmacKey, secret)
    )
    others: list[Key] = []
    if other_secret:
        others.append(_read("JWT_OTHER_SECRET", HmacKey, other_secret))
    if settings.jwt_other_public_key:
        others.append(_read("JWT_OTHER_PUBLIC_KEY", Ed25519VerifyingKey, settings.jwt_other_public_key))
    return KeyRing(signing, others)


def _read(name: str, kind: Callable[[str], AnyKey], text: str) -> AnyKey:
    try:
        return kind(text)
    except ValueError as error:
        raise ValueError(f"MARKETFLOW_{name}: {error}") from None


def _invalid() -> Unauthenticated:
    return Unauthenticated("the token is not valid", code="token_invalid")
