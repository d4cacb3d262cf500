"""After all the load: prove that the books are right and that no payment is lost."""

from domain.ledger.service import LedgerService
from loadtest.bed import Bed, scalar
from loadtest.client import LOST
from loadtest.figures import Figure, Findings, Tell
from ops.sessions import with_database


def verify(bed: Bed, tell: Tell) -> Findings:
    """Let the workers finish, recompute the ledger, and count what was promised against what is there."""
    bed.stack.start_program("workers")
    with bed.database() as connection:
        bed.drain(connection, tell)
        tell("recomputing the ledger")
        verified = with_database(bed.stack.plan.settings, lambda database: LedgerService(database.begin).verify())
        rows = int(scalar(connection, "SELECT count(*) FROM payments"))
        succeeded = int(scalar(connection, "SELECT count(*) FROM payments WHERE status = 'succeeded'"))
    others = sum(bed.refused.values())
    # Whoever got no answer in time may have been promised something all the same.
    unanswered = bed.refused.get(LOST, 0)
    return Findings(
        (
            Figure(
                "faults in the books",
                len(verified.faults),
                "",
                f"{verified.journals:,} journals, {verified.entries:,} entries recomputed",
                must=0,
                lower_is_better=True,
            ),
            Figure(
                "payments lost or doubled",
                max(bed.accepted - rows, rows - bed.accepted - unanswered, 0),
                "",
                f"{bed.accepted:,} answers 202, {rows:,} rows, {succeeded:,} succeeded, {others} other answers",
                must=0,
                lower_is_better=True,
            ),
        ),
        {"accepted": bed.accepted, "rows": rows, "succeeded": succeeded, "refused": bed.refused},
    )
