"""Whose credential it is: checked once, then remembered until it expires or is revoked."""

from collections import defaultdict
from collections.abc import Iterable
from uuid import UUID

from api.identity.tokens import TokenCodec
from domain.clock import Clock
from domain.coalescer import Coalescer
from domain.errors import Unauthenticated
from domain.identity.model import Principal
from domain.identity.tokens import API_KEY
from domain.ids import ApiKeyId, SessionId

_MAX_KNOWN = 10_000
_NEVER = float("inf")
_ID_BYTES = 16


class Authenticator:
    """Remembers the credentials of this process.

    `Revocations` (api/identity/revocations.py) makes it forget what has ended, seconds later at most.
    """

    def __init__(
        self,
        tokens: TokenCodec,
        is_over: Coalescer[SessionId, bool],
        prove_key: Coalescer[str, Principal],
        clock: Clock,
    ) -> None:
        """Keep what reads tokens, and what asks the database for many at once."""
        self._tokens = tokens
        self._is_over = is_over
        self._prove_key = prove_key
        self._clock = clock
        self._known: dict[str, tuple[Principal, float]] = {}
        self._credentials_of: defaultdict[bytes, list[str]] = defaultdict(list)
        self._used: set[ApiKeyId] = set()

    def known(self, credential: str) -> Principal | None:
        """Return the principal of a credential that was checked before.

        PERF: this is all that authentication costs on most requests.
        """
        known = self._known.get(credential)
        if known is None or known[1] <= self._clock.now().timestamp():
            return None
        if known[0].key_id is not None:
            self._used.add(known[0].key_id)
        return known[0]

    async def prove(self, credential: str) -> Principal:
        """Check a credential, in the database too, and remember it.

        Errors: Unauthenticated `token_invalid`, `api_key_invalid`; Unavailable without a database.
        """
        if credential.startswith(API_KEY):
            principal, expires_at = await self._prove_key.submit(credential), _NEVER
            assert principal.key_id is not None  # noqa: S101 - it was proven by one
            self._used.add(principal.key_id)
        else:
            principal, until = self._tokens.read(credential)
            assert principal.session_id is not None  # noqa: S101 - a token bears it
            if await self._is_over.submit(principal.session_id):
                raise Unauthenticated("the session is over", code="token_invalid")
            expires_at = until.timestamp()
        self._remember(credential, principal, expires_at)
        return principal

    def forget(self, ids: Iterable[UUID]) -> None:
        """Forget the credentials of sessions, keys and users: each is checked again at its next use."""
        self.hear(b"".join(known_id.bytes for known_id in ids))

    def hear(self, ids: bytes) -> None:
        """Forget as `forget` does, of ids in bytes, one after the other; most are of payments and the like."""
        for start in range(0, len(ids), _ID_BYTES):
            for credential in self._credentials_of.pop(ids[start : start + _ID_BYTES], ()):
                self._forget_one(credential)

    def forget_all(self) -> None:
        """Trust nothing that was checked before."""
        self._known.clear()
        self._credentials_of.clear()

    def take_used(self) -> set[ApiKeyId]:
        """Return the keys that were used since the last time."""
        used, self._used = self._used, set()
        return used

    def _remember(self, credential: str, principal: Principal, expires_at: float) -> None:
        # Two requests at once with a new credential both come here.
        self._forget_one(credential)
        if len(self._known) >= _MAX_KNOWN:
            self.forget_all()
        self._known[credential] = (principal, expires_at)
        for owner in _owners(principal):
            self._credentials_of[owner].append(credential)

    def _forget_one(self, credential: str) -> None:
        """Forget a credential, and that its owners have it: what is left of each would add up."""
        principal, _ = self._known.pop(credential, (None, 0.0))
        for owner in _owners(principal) if principal else ():
            if credentials := self._credentials_of.get(owner):
                credentials.remove(credential)
                if not credentials:
                    del self._credentials_of[owner]


def _owners(principal: Principal) -> list[bytes]:
    """Return the ids whose end is the end of the principal's credential."""
    ids = (principal.user_id, principal.session_id, principal.key_id)
    return [owner_id.bytes for owner_id in ids if owner_id is not None]
