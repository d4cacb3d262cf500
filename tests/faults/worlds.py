"""Stacks that stand on something which can fail by itself: wires, a small disk, a RabbitMQ node."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from ops.stack import Stack
from tests.faults.harness import Harness, open_harness
from tests.faults.proxy import Proxy
from tests.rabbitmq import SERVER, STACK, RabbitNode

DISK = "320m"
"""Room for a new cluster with its log and for a few thousand payments."""


@asynccontextmanager
async def wires(seed: int) -> AsyncIterator[Harness]:
    """A stack that reaches its Valkey through a proxy."""
    with (
        tempfile.TemporaryDirectory(prefix="marketflow-wires-") as directory,
        Stack(Path(directory) / "var", programs={"valkey"}) as servers,
        Proxy(urlsplit(servers.info.redis_url).port or 0) as proxy,
    ):
        settings = {
            "MARKETFLOW_REDIS_URL": _through(proxy, servers.info.redis_url),
            "MARKETFLOW_BROKER_URL": _through(proxy, servers.info.broker_url),
        }
        async with open_harness(seed, settings, proxy=proxy) as harness:
            yield harness


@asynccontextmanager
async def small_disk(seed: int) -> AsyncIterator[Harness]:
    """A stack whose PostgreSQL and Valkey have small disks, one each."""
    async with open_harness(seed, around=_disks) as harness:
        yield harness


@asynccontextmanager
async def on_rabbitmq(seed: int) -> AsyncIterator[Harness]:
    """A stack whose broker is a RabbitMQ node."""
    with tempfile.TemporaryDirectory(prefix="marketflow-rabbitmq-") as directory:
        node = RabbitNode(Path(directory) / "node")
        try:
            node.ensure_started()
            async with open_harness(seed, {"MARKETFLOW_BROKER_URL": node.url(STACK)}) as harness:
                harness.node = node
                yield harness
        finally:
            node.close()


def no_mounts() -> str:
    """Say why no disk can be mounted; nothing when one can."""
    return "" if os.geteuid() == 0 and Path("/usr/bin/mount").exists() else "only root can mount a small disk"


def no_rabbitmq() -> str:
    """Say why there is no RabbitMQ."""
    return "" if SERVER.exists() and shutil.which("epmd") else f"{SERVER} is missing (Debian's rabbitmq-server)"


@contextmanager
def _disks(stack: Stack) -> Iterator[None]:
    stack.layout.create()
    with _mounted(stack.layout.postgres), _mounted(stack.layout.valkey):
        yield


@contextmanager
def _mounted(directory: Path) -> Iterator[None]:
    mode = directory.stat().st_mode & 0o777
    subprocess.run(
        ["/usr/bin/mount", "-t", "tmpfs", "-o", f"size={DISK},mode={mode:o}", "marketflow-faults", directory],
        check=True,
    )
    try:
        yield
    finally:
        subprocess.run(["/usr/bin/umount", directory], check=True)


def _through(proxy: Proxy, url: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.replace(f":{parts.port}", f":{proxy.port}")).geturl()
