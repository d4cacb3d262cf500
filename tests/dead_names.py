"""Names for which no server answers: who looks them up waits until the test is over."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest


@contextmanager
def dead_names(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let names that begin with `dead` be dead until the end of the block."""
    look_up, is_over = socket.getaddrinfo, threading.Event()

    def wait(host: Any, *arguments: Any, **options: Any) -> Any:
        if str(host).startswith("dead"):
            is_over.wait()
            raise socket.gaierror(socket.EAI_AGAIN, "no server answers")
        return look_up(host, *arguments, **options)

    with monkeypatch.context() as patched:
        patched.setattr(socket, "getaddrinfo", wait)
        try:
            yield
        finally:
            is_over.set()
