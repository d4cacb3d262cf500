"""The file that lets the state survive a restart: changed rows, appended in batches."""

import asyncio
import pickle  # of a file that is the sandbox's own  # nosec B403
from pathlib import Path
from typing import Any, BinaryIO

from ops.stripe_sandbox.store import Store

FLUSH_INTERVAL_S = 0.03
_COMPACT_ABOVE_ROWS = 1000


class Journal:
    """An append-only file of batches of `((collection, key), row)`; the last word on a row counts.

    Batches are pickled because rows share parts (an event and a remembered answer hold the same object),
    which pickling keeps shared both in the file and after it was read again.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._file: BinaryIO | None = None
        self._dirty: dict[tuple[str, str], Any] = {}
        self._is_flush_due = False

    def note(self, collection: str, key: str, row: Any) -> None:
        """Write this row with the next batch."""
        if self._file is None:
            return
        self._dirty[collection, key] = row
        if not self._is_flush_due:
            self._is_flush_due = True
            asyncio.get_running_loop().call_later(FLUSH_INTERVAL_S, self.flush)

    def open(self, store: Store) -> None:
        """Read the state into the store and be ready to append; a torn last batch is cut off."""
        if self._path is None:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        read = self._read(store) if self._path.exists() else 0
        live = [((name, key), row) for name, each in store.collections.items() for key, row in each.live()]
        if read > 2 * len(live) + _COMPACT_ABOVE_ROWS:
            self._rewrite(live)
        self._file = self._path.open("ab")

    def flush(self) -> None:
        """Append what changed since the last batch."""
        self._is_flush_due = False
        if self._file is not None and self._dirty:
            pickle.dump(list(self._dirty.items()), self._file, protocol=pickle.HIGHEST_PROTOCOL)
            self._file.flush()
            self._dirty.clear()

    def truncate(self) -> None:
        """Forget everything that was written."""
        self._dirty.clear()
        if self._file is not None:
            self._file.truncate(0)

    def close(self) -> None:
        """Write the last batch."""
        self.flush()
        if self._file is not None:
            self._file.close()
            self._file = None

    def _read(self, store: Store) -> int:
        read, end = 0, 0
        assert self._path is not None  # noqa: S101 - tells the type checker what `open` has made sure of
        with self._path.open("r+b") as file:
            while True:
                try:
                    batch = pickle.load(file)  # noqa: S301 - the file is the sandbox's own  # nosec B301
                except (EOFError, pickle.UnpicklingError):
                    break
                for (name, key), row in batch:
                    store.restore(name, key, row)
                read, end = read + len(batch), file.tell()
            file.truncate(end)
        return read

    def _rewrite(self, live: list[tuple[tuple[str, str], Any]]) -> None:
        assert self._path is not None  # noqa: S101 - tells the type checker what `open` has made sure of
        fresh = self._path.with_suffix(".new")
        with fresh.open("wb") as file:
            pickle.dump(live, file, protocol=pickle.HIGHEST_PROTOCOL)
        fresh.replace(self._path)
