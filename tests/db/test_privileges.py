"""What the application's role may not do, so that a wrong program cannot either."""

import pytest
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.ext.asyncio import AsyncConnection

OWNED = """
    SELECT c.relname FROM pg_class c WHERE c.relowner = 'marketflow_app'::regrole
    UNION ALL SELECT p.proname FROM pg_proc p WHERE p.proowner = 'marketflow_app'::regrole
    UNION ALL SELECT n.nspname FROM pg_namespace n WHERE n.nspowner = 'marketflow_app'::regrole
    UNION ALL SELECT d.datname FROM pg_database d WHERE d.datdba = 'marketflow_app'::regrole
"""
MIGHT = """
    SELECT rolsuper OR rolcreaterole OR rolcreatedb OR rolbypassrls OR rolreplication
        OR EXISTS (SELECT FROM pg_auth_members WHERE member = r.oid)
    FROM pg_roles r WHERE rolname = current_user
"""

# A temporary table would stand before one of the same name.
TRUSTING = """
    SELECT p.proname FROM pg_proc p
    WHERE p.oid IN (SELECT tgfoid FROM pg_trigger WHERE NOT tgisinternal)
        AND NOT EXISTS (SELECT FROM unnest(p.proconfig) AS set (name) WHERE starts_with(name, 'search_path='))
    ORDER BY p.proname
"""


async def test_application_owns_nothing_and_inherits_nothing(connection: AsyncConnection) -> None:
    assert (await connection.execute(text("SELECT current_user"))).scalar_one() == "marketflow_app"
    assert (await connection.execute(text(OWNED))).scalars().all() == []
    assert (await connection.execute(text(MIGHT))).scalar_one() is False


async def test_triggers_look_in_no_schema_of_the_callers_choice(connection: AsyncConnection) -> None:
    assert (await connection.execute(text(TRUSTING))).scalars().all() == []


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE entries DISABLE TRIGGER ALL",
        "ALTER TABLE payments DROP CONSTRAINT payments_captured",
        "DROP TRIGGER entries_balance ON entries",
        "DROP TABLE events",
        "CREATE TABLE mine (id int)",
        "CREATE TEMPORARY TABLE legal_transitions (machine text, from_status text, to_status text)",
        "CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
        "SET session_replication_role = replica",
        "SET ROLE marketflow_owner",
        "UPDATE payments SET amount_minor = 1",
        "UPDATE payments SET currency = 'EUR'",
        "UPDATE payments SET payer_id = payer_id",
        "UPDATE payments SET idempotency_key = 'x'",
        "UPDATE orders SET amount_minor = 1",
        "UPDATE order_lines SET quantity = 1",
        "DELETE FROM order_lines",
        "UPDATE shipments SET carrier = 'x'",
        "DELETE FROM shipments",
        "UPDATE refunds SET amount_minor = 1",
        "UPDATE refunds SET requested_by = NULL",
        "UPDATE conversions SET exchange_rate = 1",
        "DELETE FROM conversions",
        "UPDATE payouts SET amount_minor = 1",
        "UPDATE payouts SET reversed_minor = 0",
        "UPDATE payouts SET stripe_account_id = 'acct_else'",
        "DELETE FROM payouts",
        "UPDATE payouts SET run_at = NULL",
        "UPDATE payout_runs SET run_at = run_at",
        "DELETE FROM payout_runs",
        "UPDATE payout_entries SET payout_id = payout_id",
        "UPDATE payout_reversals SET amount_minor = 1",
        "DELETE FROM payout_reversals",
        "UPDATE audit_seals SET hash = hash",
        "DELETE FROM audit_seals",
        "UPDATE disputes SET amount_minor = 1",
        "DELETE FROM disputes",
        "UPDATE seller_accounts SET seller_id = seller_id",
        "DELETE FROM seller_accounts",
        "UPDATE refund_lines SET amount_minor = 1",
        "DELETE FROM refund_lines",
        "UPDATE payments SET refunded_minor = 0",
        "UPDATE orders SET resumes_as = 'paid'",
        "UPDATE stripe_events SET body = ''",
        "UPDATE users SET role = 'admin'",
        "UPDATE products SET seller_id = seller_id",
        "UPDATE products SET created_at = now()",
        "DELETE FROM products",
        "UPDATE users SET email = 'a@b.c'",
        "DELETE FROM users",
        "UPDATE sessions SET user_id = user_id",
        "UPDATE sessions SET expires_at = expires_at",
        "UPDATE refresh_tokens SET hash = hash",
        "UPDATE refresh_tokens SET session_id = session_id",
        "UPDATE api_keys SET scopes = scopes",
        "UPDATE api_keys SET hash = hash",
        "DELETE FROM api_keys",
        "INSERT INTO revocations (id) VALUES ('018f0000-0000-7000-8000-000000000000')",
        "UPDATE revocations SET at = now()",
        "UPDATE sellers SET user_id = user_id",
        "DELETE FROM payments",
        "DELETE FROM orders",
        "DELETE FROM refunds",
        "DELETE FROM balances",
        "INSERT INTO legal_transitions VALUES ('payments', 'succeeded', 'failed')",
        "DELETE FROM webhook_endpoints",
        "UPDATE webhook_endpoints SET owner_id = owner_id",
        "UPDATE webhook_endpoints SET sees_all = true",
        "UPDATE webhook_endpoints SET url = url",
        "UPDATE deliveries SET endpoint_id = endpoint_id",
        "UPDATE deliveries SET event_id = event_id",
        "UPDATE delivery_attempts SET response_status = 200",
        "UPDATE legal_transitions SET to_status = 'failed'",
        "DELETE FROM legal_transitions",
        "INSERT INTO balance_folds VALUES (false, 0)",
        "INSERT INTO entries (transaction_id) VALUES (1)",
        "INSERT INTO events (transaction_id) VALUES (1)",
    ],
)
async def test_application_may_not(connection: AsyncConnection, statement: str) -> None:
    with pytest.raises(ProgrammingError, match=r"permission denied|must be owner"):
        await connection.execute(text(statement))
