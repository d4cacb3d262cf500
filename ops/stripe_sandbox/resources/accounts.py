"""Connected accounts and their onboarding (https://docs.stripe.com/api/accounts, …/api/account_links)."""

import secrets

from ops.stripe_sandbox.errors import invalid, no_such
from ops.stripe_sandbox.expansion import view
from ops.stripe_sandbox.forms import Params
from ops.stripe_sandbox.listing import page
from ops.stripe_sandbox.money import check_currency
from ops.stripe_sandbox.objects import TEMPLATES, Obj, Page, View, whole
from ops.stripe_sandbox.params import boolean, check_known, choice, metadata, required, text
from ops.stripe_sandbox.resources.payouts import schedule_payouts
from ops.stripe_sandbox.sandbox import Call, Sandbox

_TYPES = ("custom", "express", "standard")
_UPDATE = (
    "account_token",
    "business_profile",
    "business_type",
    "capabilities",
    "company",
    "default_currency",
    "email",
    "expand",
    "external_account",
    "individual",
    "metadata",
    "settings",
    "tos_acceptance",
)
_CREATE = (*_UPDATE, "controller", "country", "type")
_LINK = ("account", "collect", "collection_options", "expand", "refresh_url", "return_url", "type")
_LINK_TYPES = ("account_onboarding", "account_update")
_LINK_LIFE_S = 300
_INTERVALS = ("daily", "manual", "monthly", "weekly")
_CURRENCY_OF_COUNTRY = {"US": "usd", "GB": "gbp", "JP": "jpy", "CA": "cad", "AU": "aud", "CH": "chf"}
_DASHBOARD_OF_TYPE = {"custom": "none", "express": "express", "standard": "full"}
_NOTHING_DUE: Obj = {"currently_due": [], "eventually_due": [], "past_due": [], "disabled_reason": None}


def create(call: Call) -> View:
    """Open an account; it can do nothing before it is onboarded."""
    params = call.params
    check_known(params, _CREATE)
    country = (text(params, "country") or "US").upper()
    account: Obj = {
        "id": call.sandbox.new_id("acct"),
        "country": country,
        "created": int(call.sandbox.now()),
        "default_currency": _CURRENCY_OF_COUNTRY.get(country, "eur"),
        **_kind_of_account(params),
        "capabilities": {},
        "metadata": {},
    }
    account["external_accounts"] = _external_accounts(account["id"])
    account |= _changes(params, account)
    call.store.accounts.put(account)
    call.emit("account.updated", "account", account, account=account["id"])
    schedule_payouts(call.sandbox)
    return view(call, "account", account)


def update(call: Call) -> View:
    """Change an account's profile, the capabilities that it asks for, or its payout schedule."""
    check_known(call.params, _UPDATE)
    account = _get(call, call.object_id)
    return view(call, "account", change_account(call.sandbox, account, _changes(call.params, account), call))


def change_account(sandbox: Sandbox, account: Obj, changes: Obj, call: Call | None = None) -> Obj:
    """Store the changed fields of an account, tell of them, and return it."""
    shown = whole("account", account)
    previous = {name: shown[name] for name, value in changes.items() if shown[name] != value}
    changed = sandbox.store.accounts.put({**account, **changes})
    if previous:
        sandbox.emit("account.updated", "account", changed, call, previous, account=account["id"])
    return changed


def complete_onboarding(sandbox: Sandbox, account: Obj, **facts: bool | str) -> Obj:
    """Let the seller hand in all that Stripe asks for, or take abilities away; `facts` says what is different.

    `payouts_enabled`, `charges_enabled` and `details_submitted` are truth values, `transfers` is the status of
    that capability. Whoever can be paid out has handed in everything, unless it is said otherwise.
    """
    enabled = bool(facts.get("payouts_enabled", account.get("payouts_enabled", False)))
    # Whoever cannot be paid out can still be sent money, if that was possible before.
    capabilities: Obj = account["capabilities"]
    if enabled:
        capabilities = dict.fromkeys({**capabilities, "transfers": ""}, "active")
    if "transfers" in facts:
        capabilities = {**capabilities, "transfers": facts["transfers"]}
    changes: Obj = {
        "capabilities": capabilities,
        "charges_enabled": bool(facts.get("charges_enabled", enabled)),
        "details_submitted": bool(facts.get("details_submitted", enabled or account.get("details_submitted"))),
        "payouts_enabled": enabled,
        "requirements": TEMPLATES["account"].defaults["requirements"] | (_NOTHING_DUE if enabled else {}),
    }
    if enabled and not account["external_accounts"]["data"]:
        changes["external_accounts"] = _external_accounts(account["id"], _bank_account(sandbox, account))
    return change_account(sandbox, account, changes)


def retrieve(call: Call) -> View:
    """Return an account."""
    check_known(call.params, ("expand",))
    return view(call, "account", _get(call, call.object_id))


