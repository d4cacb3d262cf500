"""The control API, continued: what happens outside of Stripe, done by cardholders, banks and sellers."""

from typing import Any

import falcon
import falcon.asgi

from ops.stripe_sandbox.bodies import Request, Response, read_fields, show, unprocessable
from ops.stripe_sandbox.booking import settle_in
from ops.stripe_sandbox.charging import authorize, fail_intent, shown_payment_method
from ops.stripe_sandbox.errors import ApiError
from ops.stripe_sandbox.money import CURRENCIES
from ops.stripe_sandbox.objects import Obj, View, dump
from ops.stripe_sandbox.resources import payouts, refunds
from ops.stripe_sandbox.resources.accounts import complete_onboarding
from ops.stripe_sandbox.resources.disputes import STATUSES, DisputeRefusedError, move_dispute, open_dispute
from ops.stripe_sandbox.resources.payouts import (
    PayoutRefusedError,
    find_payout,
    list_contents,
    move_payout,
    pay_out,
    pay_platform_out,
)
from ops.stripe_sandbox.resources.refunds import RefundRefusedError, move_refund
from ops.stripe_sandbox.resources.reversals import reverse
from ops.stripe_sandbox.sandbox import Call, Sandbox

App = Any
_FACTS = {"charges_enabled", "details_submitted", "payouts_enabled", "transfers"}
_CAPABILITY = ("active", "inactive", "pending")


class Authentication:
    """The cardholder's answer to 3-D Secure."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    async def on_post(self, req: Request, resp: Response, object_id: str) -> None:
        """Let the authentication of an intent succeed, which charges it, or fail."""
        body = await read_fields(req, {"succeed"})
        if not isinstance(body.get("succeed"), bool):
            raise unprocessable("succeed must be true or false")
        intent = self._sandbox.store.payment_intents.get(object_id)
        if intent is None:
            raise falcon.HTTPNotFound(description=f"no payment intent {object_id}")
        if intent["status"] != "requires_action":
            raise falcon.HTTPConflict(description=f"the intent's status is {intent['status']}")
        # The cardholder acts in a browser: the events name a request, but no idempotency key.
        call = Call(self._sandbox, "POST", "/v1/payment_intents", self._sandbox.new_id("req"), object_id)
        changed = authorize(call, intent) if body["succeed"] else _fail_authentication(call, intent)
        show(resp, View("payment_intent", changed, {}))


class Disputes:
    """The cardholder's bank."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    async def on_post(self, req: Request, resp: Response) -> None:
        """Open a dispute over a charge, or bring the one it has to another status."""
        body = await read_fields(req, {"charge", "status", "reason"})
        status, reason = body.get("status", "needs_response"), body.get("reason", "fraudulent")
        if status not in STATUSES:
            raise unprocessable(f"status must be one of {', '.join(STATUSES)}")
        if not isinstance(reason, str) or not isinstance(body.get("charge"), str):
            raise unprocessable("charge must be a charge's id, and reason a word")
        charge = self._sandbox.store.charges.get(body["charge"])
        if charge is None:
            raise falcon.HTTPNotFound(description=f"no charge {body['charge']}")
        existing = self._sandbox.store.disputes.where("charge", charge["id"])
        try:
            if existing:
                dispute = move_dispute(self._sandbox, existing[-1], status)
            else:
                dispute = open_dispute(self._sandbox, charge, status, reason)
        except DisputeRefusedError as error:
            raise falcon.HTTPConflict(description=str(error)) from error
        show(resp, View("dispute", dispute, {}))


class Account:
    """The seller, who hands in what Stripe asks for, and Stripe, which takes abilities away."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    async def on_post(self, req: Request, resp: Response, object_id: str) -> None:
        """Change what an account can do; `{"payouts_enabled": true}` completes its onboarding."""
        facts = await read_fields(req, _FACTS)
        if facts.get("transfers", "active") not in _CAPABILITY:
            raise unprocessable(f"transfers must be one of {', '.join(_CAPABILITY)}")
        if any(not isinstance(value, bool) for name, value in facts.items() if name != "transfers"):
            raise unprocessable("the abilities of an account must be true or false")
        account = _account(self._sandbox, object_id)
        show(resp, View("account", complete_onboarding(self._sandbox, account, **facts), {}))


class Onboarding:
    """The page that an account link leads to."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    async def on_get(self, req: Request, resp: Response, object_id: str) -> None:
        """Complete the onboarding without a question and go back to the marketplace."""
        account_id, return_url, expires_at = self._sandbox.store.links.get(object_id) or ("", "", 0)
        if self._sandbox.now() >= expires_at:
            raise falcon.HTTPGone(description="this link has expired")
        complete_onboarding(self._sandbox, _account(self._sandbox, account_id), payouts_enabled=True)
        raise falcon.HTTPSeeOther(return_url)


class PayoutRun:
    """The payout schedule of one account."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    async def on_post(self, req: Request, resp: Response, object_id: str) -> None:
        """Pay the account out now, as the schedule would, and return the payouts."""
        _show_payouts(resp, pay_out(self._sandbox, _account(self._sandbox, object_id)))


class PlatformPayoutRun:
    """The payout schedule of the platform itself, which here pays out when it is told to alone."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    async def on_post(self, req: Request, resp: Response) -> None:
        """Pay the platform out now, as a schedule would, and return the payouts."""
        _show_payouts(resp, pay_platform_out(self._sandbox))


