"""How long a payment takes from accepted to settled, when few and when many come."""

from dataclasses import asdict

from loadtest.bed import Bed
from loadtest.figures import Figure, Findings, Tell
from loadtest.settle import clear
from loadtest.steady import try_rate

RATES = (10, 100, 1_000)


def measure(bed: Bed, tell: Tell) -> Findings:
    """Accept at fixed rates, one after the other, and read from the rows when each payment was settled."""
    seconds = 4.0 if bed.quick else 6.0
    with bed.database() as connection:
        clear(bed, connection, tell)
        trials = [try_rate(bed, connection, float(rate), seconds, tell) for rate in RATES]
    figures = [
        Figure(
            f"from accepted to settled at {trial.rate:,.0f}/s, p99",
            trial.settle_p99_ms,
            "ms",
            f"p50 {trial.settle_p50_ms:.0f} ms; {trial.backlog:,} unsettled when the last was accepted",
        )
        for trial in trials
    ]
    failures = sum(trial.failures for trial in trials)
    refused = Figure("latency: other answers than 202", failures, "", "", must=0, lower_is_better=True)
    return Findings((*figures, refused), {"trials": [asdict(trial) for trial in trials]})
