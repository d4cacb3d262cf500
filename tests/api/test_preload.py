"""What the API's master holds before its workers share it, whatever the machine."""

import json
import subprocess
import sys
from collections.abc import Set as AbstractSet
from pathlib import Path

import pytest

from api.preload import LATE, UNUSED

ROOT = Path(__file__).resolve().parents[2]
OF_OTHERS = {
    "aiohttp",
    "alembic",
    "api.openapi",
    "asyncpg",
    "fastapi",
    "flask",
    "flower",
    "httpx",
    "jinja2",
    "matplotlib",
    "numpy",
    "opentelemetry.exporter",
    "opentelemetry.sdk.trace",
    "pygments",
    "requests",
    "sqlalchemy.ext.asyncio",
    "sqlalchemy.orm",
    "stripe",
    "tornado",
    "typer",
    "workers",
}
"""What only workers, the command line, Flower or tests have a use for."""

PRELOAD = """
import json, sys
from api.preload import hide_unused, settle
hide_unused()
import gunicorn.app.wsgiapp, api.worker, api.main
from api.services import build_services
from api.app import create_app
from ops.settings import Settings
settings = Settings(
    database_url="postgresql://nobody@127.0.0.1:1/nothing",
    redis_url="redis://127.0.0.1:1/0",
    broker_url="redis://127.0.0.1:1/0",
    jwt_secret="x" * 48,
)
create_app(build_services(settings))
settle()
print(json.dumps(sorted(sys.modules)))
"""


@pytest.fixture(scope="module")
def loaded() -> AbstractSet[str]:
    """The modules of a fresh interpreter that did what the master does."""
    done = subprocess.run([sys.executable, "-c", PRELOAD], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return frozenset(json.loads(done.stdout))


def test_master_imports_nothing_that_only_others_need(loaded: AbstractSet[str]) -> None:
    assert loaded & (OF_OTHERS | set(UNUSED)) == set()


def test_master_imports_what_a_worker_would_import_later(loaded: AbstractSet[str]) -> None:
    assert {*LATE, "celery.app.events", "celery.events.dispatcher"} <= loaded
