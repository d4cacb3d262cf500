"""Backups of the database: whole, and to any moment since.

They copy the cluster's files and its log, not its rows: what is folded into balances and what readers have seen is
told by transaction numbers, which a dump would lose.
"""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from ops.errors import BadValue, Denied, OperatorError
from ops.stack import postgres
from ops.stack.errors import StackError

_PRIVATE = 0o700


def back_up(url: str, directory: Path) -> None:
    """Copy the cluster that runs at `url` into a new directory, and check the copy; shows its progress.

    The role of `url` is a superuser, or may replicate. Errors: OperatorError.
    """
    _must_be_new(directory)
    # Each file's hash goes into a manifest, and the log of the time of copying comes along.
    options = ("--wal-method=stream", "--checkpoint=fast", "--manifest-checksums=SHA256", "--progress")
    address, environment = _connection(url)
    _run("pg_basebackup", f"--pgdata={directory}", f"--dbname={address}", *options, environment=environment)
    check(directory)


def check(directory: Path) -> None:
    """Compare every file of a backup with its manifest. Errors: Denied where one differs, else OperatorError."""
    if not (directory / "backup_manifest").is_file():
        raise BadValue(f"{directory} is no backup: it has no manifest.")
    verified = subprocess.run([_find("pg_verifybackup"), "--quiet", str(directory)], check=False)  # noqa: S603 - ours
    if verified.returncode:
        raise Denied(f"pg_verifybackup failed, with the status {verified.returncode}: {directory} is damaged.")


def archive(url: str, directory: Path) -> None:
    """Receive the log of the cluster at `url` until it is interrupted: with a backup before it, all that happens.

    The server keeps for this archive, by its slot, what did not arrive. Errors: OperatorError.
    """
    directory.mkdir(mode=_PRIVATE, parents=True, exist_ok=True)
    address, environment = _connection(url)
    target = (f"--directory={directory}", f"--dbname={address}", f"--slot={_SLOT}")
    _run("pg_receivewal", *target, "--create-slot", "--if-not-exists", environment=environment)
    # In the place of this process, so that whoever ends it ends the receiving.
    program = _find("pg_receivewal")
    os.execve(program, [program, *target, "--synchronous"], environment)  # noqa: S606 - our own arguments


_SLOT = "marketflow_archive"


