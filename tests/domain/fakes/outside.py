"""Stand-ins for what surrounds the domain: clocks, the broker, caches, and Stripe."""

from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from domain.cart.model import CartItem
from domain.catalog.model import Product
from domain.catalog.ports import LoadProduct
from domain.errors import Unavailable
from domain.ids import PaymentId, ProductId, UserId
from domain.payments.model import Payment
from domain.payouts.model import Payout, Reversal
from domain.refunds.model import Refund
from domain.sellers.model import SellerAccount
from domain.settlement.answers import Answer, StripeDispute
from domain.settlement.look_ups import LookUp
from domain.work import Work
from tests.builders import NOW


class FakeClock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.time = NOW

    def now(self) -> datetime:
        return self.time

    def advance(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)


class FakeMonotonic:
    """A clock like `time.monotonic` that moves when it is told to."""

    def __init__(self) -> None:
        self.now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


class RecordingAnnouncer:
    """Keeps what was announced."""

    def __init__(self) -> None:
        self.announced: defaultdict[Work, list[UUID | str]] = defaultdict(list)

    def announce(self, work: Work, ids: Sequence[UUID | str]) -> None:
        self.announced[work].extend(ids)


class FakeQueue:
    """A broker that keeps its messages, or is away."""

    def __init__(self) -> None:
        self.messages: defaultdict[Work, list[list[UUID | str]]] = defaultdict(list)
        self.away = False

    async def publish(self, work: Work, ids: Sequence[UUID | str]) -> None:
        if self.away:
            raise Unavailable("the broker is out of reach", code="broker_unavailable")
        self.messages[work].append(list(ids))

    async def depth(self, work: Work) -> int:
        return len(self.messages[work])


class ScriptedGateway:
    """A Stripe that gives the answers it was told to, in order, and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, UUID | str]] = []
        self.keys: list[str] = []
        self.intents: list[str] = []
        self.disputes: list[str] = []
        self._script: defaultdict[str, deque[Any]] = defaultdict(deque)

    def will(self, question: str, *answers: object) -> None:
        self._script[question].extend(answers)

    @property
    def questions(self) -> list[str]:
        return [question for question, _ in self.asked]

    async def charge(self, payment: Payment) -> Answer:
        return self._answer("charge", payment.id)

    async def retrieve(self, intent_id: str) -> Answer:
        return self._answer("retrieve", intent_id)

    async def capture(self, intent_id: str, amount_minor: int | None) -> Answer:
        return self._answer("capture", intent_id)

    async def cancel(self, intent_id: str) -> Answer:
        return self._answer("cancel", intent_id)

    async def find(self, look_up: LookUp) -> Mapping[PaymentId, Answer]:
        return {payment.id: self._answer("find", payment.id) for payment in look_up.payments}

    async def identify(self, intent_id: str) -> Any:
        self.intents.append(intent_id)
        return self._script["identify"].popleft()

    async def dispute(self, dispute_id: str) -> StripeDispute | None:
        self.disputes.append(dispute_id)
        answer: StripeDispute | Unavailable | None = self._script["dispute"].popleft()
        if isinstance(answer, Unavailable):
            raise answer
        return answer

    async def refund(self, refund: Refund) -> Any:
        self.keys.append(refund.stripe_key)
        return self._answer("refund", refund.id)

    async def retrieve_refund(self, refund: Refund) -> Any:
        assert refund.stripe_refund_id is not None
        return self._answer("retrieve_refund", refund.id)

    async def find_refund(self, refund: Refund) -> Any:
        return self._answer("find_refund", refund.id)

    async def open_account(self, account: SellerAccount) -> Any:
        self.keys.append(account.stripe_key)
        return self._answer("open_account", account.seller_id)

    async def retrieve_account(self, account: SellerAccount) -> Any:
        assert account.stripe_account_id is not None
        return self._answer("retrieve_account", account.seller_id)

    async def find_account(self, account: SellerAccount) -> Any:
        return self._answer("find_account", account.seller_id)

    async def make_link(self, stripe_account_id: str) -> Any:
        return self._script["make_link"].popleft()

    async def refunds_of(self, charge_id: str) -> Any:
        return self._script["refunds_of"].popleft()

    async def transfer(self, payout: Payout) -> Any:
        self.keys.append(payout.stripe_key)
        return self._answer("transfer", payout.id)

    async def find_transfer(self, payout: Payout) -> Any:
        return self._answer("find_transfer", payout.id)

    async def reverse(self, reversal: Reversal, transfer_id: str) -> Any:
        self.keys.append(reversal.stripe_key)
        return self._answer("reverse", reversal.id)

    async def reversals_of(self, transfer_id: str) -> Any:
        return self._script["reversals_of"].popleft()

    async def bank_payout(self, account_id: str, stripe_payout_id: str) -> Any:
        return self._script["bank_payout"].popleft()

    async def own_payout(self, stripe_payout_id: str) -> Any:
        return self._answer("own_payout", stripe_payout_id)

    def _answer(self, question: str, subject_id: UUID | str) -> Any:
        self.asked.append((question, subject_id))
        return self._script[question].popleft()


class FakeProductCache:
    """A cache that is always empty."""

    async def get(self, product_id: ProductId, load: LoadProduct) -> Product | None:
        return await load()

    async def put(self, product: Product) -> None:
        pass


class FakeCarts:
    """Carts in memory, which can be away."""

    def __init__(self) -> None:
        self.carts: defaultdict[UserId, dict[ProductId, CartItem]] = defaultdict(dict)
        self.claims: dict[UserId, str] = {}
        self.away = False

    async def get(self, user_id: UserId) -> Sequence[CartItem]:
        return sorted(self._of(user_id).values(), key=lambda item: (item.put_at, item.product_id))

    async def put(self, user_id: UserId, item: CartItem, *, max_items: int) -> bool:
        cart = self._of(user_id)
        if item.product_id not in cart and len(cart) >= max_items:
            return False
        cart[item.product_id] = item
        return True

    async def remove(self, user_id: UserId, product_id: ProductId) -> None:
        self._of(user_id).pop(product_id, None)

    async def discard(self, user_id: UserId, items: Sequence[CartItem]) -> None:
        for item in items:
            if self._of(user_id).get(item.product_id) == item:
                del self.carts[user_id][item.product_id]

    async def clear(self, user_id: UserId) -> None:
        self._of(user_id).clear()

    async def claim(self, user_id: UserId, key: str, *, for_s: float) -> bool:
        self._of(user_id)
        return self.claims.setdefault(user_id, key) == key

    async def release(self, user_id: UserId, key: str) -> None:
        self._of(user_id)
        if self.claims.get(user_id) == key:
            del self.claims[user_id]

    def _of(self, user_id: UserId) -> dict[ProductId, CartItem]:
        if self.away:
            raise Unavailable("the carts are out of reach", code="cart_unavailable")
        return self.carts[user_id]
