"""What is done so that workers hold no more memory than the API uses, and share what they can.

A worker begins as a copy of the process that loaded the application (`api/nursery.py`), and workers share each
page of memory until one of them writes to it.
"""

import contextlib
import ctypes
import gc
import importlib
import os
import sys
from types import ModuleType

UNUSED = ("attr", "brotli", "greenlet", "msgpack", "opentelemetry.sdk.metrics", "psutil", "rich", "yaml")
"""What libraries of the API use where they find it, but not for the API: a tenth of its memory.

structlog would draw exceptions with `rich` (which takes `attr` along), but our logs tell them as text, and would
tell greenlets apart; `redis` and OpenTelemetry's resources would measure themselves; kombu would read messages in
YAML, MessagePack and Brotli, and Falcon requests, of which there are none.
"""

HOLLOW = (
    "redis.asyncio.cluster",
    "redis.asyncio.keyspace_notifications",
    "redis.cluster",
    "redis.keyspace_notifications",
)
"""What `redis` imports for clusters and events of keys, of which we have none: 1.2 MiB.

Libraries import classes from them by name, and find empty ones.
"""

LATE = ("encodings.idna", "gunicorn.instrument.statsd", "importlib.readers", "uvloop")
"""What a worker would import at its first connection or request, and so have for itself."""

_TZPATH = ("/usr/share/zoneinfo", "/usr/lib/zoneinfo", "/usr/share/lib/zoneinfo", "/etc/zoneinfo")
"""Where Python itself looks for time zones. It finds that among all with which it was built, 0.6 MiB of it."""

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_KEPT = 128 * 1024


class _Hollow(ModuleType):
    """A module that has every name, and under each an empty class."""

    def __getattr__(self, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


def hide_unused() -> None:
    """Let libraries find none of UNUSED and nothing in HOLLOW, and time zones without Python's build."""
    os.environ.setdefault("PYTHONTZPATH", os.pathsep.join(_TZPATH))
    for name in UNUSED:
        sys.modules.setdefault(name, None)  # type: ignore[arg-type]  # how Python says that there is no such module
    for name in HOLLOW:
        sys.modules.setdefault(name, _Hollow(name))


def settle() -> None:
    """Make the memory ready to be shared, once the application is there."""
    for name in UNUSED:
        if name in sys.modules and sys.modules[name] is None:
            del sys.modules[name]
    for name in LATE:
        importlib.import_module(name)
    # What was found where on the disk: whoever imports something later looks again.
    sys.path_importer_cache.clear()
    # A type's attributes are found by a cache of names, each of which it holds: a worker that fills it anew would
    # otherwise write to those that were found before. From Python 3.12 on nobody counts who holds a name.
    if sys.version_info < (3, 12):
        sys._clear_type_cache()  # noqa: SLF001 - it has no other name
    gc.collect()
    with contextlib.suppress(AttributeError):  # another C library than glibc
        _give_back_memory()
    # The collector's marks would copy the pages that workers share.
    gc.freeze()


def _give_back_memory() -> None:
    """Let the C library keep little of what is not used, now and later, in one arena for all threads (mallopt(3)).

    Of itself it keeps up to twice the largest piece that was ever given back, and an arena for each thread.
    """
    libc = ctypes.CDLL(None)
    for parameter, value in ((_M_ARENA_MAX, 1), (_M_TRIM_THRESHOLD, _KEPT), (_M_MMAP_THRESHOLD, _KEPT)):
        libc.mallopt(parameter, value)
    libc.malloc_trim(0)
