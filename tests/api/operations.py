"""Every operation of the API as the application itself lists it, with a good request for each."""

import re
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import httpx
from falcon.asgi import App

from api.app import add_routes
from api.cart import CartItemBody
from api.catalog.schemas import ProductBody, ProductChangesBody
from api.identity.schemas import Credentials, NewKey, NewUser, PasswordChange, Refresh
from api.operations import Operation, Routes
from api.orders.schemas import OrderBody, ShipmentBody
from api.payments.schemas import CaptureBody, PaymentBody
from api.payouts import PayoutBody
from api.reconciliation.schemas import PeriodBody, ResolutionBody
from api.refunds import RefundBody
from api.schemas import RequestModel
from api.services import build_services
from api.webhooks.schemas import RedeliveryBody, SecretBody, WebhookEndpointBody
from ops.settings import Settings

WEBHOOK_SECRET = "whsec_of_the_tests"
SOME_ID = str(UUID(int=7))

# A new body wants a line here: from a good one all the bad ones are made.
GOOD_BODIES: dict[type[RequestModel], dict[str, Any]] = {
    NewUser: {"email": "ann@example.com", "password": "correct horse", "role": "buyer"},
    Credentials: {"email": "ann@example.com", "password": "correct horse"},
    Refresh: {"refresh_token": "mfr_of_nobody"},
    PasswordChange: {"current_password": "correct horse", "new_password": "battery staple"},
    NewKey: {"name": "shop backend", "scopes": ["orders:read"]},
    ProductBody: {
        "title": "Desk",
        "description": "Walnut",
        "category": "home",
        "price_minor": 1999,
        "currency": "USD",
        "stock": 1,
    },
    ProductChangesBody: {"title": "Desk", "stock": 3},
    CartItemBody: {"quantity": 2},
    OrderBody: {"items": [{"product_id": SOME_ID, "quantity": 1}]},
    ShipmentBody: {"carrier": "DHL", "tracking_number": "JJD00033"},
    CaptureBody: {"amount_minor": 1000},
    RefundBody: {"reason": "requested_by_customer", "lines": [{"product_id": SOME_ID, "amount_minor": 500}]},
    PeriodBody: {"from": "2026-11-01T00:00:00Z", "to": "2026-11-02T00:00:00Z"},
    ResolutionBody: {
        "reason": "Stripe credits it in December",
        "correction": {
            "currency": "USD",
            "entries": [
                {"account": "stripe_balance", "debit_minor": 500},
                {"account": "processing_fees", "credit_minor": 500},
            ],
        },
    },
    PayoutBody: {"currency": "USD"},
    WebhookEndpointBody: {"url": "http://127.0.0.1:9/hooks", "events": ["payment.*", "order.paid"]},
    SecretBody: {"overlap_s": 3600},
    RedeliveryBody: {"since": "2026-11-25T00:00:00Z"},
    PaymentBody: {"order_id": SOME_ID, "payment_method": "pm_card_visa", "capture": "automatic"},
}


@dataclass(frozen=True)
class Call:
    """One method of one route."""

    method: str
    template: str
    operation: Operation

    @property
    def path(self) -> str:
        path = re.sub(r"{\w+:uuid}|{any_id}", SOME_ID, self.template)
        return path.replace("{account}", "stripe_balance")

    @property
    def body(self) -> dict[str, Any] | None:
        return GOOD_BODIES[self.operation.body] if self.operation.body is not None else None

    @property
    def headers(self) -> dict[str, str]:
        headers = {"Content-Type": "application/json"} if self.operation.body or self.operation.raw_body else {}
        return {**headers, **({"Idempotency-Key": "a-key"} if self.operation.idempotent else {})}

    def __str__(self) -> str:
        return f"{self.method} {self.template}"


def _list() -> list[Call]:
    # Nothing connects before the first request, so these addresses are never used.
    settings: dict[str, Any] = {
        "database_url": "postgresql://nobody@localhost/nothing",
        "redis_url": "redis://localhost",
        "broker_url": "redis://localhost",
        "jwt_secret": "a secret that is long enough for HS256",
    }
    routes = Routes(App())
    add_routes(routes, build_services(Settings(**settings)))
    return [Call(method, template, operation) for template, method, operation in routes]


CALLS = _list()


def assert_problem(answer: httpx.Response, status: int | None = None, code: str | None = None) -> dict[str, Any]:
    """Every refusal is a problem document with a stable code (RFC 9457)."""
    problem: dict[str, Any] = answer.json()
    assert 400 <= answer.status_code < 500 or answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert problem["status"] == answer.status_code
    assert re.fullmatch(r"[a-z][a-z_]+", problem["code"])
    assert {"type", "title", "detail"} <= problem.keys()
    assert (status or answer.status_code, code or problem["code"]) == (answer.status_code, problem["code"])
    return problem
