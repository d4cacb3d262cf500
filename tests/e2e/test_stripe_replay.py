"""`marketflow stripe replay`: what Stripe never sent is fetched, and what came is processed again, for no news."""

import asyncio
import json
import os
import sys
from typing import Any

from ops.stack import Stack
from tests.e2e.market import Caller, Json, Market, Sandbox


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
    assert second["again"] == second["listed"] == sum(second["results"].values())
