"""What payments cost when a marketplace has seen ten thousand of them, and when it has seen a million."""

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict

from api.client import SyncClient
from domain.ledger.service import LedgerService
from loadtest.bed import Bed, http_request, open_bed, run_client
from loadtest.client import Plan, Result
from loadtest.figures import Figure, Findings, Tell
from loadtest.history import multiply
from ops.sessions import with_database
from ops.stack import postgres

_REAL = 2_000
_SMALL = 10_000
_FEW = 100_000
_LARGE = 1_000_000
_HUGE = 10_000_000
_ROUNDS = 3
_READS = 2_000
_ACCEPTS = 1_000
_CONNECTIONS = 16
_BUYERS = 8
_PROGRAMS = frozenset({"postgres", "valkey", "stripe", "api", "workers"})
_MUST = 1.3

Asked = Mapping[str, tuple[Sequence[str], int, int]]
"""By name: requests, how many to send in a round, and the status that answers them."""


def measure(bed: Bed, tell: Tell) -> Findings:
    """Ask the same of both, over the API, in turns; each on a stack of its own.

    What counts is how many answers a second all of their processes bring about, and so what one of them costs.
    """
    large = _HUGE if bed.scale else _FEW if bed.quick else _LARGE
    with _grown(bed, _SMALL, tell) as small, _grown(bed, large, tell) as big:
        tell("recomputing the ledger of the small one")
        verified = with_database(
            small.stack.plan.settings, lambda database: LedgerService(database.begin).verify()
        )
        asked = [(_asked(each), each) for each in (small, big)]
        names = list(asked[0][0])
        rounds = [
            {name: tuple(_ask(each, requests[name], tell) for requests, each in asked) for name in names}
            for _ in range(2 if bed.quick else _ROUNDS)
        ]
    figures = [
        _figure(name, [(small, big) for small, big in (each[name] for each in rounds)], large) for name in names
    ]
    failures = sum(
        result.failures(asked[0][0][name][2]) for each in rounds for name in names for result in each[name]
    )
    figures += [
        Figure("growth: other answers than expected", failures, "", "", must=0, lower_is_better=True),
        Figure(
            "growth: faults in the books of what was made",
            len(verified.faults),
            "",
            f"{verified.journals:,} journals, {verified.entries:,} entries recomputed",
            must=0,
            lower_is_better=True,
        ),
    ]
    return Findings(
        tuple(figures),
        {"rounds": [{name: [asdict(result) for result in each[name]] for name in names} for each in rounds]},
    )


@contextmanager
def _grown(bed: Bed, size: int, tell: Tell) -> Iterator[Bed]:
    """Open a bed whose past has so many settled payments; nobody settles what comes now."""
    quiet: Tell = lambda text: tell(f"{size:,} payments: {text}")  # noqa: E731 - bound to a size
    directory = bed.directory / f"growth-{size}"
    with open_bed(directory, quick=bed.quick, tell=quiet, programs=_PROGRAMS, buyers=_BUYERS) as grown:
        grown.accept(lambda done: quiet(f"{done:,} accepted"), seconds=120, limit=_REAL)
        with grown.database() as connection:
            grown.drain(connection, quiet)
            grown.drain_events(connection, quiet)
        grown.stack.stop_program("workers")
        address = postgres.url(grown.stack.layout, postgres.SUPERUSER)
        multiply(address, size // _REAL, lambda times: quiet(f"{times * _REAL:,} made"))
        yield grown


def _asked(bed: Bed) -> Asked:
    """Return what is asked of a bed: payments are read that are anywhere in its past."""
    with bed.database() as connection:
        rows = connection.execute(
            b"SELECT payer_id, id FROM payments ORDER BY random() LIMIT %s", (_READS,)
        ).fetchall()
    with SyncClient(bed.stack.info.api, timeout_s=30) as market:
        market.log_in(*bed.seller_login)
        seller = market.client.credentials.bearer or ""

    def get(path: str, token: str) -> str:
        return http_request("GET", path, {"Authorization": f"Bearer {token}"})

    return {
        "accept": (bed.payments(), _ACCEPTS, 202),
        "poll": ([get(f"/v1/payments/{id_}", bed.token_of[payer]) for payer, id_ in rows], _READS, 200),
        "list": ([get("/v1/payments?limit=20", token) for token in bed.tokens], _READS // 2, 200),
        "balance": ([get("/v1/sellers/me/balance", seller)], _READS // 4, 200),
    }


def _ask(bed: Bed, asked: tuple[Sequence[str], int, int], tell: Tell) -> Result:
    requests, limit, _ = asked
    plan = Plan(*bed.address, requests, _CONNECTIONS, seconds=60.0, limit=limit)
    return run_client(plan, lambda done: tell(f"{done:,} requests"))


def _figure(name: str, rounds: Sequence[tuple[Result, Result]], large: int) -> Figure:
    ratio: Callable[[tuple[Result, Result]], float] = lambda pair: pair[0].per_second / pair[1].per_second  # noqa: E731
    small, big = sorted(rounds, key=ratio)[len(rounds) // 2]
    return Figure(
        f"cost of {name}, {large:,} payments against {_SMALL:,}",
        statistics.median(map(ratio, rounds)),
        "x",
        f"{big.per_second:,.0f}/s against {small.per_second:,.0f}/s; p99 {big.p99_ms:.1f} ms against "
        f"{small.p99_ms:.1f}; "
        f"rounds: {', '.join(f'{ratio(pair):.2f}' for pair in rounds)}",
        must=_MUST,
        lower_is_better=True,
    )
