"""Stripe's error objects (https://docs.stripe.com/api/errors), raised where a rule is broken."""

import asyncio
from typing import Any

from ops.stripe_sandbox.objects import Obj, View


class ApiError(Exception):
    """An answer with one of Stripe's error objects.

    `kept` says whether an idempotency key remembers it: Stripe keeps nothing when validation fails, and
    keeps what an endpoint answered once it had begun to execute.
    """

    def __init__(
        self,
        status: int,
        kind: str,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        kept: bool = False,
        payment_intent: View | None = None,
        **more: Any,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.kept = kept
        self.payment_intent = payment_intent
        self.fields: Obj = {"message": message, "type": kind}
        if code is not None:
            self.fields["code"] = code
            self.fields["doc_url"] = f"https://stripe.com/docs/error-codes/{code.replace('_', '-')}"
        if param is not None:
            self.fields["param"] = param
        self.fields.update(more)

    @property
    def view(self) -> View:
        """Return the body of the answer."""
        expanded = {} if self.payment_intent is None else {"payment_intent": self.payment_intent}
        return View("error", self.fields, expanded)


class ConnectionCutError(asyncio.CancelledError):
    """The connection is to be closed without an answer.

    A cancellation, because Falcon passes nothing else through to the server, which then closes the connection
    and writes nothing (`server.Connection`).
    """


def invalid(message: str, param: str | None = None, code: str | None = None) -> ApiError:
    """Refuse a request whose parameters are wrong."""
    return ApiError(400, "invalid_request_error", message, code=code, param=param)


def missing(param: str) -> ApiError:
    """Refuse a request that lacks a parameter."""
    return invalid(f"Missing required param: {param}.", param, "parameter_missing")


def unknown_parameter(param: str) -> ApiError:
    """Refuse a parameter that the endpoint does not have."""
    return invalid(f"Received unknown parameter: {param}", param, "parameter_unknown")


def no_such(noun: str, object_id: str, *, param: str = "id", status: int = 404) -> ApiError:
    """Refuse an id that names nothing: 404 in the URL, 400 where a parameter refers to it."""
    message = f"No such {noun}: '{object_id}'"
    return ApiError(status, "invalid_request_error", message, code="resource_missing", param=param)


def unexpected_state(message: str, intent: Obj) -> ApiError:
    """Refuse an action that the intent's status forbids; the error carries the intent."""
    return ApiError(
        400,
        "invalid_request_error",
        message,
        code="payment_intent_unexpected_state",
        kept=True,
        payment_intent=View("payment_intent", intent, {}),
    )


def uncapturable(message: str, code: str, intent: Obj) -> ApiError:
    """Refuse to capture as asked; the error carries the intent, which is authorized as before."""
    carried = View("payment_intent", intent, {})
    return ApiError(
        400, "invalid_request_error", message, code=code, param="amount_to_capture", payment_intent=carried
    )


def refused(message: str, code: str | None = None, param: str | None = None) -> ApiError:
    """Refuse what a rule about money forbids; the endpoint had begun to execute, so that keys keep this."""
    return ApiError(400, "invalid_request_error", message, code=code, param=param, kept=True)


def insufficient_balance() -> ApiError:
    """Refuse to move more money than is available."""
    message = (
        "You have insufficient available funds in your Stripe account. Try adding funds directly to your available"
        " balance by creating Charges using the 4000000000000077 test card. See:"
        " https://stripe.com/docs/testing#available-balance"
    )
    return refused(message, "balance_insufficient")


def no_access(key: str, account: str) -> ApiError:
    """Refuse a call on behalf of an account that is not connected."""
    message = (
        f"The provided key '{key[:8]}****' does not have access to account '{account}' (or that account does not"
        " exist). Application access may have been revoked."
    )
    return ApiError(403, "invalid_request_error", message, code="account_invalid")


def server_error() -> ApiError:
    """Answer as Stripe does when it fails itself; idempotency keys keep this too."""
    message = "An unknown error occurred. Please contact support if this persists."
    return ApiError(500, "api_error", message, kept=True)


def rate_limited() -> ApiError:
    """Answer as Stripe does above its request rate."""
    message = (
        "Testmode request rate limit exceeded, the rate limits in testmode are lower than livemode. You can"
        " learn more about rate limits here https://stripe.com/docs/rate-limits."
    )
    return ApiError(429, "invalid_request_error", message, code="rate_limit")
