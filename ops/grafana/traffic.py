"""Customers for the pictures: they buy, their servers listen, and for a while Stripe fails."""

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import StringIO

import httpx
from rich.console import Console

from ops.demo.market import Market
from ops.demo.payouts import pay_out
from ops.demo.play import PURCHASES, REFUND_MINOR
from ops.demo.shopping import Shopping
from ops.stack import StackInfo

_BUYERS = 4
_CARDS = ("pm_card_visa", "pm_card_visa", "pm_card_visa", "pm_card_chargeDeclined")
_OUTAGE_S = 12


def trade(info: StackInfo, *, for_s: float) -> None:
    """Let customers buy for so long: several at once, one listening, with an outage of Stripe in the middle."""
    ends_at = time.monotonic() + for_s
    with ExitStack() as closing, _listening() as listener:
        stripe = closing.enter_context(httpx.Client(base_url=info.stripe, timeout=30, trust_env=False))
        market = Market(info, Console(file=StringIO()), stripe, closing)
        market.finance  # noqa: B018 - logs in before the threads do
        shopping = Shopping(market)
        shopping.offer("desks", "Walnut desk", 19_900)
        threads = [
            threading.Thread(target=_buy, args=(market, shopping, f"{listener}/{n}", ends_at))
            for n in range(_BUYERS)
        ]
        threads.append(threading.Thread(target=_play, args=(market, ends_at)))
        for thread in threads:
            thread.start()
        time.sleep(for_s * 0.25)
        _reconcile(market)
        time.sleep(for_s * 0.2)
        _fail(market)
        for thread in threads:
            thread.join()
        _reconcile(market)
        time.sleep(10)  # what is on its way settles, and is scraped


def _buy(market: Market, shopping: Shopping, listener: str, ends_at: float) -> None:
    """Buy again and again, each time a little after the last one came to its end."""
    _, buyer = market.register("customer", "buyer")
    buyer.request("POST", "/v1/webhook-endpoints", {"url": listener, "events": ["payment.*"]})
    product = shopping.offers[0].product
    number = 0
    while time.monotonic() < ends_at:
        number += 1
        order = buyer.run(lambda: buyer.client.orders.place([(product["id"], 1)]))
        accepted = buyer.pay(order["id"], _CARDS[number % len(_CARDS)])
        buyer.client.products.search("desk")
        buyer.request("GET", f"/v1/products/{product['id']}")
        buyer.wait(accepted["id"], timeout_s=60)
        time.sleep(0.2 + 0.3 * (number % 7 == 0))


def _play(market: Market, ends_at: float) -> None:
    """Do what the demo does again and again: 3-D Secure, lost answers, parcels, refunds, payouts."""
    while time.monotonic() < ends_at - 30:
        shopping = Shopping(market)
        shopping.offer("lamps", "Brass lamp", 4_950)
        ann, ben, *others = [shopping.buy(purchase) for purchase in PURCHASES]
        shopping.ship_and_complete(ann)
        shopping.cancel(ben)
        shopping.refund(others[1], REFUND_MINOR)
        pay_out(market, shopping.offers[0])


def _fail(market: Market) -> None:
    """Let Stripe fail for a while: the breaker opens, and the work waits."""
    fault = {"match": "POST /v1/payment_intents", "effect": "error_500", "rate": 1.0}
    market.stripe.post("/_sandbox/faults", json=fault).raise_for_status()
    time.sleep(_OUTAGE_S)
    market.stripe.delete("/_sandbox/faults").raise_for_status()


def _reconcile(market: Market) -> None:
    now = datetime.now(UTC)
    body = {"from": (now - timedelta(hours=1)).isoformat(), "to": now.isoformat()}
    market.finance.request("POST", "/v1/reconciliations", body)


@contextmanager
def _listening() -> Iterator[str]:
    """Be the customers' server; it takes all but what comes to `/3`."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(503 if self.path == f"/{_BUYERS - 1}" else 204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
