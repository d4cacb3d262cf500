import json
import random
import socket
from collections.abc import Iterable, Mapping
from pathlib import Path

from ops.stack.info import dump, write_private

HOST = "127.0.0.1"
_QUIET_PORTS = range(20_000, 32_000)
"""Below those that the kernel gives to outgoing connections: in a row, half of these are taken at any time."""


class Ports:
    """Chooses the TCP ports of one stack and keeps other stacks off them.

    Two stacks that start at the same moment would both find a port free. So each port is also claimed by an
    abstract Unix socket, which the kernel frees when this process ends, however it ends.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._claims: list[socket.socket] = []

    def claim(
        self, wanted: Mapping[str, tuple[int, bool]], *, rows: Mapping[str, int] | None = None
    ) -> dict[str, int]:
        """Claim a port for each name and remember the choice for the next run; for some of them several in a row.

        `wanted` maps the name to the usual port and whether it was asked for by the user. An asked-for port
        comes first, then that of the last run, then the usual one, then any free one.
        """
        last = self._remembered()
        chosen: dict[str, int] = {}
        for name, (usual, asked_for) in wanted.items():
            first = [usual] if asked_for else []
            remembered = [last[name]] if name in last else []
            chosen[name] = self._claim_row([*first, *remembered, usual], (rows or {}).get(name, 1))
        write_private(self._path, dump({**last, **chosen}))
        return chosen

    def release(self) -> None:
        """Give up every claim."""
        while self._claims:
            self._claims.pop().close()

    def _remembered(self) -> dict[str, int]:
        try:
            ports = json.loads(self._path.read_bytes())
            return {str(name): int(port) for name, port in ports.items()}
        except (OSError, ValueError, AttributeError, TypeError):
            return {}  # a convenience only: without it the usual ports are tried

    def _claim_row(self, candidates: Iterable[int], length: int) -> int:
        for port in candidates:
            if self._claim_all(range(port, port + length)):
                return port
        while True:
            port = _any_free_port() if length == 1 else random.choice(_QUIET_PORTS)  # noqa: S311 - no secret
            if self._claim_all(range(port, port + length)):
                return port

    def _claim_all(self, ports: range) -> bool:
        return all(self._reserve(port) and _is_free(port) for port in ports)

    def _reserve(self, port: int) -> bool:
        claim = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            claim.bind(f"\0marketflow-port-{port}")
        except OSError:
            claim.close()
            return False
        self._claims.append(claim)
        return True


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As servers do: connections of the last run in TIME_WAIT do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def _any_free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port
