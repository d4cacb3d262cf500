"""Payments as they must be, and plain books of them."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from domain.ids import UserId
from domain.payments.model import Payment

COMMISSION_BPS, DISPUTE_FEE_MINOR = 250, 1500


def shared_out(total: int, weights: Sequence[int]) -> list[int]:
    """A total in proportion to weights; what is over goes to the largest fractions, the earlier ones first."""
    exact = [(total * weight) / sum(weights) for weight in weights]
    shares = [total * weight // sum(weights) for weight in weights]
    first = sorted(range(len(weights)), key=lambda n: (-(total * weights[n] % sum(weights)), n))
    for n in first[: total - sum(shares)]:
        shares[n] += 1
    assert all(abs(share - wanted) < 1 for share, wanted in zip(shares, exact, strict=True))
    return shares


@dataclass
class Line:
    """What is left of a line: for its seller, and as commission."""

    seller: UserId
    price: int
    own: int
    commission: int

    @property
    def left(self) -> int:
        return self.own + self.commission


Taken = list[tuple[Line, int, int]]
"""What is taken of lines: for each its seller's part and the commission's."""


@dataclass
class Transfer:
    """What a payout brought to a seller and Stripe has not taken back."""

    left: int


@dataclass
class Life:
    """A payment as it must be."""

    payment: Payment
    lines: list[Line]
    captured: bool
    dispute: str = ""
    held: Taken = field(default_factory=list)
    refunds: dict[str, Taken] = field(default_factory=dict)
    refunded_since_inquiry: bool = False
    is_complete: bool = False
    open: Counter[UserId] = field(default_factory=Counter)
    """What each seller is owed of it and no payout has taken: below zero it lost more than it had."""
    paid_by: dict[UserId, Transfer] = field(default_factory=dict)

    @property
    def left(self) -> int:
        """What can be refunded, or disputed."""
        return sum(line.left for line in self.lines)

    def take(self, amount: int) -> Taken:
        """Divide an amount over what is left of the lines, and of each over seller and commission."""
        taken: Taken = []
        for line, part in zip(self.lines, shared_out(amount, [line.left for line in self.lines]), strict=True):
            if part:
                own, commission = shared_out(part, [line.own, line.commission])
                taken.append((line, own, commission))
        return taken


def commission_of(price: int) -> int:
    """2.5 %, half to even."""
    whole, rest = divmod(price * COMMISSION_BPS, 10_000)
    return whole + (rest > 5_000 or (rest == 5_000 and whole % 2 == 1))


class Books:
    """What every account must hold; it is noted as played when something is taken back."""

    def __init__(self, played: Counter[str]) -> None:
        self.accounts: Counter[str] = Counter()
        self.came_back: Counter[UserId] = Counter()
        self.played = played

    def charge(self, life: Life) -> None:
        amount = life.payment.amount_minor
        self.accounts["stripe_balance"] += amount
        for line in life.lines:
            self._owe(life, line.seller, line.own)
            self.accounts["commission_revenue"] -= line.commission
        self._fee(life, (amount * 29 + 500) // 1000 + 30)

    def _fee(self, life: Life, fee: int) -> None:
        self.accounts["stripe_balance"] -= fee
        parts = shared_out(fee, [line.price for line in life.lines])
        for line, part in zip(life.lines, parts, strict=True):
            self._owe(life, line.seller, -part)

    def _owe(self, life: Life, seller: UserId, minor: int) -> None:
        """Owe a seller so much more of a payment, or less."""
        self.accounts[f"seller_payable:{seller}"] -= minor
        life.open[seller] += minor

    def move(self, life: Life, taken: Taken, sign: int) -> None:
        """Book that money went back to the payer, at the cost of who had it; or, below 0, that it came back."""
        for line, own, commission in taken:
            line.own -= sign * own
            line.commission -= sign * commission
            self._owe(life, line.seller, -sign * own)
            self.accounts["commission_revenue"] += sign * commission
            self.accounts["stripe_balance"] -= sign * (own + commission)

    def dispute(self, life: Life, status: str) -> None:
        match status:
            case "needs_response":
                life.held = life.take(life.left)
                self._hold(life, 1)
                self.take_back(life, life.held)
                self._fee(life, DISPUTE_FEE_MINOR)
            case "won":
                self._hold(life, -1)
            case "lost":
                self._lose(life)
        names = {"needs_response": "open", "warning_needs_response": "inquiry"}
        life.dispute, life.refunded_since_inquiry = names.get(status, status), False

    def _hold(self, life: Life, sign: int) -> None:
        """Book that Stripe took disputed money, or gave it back; the commission stays until it is lost."""
        for line, own, commission in life.held:
            self._owe(life, line.seller, -sign * own)
            self.accounts[f"seller_disputed:{line.seller}"] -= sign * own
            self.accounts["disputed_funds"] += sign * (own + commission)
            self.accounts["stripe_balance"] -= sign * (own + commission)

    def _lose(self, life: Life) -> None:
        for line, own, commission in life.held:
            self.accounts[f"seller_disputed:{line.seller}"] += own
            self.accounts["commission_revenue"] += commission
            self.accounts["disputed_funds"] -= own + commission

    def payout(self, seller: UserId, amount: int, released: Sequence[Life]) -> None:
        self.accounts[f"seller_payable:{seller}"] += amount
        self.accounts["stripe_balance"] -= amount
        transfer = Transfer(amount)
        for life in released:
            if any(line.seller == seller for line in life.lines):
                life.paid_by.setdefault(seller, transfer)
                life.open[seller] = 0
        self.came_back[seller] = 0

    def take_back(self, life: Life, taken: Taken) -> None:
        """Book that what sellers lose of a payment that was paid out is taken back of its transfer, if it can."""
        lost: Counter[UserId] = Counter()
        for line, own, _ in taken:
            lost[line.seller] += own
        for seller, minor in lost.items():
            if (transfer := life.paid_by.get(seller)) is None:
                continue
            back = min(minor, transfer.left)
            transfer.left -= back
            self.accounts["stripe_balance"] += back
            self.accounts[f"seller_payable:{seller}"] -= back
            self.came_back[seller] += back
            self.played["payout taken back"] += bool(back)
