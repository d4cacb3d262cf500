"""What happens is sealed by the workers themselves, and proved by the command line and without the database."""

import json
from pathlib import Path

from ops.audit.verify_export import verify
from ops.stack import Stack
from tests.e2e.market import Caller, Json, Market
from tests.e2e.test_operations import marketflow
from tests.eventually import eventually


async def test_payment_is_sealed_with_what_was_booked_and_explained(
    stack: Stack, market: Market, buyer: Caller, order: Json, tmp_path: Path
) -> None:
    payment = await market.become(buyer, await market.pay(buyer, order), "succeeded")
    status, told = await marketflow(stack, "trace", str(payment["id"]), "--json")
    assert status == 0, told
    wanted = {"request", "order", "payment", "payment_intent", "charge", "journal", "entry", "event"}
    nodes = json.loads(told)["nodes"]
    assert {node["kind"] for node in nodes} >= wanted
    journals = {node["id"] for node in nodes if node["kind"] == "journal"}
    file = tmp_path / "export.jsonl"

    async def exported() -> bool:
        status, told = await marketflow(stack, "audit", "export", str(file))
        assert status == 0, told
        return all(f'["{journal}"' in file.read_text() for journal in journals)

    await eventually(exported)

    with file.open("rb") as read:
        assert list(verify(read)) == []
    head = json.loads(file.read_text().splitlines()[-1])["head"]
    status, told = await marketflow(stack, "audit", "verify", "--head", head, "--json")
    assert status == 0, told
    assert json.loads(told)["findings"] == []
