"""The table of programs: what is run, how often and how it is stopped."""

import sys
from collections.abc import Callable
from dataclasses import dataclass

from ops.stack import postgres, valkey
from ops.stack.plan import Plan
from ops.stack.ports import HOST

INDEX = "{index}"
"""Stands in a command for the number of the process among those of its program."""


@dataclass(frozen=True, slots=True)
class Program:
    """One row of the table. `stop_wait_s` is the time it has after `stop_signal` before it is killed."""

    name: str
    command: tuple[str, ...]
    processes: int = 1
    user: str | None = None
    stop_signal: str = "TERM"
    stop_wait_s: int = 10


def programs_of(plan: Plan) -> list[Program]:
    """Return the rows that `plan` runs, in the order of starting."""
    return [_TABLE[name](plan) for name in plan.programs]


def _python(module: str, *arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", module, *arguments)


def _celery(*arguments: str) -> tuple[str, ...]:
    return _python("celery", "-A", "workers.main", *arguments)


def _postgres(plan: Plan) -> Program:
    return Program(
        "postgres",
        postgres.command(plan.layout),
        user=postgres.system_user(plan.layout),
        stop_signal="INT",  # fast shutdown: end the sessions, write a checkpoint
        stop_wait_s=30,
    )


def _valkey(plan: Plan) -> Program:
    return Program("valkey", valkey.command(plan.layout))


def _stripe(plan: Plan) -> Program:
    api_port = plan.ports.get("api", plan.settings.api_port)
    return Program(
        "stripe",
        _python(
            "ops.stripe_sandbox",
            *("--port", str(plan.ports["stripe"])),
            *("--webhook-url", f"http://{HOST}:{api_port}/v1/webhooks/stripe"),
            *("--state-file", str(plan.layout.var / "stripe" / "state.json")),
        ),
    )


def _api(_: Plan) -> Program:
    return Program("api", _python("gunicorn", "-c", "api/gunicorn_conf.py", "api.main:create()"), stop_wait_s=20)


def _workers(plan: Plan) -> Program:
    return Program(
        "workers",
        _celery(
            "worker",
            *("-P", "threads", "-c", str(plan.settings.worker_threads)),
            *("-Q", "charges,stripe_events,refunds,onboardings,payouts,reversals,maintenance"),
            *("-n", f"worker-{INDEX}@%h"),
            *("--without-gossip", "--without-mingle"),
            *("-l", plan.settings.log_level),
        ),
        processes=plan.settings.worker_processes,
        stop_wait_s=30,  # longer than the soft shutdown, in which running tasks end
    )


def _deliveries(plan: Plan) -> Program:
    """Webhooks leave in a process of their own: how other people's servers do is nothing to those who charge."""
    return Program(
        "deliveries",
        _celery(
            "worker",
            *("-P", "threads", "-c", "2"),
            *("-Q", "deliveries"),
            # The number after those of the other workers, for a port of its own for the metrics.
            *("-n", f"deliveries-{plan.settings.worker_processes}@%h"),
            *("--without-gossip", "--without-mingle"),
            *("-l", plan.settings.log_level),
        ),
        stop_wait_s=30,  # longer than a request, so that what is on its way ends
    )


def _beat(plan: Plan) -> Program:
    return Program("beat", _celery("beat", "-s", str(plan.layout.var / "beat-schedule"), "--pidfile="))


def _flower(plan: Plan) -> Program:
    return Program(
        "flower",
        _celery(
            "flower",
            f"--address={HOST}",
            f"--port={plan.ports['flower']}",
            "--persistent=True",
            "--state-save-interval=60000",
            f"--db={plan.layout.var / 'flower' / 'flower'}",
        ),
        stop_wait_s=5,
    )


_TABLE: dict[str, Callable[[Plan], Program]] = {
    "postgres": _postgres,
    "valkey": _valkey,
    "stripe": _stripe,
    "flower": _flower,
    "beat": _beat,
    "workers": _workers,
    "deliveries": _deliveries,
    "api": _api,
}


def stop_wait_s(programs: list[Program]) -> int:
    """Return how long an orderly stop of all may take, one after the other."""
    return sum(program.stop_wait_s for program in programs) + 10
