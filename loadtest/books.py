"""After all the load: prove that the books are right, and that no payment is lost or left lying."""

from collections.abc import Mapping

from domain.ledger.model import Verification
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
    return judge(verified, bed.accepted, bed.refused, rows, succeeded)


def judge(
    verified: Verification, accepted: int, refused: Mapping[int, int], rows: int, succeeded: int
) -> Findings:
    """Hold what was promised against what is there; all of it was paid by a card that is good."""
    # Whoever got no answer in time may have been promised something all the same.
    unanswered = refused.get(LOST, 0)
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
                max(accepted - rows, rows - accepted - unanswered, 0),
                "",
                f"{accepted:,} answers 202, {rows:,} rows, {sum(refused.values())} other answers",
                must=0,
                lower_is_better=True,
            ),
            Figure(
                "payments that did not succeed",
                rows - succeeded,
                "",
                f"{succeeded:,} succeeded; the others failed, or wait for a person",
                must=0,
                lower_is_better=True,
            ),
        ),
        {"accepted": accepted, "rows": rows, "succeeded": succeeded, "refused": refused},
    )
