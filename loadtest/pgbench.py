"""pgbench, PostgreSQL's own load generator: what the same statements do without anything around them."""

import os
import re
import subprocess
from pathlib import Path

from ops.stack import postgres

_TPS = re.compile(r"^tps = ([0-9.]+)", re.MULTILINE)
_FAILED = re.compile(r"^number of failed transactions: (\d+)", re.MULTILINE)


def transactions_per_second(script: Path, address: str, *, clients: int, seconds: float) -> float:
    """Run a script with prepared statements and return its transactions a second.

    Errors: RuntimeError when pgbench fails, or a transaction does.
    """
    command = [
        str(postgres.installation() / "bin" / "pgbench"),
        *("--no-vacuum", "--protocol=prepared", "--file", str(script)),
        *("--client", str(clients), "--jobs", str(min(clients, os.cpu_count() or 1))),
        *("--time", str(max(1, round(seconds))), address),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own arguments
    found, failed = _TPS.search(done.stdout), _FAILED.search(done.stdout)
    if done.returncode or found is None or (failed is not None and int(failed[1])):
        raise RuntimeError(f"pgbench failed:\n{done.stdout}{done.stderr}")
    return float(found[1])