class Payout:
    """The bank that a payout goes to."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    async def on_post(self, req: Request, resp: Response, object_id: str) -> None:
        """Let a payout go on its way, arrive, fail or be cancelled, whosever it is; or list its contents later."""
        body = await read_fields(req, {"status", "reconciliation_status"})
        found = find_payout(self._sandbox, object_id)
        if found is None:
            raise falcon.HTTPNotFound(description=f"no payout {object_id}")
        if body.keys() == {"reconciliation_status"}:
            if body["reconciliation_status"] not in payouts.LISTINGS:
                raise unprocessable(f"reconciliation_status must be one of {', '.join(payouts.LISTINGS)}")
            show(resp, View("payout", list_contents(self._sandbox, *found, body["reconciliation_status"]), {}))
            return
        status = body.get("status")
        if status not in payouts.STATUSES:
            raise unprocessable(f"status must be one of {', '.join(payouts.STATUSES)}")
        try:
            show(resp, View("payout", move_payout(self._sandbox, *found, status), {}))
        except PayoutRefusedError as error:
            raise falcon.HTTPConflict(description=str(error)) from error


class Refund:
    """The bank that a refund goes to."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    async def on_post(self, req: Request, resp: Response, object_id: str) -> None:
        """Let a refund succeed or fail."""
        status = (await read_fields(req, {"status"})).get("status")
        if status not in refunds.STATUSES:
            raise unprocessable(f"status must be one of {', '.join(refunds.STATUSES)}")
        refund = self._sandbox.store.refunds.get(object_id)
        if refund is None:
            raise falcon.HTTPNotFound(description=f"no refund {object_id}")
        try:
            show(resp, View("refund", move_refund(self._sandbox, refund, status), {}))
        except RefundRefusedError as error:
            raise falcon.HTTPConflict(description=str(error)) from error


class Reversal:
    """Somebody at Stripe's dashboard, who takes a transfer back."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    async def on_post(self, req: Request, resp: Response, object_id: str) -> None:
        """Reverse a transfer, or `amount` of it."""
        transfer = self._sandbox.store.transfers.get(object_id)
        if transfer is None:
            raise falcon.HTTPNotFound(description=f"no transfer {object_id}")
        left = transfer["amount"] - transfer.get("amount_reversed", 0)
        amount_minor = (await read_fields(req, {"amount"})).get("amount", left)
        if isinstance(amount_minor, bool) or not isinstance(amount_minor, int) or amount_minor < 0:
            raise unprocessable("amount must be a whole number of at least 0")
        try:
            reversal = reverse(self._sandbox, transfer, amount_minor, {})
        except ApiError as error:
            raise falcon.HTTPConflict(description=str(error)) from error
        show(resp, View("transfer_reversal", reversal, {}))


class ExchangeRates:
    """The currencies in which the platform holds no balance."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    async def on_post(self, req: Request, resp: Response) -> None:
        """Settle what is charged in one currency in another, at a rate between minor units; `to: null` ends it."""
        body = await read_fields(req, {"from", "to", "rate"})
        currency, settlement_currency, rate = body.get("from"), body.get("to"), body.get("rate", 1)
        if currency not in CURRENCIES or settlement_currency not in {*CURRENCIES, None}:
            raise unprocessable("from and to must be currencies in small letters")
        if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 < rate <= 1_000_000:
            raise unprocessable("rate must be a number above 0")
        settle_in(self._sandbox, currency, settlement_currency, float(rate))
        resp.content_type = falcon.MEDIA_JSON
        resp.text = dump({"from": currency, "to": settlement_currency, "rate": rate})


def add_routes(app: App, sandbox: Sandbox) -> None:
    """Serve this part of the control API."""
    app.add_route("/_sandbox/payment_intents/{object_id}/authentication", Authentication(sandbox))
    app.add_route("/_sandbox/disputes", Disputes(sandbox))
    app.add_route("/_sandbox/accounts/{object_id}", Account(sandbox))
    app.add_route("/_sandbox/accounts/{object_id}/payouts", PayoutRun(sandbox))
    app.add_route("/_sandbox/onboarding/{object_id}", Onboarding(sandbox))
    app.add_route("/_sandbox/payouts", PlatformPayoutRun(sandbox))
    app.add_route("/_sandbox/payouts/{object_id}", Payout(sandbox))
    app.add_route("/_sandbox/refunds/{object_id}", Refund(sandbox))
    app.add_route("/_sandbox/transfers/{object_id}/reversals", Reversal(sandbox))
    app.add_route("/_sandbox/exchange_rates", ExchangeRates(sandbox))


def _show_payouts(resp: Response, made: list[Obj]) -> None:
    resp.content_type = falcon.MEDIA_JSON
    resp.text = f'{{"data":[{",".join(View("payout", each, {}).encode() for each in made)}]}}'


def _account(sandbox: Sandbox, account_id: str) -> Obj:
    account = sandbox.store.accounts.get(account_id)
    if account is None:
        raise falcon.HTTPNotFound(description=f"no account {account_id}")
    return account


def _fail_authentication(call: Call, intent: Obj) -> Obj:
    message = (
        "The provided PaymentMethod has failed authentication. You can provide payment_method_data or a new"
        " PaymentMethod to attempt to fulfill this PaymentIntent again."
    )
    error = ApiError(
        400,
        "invalid_request_error",
        message,
        code="payment_intent_authentication_failure",
        payment_method=shown_payment_method(intent),
    )
    return fail_intent(call, intent, error.fields)
