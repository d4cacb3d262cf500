"""What operators rely on: readiness tells the truth, and the books can be proved from the command line."""

import asyncio
import json
import os
import sys
from collections.abc import Iterator

import httpx
import pytest

from ops.stack import Stack
from tests.e2e.conftest import without_given_servers
from tests.e2e.market import Caller, Json, Market
from tests.eventually import eventually


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


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """An API with its servers, to take them away."""
    directory = tmp_path_factory.mktemp("bare") / "var"
    settings = {"MARKETFLOW_API_WORKERS": "1", "MARKETFLOW_REDIS_TIMEOUT_S": "0.2"}
    with without_given_servers(), Stack(directory, settings, {"postgres", "valkey", "api"}) as stack:
        yield stack


async def _ready(api: httpx.AsyncClient) -> tuple[int, str]:
    answer = await api.get("/health/ready")
    return answer.status_code, answer.json()["status"]


@pytest.mark.parametrize(
    ("program", "expected"), [("valkey", (200, "degraded")), ("postgres", (503, "unavailable"))]
)
async def test_readiness_tells_what_is_missing(bare: Stack, program: str, expected: tuple[int, str]) -> None:
    async with httpx.AsyncClient(base_url=bare.info.api, trust_env=False) as api:
        await asyncio.to_thread(bare.stop_program, program)
        assert await _ready(api) == expected

        await asyncio.to_thread(bare.start_program, program)

        async def is_ready() -> bool:
            return await _ready(api) == (200, "ok")

        await eventually(is_ready)
