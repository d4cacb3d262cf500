"""Reading a payment, beside Falcon serving a constant under the same gunicorn."""

import os

from loadtest.bed import Bed, http_request, run_client
from loadtest.client import Plan, Result
from loadtest.figures import Figure, Findings, Tell
from loadtest.peer import free_port, running, wait_for_port

_FOUND = 200
_READ_BY_EACH = 20


def measure(bed: Bed, tell: Tell) -> Findings:
    """Read payments as their payers do, with the constant right before and after."""
    seconds = 4.0 if bed.quick else 8.0
    before = _constant(bed, seconds, tell)
    result = _read(bed, seconds, tell)
    after = _constant(bed, seconds, tell)
    limit = (before.per_second + after.per_second) / 2
    return Findings(
        (
            Figure(
                "payments read against a constant",
                result.per_second / limit,
                "x",
                f"{result.per_second:,.0f}/s, p99 {result.p99_ms:.1f} ms, against {limit:,.0f}/s "
                f"({before.per_second:,.0f} before, {after.per_second:,.0f} after)",
                must=0.4,
            ),
            Figure("read: other answers than 200", result.failures(_FOUND), "", "", must=0, lower_is_better=True),
        ),
        {"per_second": result.per_second, "constant": limit},
    )


def _read(bed: Bed, seconds: float, tell: Tell) -> Result:
    bed.accept(seconds=30, limit=len(bed.tokens) * _READ_BY_EACH)
    with bed.database() as connection:
        bed.drain(connection, tell)
        bed.drain_events(connection, tell)
        query = "SELECT payer_id, id FROM payments ORDER BY id DESC LIMIT %s"
        rows = connection.execute(query.encode(), (len(bed.tokens) * _READ_BY_EACH,)).fetchall()
    requests = [
        http_request("GET", f"/v1/payments/{payment_id}", {"Authorization": f"Bearer {bed.token_of[payer_id]}"})
        for payer_id, payment_id in rows
    ]
    host, port = bed.address
    plan = Plan(host, port, requests, seconds=seconds, warm_up_s=1.0)
    return run_client(plan, lambda done: tell(f"{done:,} payments read"))


def _constant(bed: Bed, seconds: float, tell: Tell) -> Result:
    port = free_port()
    arguments = (
        *("--worker-class", "asgi", "--workers", str(bed.stack.plan.settings.api_workers)),
        *("--keep-alive", "75", "--backlog", "2048", "--no-control-socket"),
        *("--bind", f"127.0.0.1:{port}", "loadtest.constant:create()"),
    )
    with running("gunicorn", *arguments, environment=os.environ):
        wait_for_port(port)
        plan = Plan("127.0.0.1", port, [http_request("GET", "/", {})], seconds=seconds / 2, warm_up_s=1.0)
        return run_client(plan, lambda done: tell(f"{done:,} constants read"))