def restore(backup: Path, data: Path, *, log: Path | None = None, until: datetime | None = None) -> None:
    """Make a new data directory from a backup; a server that starts on it goes on from there.

    With an archived `log` it first repeats what happened after the backup, to the end or `until` a moment.
    Errors: BadValue, Denied where the backup is damaged or the log has a gap, else OperatorError.
    """
    if until is not None and log is None:
        raise BadValue("A moment after the backup is reached with the archived log: name its directory.")
    if log is not None and not log.is_dir():
        raise BadValue(f"{log} does not exist.")
    _must_be_new(data)
    check(backup)
    if until is not None and until < (reached := _last_moment(backup)):
        raise BadValue(
            f"The backup was still being made at {until.isoformat()}: it goes back to {reached.isoformat()} "
            "and no further. Name a later moment, or an older backup."
        )
    if log is not None and until is None:
        # A moment that the log does not reach keeps the server from starting. Else it takes a gap for the end.
        _must_go_on(backup, log)
    # What is cut off here would else pass for a database.
    draft = data.with_name(f".{data.name}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    shutil.copytree(backup, draft)
    draft.chmod(_PRIVATE)
    _forget_repeating(draft)
    if log is not None:
        _repeat(draft, log, until)
    draft.replace(data)


_COMMITTED = re.compile(r"desc: (?:COMMIT|ABORT)(?:_PREPARED)? .*?(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+) UTC")


def _last_moment(backup: Path) -> datetime:
    """Return the last moment that a backup tells of itself: a change of a file, or a commit while it was made.

    A server that is to stop earlier does not start: its files are of later.
    """
    manifest = json.loads((backup / "backup_manifest").read_bytes())
    changed = max(file["Last-Modified"] for file in manifest["Files"])
    moments = [datetime.strptime(changed, "%Y-%m-%d %H:%M:%S GMT").replace(tzinfo=UTC)]
    for span in manifest["WAL-Ranges"]:
        limits = (f"--timeline={span['Timeline']}", f"--start={span['Start-LSN']}", f"--end={span['End-LSN']}")
        dumped = subprocess.run(  # noqa: S603 - our own arguments
            [_find("pg_waldump"), f"--path={backup / 'pg_wal'}", "--rmgr=Transaction", *limits],
            env={**os.environ, "TZ": "UTC"},
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
        if dumped.returncode:
            raise OperatorError(f"pg_waldump failed, with the status {dumped.returncode}.")
        moments += [datetime.fromisoformat(f"{found}Z") for found in _COMMITTED.findall(dumped.stdout)]
    return max(moments)


_SEGMENT = re.compile(r"[0-9A-F]{8}([0-9A-F]{8})([0-9A-F]{8})(\.partial)?")
"""The name of a part of the log: its timeline and its number, in two halves."""


def _must_go_on(backup: Path, log: Path) -> None:
    """Refuse a log that does not go on where the backup ends, or lacks a part before its newest."""
    own = {path.name: path for path in (backup / "pg_wal").iterdir() if _SEGMENT.fullmatch(path.name)}
    per_half = 2**32 // next(iter(own.values())).stat().st_size
    archived = {_number(path.name, per_half) for path in log.iterdir() if _SEGMENT.fullmatch(path.name)}
    # The server begins a new part when a backup has ended.
    last = max(_number(name, per_half) for name in own)
    needed = range(last + 1, max(archived, default=last) + 1)
    if missing := set(needed) - archived:
        first = "{:08X}{:08X}".format(*divmod(min(missing), per_half))
        raise Denied(
            f"The log in {log} has a gap: …{first} is missing, and nothing after it can be repeated. "
            "Find that part, or name a moment before it."
        )


def _number(name: str, per_half: int) -> int:
    halves = _SEGMENT.fullmatch(name)
    assert halves is not None  # noqa: S101 - callers pass such names alone
    return int(halves[1], 16) * per_half + int(halves[2], 16)


_REPEATED = "archived_log"
_RECOVERY = ("restore_command", "recovery_target", "hot_standby")


def _forget_repeating(data: Path) -> None:
    """Take out of a copy what an earlier restoring wrote into the database that was copied.

    Its moment, above all: the server would stop at it again, long before the end of the log.
    """
    shutil.rmtree(data / _REPEATED, ignore_errors=True)
    settings = data / "postgresql.auto.conf"
    lines = settings.read_text(encoding="utf-8").splitlines(keepends=True)
    settings.write_text("".join(line for line in lines if not line.startswith(_RECOVERY)), encoding="utf-8")


def _repeat(data: Path, log: Path, until: datetime | None) -> None:
    """Let the server repeat the log when it starts. It gets a copy: it may be a user who reads nothing else."""
    (data / _REPEATED).mkdir(_PRIVATE)
    for part in sorted(log.iterdir()):
        # The newest part is still called partial, whole or not.
        shutil.copy2(part, data / _REPEATED / part.name.removesuffix(".partial"))
    settings = {
        "restore_command": f'cp "{_REPEATED}/%f" "%p"',
        "recovery_target_action": "promote",
        "hot_standby": "off",  # nobody reads a past that is still being repeated
        **({"recovery_target_time": until.isoformat()} if until is not None else {}),
    }
    with (data / "postgresql.auto.conf").open("a", encoding="utf-8") as file:
        file.writelines(f"{name} = '{value}'\n" for name, value in settings.items())
    (data / "recovery.signal").touch()


def _must_be_new(directory: Path) -> None:
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise BadValue(f"{directory} is not empty; nothing is overwritten.")
    directory.parent.mkdir(parents=True, exist_ok=True)
    if directory.exists():
        directory.rmdir()


def _connection(url: str) -> tuple[str, Mapping[str, str]]:
    """Return where to connect to, for a command line that every user of the machine reads, and the environment.

    The password is in the environment alone. Errors: OperatorError.
    """
    try:
        parts = conninfo_to_dict(url)
    except ProgrammingError as error:
        raise OperatorError("The address of the database cannot be read.") from error
    password = parts.pop("password", None)
    secret = {"PGPASSWORD": str(password)} if password else {}
    return make_conninfo("", **parts), {**os.environ, **secret}


def _run(program: str, *arguments: str, environment: Mapping[str, str] | None = None) -> None:
    ended = subprocess.run([_find(program), *arguments], env=environment, check=False)  # noqa: S603 - our own arguments
    if ended.returncode:
        raise OperatorError(f"{program} failed, with the status {ended.returncode}.")


def _find(program: str) -> str:
    """Return the newest program there is: it copies older servers too, and an older one copies no newer server."""
    try:
        ours = shutil.which(program, path=str(postgres.installation() / "bin"))
    except StackError:
        ours = None
    found = ours or shutil.which(program)
    if found is None:
        raise OperatorError(f"{program} is not installed; it comes with PostgreSQL.")
    return found
