"""A RabbitMQ node of the tests' own, from the programs that Debian's `rabbitmq-server` installs."""

import base64
import contextlib
import hashlib
import json
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest
from kombu import Connection

# Not /usr/sbin/rabbitmq-server: that one changes to the user and the directories of Debian's service.
SERVER = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
STACK, PARTS = "stack", "parts"
"""The virtual hosts, of which none sees the other's queues: for the whole stack, and for tests of single parts."""
USER, PASSWORD = "marketflow", "of-the-tests"
START_TIMEOUT_S = 90
STOP_TIMEOUT_S = 30
_PAUSE_S = 0.1


class RabbitNode:
    """One node in a directory, on free ports of loopback, with a port mapper of its own.

    It begins without plugins, and its queues outlive `stop` and `ensure_started`.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._port, self._dist_port, self._epmd_port = _free_ports(3)
        self._epmd: subprocess.Popen[bytes] | None = None
        self._server: subprocess.Popen[bytes] | None = None
        directory.mkdir()
        (directory / "plugins").write_text("[].\n")
        (directory / "definitions.json").write_text(json.dumps(_definitions()))
        (directory / "rabbitmq.conf").write_text(
            f"load_definitions = {directory / 'definitions.json'}\n"
            f"listeners.tcp.1 = 127.0.0.1:{self._port}\n"
            "log.console = true\nlog.file = false\n"
            "disk_free_limit.absolute = 1MB\n"
        )

    def url(self, virtual_host: str) -> str:
        """The address of one of the node's virtual hosts, for `MARKETFLOW_BROKER_URL`."""
        return f"amqp://{USER}:{PASSWORD}@127.0.0.1:{self._port}/{virtual_host}"

    @property
    def log(self) -> str:
        return (self._directory / "out").read_text(errors="replace")

    def ensure_started(self) -> None:
        """Start the node, unless it runs, and wait until it serves."""
        if self._server is not None:
            return
        if self._epmd is None:
            mapper = ["epmd", "-port", str(self._epmd_port), "-address", "127.0.0.1"]
            self._epmd = subprocess.Popen(mapper, env=self._environment(), stdin=subprocess.DEVNULL)
        with (self._directory / "out").open("ab") as out:
            self._server = subprocess.Popen(
                [SERVER], env=self._environment(), stdin=subprocess.DEVNULL, stdout=out, stderr=out
            )
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._serves():
            assert self._server.poll() is None, self.log
            assert time.monotonic() < deadline, self.log
            time.sleep(_PAUSE_S)

    def stop(self) -> None:
        """End the node in order."""
        if self._server is not None:
            _end(self._server)
            self._server = None

    def close(self) -> None:
        """End the node and its port mapper."""
        self.stop()
        if self._epmd is not None:
            _end(self._epmd)
            self._epmd = None

    def _serves(self) -> bool:
        with contextlib.suppress(OSError), Connection(self.url(STACK), connect_timeout=1) as connection:
            connection.connect()
            return True
        return False

    def _environment(self) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "LANG": "C.UTF-8",
            "HOME": str(self._directory),  # where Erlang keeps its cookie
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": str(self._epmd_port),
            "RABBITMQ_NODENAME": "tests@localhost",
            "RABBITMQ_DIST_PORT": str(self._dist_port),
            "RABBITMQ_MNESIA_BASE": str(self._directory / "data"),
            "RABBITMQ_LOG_BASE": str(self._directory / "log"),
            "RABBITMQ_PID_FILE": str(self._directory / "pid"),
            "RABBITMQ_CONFIG_FILE": str(self._directory / "rabbitmq.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(self._directory / "advanced.config"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self._directory / "plugins"),
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
        }


def require_rabbitmq() -> None:
    """Skip where RabbitMQ is not installed; CI installs it, so there its absence is a failure."""
    if SERVER.exists() and shutil.which("epmd"):
        return
    reason = f"{SERVER} is missing: install Debian's rabbitmq-server (its service need not run)"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def _definitions() -> dict[str, object]:
    """One user, who may do everything in each virtual host (https://www.rabbitmq.com/docs/definitions)."""
    salt = b"salt"
    digest = base64.b64encode(salt + hashlib.sha256(salt + PASSWORD.encode()).digest()).decode()
    everything = {"user": USER, "configure": ".*", "write": ".*", "read": ".*"}
    return {
        "users": [{"name": USER, "password_hash": digest, "tags": ""}],
        "vhosts": [{"name": name} for name in (STACK, PARTS)],
        "permissions": [{**everything, "vhost": name} for name in (STACK, PARTS)],
    }


def _free_ports(count: int) -> list[int]:
    """Ports that were free together a moment ago."""
    with contextlib.ExitStack() as held:
        probes = [held.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
