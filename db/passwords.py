"""Argon2id, off the event loop."""

import asyncio
import os
from base64 import b64encode
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from argon2.low_level import ARGON2_VERSION

from domain.errors import Unavailable

_THREADS = 2
_MAX_WAITING = 64


class Argon2Hasher:
    """`domain.identity.ports.PasswordHasher` with the library's present parameters (RFC 9106, low memory).

    Hashing costs tens of milliseconds and much memory on purpose: two run at once, some wait, and more are
    told to come back.
    """

    def __init__(self) -> None:
        """Make the threads, and the hash that unknown users are compared with."""
        self._hasher = PasswordHasher()
        self._threads = ThreadPoolExecutor(max_workers=_THREADS, thread_name_prefix="argon2")
        self._waiting = 0
        self._dummy = _hash_of_nothing(self._hasher)

    async def hash(self, password: str) -> str:
        """Return an encoded hash. Errors: Unavailable `overloaded`."""
        return str(await self._in_thread(self._hasher.hash, password))

    async def verify(self, password_hash: str | None, password: str) -> bool:
        """Compare; None stands for no such user and takes as long. Errors: Unavailable `overloaded`."""
        return bool(await self._in_thread(self._verify, password_hash or self._dummy, password))

    def is_outdated(self, password_hash: str) -> bool:
        """Say whether an encoded hash, which some password fits, has other parameters than new ones get."""
        return self._hasher.check_needs_rehash(password_hash)

    def _verify(self, password_hash: str, password: str) -> bool:
        try:
            return self._hasher.verify(password_hash, password)
        except (VerificationError, InvalidHashError):
            return False

    async def _in_thread(self, call: Callable[..., object], *args: str) -> object:
        if self._waiting >= _MAX_WAITING:
            raise Unavailable("too many passwords wait to be checked", code="overloaded")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, call, *args)
        finally:
            self._waiting -= 1


def _hash_of_nothing(hasher: PasswordHasher) -> str:
    """Return what looks like a hash, and costs as much to compare, but is none of any password.

    PERF: hashing one at every start would take as long as a seventh of all imports.
    """
    salt, digest = (
        b64encode(os.urandom(length)).decode().rstrip("=") for length in (hasher.salt_len, hasher.hash_len)
    )
    costs = f"m={hasher.memory_cost},t={hasher.time_cost},p={hasher.parallelism}"
    return f"$argon2id$v={ARGON2_VERSION}${costs}${salt}${digest}"
