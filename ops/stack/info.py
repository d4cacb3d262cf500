import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from ops.stack.errors import NoStack, StackError


class Credentials(BaseModel):
    """What a seeded user logs in with."""

    model_config = ConfigDict(frozen=True)

    email: str
    password: str


class ProcessInfo(BaseModel):
    """One process of the stack as supervisord sees it."""

    model_config = ConfigDict(frozen=True)

    program: str
    name: str
    state: str
    """RUNNING, STARTING, BACKOFF, STOPPED, FATAL, … (supervisord's process states)."""
    pid: int | None
    uptime_s: int
    log: str
    note: str = ""


class StackInfo(BaseModel):
    """The contents of `var/stack.json`: where everything is and how to get in; "" where a part is not run."""

    model_config = ConfigDict(frozen=True)

    api: str = ""
    flower: str = ""
    worker_metrics: tuple[str, ...] = ()
    """Where each worker process shows its metrics; the API has /metrics."""
    flower_user: str = ""
    flower_password: str = ""
    stripe: str = ""
    stripe_api_key: str = ""
    stripe_webhook_secret: str = ""
    database_url: str = ""
    migration_database_url: str = ""
    redis_url: str = ""
    broker_url: str = ""
    users: Mapping[str, Credentials] = {}
    supervisor: str = ""
    """The Unix socket of supervisord's XML-RPC."""
    processes: Mapping[str, ProcessInfo] = {}
    pid: int = 0
    """The process that holds the stack; SIGTERM stops everything."""


def write_private(path: Path, text: str) -> None:
    """Replace the file at once, readable by its owner alone, so that a reader never sees half of it."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    draft.touch(mode=0o600)
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)


def read_info(path: Path) -> StackInfo:
    """Read `stack.json`.

    Raises:
        StackError: it cannot be read; NoStack where there is none.

    """
    try:
        return StackInfo.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise NoStack(f"No stack runs here: {path} does not exist.") from None
    except (OSError, ValueError) as error:
        raise StackError(f"{path} cannot be read: {error}") from error


def dump(value: BaseModel | Mapping[str, Any]) -> str:
    """Render `value` as the JSON of one of the stack's files."""
    data = value.model_dump(mode="json") if isinstance(value, BaseModel) else value
    return json.dumps(data, indent=2) + "\n"
