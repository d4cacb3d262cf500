"""The application: middleware and routes over given services."""

import asyncio
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from falcon.asgi import App, Request, Response

from api import errors
from api.cart import Cart
from api.catalog.resources import Products
from api.disputes import Disputes
from api.events import Events
from api.identity.resources import ApiKeys, Tokens, Users
from api.ledger import LedgerAccounts, LedgerJournals, LedgerTrialBalance
from api.middleware.authentication import Authentication
from api.middleware.context import RequestContext
from api.middleware.rate_limit import LimitPolicy, RateLimit
from api.middleware.validation import Validation
from api.operations import Routes
from api.orders.resources import Orders
from api.payments.actions import PaymentDecisions
from api.payments.resources import Payments
from api.payments.waiting import PaymentReader
from api.payouts import Payouts
from api.reconciliation.resources import Reconciliations
from api.refunds import Refunds
from api.requests import WholeRequest
from api.sellers import Sellers
from api.service import Documents, Health, Metrics
from api.services import Services
from api.statements import Statements
from api.stripe_webhooks import StripeWebhooks
from api.traces import Traces
from api.webhooks.resources import Deliveries, WebhookEndpoints
from ops.tracing import start_tracing, stop_tracing


class Application(App[Request, Response]):
    """The ASGI application."""

    def __init__(self, services: Services) -> None:
        """Keep the services."""
        super().__init__(request_type=WholeRequest)
        self._services = services

    def release(self) -> None:
        """Answer those who wait with what there is, and end the streams: the server is asked to stop."""
        self._services.changes.release()
        self._services.feed.release()


class Lifespan:
    """Starts and closes what the services do beside the requests."""

    def __init__(self, services: Services) -> None:
        """Keep the services."""
        self._services = services

    async def process_startup(self, scope: Mapping[str, Any], event: Mapping[str, Any]) -> None:
        """Put the clock right, and begin to hear of changes and to look for what was revoked."""
        settings = self._services.settings
        start_tracing("api", otlp_endpoint=settings.otlp_endpoint, sample_ratio=settings.trace_sample_ratio)
        await self._services.pool.warm()
        self._services.changes.start()
        self._services.identity.revocations.start()

    async def process_shutdown(self, scope: Mapping[str, Any], event: Mapping[str, Any]) -> None:
        """Close every connection."""
        await self._services.close()
        await asyncio.to_thread(stop_tracing)


def create_app(services: Services) -> Application:
    """Return the ASGI application."""
    settings = services.settings
    app = Application(services)
    errors.install(app)
    routes = Routes(app)
    limits = RateLimit(
        services.rate_limits,
        LimitPolicy(
            per_user=settings.rate_limit_per_minute,
            per_address=settings.address_limit_per_minute,
            burst=settings.rate_limit_burst,
            trusted_proxies=settings.trusted_proxies,
        ),
    )
    app.add_middleware(
        [
            RequestContext(),
            Authentication(routes, services.identity.authenticator, limits),
            limits,
            Validation(max_body_bytes=settings.max_body_bytes),
            Lifespan(services),
        ]
    )
    add_routes(routes, services)
    return app


def add_identity_routes(routes: Routes, services: Services) -> None:
    """Add who uses the API, and how one proves who one is."""
    parts, proxies = services.identity, services.settings.trusted_proxies
    users = Users(parts.users, parts.sessions, parts.authenticator, trusted_proxies=proxies)
    routes.add("/v1/users", users)
    routes.add("/v1/users/me/password", users, suffix="password")
    routes.add("/v1/users/{user_id:uuid}", users, suffix="one")
    routes.add("/v1/users/{user_id:uuid}/suspension", users, suffix="suspension")

    tokens = Tokens(parts.sessions, parts.tokens, parts.authenticator, trusted_proxies=proxies)
    routes.add("/v1/tokens", tokens)
    routes.add("/v1/tokens/refresh", tokens, suffix="refresh")

    keys = ApiKeys(parts.api_keys, parts.authenticator)
    routes.add("/v1/api-keys", keys)
    routes.add("/v1/api-keys/{key_id:uuid}", keys, suffix="one")


def add_finance_routes(routes: Routes, services: Services) -> None:
    """Add what finance reads and decides."""
    accounts = LedgerAccounts(services.ledger)
    routes.add("/v1/ledger/accounts", accounts)
    routes.add("/v1/ledger/accounts/{account}/entries", accounts, suffix="entries")
    routes.add("/v1/ledger/journals/{journal_id:uuid}", LedgerJournals(services.ledger))
    routes.add("/v1/ledger/trial-balance", LedgerTrialBalance(services.ledger))
    reconciliations = Reconciliations(services.reconciliations, services.clock)
    routes.add("/v1/reconciliations", reconciliations)
    one = "/v1/reconciliations/{run_id:uuid}"
    routes.add(one, reconciliations, suffix="one")
    routes.add(f"{one}/exceptions", reconciliations, suffix="exceptions")
    routes.add(f"{one}/exceptions/{{exception_id:uuid}}/resolution", reconciliations, suffix="resolution")

    routes.add("/v1/trace/{any_id}", Traces(services.traces))


