"""`python -m ops.docker.reload COMMAND…`: run a command, and anew whenever a module of ours changes."""

import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
WATCHED = ("api", "db", "domain", "ops", "workers")
_LOOK_S = 0.5
_STOP_S = 30


def main(command: Sequence[str], root: Path = ROOT) -> int:
    """Run the command until it is interrupted; one that ends by itself waits for the next change."""
    # A container is stopped by SIGTERM; the command is to end in order then too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    seen = snapshot(root)
    process = _start(command)
    try:
        while True:
            time.sleep(_LOOK_S)
            if (now := snapshot(root)) != seen:
                seen = now
                _stop(process)
                process = _start(command)
    except KeyboardInterrupt:
        return 0
    finally:
        _stop(process)


def snapshot(root: Path) -> Mapping[Path, int]:
    """Return when each module was changed last."""
    found = (path for name in WATCHED for path in (root / name).rglob("*.py"))
    return {path: path.stat().st_mtime_ns for path in found}


def _start(command: Sequence[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command)  # noqa: S603 - a developer's own command


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
