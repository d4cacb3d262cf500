"""What the README tells a reader to paste after `make up` does what it says."""

import asyncio
import re
import subprocess

from ops.stack import Stack
from ops.stack.layout import ROOT


async def test_commands_of_use_it_sell_pay_refund_and_follow_however_often_they_are_pasted(stack: Stack) -> None:
    (commands,) = re.findall(r"\n## Use it\n.*?```sh\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert stack.layout.info.name == "stack.json"
    assert stack.layout.info.parent.name == "var"

    for _ in range(2):
        pasted = await asyncio.create_subprocess_exec(
            *("bash", "-uc", commands),
            cwd=stack.layout.var.parent,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        said, complained = await pasted.communicate()
        status, refund, *stream = said.decode().splitlines()

        assert complained == b""
        assert status == "succeeded"
        assert refund in {"pending", "succeeded"}
        assert {"event: payment.succeeded", "event: refund.accepted"} <= set(stream)
