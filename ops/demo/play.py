"""The play: what happens in the demo, in order."""

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import httpx
from rich.console import Console
from rich.table import Table

from ops.demo.books import show_books, wait_for_fees
from ops.demo.market import Market, explained
from ops.demo.payouts import pay_out
from ops.demo.shopping import Purchase, Shopping, payments_of
from ops.errors import OperatorError
from ops.stack import Stack, StackError, StackInfo, running
from ops.stack.interruption import interrupted_by_signals
from ops.stack.layout import var_dir_of

PURCHASES = (
    Purchase("Ann pays with a good card", "pm_card_visa", "succeeded"),
    Purchase("Ben's card is declined", "pm_card_chargeDeclined", "failed", "card_declined"),
    Purchase("Cleo's card lacks funds", "pm_card_chargeDeclinedInsufficientFunds", "failed", "insufficient_funds"),
    Purchase("Dan confirms with 3-D Secure", "pm_card_authenticationRequired", "succeeded", authenticates=True),
    Purchase("Eve's charge loses its answer", "pm_card_visa", "succeeded", fault="drop_after"),
)

REFUND_MINOR = 1_000
"""What one of them takes back of it."""


def play(market: Market) -> None:
    """Let sellers offer, customers pay and take back, parcels arrive, a seller be paid, and finance look."""
    shopping = Shopping(market)
    shopping.offer("desks", "Walnut desk", 19_900)
    shopping.offer("lamps", "Brass lamp", 4_950)
    ann, ben, *others = [shopping.buy(purchase, dearer=purchase is PURCHASES[0]) for purchase in PURCHASES]
    shopping.ship_and_complete(ann)
    shopping.cancel(ben)
    dan = others[1]
    shopping.refund(dan, REFUND_MINOR)
    shopping.check_stock()
    payout = pay_out(market, shopping.offers[0])
    wait_for_fees(market)
    table = Table("customer", "payment", "status", "failure", "order", title="payments")
    for row in payments_of([ann, ben, *others]):
        table.add_row(*row)
    market.console.print(table)
    show_books(market, ann, dan, payout)


def run(console: Console) -> int:
    """Play the demo on the stack that runs here, or on one of its own; return the exit code."""
    began = time.monotonic()
    with interrupted_by_signals(), _stack(console) as info:
        if not info.stripe or not info.users:
            raise OperatorError("The demo needs the embedded Stripe sandbox.")
        with ExitStack() as closing, explained():
            stripe = closing.enter_context(httpx.Client(base_url=info.stripe, timeout=30))
            market = Market(info, console, stripe, closing)
            play(market)
    verdict = "[red]something disagrees[/red]" if market.disagreements else "[green]everything agrees[/green]"
    console.print(f"{verdict} after {time.monotonic() - began:.0f} s", highlight=False)
    return 1 if market.disagreements else 0


@contextmanager
def _stack(console: Console) -> Iterator[StackInfo]:
    try:
        info = running.find(var_dir_of(os.environ))
    except StackError:
        with Stack(on_progress=lambda message: console.print(f"[dim]{message}[/dim]")) as stack:
            yield stack.info
    else:
        console.print("[dim]using the stack that runs here; it is left running[/dim]")
        yield info
