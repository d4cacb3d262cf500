"""`python -m tests.reconciliation.run FROM TO`: reconcile in a process of its own, and say what it cost."""

import asyncio
import json
import sys
import time
from datetime import datetime
from pathlib import Path

from db.unit_of_work import Database
from domain.clock import SystemClock
from domain.reconciliation.desk import ReconciliationDesk
from domain.reconciliation.model import Run
from ops.sessions import with_database
from ops.settings import Settings, get_settings
from workers.services import open_services


async def reconcile(settings: Settings) -> None:
    """Work as the periodic task does, in turns, until nothing is due."""
    async with open_services(settings) as services:
        while await services.reconciler.work(budget_s=10) is not None:
            pass


def peak_mib() -> float:
    """Return the most memory that this program ever had; unlike in rusage, a parent's does not count."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def main() -> None:
    """Order a run and work at it to its end."""
    settings = get_settings()
    from_at, to_at = (datetime.fromisoformat(text) for text in sys.argv[1:3])

    async def order(database: Database) -> Run:
        return await ReconciliationDesk(database.begin, SystemClock()).order(from_at, to_at, requested_by=None)

    run = with_database(settings, order)
    before_mib = peak_mib()
    began, cpu = time.monotonic(), time.process_time()
    asyncio.run(reconcile(settings))
    told = {
        "id": str(run.id),
        "seconds": time.monotonic() - began,
        "cpu_seconds": time.process_time() - cpu,
        "before_mib": before_mib,
        "peak_mib": peak_mib(),
    }
    sys.stdout.write(json.dumps(told) + "\n")


if __name__ == "__main__":
    main()
