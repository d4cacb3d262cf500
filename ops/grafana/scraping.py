"""A Prometheus that scrapes a running stack: for the test of the panels, and for their pictures."""

import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from ops.errors import OperatorError
from ops.stack import StackInfo
from ops.stack.layout import ROOT

RULES = ROOT / "ops" / "prometheus"
_START_S = 30


def configuration(info: StackInfo, *, every_s: int, rules: Path = RULES / "alerts.yml") -> str:
    """Return Prometheus' configuration: the jobs bear the names that alerts and panels know."""
    jobs = {"api": [info.api], "workers": info.worker_metrics, "flower": [info.flower]}
    scraped = [
        {
            "job_name": job,
            "static_configs": [{"targets": [url.removeprefix("http://").partition("/")[0] for url in urls]}],
        }
        for job, urls in jobs.items()
    ]
    settings = {"scrape_interval": f"{every_s}s", "evaluation_interval": f"{every_s}s"}
    # YAML takes JSON.
    return json.dumps({"global": settings, "rule_files": [str(rules)], "scrape_configs": scraped})


@contextmanager
def scraping(
    info: StackInfo, directory: Path, *, every_s: int = 1, rules: Path = RULES / "alerts.yml"
) -> Iterator[str]:
    """Run Prometheus (Debian's package) beside a stack, with its data in that directory; yield its address.

    Errors: OperatorError where it is not installed, or does not start.
    """
    program = shutil.which("prometheus")
    if program is None:
        raise OperatorError("Prometheus is not installed; on Debian: apt install prometheus")
    (directory / "prometheus.yml").write_text(configuration(info, every_s=every_s, rules=rules), encoding="utf-8")
    address = f"127.0.0.1:{_free_port()}"
    command = [
        program,
        f"--config.file={directory / 'prometheus.yml'}",
        f"--storage.tsdb.path={directory / 'data'}",
        f"--web.listen-address={address}",
        "--log.level=error",
    ]
    with subprocess.Popen(  # noqa: S603 - our own arguments
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            _wait_until_ready(f"http://{address}/-/ready")
            yield f"http://{address}"
        finally:
            process.terminate()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_until_ready(url: str) -> None:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline:
        try:
            if httpx.get(url, timeout=1, trust_env=False).is_success:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise OperatorError("Prometheus does not start")
