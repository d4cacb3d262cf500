"""What the API weighs, and how soon it answers."""

import http.client
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

from loadtest.bed import Bed
from loadtest.figures import Figure, Findings, Tell
from loadtest.peer import free_port, running
from loadtest.watch import weigh
from ops.stack.layout import ROOT

_ROUNDS = 3
_START_TIMEOUT_S = 30.0
LIBRARIES = (
    "argon2",
    "email_validator",
    "falcon.asgi",
    "gunicorn.app.wsgiapp",
    "gunicorn.workers.gasgi",
    "kombu.transport.redis",
    "opentelemetry.exporter.otlp.proto.http.trace_exporter",
    "opentelemetry.sdk.trace",
    "prometheus_client.multiprocess",
    "psycopg",
    "pydantic",
    "pydantic_settings",
    "redis.asyncio",
    "structlog",
    "uvloop",
)
"""What an API that traces imports, as the measured one does, and nothing else."""


def measure(bed: Bed, tell: Tell) -> Findings:
    """Weigh the API after load, and start another beside it; starts and imports take turns."""
    bed.accept(seconds=3, warm_up_s=0)
    weights = weigh(bed.stack)
    pss = list(weights["api"].values())
    imports, starts = [], []
    for number in range(_ROUNDS):
        tell(f"start {number + 1}")
        imports.append(_timed(_import))
        starts.append(_start(bed))
    import_s, start_s = statistics.median(imports), statistics.median(starts)
    return Findings(
        (
            Figure(
                "memory of the API (PSS)",
                sum(pss),
                "MiB",
                f"after load; master and {len(pss) - 1} workers: {', '.join(f'{part:.0f}' for part in pss)}",
                must=120,
                lower_is_better=True,
            ),
            Figure(
                "API start against its imports",
                start_s / import_s,
                "x",
                f"{start_s * 1000:.0f} ms to the first 200 against {import_s * 1000:.0f} ms",
                must=1.5,
                lower_is_better=True,
            ),
            Figure(
                "start of the whole stack",
                bed.started_s,
                "s",
                "PostgreSQL initialized, migrated and seeded, every program ready",
            ),
        ),
        {"pss_mib": pss, "processes_mib": weights, "start_s": starts, "import_s": imports},
    )


def _timed(action: Callable[[], object]) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def _import() -> None:
    subprocess.run([sys.executable, "-c", f"import {', '.join(LIBRARIES)}"], cwd=ROOT, check=True)  # noqa: S603 - our own


def _start(bed: Bed) -> float:
    """Start an API with the stack's environment on another port, and return after how many seconds it answers."""
    port = free_port()
    environment = {
        **bed.stack.plan.environment,
        "MARKETFLOW_API_PORT": str(port),
        "MARKETFLOW_PROMETHEUS_DIR": str(bed.directory / "prometheus"),
    }
    arguments = ("-c", "api/gunicorn_conf.py", "api.main:create()")
    started = time.perf_counter()
    with running("gunicorn", *arguments, environment=environment) as process:
        while not _answers(port):
            if process.poll() is not None or time.perf_counter() - started > _START_TIMEOUT_S:
                raise RuntimeError("the API does not start")
            time.sleep(0.005)
        return time.perf_counter() - started


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_START_TIMEOUT_S)
    try:
        connection.request("GET", "/health/live")
        return connection.getresponse().status == http.HTTPStatus.OK
    except OSError:
        return False
    finally:
        connection.close()
