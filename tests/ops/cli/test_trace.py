"""`marketflow trace` draws the chain as a tree for people, and tells it whole to programs."""

import asyncio
import json
from collections.abc import Callable

import pytest
from typer.testing import Result

from db.pool import make_pool
from db.unit_of_work import Database
from domain.payments.model import Payment
from domain.traces.model import Node, NodeKind
from ops.cli.trace import line
from ops.errors import BadValue
from tests.builders import NOW, Shop
from tests.captured import captured

Command = Callable[..., Result]


@pytest.fixture
def payment(database_url: str) -> Payment:
    async def pay() -> Payment:
        pool = make_pool(database_url, pool_size=1, statement_timeout_s=60)
        try:
            shop = await Shop(Database(pool).begin).open()
            return await captured(shop, await shop.order(), fee_minor=88)
        finally:
            await pool.close()

    return asyncio.run(pay())


def test_tree_shows_each_step_with_its_amounts(command: Command, payment: Payment) -> None:
    result = command("trace", f"ch_{payment.id}")

    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert f"order {payment.order_id}  paid 19.99 USD" in lines[0]
    charge = next(line for line in lines if f"charge ch_{payment.id}" in line)
    assert charge.startswith("      ")
    assert charge.endswith("<- this one")
    assert any("stripe_balance debit 19.99 USD" in line for line in lines)
    assert any("stripe_balance credit 0.88 USD" in line for line in lines)


def test_programs_read_the_trace_as_json(command: Command, payment: Payment) -> None:
    found = json.loads(command("trace", str(payment.id), "--json").output)

    assert (found["id"], found["kind"], found["is_cut"]) == (str(payment.id), "payment", False)
    assert found["nodes"][1]["parent_id"] == str(payment.order_id)


def test_unknown_id_is_an_answer_and_no_traceback(command: Command) -> None:
    assert isinstance(command("trace", "ch_unknown").exception, BadValue)


def test_what_others_wrote_stays_on_its_line() -> None:
    """No control sequence or line end of a refund's reason reaches the terminal of who reads the trace."""
    reason = "scratched\x1b[1A\x1b[2K\r\n2026-11-25 12:00:00 refund\x9b2J \u202edetrever"
    node = Node(NodeKind.REFUND, "re_1", None, NOW, {"status": "succeeded", "reason": reason})

    shown = line(node, "re_1").plain

    assert shown.isprintable()
    assert r"reason=scratched\x1b[1A\x1b[2K\r\n2026-11-25 12:00:00 refund\x9b2J \u202edetrever" in shown
