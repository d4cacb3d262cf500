"""The page of a reconciliation in a real browser: it is drawn, prints on A4, and asks nobody for anything."""

import os
import re
import shutil
import struct
import subprocess
import zlib
from collections import Counter
from pathlib import Path

import pytest

from api.reconciliation.page import render_page
from tests.api.test_reconciliations import a_report, an_exception
from tests.builders import NOW

CHROMIUM = shutil.which("chromium")
WIDTH, HEIGHT = 794, 1123
"""A4 at 96 dots an inch."""
QUIET = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
]


def test_browser_is_there_where_tests_must_not_be_skipped() -> None:
    if CHROMIUM is None and os.environ.get("CI") != "true":
        pytest.skip("no chromium here; .ci/run installs it")
    assert CHROMIUM is not None


@pytest.fixture
def page(tmp_path: Path) -> Path:
    """A month with a day that differs, and forty exceptions."""
    path = tmp_path / "report.html"
    path.write_text(render_page(a_report(), [an_exception(contents_minor=1888) for _ in range(40)], NOW))
    return path


def browse(page: Path, *arguments: str) -> Path:
    """Open a page in a browser of its own; return the log of all that it asked the network for."""
    assert CHROMIUM is not None
    log = page.with_suffix(".log.json")
    options = [*QUIET, f"--user-data-dir={page.parent / 'profile'}", f"--log-net-log={log}", *arguments]
    subprocess.run([CHROMIUM, *options, page.as_uri()], check=True, capture_output=True, timeout=60)
    return log


def pixels(path: Path) -> tuple[int, int, Counter[bytes]]:
    """Return width and height of a PNG, and how often each colour is in it (w3.org/TR/png-3)."""
    data = path.read_bytes()
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    width, height, depth, colours = struct.unpack(">IIBB", data[16:26])
    assert (depth, colours) in {(8, 2), (8, 6)}
    packed, at = b"", 8
    while at < len(data):
        (size,) = struct.unpack(">I", data[at : at + 4])
        if data[at + 4 : at + 8] == b"IDAT":
            packed += data[at + 8 : at + 8 + size]
        at += size + 12
    step = 3 if colours == 2 else 4
    rows = unfiltered(zlib.decompress(packed), width * step, step)
    seen = Counter(row[start : start + 3] for row in rows for start in range(0, len(row), step))
    return width, height, seen


def unfiltered(raw: bytes, width: int, step: int) -> list[bytes]:
    """Undo the filter of each row."""
    rows, above = [], bytes(width)
    for start in range(0, len(raw), width + 1):
        kind, line = raw[start], bytearray(raw[start + 1 : start + 1 + width])
        if kind:
            for place in range(width):
                left = line[place - step] if place >= step else 0
                corner = above[place - step] if place >= step else 0
                line[place] = (line[place] + predicted(kind, left, above[place], corner)) & 0xFF
        above = bytes(line)
        rows.append(above)
    return rows


def predicted(kind: int, left: int, above: int, corner: int) -> int:
    match kind:
        case 1:
            return left
        case 2:
            return above
        case 3:
            return (left + above) // 2
        case _:
            guess = left + above - corner
            return min((left, above, corner), key=lambda value: abs(guess - value))


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium here; .ci/run installs it")
def test_page_is_drawn_and_asks_the_network_for_nothing(page: Path) -> None:
    picture = page.with_suffix(".png")

    log = browse(page, f"--screenshot={picture}", f"--window-size={WIDTH},{HEIGHT}")

    width, height, seen = pixels(picture)
    assert (width, height) == (WIDTH, HEIGHT)
    everything = width * height
    assert seen[b"\xff\xff\xff"] > everything / 4, "the ground is white"
    assert seen[b"\x6b\x8f\xd6"] > 2_000, "the bars of the plot"
    assert seen[b"\xd6\x60\x4d"] > 50, "the day that differs"
    assert seen[b"\xfb\xdc\xd9"] > 200, "the verdict"
    assert seen[b"\x1c\x23\x30"] > 200, "text"
    asked = set(re.findall(r'"url":"([^"]+)"', log.read_text()))
    # The browser asks its makers for what it wants for itself.
    own = re.compile(r"(file|chrome|data|about|chrome-\w+):|https?://[\w.-]+\.(google|googleapis|gstatic)\.com/")
    assert {url for url in asked if not own.match(url)} == set()


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium here; .ci/run installs it")
def test_page_prints_on_a4(page: Path) -> None:
    printed = page.with_suffix(".pdf")

    browse(page, f"--print-to-pdf={printed}", "--no-pdf-header-footer")

    sizes = re.findall(rb"/MediaBox \[0 0 ([\d.]+) ([\d.]+)\]", printed.read_bytes())
    assert 2 <= len(sizes) <= 8, "forty exceptions need a second sheet, and a few more where each is easy to read"
    assert all((round(float(w)), round(float(h))) == (595, 842) for w, h in sizes)
