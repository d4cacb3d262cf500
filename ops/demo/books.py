"""The books as finance sees them, and beside them what Stripe says."""

from collections.abc import Mapping
from typing import Any

from rich.table import Table

from domain.ledger.model import Account, Balance
from domain.money import major
from ops.cli.ledger import balance_table
from ops.demo.market import Json, Market, wait_until


def wait_for_fees(market: Market) -> None:
    """Stripe's fees may come a moment after the charges; the books tie when they are there."""
    wait_until(
        lambda: (_ledger_at_stripe(market), _stripe_balance(market)), lambda both: both[0] == both[1], pause_s=0.1
    )


def show_books(market: Market, paid: Json, refunded: Json, payout: Json) -> None:
    """Show journals of a payment, a refund and a payout, the trial balance, and beside it the sandbox's books."""
    finance = market.finance
    journals = finance.request("GET", "/v1/ledger/accounts/stripe_balance/entries?limit=100")["data"]
    for payment, kind in ((paid, "charge"), (refunded, "refund")):
        shown = next(j for j in journals if j["payment_id"] == payment["id"] and j["kind"] == kind)
        market.console.print(_journal_table(shown))
    moved = next(j for j in journals if j["kind"] == "payout" and -_at_stripe(j) == payout["amount_minor"])
    market.console.print(_journal_table(moved))
    trial = finance.request("GET", "/v1/ledger/trial-balance")
    market.console.print(balance_table([_balance(row) for row in trial["accounts"]]))
    for total in trial["totals"]:
        balances = total["debit_minor"] == total["credit_minor"]
        market.expect(balances, f"the books do not balance: {total}")
    _compare_with_stripe(market)


def _compare_with_stripe(market: Market) -> None:
    ours, theirs = _ledger_at_stripe(market), _stripe_balance(market)
    table = Table("currency", "our ledger", "the sandbox", "", title="stripe_balance, twice")
    for currency in sorted(ours | theirs):
        mine, its = ours.get(currency, 0), theirs.get(currency, 0)
        verdict = "[green]agree[/green]" if mine == its else "[red]differ[/red]"
        table.add_row(currency, major(mine, currency), major(its, currency), verdict)
        market.expect(mine == its, f"{currency}: the ledger has {mine}, the sandbox {its}")
    market.console.print(table)
    state = market.stripe.get("/_sandbox/state").json()
    charged = [c["metadata"].get("payment_id") for c in state["charges"] if c["status"] == "succeeded"]
    market.expect(len(charged) == len(set(charged)), "a payment was charged twice")
    market.say(f"the sandbox has {len(charged)} successful charges, for {len(set(charged))} payments")


def _at_stripe(journal: Json) -> int:
    """Return what a journal does to Stripe's balance."""
    legs = [entry for entry in journal["entries"] if entry["account"] == "stripe_balance"]
    return sum((leg.get("debit_minor") or 0) - (leg.get("credit_minor") or 0) for leg in legs)


def _ledger_at_stripe(market: Market) -> dict[str, int]:
    accounts = market.finance.request("GET", "/v1/ledger/trial-balance")["accounts"]
    return {row["currency"]: row["balance_minor"] for row in accounts if row["account"] == "stripe_balance"}


def _stripe_balance(market: Market) -> dict[str, int]:
    totals: dict[str, int] = {}
    for transaction in market.stripe.get("/_sandbox/state").json()["balance_transactions"]:
        currency = transaction["currency"].upper()
        totals[currency] = totals.get(currency, 0) + transaction["net"]
    return totals


def _balance(row: Mapping[str, Any]) -> Balance:
    return Balance(Account(row["account"]), row["currency"], row["balance_minor"])


def _journal_table(journal: Mapping[str, Any]) -> Table:
    table = Table("account", title=f"journal {journal['kind']} {journal['source']}")
    for side in ("debit", "credit"):
        table.add_column(side, justify="right")
    for entry in journal["entries"]:
        amounts = [entry.get(f"{side}_minor") for side in ("debit", "credit")]
        table.add_row(entry["account"], *("" if a is None else major(a, entry["currency"]) for a in amounts))
    return table
