"""Clients that come at once are shared out among the workers."""

import asyncio
import socket
from contextlib import suppress
from types import SimpleNamespace

import pytest
import uvloop
from gunicorn.config import Config

from api import worker as worker_module
from api.worker import Connection

CLIENTS = 8


@pytest.fixture
def listener():
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        listener.setblocking(False)
        yield listener


@pytest.fixture
def other_worker(monkeypatch, listener):
    """Another process that listens on the same socket: it accepts one in each moment that it is given."""
    taken = []

    def take_one(_: float) -> None:
        with suppress(BlockingIOError):
            taken.append(listener.accept()[0])

    monkeypatch.setattr(worker_module, "time", SimpleNamespace(sleep=take_one))
    yield taken
    for connection in taken:
        connection.close()


def serve(listener, *, workers, connections):
    """Accept who waits, as gunicorn's worker does; return those accepted."""
    config = Config()
    config.set("workers", workers)
    accepted = []

    class Accepted(Connection):
        def connection_made(self, transport):
            accepted.append(transport)

        def connection_lost(self, _):
            pass

    loop = uvloop.new_event_loop()
    worker = SimpleNamespace(cfg=config, log=None, asgi=None, loop=loop, connections=connections)

    async def run():
        server = await loop.create_server(lambda: Accepted(worker), sock=listener.dup())
        await asyncio.sleep(0.05)
        server.close()
        for transport in accepted:
            transport.abort()
        await server.wait_closed()

    clients = [socket.create_connection(listener.getsockname()) for _ in range(CLIENTS)]
    try:
        loop.run_until_complete(run())
    finally:
        for client in clients:
            client.close()
        loop.close()
    return accepted


def test_every_second_client_is_left_to_another_worker(listener, other_worker):
    accepted = serve(listener, workers=2, connections={})

    assert (len(accepted), len(other_worker)) == (CLIENTS / 2, CLIENTS / 2)


def test_only_worker_takes_all_at_once(listener, other_worker):
    accepted = serve(listener, workers=1, connections={})

    assert (len(accepted), len(other_worker)) == (CLIENTS, 0)


def test_worker_with_many_clients_no_longer_pauses(listener, other_worker):
    accepted = serve(listener, workers=2, connections=dict.fromkeys(range(worker_module._FEW)))

    assert (len(accepted), len(other_worker)) == (CLIENTS, 0)
