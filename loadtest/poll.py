"""Reading a payment, beside Falcon serving a constant under the same gunicorn."""

import os
from collections.abc import Sequence
from dataclasses import asdict

from loadtest.bed import Bed, http_request, run_client
from loadtest.client import Plan, Result
from loadtest.figures import Figure, Findings, Tell, alternate, middle
from loadtest.peer import free_port, running, wait_for_port

_FOUND = 200
_READ_BY_EACH = 20


def measure(bed: Bed, tell: Tell) -> Findings:
    """Read payments as their payers do, several times, with the constant before, between and after."""
    seconds, count = (3.0, 1) if bed.quick else (3.0, 3)
    requests = _requests(bed, tell)

    def read() -> Result:
        plan = Plan(*bed.address, requests, seconds=seconds, warm_up_s=0.5)
        return run_client(plan, lambda done: tell(f"{done:,} payments read"))

    rounds = alternate(read, lambda: _constant(bed, seconds, tell), count)
    median = middle(rounds, lambda result: result.per_second)
    result = median.measured
    return Findings(
        (
            Figure(
                "payments read against a constant",
                result.per_second / median.limit,
                "x",
                f"{result.per_second:,.0f}/s, p99 {result.p99_ms:.1f} ms, against {median.limit:,.0f}/s; "
                f"rounds: {', '.join(f'{each.measured.per_second / each.limit:.2f}' for each in rounds)}",
                must=0.4,
            ),
            Figure(
                "read: other answers than 200",
                sum(each.measured.failures(_FOUND) for each in rounds),
                "",
                "",
                must=0,
                lower_is_better=True,
            ),
        ),
        {"rounds": [{"constant": each.limit, **asdict(each.measured)} for each in rounds]},
    )


def _requests(bed: Bed, tell: Tell) -> Sequence[str]:
    """Return requests for settled payments, each with its payer's token."""
    wanted = len(bed.token_of) * _READ_BY_EACH
    bed.stack.start_program("workers")
    bed.accept(seconds=30, limit=wanted)
    with bed.database() as connection:
        bed.drain(connection, tell)
        bed.drain_events(connection, tell)
        query = "SELECT payer_id, id FROM payments ORDER BY id DESC LIMIT %s"
        rows = connection.execute(query.encode(), (wanted,)).fetchall()
    return [
        http_request("GET", f"/v1/payments/{payment_id}", {"Authorization": f"Bearer {bed.token_of[payer_id]}"})
        for payer_id, payment_id in rows
    ]


def _constant(bed: Bed, seconds: float, tell: Tell) -> float:
    port = free_port()
    arguments = (
        *("--worker-class", "asgi", "--workers", str(bed.stack.plan.settings.api_workers)),
        *("--keep-alive", "75", "--backlog", "2048", "--no-control-socket"),
        *("--bind", f"127.0.0.1:{port}", "loadtest.constant:create()"),
    )
    with running("gunicorn", *arguments, environment=os.environ):
        wait_for_port(port)
        plan = Plan("127.0.0.1", port, [http_request("GET", "/", {})], seconds=seconds / 2, warm_up_s=0.5)
        return run_client(plan, lambda done: tell(f"{done:,} constants read")).per_second