def list_all(call: Call) -> Page:
    """Return a page of accounts, filtered by creation time."""

    def encode(row: Obj) -> str:
        return view(call, "account", row, inside="data.").encode()

    return page(call.store.accounts, call.params, call.path, encode)


def create_link(call: Call) -> View:
    """Make a link under which the sandbox plays Stripe's onboarding; it works for some minutes."""
    params = call.params
    check_known(params, _LINK)
    account = _get(call, required(params, "account"), param="account", status=400)
    required(params, "type")
    choice(params, "type", _LINK_TYPES, "")
    required(params, "refresh_url")
    token = secrets.token_urlsafe(16)
    now = int(call.sandbox.now())
    call.store.links.put(token, (account["id"], required(params, "return_url"), now + _LINK_LIFE_S))
    url = f"http://{call.host}/_sandbox/onboarding/{token}"
    return View("account_link", {"created": now, "expires_at": now + _LINK_LIFE_S, "url": url}, {})


def _get(call: Call, account_id: str, *, param: str = "id", status: int = 404) -> Obj:
    account = call.store.accounts.get(account_id)
    if account is None:
        raise no_such("account", account_id, param=param, status=status)
    return account


def _kind_of_account(params: Params) -> Obj:
    """Return type and controller: one of them is given, the other one follows."""
    given = params.get("controller")
    if "type" in params:
        if given is not None:
            raise invalid("You may not provide the `type` parameter and `controller` parameters simultaneously.")
        kind = choice(params, "type", _TYPES, "")
        given = {"stripe_dashboard": {"type": _DASHBOARD_OF_TYPE[kind]}}
    else:
        kind = "none"
    if given is not None and not isinstance(given, dict):
        raise invalid("Invalid object", "controller")
    given = given or {"stripe_dashboard": {"type": "full"}}
    check_known(given, ("fees", "losses", "requirement_collection", "stripe_dashboard"))
    controller = {**TEMPLATES["account"].defaults["controller"], **given}
    if controller["stripe_dashboard"]["type"] == "full":
        controller |= {"fees": {"payer": "account"}, "losses": {"payments": "stripe"}} | given
    return {"type": kind, "controller": controller}


def _changes(params: Params, account: Obj) -> Obj:
    """Return the fields that the parameters change."""
    changes: Obj = {}
    for name in ("email", "business_type"):
        if name in params:
            changes[name] = text(params, name)
    if "default_currency" in params:
        changes["default_currency"] = check_currency(required(params, "default_currency"))
    if "metadata" in params:
        changes["metadata"] = metadata(params, account["metadata"])
    if isinstance(params.get("business_profile"), dict):
        changes["business_profile"] = {
            **whole("account", account)["business_profile"],
            **params["business_profile"],
        }
    if "capabilities" in params:
        changes["capabilities"] = {**account["capabilities"], **_requested(params, account)}
    if "settings" in params:
        changes["settings"] = _settings(params, account)
    return changes


def _requested(params: Params, account: Obj) -> dict[str, str]:
    capabilities = params["capabilities"]
    if not isinstance(capabilities, dict) or not all(isinstance(each, dict) for each in capabilities.values()):
        raise invalid("Invalid object", "capabilities")
    status = "active" if account.get("details_submitted") else "inactive"
    return {name: status for name, value in capabilities.items() if boolean(value, "requested")}


def _settings(params: Params, account: Obj) -> Obj:
    """Return the settings with another payout schedule; the sandbox has no use for the others."""
    given = params["settings"]
    schedule = given.get("payouts", {}).get("schedule", {}) if isinstance(given, dict) else {}
    settings: Obj = whole("account", account)["settings"]
    if not isinstance(schedule, dict) or "interval" not in schedule:
        return settings
    interval = choice(schedule, "interval", _INTERVALS, "daily")
    payouts = settings["payouts"]
    changed = {**payouts, "schedule": {**payouts["schedule"], "interval": interval}}
    return {**settings, "payouts": changed}


def _external_accounts(account_id: str, *banks: Obj) -> Obj:
    url = f"/v1/accounts/{account_id}/external_accounts"
    return {"data": list(banks), "has_more": False, "object": "list", "url": url}


def _bank_account(sandbox: Sandbox, account: Obj) -> Obj:
    return {
        "id": sandbox.new_id("ba"),
        "object": "bank_account",
        "account": account["id"],
        "account_holder_name": None,
        "account_holder_type": "individual",
        "account_type": None,
        "available_payout_methods": ["standard"],
        "bank_name": "STRIPE TEST BANK",
        "country": account["country"],
        "currency": account["default_currency"],
        "default_for_currency": True,
        "fingerprint": "1JWtPxqbdX5Gamtz",
        "last4": "6789",
        "metadata": {},
        "routing_number": "110000000",
        "status": "new",
    }


ROUTES = {
    "/v1/accounts": {"POST": create, "GET": list_all},
    "/v1/accounts/{object_id}": {"GET": retrieve, "POST": update},
    "/v1/account_links": {"POST": create_link},
}
