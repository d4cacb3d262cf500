"""Selling: the calling seller, what it is owed, and how that reaches it."""

from collections.abc import AsyncIterator, Sequence
from typing import Any, cast

from .models import Balance, Payout, Seller, Statement
from .noun import Noun, given
from .sending import Request, new_key

_ME = "/v1/sellers/me"
_LONGEST_PAGE = 100


class Sellers(Noun):
    """`/v1/sellers/me`: the calling seller."""

    async def me(self) -> Seller:
        """Return the caller, with the link to Stripe's questions while there are some."""
        return cast("Seller", await self._ask("GET", _ME))

    async def onboard(self) -> Seller:
        """Ask for an account at Stripe, or for another link to its questions; a worker makes it soon after."""
        return cast("Seller", await self._ask("POST", f"{_ME}/onboarding", repeatable=True))

    async def balance(self) -> Sequence[Balance]:
        """Return what the caller is owed, by currency."""
        return cast("Sequence[Balance]", (await self._ask("GET", f"{_ME}/balance"))["data"])

    async def statement(
        self, since: str | None = None, until: str | None = None, *, currency: str | None = None
    ) -> Statement:
        """Return what moved on the caller's account from a time up to another, over as many pages as that takes.

        `until` is now if it is not given, and `currency` is needed where there are several.
        """
        query = given(**{"from": since, "to": until}, currency=currency, limit=_LONGEST_PAGE)
        whole = await self._ask("GET", f"{_ME}/statement", query=query)
        lines, cursor = list(whole["lines"]), whole["next_cursor"]
        while cursor is not None:
            # All parts are of the moment of the first.
            part = await self._ask("GET", f"{_ME}/statement", query={**query, "to": whole["to"], "cursor": cursor})
            lines += part["lines"]
            whole["closing_minor"], cursor = part["closing_minor"], part["next_cursor"]
        return cast("Statement", {**whole, "lines": lines, "next_cursor": None})

    async def statement_csv(
        self, since: str | None = None, until: str | None = None, *, currency: str | None = None
    ) -> bytes:
        """Return the same as a CSV file, for a spreadsheet."""
        query = given(**{"from": since, "to": until}, currency=currency)
        request = Request("GET", f"{_ME}/statement", query=query, headers={"Accept": "text/csv"})
        return (await self._client.send(request)).content


class Payouts(Noun):
    """`/v1/payouts`."""

    async def request(self, currency: str | None = None, *, key: str | None = None) -> Payout:
        """Ask for all that is available in a currency, or in the only one; a worker transfers it soon after."""
        answer = await self._ask("POST", "/v1/payouts", given(currency=currency), key=key or new_key())
        return cast("Payout", answer)

    async def get(self, payout_id: str) -> Payout:
        """Return a payout."""
        return cast("Payout", await self._ask("GET", f"/v1/payouts/{payout_id}"))

    def list(self, **filters: Any) -> AsyncIterator[Payout]:
        """Yield the payouts that the caller may see, newest first."""
        return self._pages("/v1/payouts", filters)
