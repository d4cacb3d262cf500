"""What the sandbox's README and its `--help` say is what it does."""

import asyncio
import os
import re
import subprocess
import sys
from dataclasses import fields

import pytest

from ops.stripe_sandbox import control, outside
from ops.stripe_sandbox.cards import find_card
from ops.stripe_sandbox.config import Config
from ops.stripe_sandbox.faults import API_EFFECTS, LATE_EFFECT, WEBHOOK_EFFECTS
from tests.ops.stripe_sandbox.conftest import ROOT, SandboxProcess

README = (ROOT / "ops/stripe_sandbox/README.md").read_text()
COMMAND = [sys.executable, "-m", "ops.stripe_sandbox"]


async def said_by(*command: str) -> tuple[str, str]:
    process = await asyncio.create_subprocess_exec(
        *command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    said, complained = await process.communicate()
    return said.decode(), complained.decode()


async def test_sdk_pays_as_documented(sandbox: SandboxProcess) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)

    said = await said_by(sys.executable, "-c", example.replace("http://127.0.0.1:12111", sandbox.url))

    assert said == ("succeeded\n", "")


async def test_control_calls_do_as_documented(sandbox: SandboxProcess) -> None:
    (calls,) = re.findall(r"```sh\n(STRIPE=.*?)```", README, re.DOTALL)

    said, complained = await said_by("bash", "-uc", calls.replace("http://127.0.0.1:12111", sandbox.url))

    assert complained == ""
    assert not re.search(r'"error"|"title"', said), said
    state = await sandbox.state()
    assert {intent["status"] for intent in state["payment_intents"]} == {"succeeded"}
    assert [dispute["status"] for dispute in state["disputes"]] == ["won"]
    assert [refund["status"] for refund in state["refunds"]] == ["failed"]
    assert [reversal["amount"] for reversal in state["transfer_reversals"]] == [200]
    assert len(state["payouts"]) == 2
    assert '"hits": 0' in said or '"hits":0' in said


def test_every_route_effect_setting_and_card_is_documented() -> None:
    class Routes(list[str]):
        def add_route(self, path: str, _resource: object) -> None:
            self.append(path)

    routes, nobody = Routes(), None
    control.add_routes(routes, nobody, nobody)  # type: ignore[arg-type]  # they are only kept
    outside.add_routes(routes, nobody)  # type: ignore[arg-type]
    plain = re.sub(r"\$\w+|\{\w+\}", "{}", README)

    assert [path for path in routes if re.sub(r"\{\w+\}", "{}", path)[1:] not in plain] == []
    assert [effect for effect in (*API_EFFECTS, *WEBHOOK_EFFECTS, LATE_EFFECT) if f"`{effect}" not in README] == []
    assert [each.name for each in fields(Config) if f"| `{each.name.upper()}` |" not in README] == []
    assert [each.name for each in fields(Config) if each.metadata["says"] not in README] == []
    assert [name for name in re.findall(r"`(pm_card_\w+)`", README) if find_card(name) is None] == []


async def test_help_says_what_each_setting_is() -> None:
    said, _ = await said_by(*COMMAND, "--help")

    shown = " ".join(said.split())
    assert [each.name for each in fields(Config) if each.metadata["says"] not in shown] == []


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("MARKETFLOW_STRIPE_PORT", "http"),
        ("MARKETFLOW_STRIPE_PORT", "70000"),
        ("MARKETFLOW_SANDBOX_DISPUTE_DELAY_S", "soon"),
        ("MARKETFLOW_SANDBOX_DISPUTE_DELAY_S", "nan"),
        ("MARKETFLOW_SANDBOX_PAYOUT_ARRIVAL_S", "1.5"),
        ("MARKETFLOW_SANDBOX_REFUND_DELAY_S", "-1"),
        ("MARKETFLOW_SANDBOX_WEBHOOK_CONCURRENCY", "0"),
    ],
)
def test_number_that_makes_no_sense_is_told_in_one_line(variable: str, value: str) -> None:
    environment = {**os.environ, variable: value}

    ended = subprocess.run(
        COMMAND, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=60
    )

    assert ended.returncode == 2
    assert f"{variable} is '{value}'" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
