"""The routes of `/v1/reconciliations`."""

from http import HTTPStatus
from uuid import UUID

from falcon.asgi import Request, Response

from api.operations import operation
from api.reconciliation.schemas import (
    ExceptionAnswer,
    ExceptionPage,
    ExceptionQuery,
    PeriodBody,
    ReportAnswer,
    ResolutionBody,
    RunAnswer,
    RunPage,
)
from api.rendering import render
from api.schemas import PageQuery
from domain.ids import ExceptionId, ReconciliationId
from domain.reconciliation.desk import ReconciliationDesk


class Reconciliations:
    """The reconciliations."""

    def __init__(self, desk: ReconciliationDesk) -> None:
        """Keep the service."""
        self._desk = desk

    @operation(
        "Reconcile a period",
        "finance",
        RunAnswer,
        status=HTTPStatus.ACCEPTED,
        body=PeriodBody,
        location=True,
    )
    async def on_post(self, req: Request, resp: Response) -> None:
        """Ask for a reconciliation; a worker takes it up within seconds."""
        body: PeriodBody = req.context.body
        run = await self._desk.request(req.context.principal, body.from_at, body.to_at)
        render(resp, RunAnswer.of(run), HTTPStatus.ACCEPTED)
        resp.set_header("Location", f"/v1/reconciliations/{run.id}")

    @operation("List reconciliations", "finance", RunPage, query=PageQuery)
    async def on_get(self, req: Request, resp: Response) -> None:
        """List the reconciliations, newest first."""
        page = await self._desk.page(req.context.principal, req.context.query.request())
        render(resp, RunPage.of(page, RunAnswer.of))

    @operation("Get a reconciliation", "finance", ReportAnswer)
    async def on_get_one(self, req: Request, resp: Response, run_id: UUID) -> None:
        """Get a reconciliation with its totals and balances."""
        report = await self._desk.report(req.context.principal, ReconciliationId(run_id))
        render(resp, ReportAnswer.of_report(report))

    @operation("List what a reconciliation found", "finance", ExceptionPage, query=ExceptionQuery)
    async def on_get_exceptions(self, req: Request, resp: Response, run_id: UUID) -> None:
        """List the exceptions, newest first."""
        query: ExceptionQuery = req.context.query
        page = await self._desk.exceptions(
            req.context.principal, ReconciliationId(run_id), query.request(), query.status
        )
        render(resp, ExceptionPage.of(page, ExceptionAnswer.of))

    @operation("Resolve an exception", "finance", ExceptionAnswer, body=ResolutionBody)
    async def on_post_resolution(self, req: Request, resp: Response, run_id: UUID, exception_id: UUID) -> None:
        """Close an open exception for a reason, perhaps with a correcting journal."""
        body: ResolutionBody = req.context.body
        resolved = await self._desk.resolve(
            req.context.principal,
            ReconciliationId(run_id),
            ExceptionId(exception_id),
            body.reason,
            body.correction.correction() if body.correction is not None else None,
        )
        render(resp, ExceptionAnswer.of(resolved))
