"""Access tokens: JWT, HS256, fifteen minutes, every claim required."""

from datetime import timedelta
from uuid import UUID, uuid4

import jwt

from domain.clock import Clock
from domain.errors import Unauthenticated
from domain.identity.model import Principal, Role, User
from domain.ids import UserId

_ALGORITHM = "HS256"
_ISSUER = "marketflow"
_AUDIENCE = "marketflow-api"
_REQUIRED = ["exp", "iat", "sub", "aud", "iss", "jti", "role"]
_MIN_SECRET_BYTES = 32
_MAX_CACHED = 10_000
_MAX_TOKEN_CHARS = 4_096


class TokenCodec:
    """Issues and reads access tokens."""

    def __init__(self, secret: str, clock: Clock, *, ttl_s: int) -> None:
        """Keep the secret. Errors: ValueError for one that is too short (RFC 7518, section 3.2)."""
        if len(secret.encode()) < _MIN_SECRET_BYTES:
            raise ValueError(f"MARKETFLOW_JWT_SECRET needs at least {_MIN_SECRET_BYTES} bytes")
        self._secret = secret
        self._clock = clock
        self.ttl_s = ttl_s
        # PERF: checking a signature costs more than the rest of authentication; a token stays what it is.
        self._known: dict[str, tuple[Principal, float]] = {}

    def issue(self, user: User) -> str:
        """Return a new access token of a user."""
        now = self._clock.now()
        claims = {
            "iss": _ISSUER,
            "aud": _AUDIENCE,
            "sub": str(user.id),
            "role": str(user.role),
            "iat": now,
            "exp": now + timedelta(seconds=self.ttl_s),
            "jti": uuid4().hex,
        }
        return jwt.encode(claims, self._secret, algorithm=_ALGORITHM)

    def read(self, token: str) -> Principal:
        """Return whose token it is. Errors: Unauthenticated `token_invalid`."""
        known = self._known.get(token)
        if known is not None and known[1] > self._clock.now().timestamp():
            return known[0]
        principal, expires_at = self._decode(token)
        if len(self._known) >= _MAX_CACHED:
            self._known.clear()
        self._known[token] = (principal, expires_at)
        return principal

    def _decode(self, token: str) -> tuple[Principal, float]:
        if len(token) > _MAX_TOKEN_CHARS:
            raise Unauthenticated("the token is not valid", code="token_invalid")
        try:
            claims = jwt.decode(
                token,
                self._secret,
                algorithms=[_ALGORITHM],
                audience=_AUDIENCE,
                issuer=_ISSUER,
                options={"require": _REQUIRED, "enforce_minimum_key_length": True},
            )
            return Principal(UserId(UUID(claims["sub"])), Role(claims["role"])), float(claims["exp"])
        except (jwt.InvalidTokenError, ValueError, TypeError, AttributeError):
            raise Unauthenticated("the token is not valid", code="token_invalid") from None
