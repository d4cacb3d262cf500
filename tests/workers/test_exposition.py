"""Each worker process shows its metrics on a port of its own."""

import os
import socket
import subprocess
import sys

import httpx
import pytest

from ops.stack.layout import ROOT
from workers.exposition import serve_metrics
from workers.metrics import STRIPE_CALLS


@pytest.mark.parametrize(("nodename", "number"), [("worker-1@host", 1), ("celery@host", 0)])
def test_metrics_are_served_on_the_port_of_the_process(free_port: int, nodename: str, number: int) -> None:
    STRIPE_CALLS.labels("answered").inc()

    port = serve_metrics("127.0.0.1", free_port - number, nodename)

    page = httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False, timeout=60).text
    assert port == free_port
    assert 'marketflow_stripe_calls_total{outcome="answered"}' in page


def test_taken_port_does_not_stop_the_worker() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert serve_metrics("127.0.0.1", taken.getsockname()[1], "worker-0@host") is None


def test_worker_that_waits_for_its_broker_shows_its_metrics(closed_port: int, free_port: int) -> None:
    """Or whoever watches it would call it dead, and start it anew, for as long as the broker is away."""
    environment = {
        **os.environ,
        "MARKETFLOW_DATABASE_URL": "postgresql://nobody@127.0.0.1:9/none",
        "MARKETFLOW_REDIS_URL": f"redis://127.0.0.1:{closed_port}/0",
        "MARKETFLOW_BROKER_URL": f"redis://127.0.0.1:{closed_port}/1",
        "MARKETFLOW_STRIPE_API_KEY": "sk_test_of_a_test",
        "MARKETFLOW_WORKER_METRICS_PORT": str(free_port),
    }
    command = [sys.executable, "-m", "celery", "-A", "workers.main", "worker", "-P", "threads", "-c", "1"]
    with subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True) as worker:
        assert worker.stderr is not None
        try:
            assert any("Cannot connect to redis://" in line for line in worker.stderr)
            page = httpx.get(f"http://127.0.0.1:{free_port}/metrics", trust_env=False, timeout=60).text
        finally:
            worker.kill()

    assert "marketflow_stripe_calls_total" in page
