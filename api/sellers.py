"""`/v1/sellers`: sellers as they see themselves. Making accounts at Stripe is the workers' task."""

from datetime import datetime
from http import HTTPStatus
from typing import Annotated
from uuid import UUID

from falcon.asgi import Request, Response
from pydantic import ConfigDict, Field

from api.operations import operation
from api.rendering import render, render_accepted
from api.requests import traceparent_of
from api.schemas import AnswerModel
from domain.clock import Clock
from domain.sellers.model import OnboardingStatus, Seller
from domain.sellers.service import SellerService

_ME = "/v1/sellers/me"


class SellerAnswer(AnswerModel):
    """A seller, as it sees itself."""

    model_config = ConfigDict(
        frozen=True,
        json_schema_extra={
            "examples": [
                {
                    "id": "01935b8e-7c00-7000-8000-2f1f9a3c5e11",
                    "onboarding_status": "open",
                    "link": "https://connect.stripe.com/setup/e/acct_1PTxQ2/hWzXb0Qx",
                    "link_expires_at": "2026-11-27T10:05:00Z",
                    "failure_code": None,
                    "payouts_enabled": False,
                    "commission_bps": 250,
                }
            ]
        },
    )

    id: UUID
    onboarding_status: OnboardingStatus
    link: Annotated[
        str | None,
        Field(description="where Stripe asks its questions; good once, and ask for another after it expired"),
    ]
    link_expires_at: datetime | None
    failure_code: Annotated[str | None, Field(description="why Stripe opens no account")]
    payouts_enabled: bool
    commission_bps: Annotated[int, Field(description="the platform's commission, in hundredths of a percent")]

    @classmethod
    def of(cls, seller: Seller, now: datetime) -> "SellerAnswer":
        """Render a seller."""
        account, link = seller.account, seller.link_at(now)
        return cls(
            id=seller.id,
            onboarding_status=seller.onboarding_status,
            link=link,
            link_expires_at=account.link_expires_at if account is not None and link is not None else None,
            failure_code=account.failure_code if account is not None else None,
            payouts_enabled=account is not None and account.payouts_enabled,
            commission_bps=seller.commission_bps,
        )


class Sellers:
    """The calling seller."""

    def __init__(self, sellers: SellerService, clock: Clock) -> None:
        """Keep the service."""
        self._sellers = sellers
        self._clock = clock

    @operation("Get the calling seller", "sellers", SellerAnswer)
    async def on_get_me(self, req: Request, resp: Response) -> None:
        """Get the calling seller."""
        seller = await self._sellers.get(req.context.principal)
        render(resp, SellerAnswer.of(seller, self._clock.now()))

    @operation(
        "Ask for an account at Stripe, or for another link to Stripe's questions",
        "sellers",
        SellerAnswer,
        status=HTTPStatus.ACCEPTED,
        location=True,
    )
    async def on_post_onboarding(self, req: Request, resp: Response) -> None:
        """Accept the wish: durable when this answers, done by a worker soon after."""
        seller = await self._sellers.onboard(
            req.context.principal, traceparent=traceparent_of(req), request_id=req.context.request_id
        )
        answer = SellerAnswer.of(seller, self._clock.now())
        render_accepted(resp, answer, HTTPStatus.ACCEPTED, location=_ME, replayed=False)
