"""The application, whose rate limits go by a clock that a test sets, and which says which process answers."""

import mmap
import os
import struct
from dataclasses import replace
from pathlib import Path

from falcon.asgi import Request, Response

from api.app import Application, create_app
from api.services import build_services
from db.rate_limits import RateLimits
from ops.settings import get_settings

PROCESS = "X-Process"
_TIME = struct.Struct("d")


class SharedTime:
    """The one clock of several processes: a number in a file that all of them have in memory."""

    def __init__(self, var: Path) -> None:
        """Take up the clock in a directory, or put one there."""
        path = var / "clock"
        if not path.exists():
            path.write_bytes(_TIME.pack(1_800_000_000.0))
        with path.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), _TIME.size)

    def __call__(self) -> float:
        now_s: float = _TIME.unpack_from(self._memory)[0]
        return now_s

    def set(self, now_s: float) -> None:
        """Set it for all, while nobody asks."""
        _TIME.pack_into(self._memory, 0, now_s)


class Signature:
    """Says in each answer which process gave it."""

    async def process_response(self, req: Request, resp: Response, *_: object) -> None:
        """Name the process."""
        resp.set_header(PROCESS, str(os.getpid()))


def refuse_to_guess(count: int) -> None:
    """Fail a request that would pass uncounted."""
    raise RuntimeError(f"{count} requests pass uncounted")


def create() -> Application:
    """Return the application, in each of the server's processes."""
    settings = get_settings()
    services = build_services(settings)
    limits = RateLimits(services.redis, on_failure=refuse_to_guess, clock_s=SharedTime(settings.var_dir))
    app = create_app(replace(services, rate_limits=limits))
    app.add_middleware(Signature())
    return app
