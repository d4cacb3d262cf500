"""`/v1/disputes`: what payers' banks ask back, for sellers and finance."""

from datetime import datetime
from uuid import UUID

from falcon.asgi import Request, Response
from pydantic import ConfigDict, Field

from api.operations import operation
from api.rendering import render
from api.schemas import AnswerModel, PageAnswer, PageQuery
from domain.disputes.model import Dispute, DisputeFunds, DisputeStatus
from domain.disputes.service import DisputeService
from domain.ids import DisputeId


class DisputeQuery(PageQuery):
    """Which page of the disputes, and of which state."""

    status: DisputeStatus | None = Field(default=None, description="disputes of this state alone")


class DisputeAnswer(AnswerModel):
    """A dispute; evidence is handed in at Stripe, until `evidence_due_at`."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": "01935b8e-7c00-7000-8000-2f1f9a3c5e31",
                    "payment_id": "01935b8e-7c00-7000-8000-2f1f9a3c5e13",
                    "stripe_dispute_id": "dp_1PTxQ2eZvKYlo2C",
                    "status": "needs_response",
                    "funds": "withdrawn",
                    "reason": "product_not_received",
                    "amount_minor": 1999,
                    "currency": "USD",
                    "evidence_due_at": "2026-12-08T23:59:59Z",
                    "opened_at": "2026-11-29T09:00:00Z",
                    "created_at": "2026-11-29T09:00:02Z",
                    "updated_at": "2026-11-29T09:00:02Z",
                }
            ]
        }
    )

    id: UUID
    payment_id: UUID
    stripe_dispute_id: str
    status: DisputeStatus
    funds: DisputeFunds
    reason: str
    amount_minor: int
    currency: str
    evidence_due_at: datetime | None
    opened_at: datetime
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, dispute: Dispute) -> "DisputeAnswer":
        """Render a dispute."""
        return cls.model_validate(dispute, from_attributes=True)


class DisputePage(PageAnswer[DisputeAnswer]):
    """A page of disputes."""


class Disputes:
    """The disputes."""

    def __init__(self, disputes: DisputeService) -> None:
        """Keep the service."""
        self._disputes = disputes

    @operation("List disputes", "payments", DisputePage, query=DisputeQuery)
    async def on_get(self, req: Request, resp: Response) -> None:
        """List the disputes that the caller may see, newest first."""
        query: DisputeQuery = req.context.query
        page = await self._disputes.page(req.context.principal, query.request(), query.status)
        render(resp, DisputePage.of(page, DisputeAnswer.of))

    @operation("Get a dispute", "payments", DisputeAnswer)
    async def on_get_one(self, req: Request, resp: Response, dispute_id: UUID) -> None:
        """Get a dispute."""
        render(resp, DisputeAnswer.of(await self._disputes.get(req.context.principal, DisputeId(dispute_id))))
