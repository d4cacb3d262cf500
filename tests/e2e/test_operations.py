"""What operators rely on: readiness tells the truth, and the books can be proved from the command line."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator

import httpx
import pytest

from db.broker import QUEUES
from ops.stack import Stack
from tests.e2e.market import Caller, Json, Market
from tests.eventually import eventually

STORAGE = ("valkey", "postgres")


async def marketflow(stack: Stack, *arguments: str, **environment: str) -> tuple[int | None, str]:
    """Run a command beside the stack; return its exit status and what it printed."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", "from ops.cli import main; main()", *arguments),
        env={**os.environ, "MARKETFLOW_VAR_DIR": str(stack.layout.var), **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    return process.returncode, output.decode()


async def test_ledger_verify_finds_the_books_right(
    stack: Stack, market: Market, buyer: Caller, order: Json
) -> None:
    await market.become(buyer, await market.pay(buyer, order), "succeeded")

    status, output = await marketflow(stack, "ledger", "verify", "--json")

    assert status == 0, output
    verified = json.loads(output)
    assert verified["faults"] == []
    assert verified["journals"] > 0


async def test_books_are_reconciled_from_the_command_line(
    stack: Stack, market: Market, buyer: Caller, order: Json
) -> None:
    await market.become(buyer, await market.pay(buyer, order), "succeeded")

    status, output = await marketflow(stack, "reconcile", "--from", "1d", "--json")

    told = json.loads(output)
    assert told["status"] == "succeeded"
    assert told["lines"] > 0
    is_clean = told["ties"] and not any(each["status"] == "open" for each in told["exceptions"])
    assert status == (0 if is_clean else 1), output


async def test_queues_and_breaker_are_seen_beside_the_stack(
    stack: Stack, market: Market, buyer: Caller, product: Json
) -> None:
    status, output = await marketflow(stack, "queues", "--json")
    assert status == 0, output
    assert {queue["messages"] is not None for queue in json.loads(output)} == {True}

    async def is_closed() -> bool:
        """What failed before may have opened it: then a call that succeeds closes it."""
        await market.become(buyer, await market.pay(buyer, await market.order(buyer, product)), "succeeded")
        status, output = await marketflow(stack, "breaker", "status", "--json")
        assert (status, json.loads(output)["state"]) == (0, "closed")
        return True

    assert await eventually(is_closed)


async def test_flower_wants_its_password_and_shows_its_metrics_to_prometheus(stack: Stack, market: Market) -> None:
    info = stack.info
    async with httpx.AsyncClient(base_url=info.flower, timeout=35, trust_env=False) as flower:
        assert (await flower.get("/api/workers")).status_code == 401
        allowed = await flower.get("/api/workers", auth=(info.flower_user, info.flower_password))
        metrics = await flower.get("/metrics")

    assert allowed.status_code == 200
    assert "flower_events_total" in metrics.text


async def test_flower_shows_queues_and_the_payments_of_each_batch_even_after_its_restart(
    stack: Stack, market: Market, buyer: Caller, order: Json
) -> None:
    info = stack.info
    payment = await market.become(buyer, await market.pay(buyer, order), "succeeded")
    account = (info.flower_user, info.flower_password)
    async with httpx.AsyncClient(base_url=info.flower, auth=account, timeout=35, trust_env=False) as flower:

        async def batches() -> list[str]:
            found = (await flower.get("/api/tasks", params={"taskname": "marketflow.charges"})).json()
            ids = [key for key, task in found.items() if payment["id"] in task["args"]]
            assert ids
            return ids

        async def queues() -> bool:
            """Flower asks the workers when it starts, and when somebody wants to know it anew."""
            await flower.get("/api/workers", params={"refresh": "1"})
            shown = (await flower.get("/api/queues/length")).json()["active_queues"]
            assert {queue["name"] for queue in shown} == set(QUEUES)
            return True

        assert await eventually(queues)
        before = await eventually(batches)
        await asyncio.to_thread(stack.restart, "flower")
        assert set(before) <= set(await eventually(batches))


@pytest.fixture
async def running(stack: Stack, market: Market) -> AsyncIterator[Stack]:
    """The stack, to take a server away from; it is whole again before the next test."""
    yield stack
    for program in STORAGE:
        await asyncio.to_thread(stack.start_program, program)
    await eventually(lambda: readiness(market, 200, "ok"))


async def readiness(market: Market, status: int, word: str) -> bool:
    answer = await market.http.get("/health/ready")
    assert (answer.status_code, answer.json()["status"]) == (status, word), answer.text
    return True


async def test_without_broker_payments_are_accepted_and_settle_later(
    running: Stack, market: Market, buyer: Caller, order: Json
) -> None:
    await asyncio.to_thread(running.stop_program, "valkey")
    assert await eventually(lambda: readiness(market, 200, "degraded"))

    payment = await market.pay(buyer, order)

    assert (await buyer.get(f"/v1/payments/{payment['id']}")).json()["status"] == "pending"
    await asyncio.to_thread(running.start_program, "valkey")
    await market.become(buyer, payment, "succeeded")


async def test_without_database_nothing_is_ready_and_nothing_is_lost(
    running: Stack, market: Market, buyer: Caller, order: Json
) -> None:
    await asyncio.to_thread(running.stop_program, "postgres")
    assert await eventually(lambda: readiness(market, 503, "unavailable"))
    refused = await market.ask_to_pay(buyer, order)
    assert (refused.status_code, refused.json()["code"]) == (503, "database_unavailable")

    await asyncio.to_thread(running.start_program, "postgres")

    await eventually(lambda: readiness(market, 200, "ok"))
    await market.become(buyer, await market.pay(buyer, order), "succeeded")
