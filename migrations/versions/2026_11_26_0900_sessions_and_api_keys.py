"""Sessions with their refresh tokens, API keys, suspended users, and what of all this is over."""

from alembic import op

revision = "sessions"
down_revision = "shipments"


def upgrade() -> None:
    op.execute(
        """
        ALTER TABLE users ADD COLUMN suspended_at timestamptz;
        GRANT UPDATE (suspended_at) ON users TO marketflow_app;

        CREATE TABLE sessions (
            id uuid PRIMARY KEY,
            user_id uuid NOT NULL REFERENCES users (id),
            created_at timestamptz NOT NULL,
            expires_at timestamptz NOT NULL CHECK (expires_at > created_at),
            ended_at timestamptz,
            end_reason text CHECK (end_reason IN (
                'logged_out', 'password_changed', 'token_reused', 'suspended', 'superseded')),
            CONSTRAINT sessions_end_has_a_reason CHECK ((ended_at IS NULL) = (end_reason IS NULL))
        );
        CREATE INDEX sessions_user_id_idx ON sessions (user_id, id) WHERE ended_at IS NULL;
        CREATE INDEX sessions_expires_at_idx ON sessions (expires_at);

        -- The tokens themselves are known to clients alone. A session has one that was not rotated yet.
        CREATE TABLE refresh_tokens (
            hash bytea PRIMARY KEY CHECK (length(hash) = 32),
            session_id uuid NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
            generation integer NOT NULL CHECK (generation > 0),
            expires_at timestamptz NOT NULL,
            rotated_at timestamptz,
            seed bytea CHECK (length(seed) = 32),
            CONSTRAINT refresh_tokens_session_id_generation_key UNIQUE (session_id, generation),
            CONSTRAINT refresh_tokens_seed_of_rotated CHECK (seed IS NULL OR rotated_at IS NOT NULL)
        );
        CREATE UNIQUE INDEX refresh_tokens_one_newest ON refresh_tokens (session_id) WHERE rotated_at IS NULL;
        CREATE INDEX refresh_tokens_expires_at_idx ON refresh_tokens (expires_at);

        CREATE TABLE api_keys (
            id uuid PRIMARY KEY,
            user_id uuid NOT NULL REFERENCES users (id),
            name text NOT NULL CHECK (length(name) BETWEEN 1 AND 100),
            prefix text NOT NULL CONSTRAINT api_keys_prefix_key UNIQUE CHECK (prefix ~ '^[0-9a-f]{12}$'),
            hash bytea NOT NULL CHECK (length(hash) = 32),
            scopes text[] NOT NULL CHECK (cardinality(scopes) > 0 AND scopes <@ ARRAY[
                'catalog:read', 'catalog:write', 'orders:read', 'orders:write', 'payments:read',
                'payments:write', 'results:read', 'results:write', 'sellers:read', 'sellers:write',
                'finance:read', 'finance:write']),
            created_at timestamptz NOT NULL,
            last_used_at timestamptz,
            ended_at timestamptz
        );
        CREATE INDEX api_keys_user_id_idx ON api_keys (user_id, id) WHERE ended_at IS NULL;

        -- What is over stays over.
        CREATE TRIGGER sessions_stay_ended BEFORE UPDATE ON sessions
            FOR EACH ROW WHEN (OLD.ended_at IS NOT NULL AND NEW.ended_at IS DISTINCT FROM OLD.ended_at)
            EXECUTE FUNCTION refuse_change();
        CREATE TRIGGER refresh_tokens_stay_rotated BEFORE UPDATE ON refresh_tokens
            FOR EACH ROW WHEN (OLD.rotated_at IS NOT NULL AND NEW.rotated_at IS DISTINCT FROM OLD.rotated_at)
            EXECUTE FUNCTION refuse_change();
        CREATE TRIGGER api_keys_stay_ended BEFORE UPDATE ON api_keys
            FOR EACH ROW WHEN (OLD.ended_at IS NOT NULL AND NEW.ended_at IS DISTINCT FROM OLD.ended_at)
            EXECUTE FUNCTION refuse_change();

        CREATE FUNCTION refuse_token_of_ended_session() RETURNS trigger LANGUAGE plpgsql AS $$
        DECLARE
            bad uuid;
        BEGIN
            SELECT s.id INTO bad
            FROM new_rows n JOIN sessions s ON s.id = n.session_id
            WHERE s.ended_at IS NOT NULL
            LIMIT 1;
            IF FOUND THEN
                RAISE EXCEPTION 'session % is over: it takes no token', bad USING ERRCODE = 'check_violation';
            END IF;
            RETURN NULL;
        END $$;
        CREATE TRIGGER refresh_tokens_session_is_live AFTER INSERT ON refresh_tokens
            REFERENCING NEW TABLE AS new_rows
            FOR EACH STATEMENT EXECUTE FUNCTION refuse_token_of_ended_session();

        -- Processes remember credentials and ask here what they must forget. The rows are made by a trigger, so
        -- that nobody ends a session or a key in silence, and stamped by the clock that they are asked for by.
        CREATE TABLE revocations (
            id uuid PRIMARY KEY,
            at timestamptz NOT NULL DEFAULT clock_timestamp()
        );
        CREATE INDEX revocations_at_idx ON revocations (at);
        CREATE FUNCTION note_revocation() RETURNS trigger LANGUAGE plpgsql
            SECURITY DEFINER SET search_path = pg_catalog, public AS $$
        BEGIN
            INSERT INTO public.revocations (id)
            SELECT n.id FROM new_rows n JOIN old_rows o USING (id)
            WHERE o.ended_at IS NULL AND n.ended_at IS NOT NULL;
            RETURN NULL;
        END $$;
        CREATE TRIGGER sessions_revocations AFTER UPDATE ON sessions
            REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
            FOR EACH STATEMENT EXECUTE FUNCTION note_revocation();
        CREATE TRIGGER api_keys_revocations AFTER UPDATE ON api_keys
            REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
            FOR EACH STATEMENT EXECUTE FUNCTION note_revocation();

        GRANT SELECT, INSERT, DELETE ON sessions, refresh_tokens TO marketflow_app;
        GRANT UPDATE (ended_at, end_reason) ON sessions TO marketflow_app;
        GRANT UPDATE (rotated_at, seed) ON refresh_tokens TO marketflow_app;
        GRANT SELECT, INSERT ON api_keys TO marketflow_app;
        GRANT UPDATE (last_used_at, ended_at) ON api_keys TO marketflow_app;
        GRANT SELECT, DELETE ON revocations TO marketflow_app;
        """
    )
