"""What is not found, who may look, and that each look-up has an index."""

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from db.sql import Sql
from db.traces import BESIDE, FINDERS, NODES
from domain.errors import Forbidden, NotFound
from domain.identity.model import Role
from domain.payments.model import Payment
from domain.traces.model import NodeKind
from domain.traces.service import TraceService
from tests.builders import a_user, principal


@pytest.mark.parametrize("sought", ["", "ch_unknown", "evt_unknown", "nothing", "'; DROP", "a\x00", "x" * 300])
async def test_unknown_id_is_not_found(traces: TraceService, sought: str) -> None:
    with pytest.raises(NotFound) as refusal:
        await traces.explain(sought)

    assert refusal.value.code == "trace_not_found"


async def test_id_of_ours_may_be_written_in_capitals(traces: TraceService, payment: Payment) -> None:
    whole = await traces.explain(str(payment.id))

    (entry, *_) = [node.id for node in whole.nodes if node.kind is NodeKind.ENTRY]
    for sought in (str(payment.id), payment.id.hex, entry):
        assert (await traces.explain(sought.upper())).nodes == whole.nodes


@pytest.mark.parametrize("role", [role for role in Role if role != Role.FINANCE])
async def test_finance_alone_sees_traces(traces: TraceService, payment: Payment, role: Role) -> None:
    with pytest.raises(Forbidden):
        await traces.get(principal(a_user(role)), str(payment.id))


@pytest.mark.parametrize("statement", [*(finder.statement for finder in FINDERS), BESIDE, *NODES])
async def test_every_look_up_has_an_index(connection: AsyncConnection, statement: Sql) -> None:
    """With sequential scans priced out, none is left: so each table is read by an index."""
    await connection.execute(text("SET LOCAL enable_seqscan = off"))
    forms = {"sought": "x", "uuid": None, "line": 1, "kinds": ["charge"]}
    ids = ("order_ids", "payment_ids", "payout_ids", "line_ids", "exception_ids", "journal_ids")
    values = {**forms, **{name: [] for name in ids}, "until": None, "limit": 9}

    query = text(f"EXPLAIN {statement.text}")
    plan = await connection.execute(query, {name: values[name] for name in query.compile().params})

    assert "Seq Scan" not in "\n".join(plan.scalars())
