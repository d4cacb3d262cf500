import os
import time
from typing import Annotated

import typer
from rich.table import Table

from ops.cli.console import errors, output
from ops.stack import Stack, StackInfo, running
from ops.stack.info import ProcessInfo, dump
from ops.stack.interruption import interrupted_by_signals
from ops.stack.layout import var_dir_of

WATCH_S = 1.0


def up(
    only: Annotated[
        list[str] | None, typer.Option(help="Run this program alone; may be given several times.")
    ] = None,
) -> None:
    """Start the whole stack and keep it running in the foreground; Ctrl-C stops everything."""
    began = time.monotonic()

    def report(message: str) -> None:
        output.print(f"[dim]{time.monotonic() - began:5.1f} s[/dim] {message}", highlight=False)

    stack = Stack(programs=only, on_progress=report)
    with interrupted_by_signals():
        try:
            stack.start()
            report("everything serves")
            output.print(_addresses(stack.info), _hint(stack))
            _watch(stack)
        except KeyboardInterrupt:
            output.print("asked to stop")
        finally:
            stack.stop()
    report("stopped; the data stays in " + str(stack.layout.var))


def down() -> None:
    """Stop the stack of this directory, also one whose terminal is gone."""
    ended = running.end(var_dir_of(os.environ))
    output.print("The stack is stopped." if ended else "No stack runs here.")


def status(
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print stack.json with the present states.")] = False,
) -> None:
    """Show the programs, processes and addresses of the running stack; 1 if something is down, or all."""
    info = running.find(var_dir_of(os.environ))
    if as_json:
        output.out(dump(info), end="", highlight=False)
    else:
        output.print(_addresses(info), _processes(info))
    if any(process.state not in ("RUNNING", "STARTING") for process in info.processes.values()):
        raise typer.Exit(1)


def _watch(stack: Stack) -> None:
    """Report what dies and what comes back until a signal ends it; StackError when supervisord is gone."""
    known = {process.name: process for process in stack.processes()}
    while True:
        time.sleep(WATCH_S)
        stack.check_alive()
        for process in stack.processes():
            _report_change(known[process.name], process)
            known[process.name] = process


def _report_change(before: ProcessInfo, now: ProcessInfo) -> None:
    if now.pid is not None and now.pid != before.pid:
        errors.print(f"{now.name} has been restarted (process {now.pid})", style="yellow")
    elif now.state != before.state and now.state in ("EXITED", "BACKOFF", "FATAL"):
        errors.print(f"{now.name} is down: {now.state} {now.note}; see {now.log}", style="red", markup=False)


def _addresses(info: StackInfo) -> Table:
    table = Table(title="MarketFlow", title_justify="left")
    table.add_column("part")
    table.add_column("address", overflow="fold")
    flower = f"{info.flower} (user {info.flower_user}, password {info.flower_password})"
    rows = {
        "API": info.api,
        "API reference": info.api and f"{info.api}/docs",
        "Flower": info.flower and flower,
        "Stripe": info.stripe,
        "PostgreSQL": info.database_url,
        "Redis": info.redis_url,
        "Broker": info.broker_url,
    }
    for part, address in rows.items():
        if address:
            table.add_row(part, address)
    return table


def _processes(info: StackInfo) -> Table:
    table = Table("process", "state", "pid", "up", "log")
    for process in info.processes.values():
        pid = "" if process.pid is None else str(process.pid)
        table.add_row(process.name, process.state, pid, f"{process.uptime_s} s", process.log)
    return table


def _hint(stack: Stack) -> str:
    return f"Users and secrets: {stack.layout.info}; logs: {stack.layout.logs}. Ctrl-C stops everything."
