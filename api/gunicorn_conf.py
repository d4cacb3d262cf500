"""gunicorn's settings; a module that it executes, so the names are gunicorn's."""

import gc
import os
import resource
import shutil
from typing import Any

from api.preload import hide_unused, settle
from ops.settings import get_settings

# PERF: building the application leaves hardly any garbage, and looking for it takes a tenth of a start.
gc.disable()
hide_unused()
_settings = get_settings()
_prometheus_dir = _settings.prometheus_dir or _settings.var_dir / "prometheus" / "api"

bind = f"{_settings.api_host}:{_settings.api_port}"
worker_class = "api.worker.Worker"
logger_class = "api.worker.Logger"
workers = _settings.api_workers
# The master builds the application and its workers share the memory; nothing connects before its first use, and so
# after the fork.
preload_app = True
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
get_settings.cache_clear()


def when_ready(server: Any) -> None:
    """Share with the workers what the master made, before there is any."""
    settle()
    # PERF: a request leaves no cycles, and there would be a search for some at every third one.
    gc.set_threshold(10_000)
    gc.enable()


def post_fork(server: Any, worker: Any) -> None:
    """Let a worker give up on slow requests before the master gives up on it: it has services to close."""
    worker.cfg.set("graceful_timeout", graceful_timeout - _closing_s)


def child_exit(server: Any, worker: Any) -> None:
    """Forget the live gauges of a process that ended."""
    from prometheus_client import multiprocess  # noqa: PLC0415 - it reads the variable set above

    multiprocess.mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]  # it has no types
