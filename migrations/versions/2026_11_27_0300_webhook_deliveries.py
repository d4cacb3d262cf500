"""Webhook endpoints of our clients, the deliveries of events to them, and the log of all attempts."""

from alembic import op

revision = "webhook_deliveries"
down_revision = "reconciliation"


def upgrade() -> None:
    op.execute(
        """
        INSERT INTO legal_transitions (machine, from_status, to_status) VALUES
            ('deliveries', 'pending', 'delivered'),
            ('deliveries', 'pending', 'failed'),
            ('deliveries', 'delivered', 'pending'),
            ('deliveries', 'failed', 'pending'),
            ('webhook_endpoints', 'enabled', 'disabled'),
            ('webhook_endpoints', 'enabled', 'deleted'),
            ('webhook_endpoints', 'disabled', 'enabled'),
            ('webhook_endpoints', 'disabled', 'deleted');

        CREATE TABLE webhook_endpoints (
            id uuid PRIMARY KEY,
            owner_id uuid NOT NULL REFERENCES users (id),
            sees_all boolean NOT NULL,
            -- Whose events it hears: its owner's, or, as the nil UUID, everybody's.
            listens_to uuid NOT NULL GENERATED ALWAYS AS (
                CASE WHEN sees_all THEN '00000000-0000-0000-0000-000000000000' ELSE owner_id END) STORED,
            url text NOT NULL CHECK (length(url) BETWEEN 1 AND 2000),
            events text[] NOT NULL CHECK (cardinality(events) BETWEEN 1 AND 50),
            secret text NOT NULL,
            previous_secret text,
            previous_expires_at timestamptz,
            status text NOT NULL CHECK (status IN ('enabled', 'disabled', 'deleted')),
            disabled_reason text CHECK (disabled_reason IN ('gone', 'failing')),
            failures integer NOT NULL DEFAULT 0 CHECK (failures >= 0),
            failing_since timestamptz,
            resume_at timestamptz,
            created_at timestamptz NOT NULL,
            updated_at timestamptz NOT NULL,
            CONSTRAINT webhook_endpoints_secret_until_deleted CHECK ((secret = '') = (status = 'deleted')),
            CONSTRAINT webhook_endpoints_previous_expires
                CHECK ((previous_secret IS NULL) = (previous_expires_at IS NULL)),
            CONSTRAINT webhook_endpoints_disabled_says_why
                CHECK (status = 'deleted' OR (status = 'disabled') = (disabled_reason IS NOT NULL)),
            CONSTRAINT webhook_endpoints_failing_since CHECK ((failures = 0) = (failing_since IS NULL))
        );
        CREATE INDEX webhook_endpoints_owner_id_idx ON webhook_endpoints (owner_id, id);
        CREATE INDEX webhook_endpoints_listens_to_idx ON webhook_endpoints (listens_to)
            WHERE status = 'enabled';
        CREATE TRIGGER webhook_endpoints_transitions AFTER UPDATE ON webhook_endpoints
            REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
            FOR EACH STATEMENT EXECUTE FUNCTION refuse_illegal_transition();

        -- Work, as payments are; announced by its endpoint, so there is no publish_at. A leased row is due when
        -- its lease ends. No foreign keys: the statement that inserts takes both ids from rows that nobody
        -- deletes, and a key to a busy endpoint would write to that one row with every event.
        CREATE TABLE deliveries (
            id uuid PRIMARY KEY,
            endpoint_id uuid NOT NULL,
            event_id uuid NOT NULL,
            sequence bigint NOT NULL,
            status text NOT NULL CHECK (status IN ('pending', 'delivered', 'failed')),
            attempts integer NOT NULL DEFAULT 0,
            tries integer NOT NULL DEFAULT 0 CHECK (tries BETWEEN 0 AND attempts),
            due_at timestamptz,
            locked_until timestamptz,
            created_at timestamptz NOT NULL,
            CONSTRAINT deliveries_endpoint_id_event_id_key UNIQUE (endpoint_id, event_id),
            CONSTRAINT deliveries_due_while_pending CHECK ((status = 'pending') = (due_at IS NOT NULL)),
            CONSTRAINT deliveries_locked_while_pending CHECK (locked_until IS NULL OR status = 'pending'),
            CONSTRAINT deliveries_over_after_an_attempt CHECK (status = 'pending' OR attempts > 0)
        );
        CREATE INDEX deliveries_due_idx ON deliveries (endpoint_id, due_at) WHERE due_at IS NOT NULL;
        CREATE INDEX deliveries_locked_idx ON deliveries (endpoint_id) WHERE locked_until IS NOT NULL;
        CREATE INDEX deliveries_failed_idx ON deliveries (endpoint_id, event_id) WHERE status = 'failed';
        CREATE TRIGGER deliveries_start BEFORE INSERT ON deliveries
            FOR EACH ROW WHEN (NEW.status <> 'pending') EXECUTE FUNCTION refuse_late_start();
        CREATE TRIGGER deliveries_transitions AFTER UPDATE ON deliveries
            REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
            FOR EACH STATEMENT EXECUTE FUNCTION refuse_illegal_transition();

        CREATE TABLE delivery_attempts (
            delivery_id uuid NOT NULL REFERENCES deliveries (id),
            number integer NOT NULL CHECK (number > 0),
            at timestamptz NOT NULL,
            latency_ms integer NOT NULL CHECK (latency_ms >= 0),
            response_status integer,
            response_start text NOT NULL CHECK (length(response_start) <= 500),
            error text,
            PRIMARY KEY (delivery_id, number),
            CONSTRAINT delivery_attempts_one_end CHECK ((response_status IS NULL) <> (error IS NULL))
        );
        -- Both are forgotten in time; a log is never rewritten.
        CREATE TRIGGER delivery_attempts_stay BEFORE UPDATE OR TRUNCATE ON delivery_attempts
            FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
        CREATE TRIGGER deliveries_stay_all BEFORE TRUNCATE ON deliveries
            FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

        GRANT SELECT ON webhook_endpoints TO marketflow_app;
        GRANT SELECT, DELETE ON deliveries TO marketflow_app;
        GRANT SELECT, INSERT, DELETE ON delivery_attempts TO marketflow_app;
        GRANT INSERT (id, owner_id, sees_all, url, events, secret, status, created_at, updated_at)
            ON webhook_endpoints TO marketflow_app;
        GRANT UPDATE (
            secret, previous_secret, previous_expires_at, status, disabled_reason, failures, failing_since,
            resume_at, updated_at
        ) ON webhook_endpoints TO marketflow_app;
        GRANT INSERT (id, endpoint_id, event_id, sequence, status, due_at, created_at)
            ON deliveries TO marketflow_app;
        GRANT UPDATE (status, attempts, tries, due_at, locked_until) ON deliveries TO marketflow_app;
        """
    )
