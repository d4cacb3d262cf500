"""A dispute that was over may take money again: it goes on from there, and may be lost."""

from alembic import op

revision = "disputes_that_take_again"
down_revision = "failed_refunds"


def upgrade() -> None:
    op.execute(
        """
        INSERT INTO legal_transitions (machine, from_status, to_status)
        SELECT 'disputes', from_status, to_status
        FROM unnest(ARRAY['warning_closed', 'prevented', 'won']) AS ended (from_status),
            unnest(ARRAY['needs_response', 'under_review', 'appeal_needs_response', 'appeal_under_review',
                         'prevented', 'won', 'lost']) AS next (to_status)
        WHERE from_status <> to_status
        """
    )
