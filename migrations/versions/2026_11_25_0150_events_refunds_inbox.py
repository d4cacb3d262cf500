"""The event log, the refunds, and the inbox of Stripe's webhooks."""

from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE events (
            id uuid PRIMARY KEY,
            position bigint GENERATED ALWAYS AS IDENTITY,
            type text NOT NULL,
            subject_id uuid NOT NULL,
            data jsonb NOT NULL,
            created_at timestamptz NOT NULL,
            transaction_id bigint NOT NULL DEFAULT (pg_current_xact_id()::text::bigint)
        );
        CREATE INDEX events_subject_id_idx ON events (subject_id, position);
        CREATE TRIGGER events_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON events
            FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

        CREATE TABLE refunds (
            id uuid PRIMARY KEY,
            payment_id uuid NOT NULL REFERENCES payments (id),
            stripe_charge_id text NOT NULL,
            stripe_refund_id text CONSTRAINT refunds_stripe_refund_id_key UNIQUE,
            amount_minor bigint NOT NULL CHECK (amount_minor > 0),
            currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
            status text NOT NULL CHECK (status IN ('pending', 'succeeded', 'failed')),
            reason text NOT NULL CHECK (reason IN ('late_success')),
            created_at timestamptz NOT NULL,
            updated_at timestamptz NOT NULL,
            attempts integer NOT NULL DEFAULT 0,
            due_at timestamptz,
            publish_at timestamptz,
            locked_until timestamptz,
            CONSTRAINT refunds_publish_when_due CHECK ((due_at IS NULL) = (publish_at IS NULL))
        );
        CREATE UNIQUE INDEX refunds_one_late_success ON refunds (payment_id) WHERE reason = 'late_success';
        CREATE INDEX refunds_publish_at_idx ON refunds (publish_at) WHERE publish_at IS NOT NULL;
        CREATE TRIGGER refunds_start BEFORE INSERT ON refunds
            FOR EACH ROW WHEN (NEW.status <> 'pending') EXECUTE FUNCTION refuse_late_start();
        CREATE TRIGGER refunds_transitions AFTER UPDATE ON refunds
            REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
            FOR EACH STATEMENT EXECUTE FUNCTION refuse_illegal_transition();

        CREATE TABLE stripe_events (
            id text PRIMARY KEY CHECK (length(id) BETWEEN 1 AND 255),
            type text NOT NULL CHECK (length(type) BETWEEN 1 AND 255),
            body text NOT NULL,
            status text NOT NULL CHECK (status IN (
                'received', 'processed', 'ignored', 'unmatched', 'quarantined')),
            received_at timestamptz NOT NULL,
            handled_at timestamptz,
            attempts integer NOT NULL DEFAULT 0,
            due_at timestamptz,
            publish_at timestamptz,
            locked_until timestamptz,
            CONSTRAINT stripe_events_publish_when_due CHECK ((due_at IS NULL) = (publish_at IS NULL))
        );
        CREATE INDEX stripe_events_publish_at_idx ON stripe_events (publish_at)
            WHERE publish_at IS NOT NULL;

        GRANT SELECT, INSERT ON refunds, stripe_events TO marketflow_app;
        GRANT SELECT, INSERT (id, type, subject_id, data, created_at) ON events TO marketflow_app;
        GRANT UPDATE (
            stripe_refund_id, status, updated_at, attempts, due_at, publish_at, locked_until
        ) ON refunds TO marketflow_app;
        GRANT UPDATE (status, handled_at, attempts, due_at, publish_at, locked_until)
            ON stripe_events TO marketflow_app;
        """
    )
