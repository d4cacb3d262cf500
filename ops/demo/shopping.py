"""What customers and sellers do: offer, search, fill a cart, order, pay, ship, complete, cancel, refund."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from http import HTTPStatus

from api.client import FINAL, Payment, Product, Request, SyncClient, new_key
from domain.money import major
from ops.demo.market import Json, Market, ask, wait_until

STOCK = 1_000
_TIMEOUT_S = 30


@dataclass(frozen=True, slots=True)
class Offer:
    """A product as its seller knows it."""

    seller: SyncClient
    seller_id: str
    shop: str
    product: Product


@dataclass(frozen=True, slots=True)
class Purchase:
    """One customer's payment and how it must end; `fault` is what befalls the call to Stripe."""

    who: str
    payment_method: str
    ends: str
    failure_code: str | None = None
    fault: str | None = None
    authenticates: bool = False

    @property
    def name(self) -> str:
        """The customer's name."""
        return self.who.split("'")[0].split(" ")[0]


@dataclass(slots=True)
class Shopping:
    """The customers' side of the market."""

    market: Market
    offers: list[Offer] = field(default_factory=list)
    held: int = 0
    """How many orders hold a piece of each offer."""

    def offer(self, shop: str, title: str, price_minor: int) -> None:
        """Open a shop with one product."""
        seller_id, seller = self.market.register(shop, "seller")
        product = seller.run(lambda: seller.client.products.offer(title, price_minor, "USD", stock=STOCK))
        self.offers.append(Offer(seller, seller_id, shop, product))
        self.market.say(f"{shop}: offers a {title} for {major(price_minor, 'USD')} USD")

    def buy(self, purchase: Purchase, *, dearer: bool = False) -> Json:
        """Take a customer from the search to a settled payment; `dearer` raises a price before the checkout."""
        market = self.market
        _, buyer = market.register(purchase.name.lower(), "buyer")
        self._fill_cart(buyer)
        if dearer:
            self._raise_price(purchase.name, buyer)
        order = buyer.order()
        market.expect(not buyer.run(buyer.client.cart.get)["items"], f"{purchase.name}'s cart is not empty")
        self.held += 1
        payment = self._pay(purchase, order["id"], buyer)
        order = buyer.request("GET", f"/v1/orders/{order['id']}")
        expected = "paid" if purchase.ends == "succeeded" else "pending"
        market.expect(order["status"] == expected, f"order {order['id']} is {order['status']}, not {expected}")
        return {**payment, "who": purchase.who, "name": purchase.name, "order": order, "buyer": buyer}

    def ship_and_complete(self, bought: Json) -> None:
        """Let every seller send its part, and the buyer confirm that all has come."""
        market, path = self.market, f"/v1/orders/{bought['order']['id']}"
        seen = [bought["order"]["status"]]
        for number, offer in enumerate(self.offers, 1):
            parcel = {"carrier": "Parcel Post", "tracking_number": f"PP-{number:04}"}
            order = offer.seller.request("POST", f"{path}/shipments", parcel)
            seen.append(order["status"])
            market.say(
                f"{offer.shop}: sends its part, {parcel['tracking_number']}; the order is {order['status']}"
            )
        bought["order"] = bought["buyer"].request("POST", f"{path}/completion")
        seen.append(bought["order"]["status"])
        market.say(f"{bought['name']} has got everything; the order is {seen[-1]}")
        wanted = ["paid", *["paid"] * (len(self.offers) - 1), "shipped", "completed"]
        market.expect(seen == wanted, f"the order went {seen}, not {wanted}")

    def cancel(self, bought: Json) -> None:
        """Let a buyer give its unpaid order up."""
        path = f"/v1/orders/{bought['order']['id']}/cancellation"
        bought["order"] = bought["buyer"].request("POST", path)
        self.held -= 1
        status = bought["order"]["status"]
        self.market.expect(status == "cancelled", f"a cancelled order is {status}")
        self.market.say(f"{bought['name']} gives the order up; its pieces are free again")

    def refund(self, bought: Json, amount_minor: int) -> None:
        """Let a buyer take a part of its money back, before anything is sent, and wait until it is on its way."""
        market, buyer = self.market, bought["buyer"]
        payments, refunds = buyer.client.payments, buyer.client.refunds
        asked = buyer.run(lambda: payments.refund(bought["id"], "one is enough", amount_minor=amount_minor))
        refund = wait_until(
            lambda: buyer.run(lambda: refunds.get(asked["id"])),
            lambda found: found["status"] != "pending",
            pause_s=0.1,
        )
        got = (refund["status"], refund["amount_minor"])
        market.expect(got == ("succeeded", amount_minor), f"a refund is {got}")
        market.say(f"{bought['name']} takes {major(amount_minor, 'USD')} USD back: {refund['status']}")

    def check_stock(self) -> None:
        """Every order that is not given up holds its pieces, and no other does."""
        for offer in self.offers:
            stock = offer.seller.request("GET", f"/v1/products/{offer.product['id']}")["stock"]
            wanted = STOCK - self.held
            self.market.expect(stock == wanted, f"{offer.shop} has {stock} pieces, not {wanted}")
            self.market.say(f"{offer.shop}: {stock} of {STOCK} pieces are left")

    def _fill_cart(self, buyer: SyncClient) -> None:
        for offer in self.offers:
            words = str(offer.product["title"]).lower()
            hits = buyer.client.products.search(words, seller_id=offer.seller_id, in_stock=True)
            found = [hit["id"] for hit in buyer.each(hits)]
            self.market.expect(found == [offer.product["id"]], f"a search for {words} finds {found}")
            buyer.request("PUT", f"/v1/cart/items/{offer.product['id']}", {"quantity": 1})

    def _raise_price(self, name: str, buyer: SyncClient) -> None:
        """Make a product in the cart dearer: the checkout must say so before anything is ordered."""
        market, offer = self.market, self.offers[-1]
        product_id, price_minor = offer.product["id"], offer.product["price_minor"] + 100
        offer.seller.request("PATCH", f"/v1/products/{product_id}", {"price_minor": price_minor})
        refused = ask(buyer, Request("POST", "/v1/orders", {}, key=new_key()))
        problem = refused.json()
        told = [change["now"]["price_minor"] for change in problem.get("changes", [])]
        fits = (refused.status_code, problem.get("code"), told) == (
            HTTPStatus.CONFLICT,
            "prices_changed",
            [price_minor],
        )
        market.expect(fits, f"a changed price is answered by {refused.text}")
        buyer.request("PUT", f"/v1/cart/items/{product_id}", {"quantity": 1})
        market.say(f"{name} is told that {offer.shop} asks {major(price_minor, 'USD')} USD now, and accepts it")

    def _pay(self, purchase: Purchase, order_id: str, buyer: SyncClient) -> Payment:
        market = self.market
        if purchase.fault is not None:
            fault = {"match": "POST /v1/payment_intents", "effect": purchase.fault, "count": 1}
            market.stripe.post("/_sandbox/faults", json=fault).raise_for_status()
        key = new_key()
        accepted = buyer.pay(order_id, purchase.payment_method, key=key)
        self._replay(order_id, purchase, key, buyer, accepted)
        payment = buyer.wait(accepted["id"], timeout_s=_TIMEOUT_S)
        if purchase.authenticates:
            payment = self._authenticate(payment, buyer)
        got, wanted = (payment["status"], payment["failure_code"]), (purchase.ends, purchase.failure_code)
        market.expect(got == wanted, f"{purchase.who}: {got} instead of {wanted}")
        market.say(f"{purchase.who}: {payment['status']} {payment['failure_code'] or ''}".rstrip())
        return payment

    def _replay(self, order_id: str, purchase: Purchase, key: str, buyer: SyncClient, accepted: Payment) -> None:
        """Send the same request again, as the client does by itself where the connection broke."""
        body = {"order_id": order_id, "payment_method": purchase.payment_method}
        again = ask(buyer, Request("POST", "/v1/payments", body, key=key))
        same = again.status_code == HTTPStatus.ACCEPTED and again.json()["id"] == accepted["id"]
        replayed = again.headers.get("Idempotent-Replayed") == "true"
        self.market.expect(same and replayed, f"a repeated request made payment {again.text}")

    def _authenticate(self, payment: Payment, buyer: SyncClient) -> Payment:
        self.market.expect(payment["status"] == "requires_action", f"3-D Secure is {payment['status']}")
        intent_id = str(payment["client_secret"]).partition("_secret_")[0]
        control = f"/_sandbox/payment_intents/{intent_id}/authentication"
        self.market.stripe.post(control, json={"succeed": True}).raise_for_status()
        return buyer.wait(payment["id"], timeout_s=_TIMEOUT_S, until=FINAL)


def payments_of(bought: Sequence[Json]) -> list[tuple[str, ...]]:
    """Return what became of each purchase, as the rows of a table."""
    names = ("who", "id", "status", "failure_code")
    return [(*(str(each[name] or "") for name in names), each["order"]["status"]) for each in bought]
