"""Record the demo in a terminal: as an asciicast, which players play, and as a picture, which a README shows."""

import codecs
import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import tempfile
import termios
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from io import StringIO
from pathlib import Path

from rich.console import Console
from rich.text import Text

from ops.stack.layout import ROOT

RECORDING = Path(__file__).parent / "recordings"
_COMMAND = ("make", "--no-print-directory", "demo")
_COLUMNS, _LINES = 110, 40
_CHUNK_BYTES = 65_536

Line = tuple[float, str]


def record() -> int:
    """Run the demo in a terminal and write what it shows, where it ends well; return its exit code."""
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o755)  # PostgreSQL runs as a user of its own
        lines: list[Line] = [(0.0, "$ make demo\r\n")]
        exit_code = _run(Path(place) / "var", lines)
    if exit_code == 0:
        RECORDING.mkdir(exist_ok=True)
        (RECORDING / "demo.cast").write_text(as_cast(lines), encoding="utf-8")
        (RECORDING / "demo.svg").write_text(as_picture(lines), encoding="utf-8")
    return exit_code


def as_cast(lines: Sequence[Line]) -> str:
    """Return a recording in asciicast's second format (docs.asciinema.org/manual/asciicast/v2)."""
    header = {"version": 2, "width": _COLUMNS, "height": _LINES, "title": "make demo"}
    events = ([round(at_s, 3), "o", text] for at_s, text in lines)
    return "".join(f"{json.dumps(each, ensure_ascii=False)}\n" for each in (header, *events))


def as_picture(lines: Sequence[Line]) -> str:
    """Return what the terminal shows at the end, all of it, as an SVG that loads nothing."""
    console = Console(record=True, width=_COLUMNS, file=StringIO(), force_terminal=True)
    console.print(Text.from_ansi("".join(text for _, text in lines).replace("\r\n", "\n")))
    return re.sub(r"@font-face \{.*?\}\s*", "", console.export_svg(title="make demo"), flags=re.DOTALL)


def _run(var: Path, lines: list[Line]) -> int:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", _LINES, _COLUMNS, 0, 0))
    environment = {**os.environ, "TERM": "xterm-256color", "MARKETFLOW_VAR_DIR": str(var)}
    began = time.monotonic()
    with subprocess.Popen(  # noqa: S603 - our own command
        _COMMAND, cwd=ROOT, env=environment, stdin=theirs, stdout=theirs, stderr=theirs
    ) as process:
        os.close(theirs)
        lines += [(time.monotonic() - began, _without_machine(line, var)) for line in _lines_of(ours)]
        os.close(ours)
    return process.returncode


def _lines_of(terminal: int) -> Iterator[str]:
    """Yield whole lines, so that no path is cut in two."""
    decoder, rest = codecs.getincrementaldecoder("utf-8")("replace"), ""
    with suppress(OSError):  # how a terminal whose program has ended says so
        while chunk := os.read(terminal, _CHUNK_BYTES):
            *whole, rest = (rest + decoder.decode(chunk)).split("\n")
            yield from (f"{line}\n" for line in whole)
    if rest:
        yield rest


def _without_machine(line: str, var: Path) -> str:
    """Leave out where on this machine it was."""
    return line.replace(str(var), "var").replace(f"{ROOT}/", "").replace(str(ROOT), ".")
