"""Verify an export of MarketFlow's audit log without the database: python3 verify_export.py FILE [HEAD].

The file holds lines of JSON. The first names the format; then comes each seal as an object, followed by its
records as arrays; the last line names the head. A record's SHA-256 is that of its line without the line break. A
seal's hash is the SHA-256 of its header followed by the key and the SHA-256 of each record: the key is an event's
position in 8 bytes, or a journal's id in 16. HEAD is the hash of any seal, as it was published outside the
database (12 digits or more): what was cut off behind it, or made anew as a whole, is told by it alone.
"""

import hashlib
import json
import re
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import IO, Any
from uuid import UUID

FORMAT = "marketflow-audit-1"
HEADER = ("seal", "log", "first_position", "last_position", "count")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def verify(file: IO[bytes], head: str = "") -> Iterator[str]:
    """Yield what is wrong with an export; nothing where all is right."""
    try:
        yield from faults(file, head)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, OverflowError) as error:
        yield f"a line is not what it should be: {error!r}"


def faults(file: IO[bytes], head: str) -> Iterator[str]:
    """Yield what is wrong; raise where a line cannot be read."""
    if json.loads(file.readline() or b"{}") != {"format": FORMAT}:
        yield f"the file is not in the format {FORMAT}"
        return
    before: dict[str, Any] = {}
    ends: dict[str, int] = {}
    is_met, told = not head, json.loads(file.readline() or b"{}")
    while "seal" in told:
        seal, name = told, f"seal {told['seal']}"
        if before and (seal["seal"], seal["previous_hash"]) != (before["seal"] + 1, before["hash"]):
            yield f"{name} does not follow seal {before['seal']}"
        if seal["first_position"] != ends.get(seal["log"], seal["first_position"] - 1) + 1:
            yield f"{name} does not begin where the last one of {seal['log']} has ended"
        found, count, told = read_records(seal, file)
        if count != seal["count"]:
            yield f"{name} holds {count} records and not {seal['count']}"
        if found != seal["hash"]:
            yield f"{name} does not hold what was sealed: something in it was changed, removed or inserted"
        is_met = is_met or seal["hash"].startswith(head)
        before, ends[seal["log"]] = seal, seal["last_position"]
    if told != {"head": before.get("hash", "00" * 32)} or file.readline():
        yield "the file does not end with its last seal"
    if not is_met:
        yield f"no seal has the published hash {head}"


def read_records(seal: dict[str, Any], file: IO[bytes]) -> tuple[str, int, dict[str, Any]]:
    """Return the hash that a seal must have for the records in the file, their number, and what follows them."""
    sealed_at_us = (datetime.fromisoformat(seal["sealed_at"]) - EPOCH) // timedelta(microseconds=1)
    facts = (FORMAT, *(seal[name] for name in HEADER), sealed_at_us, seal["previous_hash"], "")
    found, count = hashlib.sha256("\n".join(map(str, facts)).encode()), 0
    while isinstance(told := json.loads((line := file.readline()) or b"{}"), list):
        key = told[0].to_bytes(8, signed=True) if seal["log"] == "events" else UUID(told[0]).bytes
        found.update(key + hashlib.sha256(line.removesuffix(b"\n")).digest())
        count += 1
    return found.hexdigest(), count, told


def main() -> int:
    """Verify the file that the command line names; return 1 where it is wrong, 2 where it cannot be looked at."""
    if {"-h", "--help"} & set(sys.argv[1:]):
        print(__doc__.rstrip())  # noqa: T201 - it is a script
        return 0
    if len(sys.argv) not in (2, 3) or sys.argv[1].startswith("-"):
        return _refuse("usage: verify_export.py FILE [HEAD]")
    head = sys.argv[2].lower() if sys.argv[2:] else ""
    if sys.argv[2:] and not re.fullmatch("[0-9a-f]{12,64}", head):
        return _refuse("HEAD is 12 to 64 hexadecimal digits")
    try:
        with open(sys.argv[1], "rb") as file:  # noqa: PTH123 - the shortest way that every Python knows
            wrong = list(verify(file, head))
    except OSError as error:
        return _refuse(f"{error.filename}: {error.strerror}")
    print("\n".join(f"WRONG: {fault}" for fault in wrong) or "The export is right.")  # noqa: T201 - it is a script
    return 1 if wrong else 0


def _refuse(message: str) -> int:
    print(message, file=sys.stderr)  # noqa: T201 - it is a script
    return 2


if __name__ == "__main__":
    sys.exit(main())
