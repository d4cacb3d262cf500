"""The application: middleware and routes over given services."""

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from falcon.asgi import App, Request, Response

from api import errors
from api.cart import Cart
from api.catalog.resources import Products
from api.docs_page import page
from api.identity.resources import Tokens, Users
from api.ledger import LedgerAccounts, LedgerJournals, LedgerTrialBalance
from api.middleware.authentication import Authentication
from api.middleware.context import RequestContext
from api.middleware.rate_limit import RateLimit
from api.middleware.validation import Validation
from api.openapi import describe
from api.operations import Routes
from api.orders.resources import Orders
from api.payments.resources import Payments
from api.payments.waiting import PaymentReader
from api.service import Documents, Health, Metrics
from api.services import Services
from api.stripe_webhooks import StripeWebhooks


class Application(App[Request, Response]):
    """The ASGI application."""

    def __init__(self, services: Services) -> None:
        """Keep the services."""
        super().__init__()
        self._services = services

    def release(self) -> None:
        """Answer those who wait with what there is; the server calls it when it is asked to stop."""
        self._services.changes.release()


class Lifespan:
    """Closes the services when the server stops."""

    def __init__(self, services: Services) -> None:
        """Keep the services."""
        self._services = services

    async def process_shutdown(self, scope: Mapping[str, Any], event: Mapping[str, Any]) -> None:
        """Close every connection."""
        await self._services.close()


def create_app(services: Services) -> Application:
    """Return the ASGI application."""
    settings = services.settings
    app = Application(services)
    errors.install(app)
    routes = Routes(app)
    app.add_middleware(
        [
            RequestContext(),
            Authentication(routes, services.tokens),
            RateLimit(
                services.rate_limits,
                per_user=settings.rate_limit_per_minute,
                per_address=settings.address_limit_per_minute,
                burst=settings.rate_limit_burst,
            ),
            Validation(max_body_bytes=settings.max_body_bytes),
            Lifespan(services),
        ]
    )
    add_routes(routes, services)
    return app


def add_routes(routes: Routes, services: Services) -> None:
    """Add every route; this list is the API."""
    routes.add("/v1/users", Users(services.identity))
    routes.add("/v1/tokens", Tokens(services.identity, services.tokens))

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

    reader = PaymentReader(services.read, services.changes)
    payments = Payments(services.payments, services.accept, reader, services.clock)
    routes.add("/v1/payments", payments)
    routes.add("/v1/payments/{payment_id:uuid}", payments, suffix="one")
    routes.add("/v1/payments/{payment_id:uuid}/events", payments, suffix="events")

    secrets = services.settings.webhook_secrets
    routes.add("/v1/webhooks/stripe", StripeWebhooks(services.inbox, services.clock, secrets))

    accounts = LedgerAccounts(services.ledger)
    routes.add("/v1/ledger/accounts", accounts)
    routes.add("/v1/ledger/accounts/{account}/entries", accounts, suffix="entries")
    routes.add("/v1/ledger/journals/{journal_id:uuid}", LedgerJournals(services.ledger))
    routes.add("/v1/ledger/trial-balance", LedgerTrialBalance(services.ledger))

    health = Health(
        vital={"database": services.check_database},
        helpful={"redis": services.check_redis, "broker": services.check_broker},
    )
    routes.add("/health/live", health, suffix="live")
    routes.add("/health/ready", health, suffix="ready")
    routes.add("/metrics", Metrics(services.registry))
    documents = Documents()
    routes.add("/openapi.json", documents)
    routes.add("/docs", documents, suffix="page")
    described = describe(routes, version=version("marketflow"))
    documents.publish(described, page(described))
