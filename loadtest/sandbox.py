"""The Stripe sandbox by itself, on one core, with its journal: it must never limit what else is measured.

`python -m loadtest.sandbox` measures it alone; no part of the stack is needed.
"""

import argparse
import os
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from urllib.parse import urlencode

import psutil

from loadtest.bed import Bed, run_client
from loadtest.client import KEY, Plan, Result
from loadtest.figures import Figure, Findings, Tell
from loadtest.peer import free_port, running, wait_for_port

_OK = 200
_SECONDS = 10.0
# What the gateway asks for a charge (workers/stripe_gateway.py), each under a key of its own.
_FORM = urlencode(
    {
        "amount": 1999,
        "currency": "usd",
        "payment_method": "pm_card_visa",
        "payment_method_types[0]": "card",
        "confirm": "true",
        "capture_method": "automatic",
        "metadata[payment_id]": "019a2b3c-4d5e-7f60-8123-456789abcdef",
        "transfer_group": "019a2b3c-4d5e-7f60-8123-0123456789ab",
        "expand[0]": "latest_charge.balance_transaction",
    }
)


def measure(bed: Bed, tell: Tell) -> Findings:
    """Make intents as fast as one core can."""
    return _measure(3.0 if bed.quick else _SECONDS, tell)


def _measure(seconds: float, tell: Tell) -> Findings:
    result, cpu_s = _made(seconds, tell)
    each_us = cpu_s / sum(result.statuses.values()) * 1e6
    figure = Figure(
        "sandbox: payment intents on one core",
        result.per_second,
        "/s",
        f"p99 {result.p99_ms:.1f} ms at 64 connections, {each_us:,.0f} µs of CPU each",
        must=3_000,
    )
    refused = Figure("sandbox: other answers than 200", result.failures(_OK), "", "", must=0, lower_is_better=True)
    return Findings((figure, refused), {"cpu_s": cpu_s, **asdict(result)})


def _made(seconds: float, tell: Tell) -> tuple[Result, float]:
    """Return what came back, and what the sandbox spent on it."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="marketflow-sandbox-") as directory:
        arguments = ("--port", str(port), "--state-file", str(Path(directory) / "state"))
        with running("ops.stripe_sandbox", *arguments, environment=os.environ) as process:
            wait_for_port(port)
            server = psutil.Process(process.pid)
            server.cpu_affinity([max(os.sched_getaffinity(0))])
            plan = Plan("127.0.0.1", port, [_request()], seconds=seconds, warm_up_s=1.0)
            before = _cpu_s(server)
            result = run_client(plan, lambda done: tell(f"{done:,} intents made"))
            return result, _cpu_s(server) - before


def _cpu_s(server: psutil.Process) -> float:
    times = server.cpu_times()
    return float(times.user + times.system)


def _request() -> str:
    head = (
        "POST /v1/payment_intents HTTP/1.1",
        "Host: 127.0.0.1",
        "Authorization: Bearer sk_test_of_the_benchmark",
        "Content-Type: application/x-www-form-urlencoded",
        f"Idempotency-Key: charge-{KEY}",
        f"Content-Length: {len(_FORM)}",
    )
    return "\r\n".join([*head, "", _FORM])


if __name__ == "__main__":
    argparse.ArgumentParser(prog="python -m loadtest.sandbox", description=__doc__).parse_args()
    found = _measure(_SECONDS, lambda _: None)
    for each in found.figures:
        print(f"{each.name}: {each.value:,.0f}{each.unit} {each.detail}")
    sys.exit(any(each.verdict == "missed" for each in found.figures))
