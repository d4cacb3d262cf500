"""Ports of one stack: no two programs get one, and no process of a program finds its own taken."""

import socket
from pathlib import Path

from ops.stack.ports import HOST, Ports


def can_listen(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def test_row_of_ports_is_free_to_its_end(tmp_path: Path) -> None:
    ports = Ports(tmp_path / "ports.json")
    with socket.create_server((HOST, 0)) as taken:
        usual = taken.getsockname()[1] - 1

        first = ports.claim({"workers": (usual, False)}, rows={"workers": 3})["workers"]

    try:
        assert first != usual
        assert all(can_listen(port) for port in range(first, first + 3))
    finally:
        ports.release()


def test_rows_of_two_stacks_do_not_overlap(tmp_path: Path) -> None:
    stacks = [Ports(tmp_path / "one.json"), Ports(tmp_path / "two.json")]

    one, two = (stack.claim({"workers": (20_500, False)}, rows={"workers": 3})["workers"] for stack in stacks)

    assert not set(range(one, one + 3)) & set(range(two, two + 3))
    for stack in stacks:
        stack.release()
