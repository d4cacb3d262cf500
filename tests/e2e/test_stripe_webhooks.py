"""Stripe's webhooks, with a secret for the account's and one for Connect's; and processing them once more."""

import asyncio
import json
import os
import sys
from typing import Any

import psycopg

from ops.stack import Stack
from tests.e2e.market import Caller, Json, Market, Sandbox
from tests.eventually import eventually


async def replay(stack: Stack, *arguments: str) -> dict[str, Any]:
    """Run the command beside the stack, as an operator does."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MARKETFLOW_")}
    process = await asyncio.create_subprocess_exec(
        *(
            sys.executable,
            "-c",
            "from ops.cli import main; main()",
            "stripe",
            "replay",
            "--since",
            "1h",
            "--json",
            *arguments,
        ),
        env={**environment, "MARKETFLOW_VAR_DIR": str(stack.layout.var)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    summary: dict[str, Any] = json.loads(out)
    return summary


async def test_lost_webhooks_are_fetched_and_all_are_processed_again(
    stack: Stack, market: Market, buyer: Caller, order: Json, sandbox: Sandbox
) -> None:
    await sandbox.order_fault("webhook_drop", "*")
    payment = await market.pay(buyer, order)
    await market.become(buyer, payment, "succeeded")
    await sandbox.end_faults()

    dry = await replay(stack, "--dry-run")
    assert dry["missing"] > 0
    first = await replay(stack)
    second = await replay(stack, "--type", "payment_intent.*")

    assert first["missing"] >= dry["missing"]
    assert (first["left"], second["left"], second["missing"]) == (0, 0, 0)
    # What is stored and was never Stripe's, from tests before, is processed again as well.
    assert second["again"] >= second["listed"] > 0
    assert sum(second["results"].values()) >= second["listed"]


async def test_events_of_connected_accounts_come_under_their_own_secret(
    stack: Stack, market: Market, sandbox: Sandbox
) -> None:
    assert len(stack.plan.settings.webhook_secrets) == 2
    account = await sandbox.open_account()

    def stored() -> bool:
        query = "SELECT count(*) = 1 FROM stripe_events WHERE type = 'account.updated' AND body LIKE %s"
        with psycopg.connect(market.info.database_url) as connection:
            row = connection.execute(query, [f"%{account}%"]).fetchone()
        return bool(row and row[0])

    assert await eventually(stored)
