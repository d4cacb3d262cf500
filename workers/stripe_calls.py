"""One call to Stripe through its own SDK. Whatever Stripe or the network do becomes an answer, never an error."""

import asyncio
import re
from collections.abc import Mapping
from typing import Any

import stripe
import structlog
from opentelemetry.trace import SpanKind
from stripe import RequestOptions

from domain.settlement.answers import Refusal, Throttled, Unsure
from domain.settlement.stripe_objects import JsonObject, read_failure_code
from ops.tracing import inner_span
from workers.metrics import STRIPE_CALL_SECONDS, STRIPE_CALLS
from workers.stripe_client import StripeClient, StripeHttp
from workers.stripe_egress import StripeEgress

API_VERSION = "2025-09-30.clover"
"""Pinned, so that an upgrade of the SDK does not change what Stripe answers."""

# 409 is a key in use by a request under way (docs.stripe.com/api/idempotent_requests).
_CONFLICT = 409
_SERVER_ERROR = 500

NEW_CHARGE = ("post", "/v1/payment_intents")
"""The one call that gives way to all others when there are too many."""

# This 429 means that another call holds the object, not that we call too often
# (docs.stripe.com/rate-limits#object-lock-timeouts).
_OBJECT_IN_USE = "lock_timeout"
# The account has left us, or was deleted (docs.stripe.com/error-codes#account-invalid).
_NO_ACCESS = "account_invalid"
_QUIET_S = 1.0
_LONGEST_QUIET_S = 300.0
_ID = re.compile(r"/(?:pi|ch|re|dp|acct|tr|trr|po|txn|evt)_[^/]+")
_OUTCOMES = {True: "answered", False: "failed", None: "unknown"}

RawAnswer = JsonObject | Refusal | Unsure | Throttled

log = structlog.get_logger(__name__)


class StripeCalls:
    """Stripe's API over one HTTP session of this process."""

    def __init__(
        self, egress: StripeEgress, *, api_key: str, api_base: str, timeout_s: float, concurrency: int = 64
    ) -> None:
        """Open a client; an empty `api_base` is Stripe itself. At most `concurrency` calls run at once."""
        self._egress = egress
        self._http = StripeHttp(timeout_s=timeout_s)
        self._client = StripeClient(
            api_key,
            self._http,
            base_addresses={"api": api_base} if api_base else {},
            stripe_version=API_VERSION,
        )
        self._slots = asyncio.Semaphore(concurrency)

    async def close(self) -> None:
        """Close the HTTP session."""
        await self._http.close_async()

    async def call(
        self,
        method: str,
        path: str,
        params: Mapping[str, Any],
        *,
        key: str | None = None,
        account: str | None = None,
        code_alone: bool = False,
    ) -> RawAnswer:
        """Make one call, if given under the idempotency key `key` and on behalf of the connected `account`.

        Returns the object that Stripe answers with, or what its error means. An error may hold an intent, which is
        declined or already cancelled: that is returned like an answer, or its code as a Refusal if `code_alone`. A
        Refusal is too that the `account` is not, or no more, one of ours.
        """
        passage = await self._egress.enter(urgent=(method, path) != NEW_CHARGE)
        if isinstance(passage, Throttled):
            STRIPE_CALLS.labels("not_made").inc()
            return passage
        healthy: bool | None = None  # a call that is cancelled before its answer has learnt nothing
        try:
            answer = await self._send(method, path, params, key, account)
            healthy = True
        except stripe.StripeError as error:
            healthy = _tells_health(error)
            answer = _read_error(error, code_alone=code_alone, of_account=account is not None)
            if healthy is False:
                log.warning("stripe_call_failed", call=_span_name(method, path), status=error.http_status)
            if isinstance(error, stripe.RateLimitError) and _details(error).get("code") != _OBJECT_IN_USE:
                await self._egress.quiet(_retry_after_s(error) or _QUIET_S)
        finally:
            STRIPE_CALLS.labels(_OUTCOMES[healthy]).inc()
            await self._egress.leave(passage, healthy=healthy)
        return answer

    async def _send(
        self, method: str, path: str, params: Mapping[str, Any], key: str | None, account: str | None
    ) -> RawAnswer:
        options: RequestOptions = {"idempotency_key": key} if key else {}
        if account is not None:
            options["stripe_account"] = account
        name = _span_name(method, path)
        async with self._slots:
            with (
                STRIPE_CALL_SECONDS.time(),
                inner_span(name, kind=SpanKind.CLIENT, attributes={"server.address": "stripe"}, fails=_is_failure),
            ):
                # PERF: raw, since the SDK's services make an object of every part of an answer, a third of what
                # a call costs.
                answer = await self._client.raw_request_async(method, path, **params, **options)
        return answer.data


def _tells_health(error: stripe.StripeError) -> bool | None:
    """Tell whether an error shows that Stripe works (True) or fails (False); None if it shows neither.

    A refusal shows that it works. A recorded error is of the time when the key was used first, and a key in use
    only means that an earlier call has no answer yet.
    """
    if isinstance(error, stripe.RateLimitError) or error.http_status == _CONFLICT or _is_replayed(error):
        return None
    return not isinstance(error, stripe.APIError | stripe.APIConnectionError)


def _is_failure(error: BaseException) -> bool:
    """Whether a span counts as failed; a declined card is an answer."""
    if isinstance(error, stripe.StripeError):
        return _tells_health(error) is False
    return isinstance(error, Exception)


def _read_error(  # noqa: PLR0911 - a table of errors, one answer each
    error: stripe.StripeError, *, code_alone: bool, of_account: bool
) -> RawAnswer:
    details = _details(error)
    intent = None if code_alone else details.get("payment_intent")
    match error:
        case stripe.RateLimitError():
            return Throttled("rate limit", _retry_after_s(error))
        case stripe.APIConnectionError():
            return Unsure("no answer")
        case stripe.IdempotencyError():
            log.error("stripe_idempotency_mismatch", code=error.code, stripe_request_id=error.request_id)
            return Unsure("the key was used with other parameters", lookup_only=True)
        case stripe.PermissionError() if of_account and details.get("code") == _NO_ACCESS:
            return Refusal(_NO_ACCESS)
        case stripe.AuthenticationError() | stripe.PermissionError():
            log.error("stripe_refuses_our_key", code=error.code, stripe_request_id=error.request_id)
            return Throttled("our key is refused")
        case stripe.CardError() | stripe.InvalidRequestError():
            return intent if isinstance(intent, Mapping) else Refusal(read_failure_code(details) or "refused")
        case _ if error.http_status == _CONFLICT:
            return Throttled("the key is in use")
        case _:
            recorded = _is_replayed(error) and (error.http_status or 0) >= _SERVER_ERROR
            return Unsure(f"status {error.http_status}", lookup_only=recorded)


def _span_name(method: str, path: str) -> str:
    """Return method and path without the ids, so that all calls of a kind share a name."""
    return f"{method.upper()} {_ID.sub('/{id}', path)}"


def _details(error: stripe.StripeError) -> JsonObject:
    body = error.json_body
    details = body.get("error") if isinstance(body, Mapping) else None
    return details if isinstance(details, Mapping) else {}


def _is_replayed(error: stripe.StripeError) -> bool:
    return (error.headers or {}).get("Idempotent-Replayed") == "true"


def _retry_after_s(error: stripe.StripeError) -> float | None:
    """Return for how long Stripe asks for quiet, as far as it is believed: the calls of the whole fleet wait."""
    value = (error.headers or {}).get("Retry-After", "")
    return min(float(value), _LONGEST_QUIET_S) if value.isdecimal() else None
