import fcntl
import os
from pathlib import Path

from ops.stack.errors import StackRunningError


class DirectoryLock:
    """One stack a directory. The kernel frees the lock with its holder, so it is never stale."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    @property
    def is_held(self) -> bool:
        """Tell whether this object holds the lock."""
        return self._descriptor is not None

    def acquire(self) -> None:
        """Take the lock.

        Raises:
            StackRunningError: another process holds it.

        """
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.read(descriptor, 32).decode().strip()
            os.close(descriptor)
            raise StackRunningError(
                f"A stack runs already in {self._path.parent} (process {holder or 'unknown'}): "
                "stop it first, or choose another directory with MARKETFLOW_VAR_DIR."
            ) from None
        os.truncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        self._descriptor = descriptor

    def release(self) -> None:
        """Give the lock back, if it is held."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
