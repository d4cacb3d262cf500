"""The state machines in the database: the same steps as in the domain, and no others, whoever asks."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import pytest
from psycopg.errors import ForeignKeyViolation
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.disputes.model import DISPUTE_TRANSITIONS
from domain.errors import IllegalTransition
from domain.ids import uuid7
from domain.notifications.model import DELIVERY_TRANSITIONS, ENDPOINT_TRANSITIONS
from domain.orders.model import ORDER_TRANSITIONS, check_order_transition
from domain.payments.model import PAYMENT_TRANSITIONS
from domain.payouts.model import PAYOUT_TRANSITIONS, REVERSAL_TRANSITIONS
from domain.refunds.model import REFUND_TRANSITIONS

MACHINES: dict[str, Mapping[Any, Any]] = {
    "orders": ORDER_TRANSITIONS,
    "payments": PAYMENT_TRANSITIONS,
    "refunds": REFUND_TRANSITIONS,
    "disputes": DISPUTE_TRANSITIONS,
    "payouts": PAYOUT_TRANSITIONS,
    "payout_reversals": REVERSAL_TRANSITIONS,
}
# Whose steps change other columns too (contracts/test_deliveries.py).
OTHERS: dict[str, Mapping[Any, Any]] = {
    "deliveries": DELIVERY_TRANSITIONS,
    "webhook_endpoints": ENDPOINT_TRANSITIONS,
}
# Of a dispute the first word may be its last.
STARTING = sorted(MACHINES.keys() - {"disputes"})
# Values that satisfy the CHECKs of every state.
ROWS = {
    "orders": """
        INSERT INTO orders (id, buyer_id, status, amount_minor, currency, idempotency_key, request_hash,
                            created_at, updated_at)
        VALUES (:id, :id, :status, 1999, 'USD', 'key', sha256(''), now(), now())
    """,
    "payments": """
        INSERT INTO payments (id, payer_id, seller_id, commission_bps, status, amount_minor, currency,
                              payment_method, capture, captured_minor, failure_code, idempotency_key,
                              request_hash, created_at, updated_at)
        VALUES (:id, :id, :id, 250, :status, 1999, 'USD', 'pm', 'automatic', 1999, 'card_declined', 'key',
                sha256(''), now(), now())
    """,
    "refunds": """
        INSERT INTO refunds (id, payment_id, stripe_charge_id, status, amount_minor, currency, reason,
                             origin, created_at, updated_at)
        VALUES (:id, :id, 'ch', :status, 1999, 'USD', 'late_success', 'late_success', now(), now())
    """,
    "disputes": """
        INSERT INTO disputes (id, payment_id, stripe_dispute_id, stripe_charge_id, status, amount_minor, currency,
                              reason, opened_at, created_at, updated_at, funds, withdrawn_minor, transaction_ids)
        VALUES (:id, :id, CAST(:id AS text), 'ch', :status, 1999, 'USD', 'fraudulent', now(), now(), now(),
                'none', 0, '{}')
    """,
    "payouts": """
        INSERT INTO payouts (id, seller_id, stripe_account_id, stripe_transfer_id, status, amount_minor, currency,
                             origin, failure_code, created_at, updated_at)
        VALUES (:id, :id, 'acct', CAST(:id AS text), :status, 1999, 'USD', 'scheduled', 'x', now(), now())
    """,
    "payout_reversals": """
        INSERT INTO payout_reversals (id, payout_id, stripe_reversal_id, status, amount_minor, currency,
                                      failure_code, created_at, updated_at)
        VALUES (:id, :id, CAST(:id AS text), :status, 1999, 'USD', 'x', now(), now())
    """,
}
PAY_ORDER = "UPDATE payments SET order_id = :id, seller_id = NULL, commission_bps = NULL WHERE id = :payment_id"


async def triggers(connection: AsyncConnection, *, on: bool) -> None:
    await connection.execute(text(f"SET LOCAL session_replication_role = {'origin' if on else 'replica'}"))


async def is_accepted(connection: AsyncConnection, statement: str, **values: Any) -> bool:
    try:
        async with connection.begin_nested():
            await connection.execute(text(statement), values)
    except IntegrityError as error:
        if isinstance(error.orig, ForeignKeyViolation):
            raise  # the test forgot a row that must exist
        return False
    return True


async def new_id(connection: AsyncConnection, machine: str) -> UUID:
    """Return an id under which the rows exist that a row of the machine refers to."""
    row_id = uuid7()
    await triggers(connection, on=False)
    await connection.execute(
        text("INSERT INTO users VALUES (:id, CAST(:id AS text), 'hash', 'seller', now())"), {"id": row_id}
    )
    await connection.execute(text("INSERT INTO sellers VALUES (:id)"), {"id": row_id})
    if machine == "payout_reversals":
        await connection.execute(text(ROWS["payouts"]), {"id": row_id, "status": "in_transit"})
    if machine in {"refunds", "disputes"}:
        await connection.execute(text(ROWS["payments"]), {"id": row_id, "status": "canceled"})
    await triggers(connection, on=True)
    return row_id


async def plant(connection: AsyncConnection, machine: str, status: str, *, payment: str | None = None) -> UUID:
    """Insert a row in any state; an order together with a payment in that state."""
    row_id = await new_id(connection, machine)
    payment_id = await plant(connection, "payments", payment) if payment is not None else None
    await triggers(connection, on=False)
    await connection.execute(text(ROWS[machine]), {"id": row_id, "status": status})
    await connection.execute(text(PAY_ORDER), {"id": row_id, "payment_id": payment_id})
    if machine == "refunds" and status != "failed":
        await connection.execute(text("UPDATE payments SET refunded_minor = 1999 WHERE id = :id"), {"id": row_id})
    if machine == "payout_reversals" and status != "failed":
        await connection.execute(text("UPDATE payouts SET reversed_minor = 1999 WHERE id = :id"), {"id": row_id})
    await triggers(connection, on=True)
    return row_id


@pytest.mark.parametrize("machine", sorted(MACHINES | OTHERS))
async def test_database_holds_the_domains_table(connection: AsyncConnection, machine: str) -> None:
    rows = await connection.execute(
        text("SELECT from_status, to_status FROM legal_transitions WHERE machine = :machine"), {"machine": machine}
    )

    assert {tuple(row) for row in rows} == {
        (str(start), str(end)) for start, ends in (MACHINES | OTHERS)[machine].items() for end in ends
    }


@pytest.mark.parametrize("machine", sorted(MACHINES))
async def test_legal_steps_are_accepted_and_all_others_refused(superuser: AsyncConnection, machine: str) -> None:
    table = MACHINES[machine]
    for start in table:
        for end in table:
            paid = "succeeded" if (machine, end) == ("orders", "paid") else None
            row_id = await plant(superuser, machine, start, payment=paid)
            step = f"UPDATE {machine} SET status = :end WHERE id = :id"
            legal = end == start or end in table[start]
            assert await is_accepted(superuser, step, end=end, id=row_id) == legal, (start, end)


@pytest.mark.parametrize("machine", STARTING)
async def test_rows_start_as_pending(superuser: AsyncConnection, machine: str) -> None:
    for status in MACHINES[machine]:
        row_id = await new_id(superuser, machine)
        accepted = await is_accepted(superuser, ROWS[machine], id=row_id, status=status)
        assert accepted == (status == "pending"), status


@pytest.mark.parametrize("machine", sorted(MACHINES))
async def test_changed_id_does_not_escape_the_rule(superuser: AsyncConnection, machine: str) -> None:
    row_id = await plant(superuser, machine, next(iter(MACHINES[machine])))

    assert not await is_accepted(
        superuser, f"UPDATE {machine} SET id = :new WHERE id = :id", new=uuid7(), id=row_id
    )


async def test_one_illegal_step_refuses_the_whole_statement(superuser: AsyncConnection) -> None:
    good, bad = await plant(superuser, "payments", "pending"), await plant(superuser, "payments", "succeeded")
    step = "UPDATE payments SET status = 'failed' WHERE id = ANY(:ids)"

    assert not await is_accepted(superuser, step, ids=[good, bad])
    assert await is_accepted(superuser, step, ids=[good])


async def test_table_of_the_sessions_own_is_not_believed(superuser: AsyncConnection) -> None:
    payment_id = await plant(superuser, "payments", "succeeded")
    await superuser.execute(text("CREATE TEMPORARY TABLE legal_transitions (LIKE public.legal_transitions)"))
    await superuser.execute(text("INSERT INTO legal_transitions VALUES ('payments', 'succeeded', 'failed')"))

    assert not await is_accepted(superuser, "UPDATE payments SET status = 'failed' WHERE id = :id", id=payment_id)


@pytest.mark.parametrize("payment", [None, *PAYMENT_TRANSITIONS])
async def test_order_agrees_with_its_payments(superuser: AsyncConnection, payment: str | None) -> None:
    """It is paid by a captured payment alone, and ends unpaid only while none is alive."""
    dead = payment in {None, "failed", "canceled"}
    expected = {"paid": payment == "succeeded", "cancelled": dead, "expired": dead}
    for of_another in ("succeeded", "unknown"):
        await plant(superuser, "orders", "pending", payment=of_another)

    for status, legal in expected.items():
        order_id = await plant(superuser, "orders", "pending", payment=payment)
        step = "UPDATE orders SET status = :status WHERE id = :id"
        assert await is_accepted(superuser, step, status=status, id=order_id) == legal, status


async def test_order_is_shipped_when_all_its_sellers_have(superuser: AsyncConnection) -> None:
    order_id = await plant(superuser, "orders", "paid")
    sellers = [await new_id(superuser, "orders") for _ in range(2)]
    await triggers(superuser, on=False)
    for number, seller_id in enumerate(sellers, 1):
        await superuser.execute(
            text("""
                INSERT INTO order_lines
                    (order_id, line, product_id, seller_id, quantity, price_minor, commission_bps)
                VALUES (:id, :line, :seller_id, :seller_id, 1, 1, 250)
            """),
            {"id": order_id, "line": number, "seller_id": seller_id},
        )
    await triggers(superuser, on=True)
    send = "INSERT INTO shipments VALUES (:id, :seller_id, 'DHL', '1', now())"
    step = "UPDATE orders SET status = 'shipped' WHERE id = :id"

    assert not await is_accepted(superuser, step, id=order_id)
    assert await is_accepted(superuser, send, id=order_id, seller_id=sellers[0])
    assert not await is_accepted(superuser, step, id=order_id)
    assert await is_accepted(superuser, send, id=order_id, seller_id=sellers[1])
    assert await is_accepted(superuser, step, id=order_id)


@pytest.mark.parametrize(
    "statement", ["UPDATE shipments SET carrier = 'UPS'", "DELETE FROM shipments", "TRUNCATE shipments"]
)
async def test_shipments_are_history(superuser: AsyncConnection, statement: str) -> None:
    await triggers(superuser, on=True)

    assert not await is_accepted(superuser, statement)


async def test_order_that_is_not_pending_takes_no_payment(superuser: AsyncConnection) -> None:
    statement = (
        ROWS["payments"].replace("seller_id, commission_bps,", "order_id,").replace(":id, 250,", ":order_id,")
    )
    for status in ORDER_TRANSITIONS:
        order_id, payment_id = await plant(superuser, "orders", status), await new_id(superuser, "payments")
        accepted = await is_accepted(superuser, statement, id=payment_id, order_id=order_id, status="pending")
        assert accepted == (status == "pending"), status


async def test_order_has_one_live_payment(superuser: AsyncConnection) -> None:
    order_id = await plant(superuser, "orders", "pending", payment="unknown")
    dead, alive = await plant(superuser, "payments", "failed"), await plant(superuser, "payments", "pending")

    assert await is_accepted(superuser, PAY_ORDER, id=order_id, payment_id=dead)
    assert not await is_accepted(superuser, PAY_ORDER, id=order_id, payment_id=alive)


@pytest.mark.parametrize(
    "change",
    [
        "captured_minor = 2000",
        "captured_minor = -1",
        "captured_minor = 0",
        "fee_minor = -1",
        "failure_code = NULL",
        "due_at = now()",
        "publish_at = now()",
        "seller_id = NULL",
        "commission_bps = NULL",
        "amount_minor = 0",
        "capture_minor = 1",
        "capture = 'manual', capture_minor = 2000",
        "capture = 'manual', capture_minor = 0",
        "capture = 'manual', capture_minor = 1, cancel_requested = true",
        "refunded_minor = 2000",
        "refunded_minor = -1",
    ],
)
async def test_payment_that_contradicts_itself_is_refused(superuser: AsyncConnection, change: str) -> None:
    payment_id = await plant(superuser, "payments", "failed" if "failure" in change else "succeeded")

    assert not await is_accepted(superuser, f"UPDATE payments SET {change} WHERE id = :id", id=payment_id)


def test_domain_refuses_a_step_that_the_table_does_not_have() -> None:
    for start, ends in ORDER_TRANSITIONS.items():
        for end in ORDER_TRANSITIONS:
            if end in ends:
                check_order_transition(start, end)
            else:
                with pytest.raises(IllegalTransition):
                    check_order_transition(start, end)
