"""Who the client is: an API key, a token, or a session that renews its tokens."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

Renew = Callable[[str], Awaitable[Mapping[str, Any]]]
"""Fetches the next pair of tokens for a refresh token."""

_EARLY_S = 30.0


class Credentials:
    """What is sent as `Authorization`; empty before a log-in."""

    def __init__(self, renew: Renew, *, bearer: str | None = None) -> None:
        """Keep what renews, and a token or key that was given."""
        self._renew = renew
        self._bearer = bearer
        self._refresh_token: str | None = None
        self._renew_at = float("inf")
        self._lock = asyncio.Lock()

    @property
    def refresh_token(self) -> str | None:
        """What a session goes on with after a restart of the program."""
        return self._refresh_token

    def take(self, tokens: Mapping[str, Any]) -> None:
        """Go on with a pair of tokens."""
        self._bearer = str(tokens["access_token"])
        self._refresh_token = str(tokens["refresh_token"]) if tokens.get("refresh_token") else None
        lifetime_s = float(tokens["expires_in"])
        self._renew_at = time.monotonic() + max(lifetime_s - _EARLY_S, lifetime_s / 2)

    def forget(self) -> None:
        """Be nobody."""
        self._bearer, self._refresh_token, self._renew_at = None, None, float("inf")

    async def headers(self) -> Mapping[str, str]:
        """Return the header to send, of a token that is not about to expire."""
        if time.monotonic() >= self._renew_at:
            await self.renew(self._bearer)
        return {"Authorization": f"Bearer {self._bearer}"} if self._bearer else {}

    async def renew(self, refused: str | None) -> bool:
        """Fetch another token, unless somebody did since the refused one was sent; return whether there is one."""
        async with self._lock:
            if self._bearer != refused:
                return True
            if self._refresh_token is None:
                return False
            self.take(await self._renew(self._refresh_token))
            return True

    @property
    def bearer(self) -> str | None:
        """The token or key that is sent at present."""
        return self._bearer
