"""Stripe's SDK over an HTTP client of our own, without what nobody here reads.

PERF: of a call's 400 µs the SDK on aiohttp took 180 for HTTP, and most of its own for writing five lines of log,
the whole answer among them, before it asks whether anybody wants them, and for making ordered dictionaries of the
answer. This takes 160 in all (loadtest/BUDGET.md).
"""

import ssl
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from uuid import uuid4

import stripe
from pydantic_core import from_json
from stripe import RequestOptions
from stripe._request_options import extract_options_from_dict
from stripe._util import get_api_mode

from domain.settlement.stripe_objects import JsonObject
from ops.http_client import Headers, HttpClient, HttpClientError

_HEADERS = {
    "idempotency_key": "Idempotency-Key",
    "stripe_account": "Stripe-Account",
    "stripe_context": "Stripe-Context",
}
"""The options of a call that are headers of their own."""

# PERF: telling Stripe of this machine and of the last call's time is a fifth of what the SDK itself costs a call.
stripe.enable_telemetry = False


class StripeHttp(stripe.HTTPClient):
    """The SDK's pluggable way to Stripe."""

    name = "marketflow"

    def __init__(self, *, timeout_s: float) -> None:
        """Trust the certificate authorities that the SDK brings along."""
        super().__init__()
        tls = ssl.create_default_context(cafile=stripe.ca_bundle_path)
        self._http = HttpClient(timeout_s=timeout_s, tls=tls)

    async def request_async(
        self, method: str, url: str, headers: Mapping[str, str], post_data: str | bytes | None = None
    ) -> tuple[bytes, int, Headers]:
        """Send a request of the SDK. Errors: APIConnectionError when there is no answer, or none in time."""
        body = post_data.encode() if isinstance(post_data, str) else post_data
        try:
            answer = await self._http.request(method.upper(), url, headers, body)
        except (HttpClientError, TimeoutError) as error:
            raise stripe.APIConnectionError(f"no answer from Stripe: {error!r}", should_retry=True) from error
        return answer.body, answer.status, answer.headers

    async def close_async(self) -> None:
        """Close the connections."""
        await self._http.close()


@dataclass(frozen=True, slots=True)
class StripeAnswer:
    """What Stripe answered, as plain JSON."""

    data: JsonObject


class StripeClient(stripe.StripeClient):
    """The SDK's client; it makes addresses, headers and bodies, and tells errors apart, as ever."""

    def __init__(self, api_key: str, http: StripeHttp, **options: Any) -> None:
        """Keep the way to Stripe, and the SDK's own options."""
        super().__init__(api_key, http_client=http, max_network_retries=0, **options)
        self._http = http
        self._make_headers = self._requestor.request_headers
        self._known_headers: dict[tuple[object, ...], Mapping[str, str]] = {}
        self._requestor.request_headers = self._headers  # type: ignore[method-assign]  # PERF: see there

    def _headers(self, method: Any, api_mode: Any, options: RequestOptions) -> dict[str, str]:
        """Return the SDK's headers for a call.

        PERF: it makes them anew each time, asks the environment thirteen times who runs it, and draws a key that
        is thrown away. Only the key and the account differ from call to call.
        """
        changing = {_HEADERS[name]: options.get(name) for name in _HEADERS}
        same = method, api_mode, options.get("api_key"), options.get("stripe_version")
        known = self._known_headers.get(same)
        if known is None:
            made = self._make_headers(method, api_mode, options)
            known = {name: value for name, value in made.items() if name not in changing}
            self._known_headers[same] = known
        if method == "post" and not changing["Idempotency-Key"]:
            changing["Idempotency-Key"] = str(uuid4())
        return {**known, **{name: str(value) for name, value in changing.items() if value}}

    async def raw_request_async(self, method_: str, url_: str, **params: Any) -> StripeAnswer:
        """Make one call, without retrying it. Errors: StripeError, as of the SDK's method of that name."""
        mode = get_api_mode(url_)
        options, fields = extract_options_from_dict(params)
        # The SDK has no public place between its arguments and its log.
        arguments = self._requestor._args_for_request_with_retries  # noqa: SLF001 - see above
        method, url, headers, body, *_ = arguments(
            method_, url_, fields, options, base_address="api", api_mode=mode
        )
        content, status, answered = await self._http.request_async(method, url, headers, body)
        if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
            with suppress(ValueError):
                read = from_json(content)
                if isinstance(read, dict):
                    return StripeAnswer(read)
            raise stripe.APIError("no object", content, status, None, answered)
        try:
            # Raises what the error means.
            self._requestor._interpret_response(content, status, answered, mode)  # noqa: SLF001 - the same
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            # The SDK reads Stripe's own errors alone: not those of a proxy, like {"error": "Bad Gateway"}.
            raise stripe.APIError("an error that cannot be read", content, status, None, answered) from error
        raise stripe.APIError("neither an object nor an error", content, status, None, answered)
