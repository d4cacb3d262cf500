"""The workers' metrics for Prometheus."""

import re

import structlog
from prometheus_client import start_http_server

_NUMBER = re.compile(r"-(\d+)@")

log = structlog.get_logger(__name__)


def serve_metrics(host: str, first_port: int, nodename: str) -> int | None:
    """Serve this process's metrics and return the port; `worker-2@host` has the second port after the first.

    A port that is taken costs the metrics, not the worker.
    """
    number = _NUMBER.search(nodename)
    port = first_port + int(number[1] if number else 0)
    try:
        start_http_server(port, addr=host)
    except OSError as error:
        log.warning("metrics_not_served", port=port, error=str(error))
        return None
    return port
