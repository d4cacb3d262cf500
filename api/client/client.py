"""The client."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Self

import httpx

from .credentials import Credentials
from .endpoints import Deliveries, WebhookEndpoints
from .errors import Refused, Unanswered, Unauthenticated, refusal
from .events import EventStream
from .nouns import ApiKeys, Carts, Orders, Products, Users
from .payments import Disputes, Payments, Refunds
from .sellers import Payouts, Sellers
from .sending import Request, Retry, Sender

_UNAUTHORIZED = 401
# The server gives a sign of life every 15 seconds.
_SILENCE_S = 45.0
# For ten seconds after it exchanged a refresh token the server gives the same successor again. So a lost answer is
# given up soon and asked for again soon, twice within that time.
RENEWAL_TIMEOUT_S = 3.0
RENEWAL_PAUSE_S = 0.5


class Client:
    """A caller of one MarketFlow. Use it in one event loop; close it, or use it in `async with`."""

    def __init__(
        self,
        base_url: str,
        *,
        bearer: str | None = None,
        retry: Retry | None = None,
        timeout_s: float = 10.0,
        http: httpx.AsyncClient | None = None,
    ) -> None:
        """Be nobody, or whoever bears an access token or an API key.

        `http` is a pool of connections to share between callers; it is not closed with this client, and its own
        `base_url` counts where `base_url` is empty. Errors: ValueError where neither is an address.
        """
        self._is_shared = http is not None
        address = _address(base_url or (str(http.base_url) if http is not None else ""))
        self._http = http or httpx.AsyncClient(timeout=timeout_s)
        self._sender = Sender(self._http, address, retry or Retry())
        self._renewer = Sender(self._http, address, _hurried(self._sender.retry))
        self.credentials = Credentials(self._renew, bearer=bearer)
        self.users = Users(self)
        self.api_keys = ApiKeys(self)
        self.products = Products(self)
        self.cart = Carts(self)
        self.orders = Orders(self)
        self.payments = Payments(self)
        self.refunds = Refunds(self)
        self.disputes = Disputes(self)
        self.sellers = Sellers(self)
        self.payouts = Payouts(self)
        self.webhook_endpoints = WebhookEndpoints(self)
        self.deliveries = Deliveries(self)

    async def __aenter__(self) -> Self:
        """Use the client until the end of the block."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close it."""
        await self.aclose()

    async def aclose(self) -> None:
        """Close its connections."""
        if not self._is_shared:
            await self._http.aclose()

    async def log_in(self, email: str, password: str) -> None:
        """Begin a session; its tokens are renewed as long as this client is used. Errors: Unauthenticated."""
        body = {"email": email, "password": password}
        self.credentials.forget()
        answer = await self.send(Request("POST", "/v1/tokens", body, repeatable=True))
        self.credentials.take(answer.json())

    async def log_out(self) -> None:
        """End the session; one that is over already has ended."""
        can_renew = self.credentials.refresh_token is not None
        # A token that can be renewed may have expired between two attempts, and its session live on.
        gone = frozenset[int]() if can_renew else frozenset({_UNAUTHORIZED})
        try:
            await self.send(Request("DELETE", "/v1/tokens", gone=gone))
        except Unauthenticated:
            if not can_renew:
                raise
        self.credentials.forget()

    def events(self, *, after: str | int | None = None) -> EventStream:
        """Follow what happens to one's own orders and payments, from now on or after a position."""
        return EventStream(self._open_stream, self._sender.retry, after=None if after is None else str(after))

    async def request(self, method: str, path: str, body: Any = None, **options: Any) -> Any:
        """Ask for anything else and return its JSON; `options` as of Request. Errors: Refused, Unanswered."""
        answer = await self.send(Request(method, path, body, **options))
        return answer.json() if answer.content else None

    async def send(self, request: Request) -> httpx.Response:
        """Send a request and return a success, or 304. Errors: Refused, Unanswered."""
        answer = await self.ask(request)
        if answer.is_error:
            raise refusal(answer, key=request.key)
        return answer

    async def ask(self, request: Request) -> httpx.Response:
        """Send a request and return whatever is answered. Errors: Unanswered; Refused, of the token's renewal."""
        headers, bearer = await self.credentials.headers(), self.credentials.bearer
        answer = await self._sender.send(request, headers)
        if answer.status_code == _UNAUTHORIZED and await self._renewed(bearer, request):
            answer = await self._sender.send(request, await self.credentials.headers())
        return answer

    async def _renewed(self, refused: str | None, request: Request) -> bool:
        """Tell whether there is another token for a request, of which an attempt may have gone unanswered."""
        try:
            return await self.credentials.renew(refused)
        except (Refused, Unanswered) as error:
            error.key = request.key
            raise

    async def _renew(self, refresh_token: str) -> Mapping[str, Any]:
        # Where nobody answers for longer it is repeated all the same: perhaps the token was never exchanged, and
        # if it was, the session is lost either way.
        body = {"refresh_token": refresh_token}
        request = Request("POST", "/v1/tokens/refresh", body, repeatable=True, timeout_s=RENEWAL_TIMEOUT_S)
        answer = await self._renewer.send(request, {})
        if answer.is_error:
            raise refusal(answer)
        tokens: Mapping[str, Any] = answer.json()
        return tokens

    async def _open_stream(self, headers: Mapping[str, str]) -> httpx.Response:
        answer, bearer = await self._open_stream_once(headers), self.credentials.bearer
        if answer.status_code != _UNAUTHORIZED or not await self.credentials.renew(bearer):
            return answer
        await answer.aclose()
        return await self._open_stream_once(headers)

    async def _open_stream_once(self, headers: Mapping[str, str]) -> httpx.Response:
        own = await self.credentials.headers()
        url = f"{self._sender.address}/v1/events"
        request = self._http.build_request("GET", url, headers={**own, **headers}, timeout=_SILENCE_S)
        return await self._http.send(request, stream=True)


def _address(base_url: str) -> str:
    if not base_url.startswith(("http://", "https://")):
        raise ValueError(f"the address of a server begins with http:// or https://, and {base_url!r} does not")
    return base_url.rstrip("/")


def _hurried(retry: Retry) -> Retry:
    return replace(retry, base_s=min(retry.base_s, RENEWAL_PAUSE_S), cap_s=min(retry.cap_s, RENEWAL_PAUSE_S))
