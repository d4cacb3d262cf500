"""The connections to Redis: bounded in time, and failing as Redis's library says that they fail."""

from collections.abc import Iterable
from typing import Any

from redis.asyncio import BlockingConnectionPool, Connection, Redis, SSLConnection, UnixDomainSocketConnection
from redis.asyncio.connection import AbstractConnection
from redis.driver_info import DriverInfo
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.maint_notifications import MaintNotificationsConfig

# PERF: of itself the library reads its own package's metadata, to tell its version, for each connection.
_DRIVER = DriverInfo()
# NOTE: of itself the library asks to be told of maintenance, and then lends connections that have ended: after a
# restart of Redis each of them would fail a request, whenever it comes to be used.
_UNTOLD = MaintNotificationsConfig(enabled=False)


class _LoopErrors:
    """Knows a connection as lost when the event loop says so.

    uvloop refuses to write to a connection that was reset a moment before with a plain `RuntimeError`, which the
    library does not know: it would neither connect anew nor tell anybody that Redis is out of reach.
    """

    async def _send_packed_command(self, command: Iterable[bytes]) -> None:
        try:
            await super()._send_packed_command(command)  # type: ignore[misc]  # of the connection beside it
        except RuntimeError as error:
            await self.disconnect(nowait=True)  # type: ignore[attr-defined]  # the same
            raise RedisConnectionError(str(error)) from error


class _PlainConnection(_LoopErrors, Connection):
    """Over TCP."""


class _TlsConnection(_LoopErrors, SSLConnection):
    """Over TLS."""


class _UnixConnection(_LoopErrors, UnixDomainSocketConnection):
    """Over a Unix socket."""


class _Pool(BlockingConnectionPool):
    """Where connections are lent, and whoever gives up hands on the word that one is free.

    NOTE: before Python 3.13 a condition's word is lost when it comes to who is cancelled in the same moment
    (python/cpython#112202). Others would wait in vain, and Redis count as out of reach.
    """

    async def get_connection(self, *args: Any, **options: Any) -> AbstractConnection:
        """Lend a connection; as of the library's own."""
        try:
            connection: AbstractConnection = await super().get_connection(*args, **options)  # type: ignore[no-untyped-call]  # it has no types
        except BaseException:
            async with self._condition:
                self._condition.notify()
            raise
        return connection


def make_redis(url: str, *, timeout_s: float, pool_size: int) -> Redis:
    """Return a client that waits for nothing longer than `timeout_s`; it connects at its first use.

    It holds at most `pool_size` connections: a pool never gives back what it once needed, so without a bound one
    slow moment would stay in all processes as connections. Who finds none free waits for one, as long.
    """
    pool = _Pool.from_url(
        url,
        max_connections=pool_size,
        timeout=timeout_s,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        driver_info=_DRIVER,
        maint_notifications_config=_UNTOLD,
    )
    pool.connection_class = _OURS[pool.connection_class]
    return Redis.from_pool(pool)


_OURS = {
    Connection: _PlainConnection,
    SSLConnection: _TlsConnection,
    UnixDomainSocketConnection: _UnixConnection,
}
