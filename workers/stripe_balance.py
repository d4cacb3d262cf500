"""What moved our balance at Stripe (docs.stripe.com/api/balance_transactions), and the objects behind it."""

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar
from urllib.parse import quote

from domain.errors import Unavailable
from domain.reconciliation.model import StripeLine
from domain.reconciliation.ports import LinePage
from domain.reconciliation.reading import read_line
from domain.settlement.answers import Refusal, StripeDispute, StripeRefund
from domain.settlement.stripe_objects import UNREADABLE, JsonObject, read_dispute, read_refund
from workers.stripe_calls import RawAnswer, StripeCalls

_TRANSACTIONS = "/v1/balance_transactions"
_PAGE = 100

Read = TypeVar("Read")


class StripeBalance:
    """`domain.reconciliation.ports.BalanceFeed`, and `domain.reconciliation.mending.MovedObjects`."""

    def __init__(self, calls: StripeCalls) -> None:
        """Keep what makes the calls."""
        self._calls = calls

    async def page(self, from_at: datetime, to_at: datetime, after: str | None) -> LinePage:
        """Return a page of what moved from then until before then, of what is older than `after`."""
        params: dict[str, Any] = {
            "created": {"gte": math.ceil(from_at.timestamp()), "lt": math.ceil(to_at.timestamp())},
            "limit": _PAGE,
            "expand": ["data.source"],
        }
        if after is not None:
            params["starting_after"] = after
        return _read_page(await self._calls.call("get", _TRANSACTIONS, params))

    async def in_payout(self, payout_id: str, after: str | None) -> LinePage | None:
        """Return a page of what is in a payout, of what is older than `after`, the payout itself included.

        None for a payout that Stripe did not make by itself: it refuses to say what is in those
        (docs.stripe.com/api/balance_transactions/list#balance_transaction_list-payout). None, too, for one whose
        contents it has not listed yet (docs.stripe.com/api/payouts/object#payout_object-reconciliation_status).
        """
        if after is None and not await self._is_listed(payout_id):
            return None
        params: dict[str, Any] = {"payout": payout_id, "limit": _PAGE}
        if after is not None:
            params["starting_after"] = after
        answer = await self._calls.call("get", _TRANSACTIONS, params)
        return None if isinstance(answer, Refusal) else _read_page(answer)

    async def _is_listed(self, payout_id: str) -> bool:
        answer = await self._calls.call("get", f"/v1/payouts/{quote(payout_id, safe='')}", {})
        return not isinstance(answer, Refusal) and _read(answer, _is_reconciled)

    async def of_source(self, source: str) -> Sequence[StripeLine]:
        """Return all that one object has moved, at most a page."""
        params = {"source": source, "limit": _PAGE, "expand": ["data.source"]}
        answer = await self._calls.call("get", _TRANSACTIONS, params)
        # Stripe refuses to look for an object that it does not know.
        return [] if isinstance(answer, Refusal) else _read_page(answer).lines

    async def line(self, transaction_id: str) -> StripeLine | None:
        """Return one movement; None when Stripe has none of that id."""
        path = f"{_TRANSACTIONS}/{quote(transaction_id, safe='')}"
        answer = await self._calls.call("get", path, {"expand": ["source"]})
        return None if isinstance(answer, Refusal) else _read(answer, read_line)

    async def refund(self, refund_id: str) -> StripeRefund | None:
        """Return a refund, with its balance transactions."""
        params = {"expand": ["balance_transaction", "failure_balance_transaction"]}
        answer = await self._calls.call("get", f"/v1/refunds/{quote(refund_id, safe='')}", params)
        return None if isinstance(answer, Refusal) else _read(answer, read_refund)

    async def dispute(self, dispute_id: str) -> StripeDispute | None:
        """Return a dispute, with its balance transactions."""
        answer = await self._calls.call("get", f"/v1/disputes/{quote(dispute_id, safe='')}", {})
        return None if isinstance(answer, Refusal) else _read(answer, read_dispute)


def _read_page(answer: RawAnswer) -> LinePage:
    def read(raw: JsonObject) -> LinePage:
        return LinePage([read_line(each) for each in raw["data"]], bool(raw["has_more"]))

    return _read(answer, read)


def _is_reconciled(raw: JsonObject) -> bool:
    return bool(raw.get("reconciliation_status", "completed") == "completed")


def _read(answer: RawAnswer, read: Callable[[JsonObject], Read]) -> Read:
    if not isinstance(answer, Mapping):
        raise Unavailable(f"Stripe does not show its balance: {answer}", code="stripe_unavailable")
    try:
        return read(answer)
    except UNREADABLE as error:
        raise Unavailable("Stripe shows what cannot be read", code="stripe_unavailable") from error
