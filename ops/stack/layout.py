import hashlib
import os
import re
import stat
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ops.stack.errors import StackError

ROOT = Path(__file__).resolve().parents[2]
"""The directory that holds `api/`, `workers/` and `ops/`: the working directory of every program."""

POSTGRES_SOCKET = ".s.PGSQL.5432"
# A Unix socket's path holds 107 bytes (unix(7)); supervisord binds under a name longer by its pid.
SOCKET_PATH_BYTES = 96
# In a PostgreSQL URL a comma means several hosts; other characters would need quoting in three syntaxes.
PLAIN_PATH = re.compile(r"[A-Za-z0-9/_.+-]+")


def var_dir_of(environment: Mapping[str, str]) -> Path:
    """Return the directory that `environment` chooses, else the project's own, wherever one stands."""
    return Path(environment.get("MARKETFLOW_VAR_DIR") or ROOT / "var")


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the stack of one directory keeps its files."""

    var: Path
    runtime: Path
    """The directory of the sockets; short, and nobody else may write to it."""

    @classmethod
    def of(cls, var_dir: Path) -> "Layout":
        """Return the layout of `var_dir`; nothing is created."""
        var = Path(os.path.abspath(var_dir))  # noqa: PTH100 - a link to another disk keeps its short name
        if re.search(r"\s[;#]|\n", f"{var}{ROOT}"):
            raise StackError(f"The path {var} cannot be written in supervisord's configuration: rename it.")
        return cls(var=var, runtime=_runtime_dir(var))

    @property
    def logs(self) -> Path:
        """Return the directory of the programs' logs."""
        return self.var / "log"

    @property
    def postgres(self) -> Path:
        """Return the directory of the PostgreSQL cluster and its configuration."""
        return self.var / "postgres"

    @property
    def postgres_data(self) -> Path:
        """Return PGDATA."""
        return self.postgres / "data"

    @property
    def postgres_socket_dir(self) -> Path:
        """Return the directory of PostgreSQL's socket, which only PostgreSQL's user may enter."""
        return self.runtime / "pg"

    @property
    def valkey(self) -> Path:
        """Return the directory of Valkey's append-only file and its configuration."""
        return self.var / "valkey"

    @property
    def supervisor_socket(self) -> Path:
        """Return the socket of supervisord's XML-RPC."""
        return self.runtime / "supervisor.sock"

    @property
    def supervisor_config(self) -> Path:
        """Return supervisord's generated configuration."""
        return self.var / "supervisord.conf"

    @property
    def info(self) -> Path:
        """Return the file that tells others where everything is."""
        return self.var / "stack.json"

    @property
    def secrets(self) -> Path:
        """Return the file of the secrets that are generated once."""
        return self.var / "secrets.json"

    @property
    def ports(self) -> Path:
        """Return the file of the ports that the last run used."""
        return self.var / "ports.json"

    @property
    def lock(self) -> Path:
        """Return the file that the running stack holds locked."""
        return self.var / "stack.lock"

    def create(self) -> None:
        """Create the directories; refuse a directory for sockets in which others could write."""
        for directory in (self.var, self.logs, self.valkey, self.var / "stripe", self.var / "flower"):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.postgres.mkdir(mode=0o711, exist_ok=True)
        self.runtime.mkdir(mode=0o711, exist_ok=True)
        found = self.runtime.lstat()
        ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()
        if not ours or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise StackError(f"{self.runtime} belongs to somebody else or is open to others: remove it.")


def _runtime_dir(var: Path) -> Path:
    """Return `var/run`, or a directory for temporary files when the path does not suit a socket."""
    digest = hashlib.sha256(os.fsencode(var)).hexdigest()[:16]
    candidates = (
        var / "run",
        Path(tempfile.gettempdir()) / f"marketflow-{os.geteuid()}-{digest}",
        Path(f"/tmp/marketflow-{os.geteuid()}-{digest}"),  # noqa: S108 - `create` checks who owns it
    )
    for path in candidates:
        longest = len(os.fsencode(path / "pg" / POSTGRES_SOCKET))
        if longest <= SOCKET_PATH_BYTES and PLAIN_PATH.fullmatch(str(path)):
            return path
    raise StackError(f"No directory is short enough for the sockets of {var}.")
