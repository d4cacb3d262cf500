"""The chain of seals over events and journals, in which no link can be left out, doubled or put elsewhere."""

from alembic import op

revision = "audit_seals"
down_revision = "seller_commissions"


def upgrade() -> None:
    op.execute(
        """
        -- A seal follows the one before by its number and its hash, and the last one of its log by its
        -- positions. Each may be followed once, so there is one chain: no gap, no overlap, no fork.
        CREATE TABLE audit_seals (
            number bigint PRIMARY KEY CHECK (number >= 1),
            log text NOT NULL CHECK (log IN ('events', 'journals')),
            first_position bigint NOT NULL CHECK (first_position >= 1),
            last_position bigint NOT NULL CHECK (last_position >= first_position),
            count integer NOT NULL CHECK (count > 0),
            index bytea NOT NULL,
            previous_hash bytea NOT NULL CHECK (octet_length(previous_hash) = 32),
            hash bytea NOT NULL CHECK (octet_length(hash) = 32),
            sealed_at timestamptz NOT NULL,
            previous_number bigint GENERATED ALWAYS AS (nullif(number, 1) - 1) STORED,
            previous_position bigint GENERATED ALWAYS AS (nullif(first_position, 1) - 1) STORED,
            CONSTRAINT audit_seals_number_hash_key UNIQUE (number, hash),
            CONSTRAINT audit_seals_log_first_position_key UNIQUE (log, first_position),
            CONSTRAINT audit_seals_log_last_position_key UNIQUE (log, last_position),
            CONSTRAINT audit_seals_follow FOREIGN KEY (previous_number, previous_hash)
                REFERENCES audit_seals (number, hash),
            CONSTRAINT audit_seals_go_on FOREIGN KEY (log, previous_position)
                REFERENCES audit_seals (log, last_position),
            CONSTRAINT audit_seals_begin CHECK (
                number > 1 OR previous_hash = decode(repeat('00', 32), 'hex')),
            CONSTRAINT audit_seals_index CHECK (
                octet_length(index) = count * CASE log WHEN 'events' THEN 40 ELSE 48 END)
        );
        -- PERF: digests do not compress.
        ALTER TABLE audit_seals ALTER COLUMN index SET STORAGE EXTERNAL;
        CREATE TRIGGER audit_seals_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_seals
            FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
        GRANT SELECT ON audit_seals TO marketflow_app;
        GRANT INSERT (
            number, log, first_position, last_position, count, index, previous_hash, hash, sealed_at
        ) ON audit_seals TO marketflow_app;
        """
    )
