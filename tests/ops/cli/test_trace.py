"""`marketflow trace` draws the chain as a tree for people, and tells it whole to programs."""

import asyncio
import json
from collections.abc import Callable

import pytest
from typer.testing import Result

from db.pool import make_pool
from db.unit_of_work import Database
from domain.payments.model import Payment
from ops.errors import BadValue
from tests.builders import Shop
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
