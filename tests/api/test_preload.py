"""What is loaded before workers share it, whatever the machine."""

import json
import os
import subprocess
import sys
from collections.abc import Set as AbstractSet
from pathlib import Path

import pytest

from api.preload import LATE, UNUSED
from loadtest.memory import LIBRARIES

ROOT = Path(__file__).resolve().parents[2]
OF_OTHERS = {
    "aiohttp",
    "alembic",
    "api.openapi",
    "asyncpg",
    "celery",
    "fastapi",
    "flask",
    "flower",
    "greenlet",
    "httpx",
    "jinja2",
    "matplotlib",
    "numpy",
    "opentelemetry.exporter",
    "opentelemetry.sdk.trace",
    "pygments",
    "requests",
    "sqlalchemy",
    "stripe",
    "tornado",
    "typer",
    "workers",
}
"""What only workers, the command line, Flower or tests have a use for."""

PRELOAD = """
import json, sys
brought_by_coverage = {"greenlet"} & set(sys.modules)
from api.preload import hide_unused, settle
hide_unused()
import gunicorn.app.wsgiapp, api.worker, api.main
api.main.create()
settle()
print(json.dumps(sorted(set(sys.modules) - brought_by_coverage)))
"""
FILLED = """
print(json.dumps([name for name in api.preload.HOLLOW if hasattr(sys.modules[name], "__file__")]))
"""
GUNICORNS_NAMES = """
import json
from gunicorn.asgi import protocol
names = "PythonProtocol", "_scan_response_headers", "_CHUNK_PREFIXES"
print(json.dumps([name for name in names if not hasattr(protocol, name)]))
"""
TRACE = """
shared = set(sys.modules)
from ops.tracing import start_tracing, stop_tracing
spans = start_tracing("api", otlp_endpoint="http://127.0.0.1:1", sample_ratio=1.0)
spans.get_tracer("tests").start_span("one that nobody takes").end()
stop_tracing()
print(json.dumps(sorted(set(sys.modules) - shared)))
"""
SETTINGS = {
    "MARKETFLOW_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/nothing",
    "MARKETFLOW_REDIS_URL": "redis://127.0.0.1:1/0",
    "MARKETFLOW_BROKER_URL": "redis://127.0.0.1:1/0",
    "MARKETFLOW_JWT_SECRET": "x" * 48,
}


def preload(then: str = "", **settings: str) -> AbstractSet[str]:
    """Return the modules of a fresh interpreter that did what the nursery does, or what is printed after it."""
    done = subprocess.run(
        [sys.executable, "-c", PRELOAD + then],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **SETTINGS, **settings},
    )
    assert done.returncode == 0, done.stderr
    return frozenset(json.loads(done.stdout.splitlines()[-1]))


@pytest.fixture(scope="module")
def loaded() -> AbstractSet[str]:
    """What the nursery of an API that traces nothing has imported."""
    return preload(MARKETFLOW_OTLP_ENDPOINT="")


def test_nothing_is_imported_that_only_others_need(loaded: AbstractSet[str]) -> None:
    assert loaded & (OF_OTHERS | set(UNUSED)) == set()


def test_what_a_worker_would_import_later_is_imported(loaded: AbstractSet[str]) -> None:
    assert {*LATE, "kombu.transport.redis"} <= loaded


def test_nothing_is_loaded_into_what_is_hollow() -> None:
    assert preload(FILLED) == set()


def test_gunicorn_still_has_the_names_that_the_worker_replaces() -> None:
    done = subprocess.run([sys.executable, "-c", GUNICORNS_NAMES], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []


def test_workers_that_trace_share_what_they_trace_with() -> None:
    loaded = preload(MARKETFLOW_OTLP_ENDPOINT="http://127.0.0.1:1")
    assert {
        "ops.spans",
        "opentelemetry.sdk.trace",
        "opentelemetry.exporter.otlp.proto.http.trace_exporter",
    } <= loaded
    assert loaded & set(UNUSED) == set()
    assert loaded & {"requests", "urllib3"} == set()
    assert set(LIBRARIES) <= loaded, "what `make bench` measures the start against"


def test_worker_that_traces_imports_nothing_more() -> None:
    assert preload(TRACE, MARKETFLOW_OTLP_ENDPOINT="http://127.0.0.1:1") == set()
