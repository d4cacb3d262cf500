"""The routes of `/v1/reconciliations`."""

from http import HTTPStatus
from uuid import UUID

from falcon import MEDIA_JSON
from falcon.asgi import Request, Response

from api.operations import operation
from api.reconciliation.page import CONTENT_SECURITY_POLICY, render_page
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
from api.reconciliation.spreadsheet import render_csv
from api.rendering import render
from api.schemas import PageQuery
from domain.clock import Clock
from domain.ids import ExceptionId, ReconciliationId
from domain.reconciliation.desk import ReconciliationDesk

MEDIA_TEXT_CSV = "text/csv"
MEDIA_TEXT_HTML = "text/html"
_MAX_ROWS = 10_000
_MAX_SHOWN = 500
"""The most exceptions in a file, and on a page; the list of the API has all."""


class Reconciliations:
    """The reconciliations."""

    def __init__(self, desk: ReconciliationDesk, clock: Clock) -> None:
        """Keep the service, and the clock that tells how old exceptions are."""
        self._desk = desk
        self._clock = clock

    @operation(
        "Reconcile a period",
        "finance",
        RunAnswer,
        status=HTTPStatus.ACCEPTED,
        body=PeriodBody,
        optional_body=True,
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

    @operation("Get a reconciliation", "finance", ReportAnswer, also=(MEDIA_TEXT_CSV, MEDIA_TEXT_HTML))
    async def on_get_one(self, req: Request, resp: Response, run_id: UUID) -> None:
        """Get a reconciliation with its totals and balances: JSON, or as `Accept` asks, CSV or a page to print."""
        wanted = req.client_prefers([MEDIA_JSON, MEDIA_TEXT_CSV, MEDIA_TEXT_HTML])
        resp.set_header("Vary", "Accept")
        if wanted not in {MEDIA_TEXT_CSV, MEDIA_TEXT_HTML}:
            report = await self._desk.report(req.context.principal, ReconciliationId(run_id))
            render(resp, ReportAnswer.of_report(report))
            return
        limit = _MAX_ROWS if wanted == MEDIA_TEXT_CSV else _MAX_SHOWN
        full = await self._desk.full_report(req.context.principal, ReconciliationId(run_id), limit=limit)
        if wanted == MEDIA_TEXT_CSV:
            resp.content_type = "text/csv; charset=utf-8; header=present"
            resp.set_header("Content-Disposition", f'attachment; filename="reconciliation-{run_id}.csv"')
            resp.data = render_csv(*full, self._clock.now())
        else:
            resp.content_type = "text/html; charset=utf-8"
            resp.set_header("Content-Security-Policy", CONTENT_SECURITY_POLICY)
            resp.text = render_page(*full, self._clock.now())

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
        """Close an exception for a reason, perhaps with a correcting journal, or decide anew what is resolved."""
        body: ResolutionBody = req.context.body
        resolved = await self._desk.resolve(
            req.context.principal,
            ReconciliationId(run_id),
            ExceptionId(exception_id),
            body.reason,
            body.correction.correction() if body.correction is not None else None,
        )
        render(resp, ExceptionAnswer.of(resolved))
