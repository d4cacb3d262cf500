"""gunicorn's settings; a module that it executes, so the names are gunicorn's."""

import gc
import os
import resource
import shutil
from pathlib import Path
from typing import Any

from gunicorn.app import base

from api.nursery import Arbiter, Nursery

# NOTE: gunicorn 27 has no setting for its master, only this name.
base.Arbiter = Arbiter


def read_setting(name: str, default: str) -> str:
    """Return one of `ops.settings.Settings` as it was given, by a variable or a file.

    What checks them all comes with the application, of which the master holds nothing.
    """
    variables = {key.upper(): value for key, value in os.environ.items()}
    file = Path(variables.get("MARKETFLOW_SECRETS_DIR", "")) / f"marketflow_{name}"
    kept = file.read_text().strip() if "MARKETFLOW_SECRETS_DIR" in variables and file.is_file() else default
    return variables.get(f"MARKETFLOW_{name.upper()}", kept)


_prometheus_dir = Path(
    read_setting("prometheus_dir", "") or Path(read_setting("var_dir", "var"), "prometheus", "api")
)

bind = f"{read_setting('api_host', '127.0.0.1')}:{read_setting('api_port', '8000')}"
worker_class = "api.nursery.Charge"
logger_class = "api.nursery.Logger"
workers = int(read_setting("api_workers", "2"))
# The lifespan closes the services, so a failure in it must not be passed over.
asgi_lifespan = "on"
# A second instance would unlink the first one's socket.
control_socket_disable = True
graceful_timeout = 15
_closing_s = 3
timeout = 60
keepalive = 75
backlog = 2048
accesslog = None
# Each client that follows or waits is an open file, and a shell may allow fewer of them than the machine does.
_hard_limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (_hard_limit, _hard_limit))
# The multiprocess mode of prometheus-client keeps a file a process; those of an earlier run would be counted.
shutil.rmtree(_prometheus_dir, ignore_errors=True)
_prometheus_dir.mkdir(parents=True)
os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(_prometheus_dir)
os.environ["MARKETFLOW_PROMETHEUS_DIR"] = str(_prometheus_dir)


def when_ready(server: Arbiter) -> None:
    """Share with the workers what the master has, before there is any."""
    gc.freeze()


def post_fork(server: Arbiter, worker: Any) -> None:
    """Let a worker give up on slow requests before the master gives up on it: it has services to close."""
    worker.cradle.leave()
    worker.cfg.set("graceful_timeout", graceful_timeout - _closing_s)


def child_exit(server: Arbiter, worker: Any) -> None:
    """Know the workers of a nursery that ended; forget the live gauges of a worker that did."""
    if isinstance(worker, Nursery):
        server.adopt(worker)
        return
    from prometheus_client import multiprocess  # noqa: PLC0415 - it reads the variable set above

    multiprocess.mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]  # it has no types
