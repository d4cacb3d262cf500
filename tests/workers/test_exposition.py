"""Each worker process shows its metrics on a port of its own."""

import socket

import httpx
import pytest

from workers.exposition import serve_metrics
from workers.metrics import STRIPE_CALLS


@pytest.mark.parametrize(("nodename", "number"), [("worker-1@host", 1), ("celery@host", 0)])
def test_metrics_are_served_on_the_port_of_the_process(closed_port: int, nodename: str, number: int) -> None:
    STRIPE_CALLS.labels("answered").inc()

    port = serve_metrics("127.0.0.1", closed_port - number, nodename)

    page = httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False).text
    assert port == closed_port
    assert 'marketflow_stripe_calls_total{outcome="answered"}' in page


def test_taken_port_does_not_stop_the_worker() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert serve_metrics("127.0.0.1", taken.getsockname()[1], "worker-0@host") is None