def add_payout_routes(routes: Routes, services: Services) -> None:
    """Add what sellers are owed and paid out."""
    payouts = Payouts(services.payouts)
    routes.add("/v1/payouts", payouts)
    routes.add("/v1/payouts/{payout_id:uuid}", payouts, suffix="one")
    routes.add("/v1/sellers/me/balance", payouts, suffix="balance")


def add_routes(routes: Routes, services: Services) -> None:
    """Add every route; this list is the API."""
    add_identity_routes(routes, services)
    add_payout_routes(routes, services)

    products = Products(services.catalog, services.search)
    routes.add("/v1/products", products)
    routes.add("/v1/products/{product_id:uuid}", products, suffix="one")

    cart = Cart(services.cart)
    routes.add("/v1/cart", cart)
    routes.add("/v1/cart/items/{product_id:uuid}", cart, suffix="item")

    orders = Orders(services.orders, services.checkout)
    routes.add("/v1/orders", orders)
    routes.add("/v1/orders/{order_id:uuid}", orders, suffix="one")
    for step in ("shipments", "completion", "cancellation"):
        routes.add(f"/v1/orders/{{order_id:uuid}}/{step}", orders, suffix=step)

    reader = PaymentReader(services.look, services.changes)
    payments = Payments(services.payments, services.accept, reader, services.clock)
    routes.add("/v1/payments", payments)
    routes.add("/v1/payments/{payment_id:uuid}", payments, suffix="one")
    routes.add("/v1/payments/{payment_id:uuid}/events", payments, suffix="events")
    decisions = PaymentDecisions(services.payment_actions)
    routes.add("/v1/payments/{payment_id:uuid}/capture", decisions, suffix="capture")
    routes.add("/v1/payments/{payment_id:uuid}/cancellation", decisions, suffix="cancellation")
    refunds = Refunds(services.refunds)
    routes.add("/v1/payments/{payment_id:uuid}/refunds", refunds, suffix="payment")
    routes.add("/v1/refunds/{refund_id:uuid}", refunds, suffix="one")

    disputes = Disputes(services.disputes)
    routes.add("/v1/disputes", disputes)
    routes.add("/v1/disputes/{dispute_id:uuid}", disputes, suffix="one")

    sellers = Sellers(services.sellers, services.clock)
    routes.add("/v1/sellers/me", sellers, suffix="me")
    routes.add("/v1/sellers/me/onboarding", sellers, suffix="onboarding")
    routes.add("/v1/sellers/me/statement", Statements(services.statements))

    heartbeat_s = services.settings.stream_heartbeat_s
    routes.add("/v1/events", Events(services.feed, services.identity.authenticator, heartbeat_s=heartbeat_s))

    add_webhook_routes(routes, services)

    secrets = services.settings.webhook_secrets
    routes.add("/v1/webhooks/stripe", StripeWebhooks(services.inbox, services.clock, secrets))

    add_finance_routes(routes, services)

    health = Health(
        vital={"database": services.check_database},
        helpful={"redis": services.check_redis, "broker": services.check_broker},
    )
    routes.add("/health/live", health, suffix="live")
    routes.add("/health/ready", health, suffix="ready")
    pages = [services.breaker_page, services.backlog_page, services.drift_page, services.sealing_page]
    routes.add("/metrics", Metrics(services.registry, pages))
    documents = Documents(lambda: _describe(routes))
    routes.add("/openapi.json", documents)
    routes.add("/docs", documents, suffix="page", is_last=True)


def _describe(routes: Routes) -> dict[str, Any]:
    from api.openapi import describe  # noqa: PLC0415 - PERF: 2 MiB of models, for the description alone

    return describe(routes, version=version("marketflow"))


def add_webhook_routes(routes: Routes, services: Services) -> None:
    """Add the routes of webhooks to clients."""
    endpoints = WebhookEndpoints(services.webhooks, services.redeliveries)
    routes.add("/v1/webhook-endpoints", endpoints)
    routes.add("/v1/webhook-endpoints/{endpoint_id:uuid}", endpoints, suffix="one")
    for noun in ("secret", "activation", "deliveries", "redeliveries"):
        routes.add(f"/v1/webhook-endpoints/{{endpoint_id:uuid}}/{noun}", endpoints, suffix=noun)
    routes.add("/v1/deliveries/{delivery_id:uuid}/retry", Deliveries(services.redeliveries), suffix="retry")
