"""`/v1/payouts` and `/v1/sellers/me/balance`: what sellers are owed. Transferring it is the workers' task."""

from datetime import datetime
from http import HTTPStatus
from typing import Annotated
from uuid import UUID, uuid4

from falcon.asgi import Request, Response
from pydantic import ConfigDict, Field

from api.metrics import IDEMPOTENT_REPLAYS
from api.operations import operation
from api.rendering import render, render_accepted
from api.requests import traceparent_of
from api.schemas import AnswerModel, ListAnswer, PageAnswer, PageQuery, RequestModel, SettledCurrency
from domain.ids import PayoutId
from domain.payouts.model import Payout, PayoutOrigin, PayoutRequest, PayoutStatus, SellerBalance
from domain.payouts.service import PayoutService


class PayoutBody(RequestModel):
    """Which currency is paid out, all that is available in it; left out where there is one alone."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"currency": "USD"}]})

    currency: SettledCurrency | None = None


class PayoutAnswer(AnswerModel):
    """A payout.

    It is `in_transit` at the seller's account at Stripe and `paid` at its bank. One that `failed` before it was
    transferred is owed again; one that the bank sent back is at the account at Stripe.
    """

    model_config = ConfigDict(
        frozen=True,
        json_schema_extra={
            "examples": [
                {
                    "id": "01935b8e-7c00-7000-8000-2f1f9a3c5e11",
                    "seller_id": "01935b8e-7c00-7000-8000-2f1f9a3c5e12",
                    "status": "in_transit",
                    "origin": "scheduled",
                    "amount_minor": 18_610,
                    "currency": "USD",
                    "reversed_minor": 0,
                    "failure_code": None,
                    "stripe_transfer_id": "tr_1PTxQ2eZvKYlo2C",
                    "stripe_payout_id": None,
                    "created_at": "2026-11-27T10:00:00Z",
                    "updated_at": "2026-11-27T10:00:01Z",
                }
            ]
        },
    )

    id: UUID
    seller_id: UUID
    status: PayoutStatus
    origin: PayoutOrigin
    amount_minor: int
    currency: str
    reversed_minor: Annotated[int, Field(description="what was taken back of it, or is about to be")]
    failure_code: str | None
    stripe_transfer_id: str | None
    stripe_payout_id: Annotated[str | None, Field(description="Stripe's payout to the bank that took it along")]
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, payout: Payout) -> "PayoutAnswer":
        """Render a payout."""
        return cls.model_validate(payout, from_attributes=True)


class PayoutPage(PageAnswer[PayoutAnswer]):
    """A page of payouts."""


class SellerBalanceAnswer(AnswerModel):
    """What a seller is owed in one currency.

    `balance_minor` is what the ledger says, and `pending_minor + available_minor - negative_minor +
    in_payout_minor` comes to it.
    """

    model_config = ConfigDict(
        frozen=True,
        json_schema_extra={
            "examples": [
                {
                    "currency": "USD",
                    "balance_minor": 20_559,
                    "pending_minor": 1949,
                    "available_minor": 18_610,
                    "negative_minor": 0,
                    "in_payout_minor": 0,
                    "in_dispute_minor": 0,
                }
            ]
        },
    )

    currency: str
    balance_minor: int
    pending_minor: Annotated[int, Field(description="held until its order completes and Stripe lets it go")]
    available_minor: Annotated[int, Field(description="can be paid out")]
    negative_minor: Annotated[int, Field(description="owed by the seller; what it earns makes up for it")]
    in_payout_minor: Annotated[int, Field(description="taken by payouts whose transfer is not known to be made")]
    in_dispute_minor: Annotated[int, Field(description="held besides, until disputes are decided")]

    @classmethod
    def of(cls, balance: SellerBalance) -> "SellerBalanceAnswer":
        """Render a balance."""
        return cls(
            currency=balance.currency,
            balance_minor=balance.pending_minor + balance.available_minor + balance.in_payout_minor,
            pending_minor=max(0, balance.pending_minor),
            available_minor=max(0, balance.available_minor),
            # What is held can be owed as well: a dispute takes the money before its order is completed.
            negative_minor=max(0, -balance.available_minor) + max(0, -balance.pending_minor),
            in_payout_minor=balance.in_payout_minor,
            in_dispute_minor=balance.in_dispute_minor,
        )


class BalanceList(ListAnswer[SellerBalanceAnswer]):
    """A seller's balances, one for each currency."""


class Payouts:
    """The payouts."""

    def __init__(self, payouts: PayoutService) -> None:
        """Keep the service."""
        self._payouts = payouts

    @operation(
        "Pay out all that is available in a currency",
        "sellers",
        PayoutAnswer,
        status=HTTPStatus.ACCEPTED,
        body=PayoutBody,
        optional_body=True,
        idempotent=True,
        optional_key=True,
        location=True,
    )
    async def on_post(self, req: Request, resp: Response) -> None:
        """Accept a payout: durable when this answers, transferred by a worker soon after.

        Without an Idempotency-Key a repeated request is a new one, which finds nothing more to pay out.
        """
        body: PayoutBody = req.context.body
        request = PayoutRequest(
            req.context.idempotency_key or uuid4().hex,
            body.currency,
            traceparent=traceparent_of(req),
            request_id=req.context.request_id,
        )
        accepted = await self._payouts.request(req.context.principal, request)
        if accepted.replayed:
            IDEMPOTENT_REPLAYS.labels("payout").inc()
        render_accepted(
            resp,
            PayoutAnswer.of(accepted.payout),
            HTTPStatus.ACCEPTED,
            location=f"/v1/payouts/{accepted.payout.id}",
            replayed=accepted.replayed,
        )

    @operation("List payouts", "sellers", PayoutPage, query=PageQuery)
    async def on_get(self, req: Request, resp: Response) -> None:
        """List the payouts that the caller may see, newest first."""
        query: PageQuery = req.context.query
        page = await self._payouts.page(req.context.principal, query.request())
        render(resp, PayoutPage.of(page, PayoutAnswer.of))

    @operation("Get a payout", "sellers", PayoutAnswer)
    async def on_get_one(self, req: Request, resp: Response, payout_id: UUID) -> None:
        """Get a payout."""
        render(resp, PayoutAnswer.of(await self._payouts.get(req.context.principal, PayoutId(payout_id))))

    @operation("Get what the calling seller is owed", "sellers", BalanceList)
    async def on_get_balance(self, req: Request, resp: Response) -> None:
        """Get what the calling seller is owed, by currency, as of one moment."""
        balances = await self._payouts.balance(req.context.principal)
        render(resp, BalanceList(data=[SellerBalanceAnswer.of(balance) for balance in balances]))
