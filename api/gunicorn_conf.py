"""gunicorn's settings; a module that it executes, so the names are gunicorn's."""

import gc
import os
import resource
import shutil
from pathlib import Path
from typing import Any

from gunicorn.app import base

from api.nursery import Arbiter, Nursery
from ops.plain_settings import read_setting

# NOTE: gunicorn 27 has no setting for its master, only this name.
base.Arbiter = Arbiter
# The master holds nothing of what checks the settings; the application does, before anybody serves.
_prometheus_dir = Path(read_setting("prometheus_dir") or Path(read_setting("var_dir"), "prometheus", "api"))

bind = f"{read_setting('api_host')}:{read_setting('api_port')}"
worker_class = "api.nursery.Charge"
logger_class = "api.nursery.Logger"
# With none, nobody would be there to refuse that.
workers = max(1, int(read_setting("api_workers")))
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
