"""`marketflow audit` proves history, to people and to programs, and takes the proof out of the database."""

import asyncio
import json
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from typer.testing import Result

from db.pool import make_pool
from db.unit_of_work import Database
from domain.audit.model import Seal
from domain.audit.sealing import AuditSealer
from domain.clock import SystemClock
from ops.audit.verify_export import main
from ops.errors import BadValue
from tests.builders import Shop
from tests.captured import captured

Command = Callable[..., Result]


@pytest.fixture
def seals(database_url: str) -> list[Seal]:
    """The seals of a payment that was captured."""

    async def pay() -> list[Seal]:
        pool = make_pool(database_url, pool_size=1, statement_timeout_s=60)
        made: list[Seal] = []
        try:
            database = Database(pool)
            sealer = AuditSealer(database.begin, SystemClock(), on_seal=made.append)
            await sealer.seal()
            made.clear()
            shop = await Shop(database.begin).open()
            await captured(shop, await shop.order())
            await sealer.seal()
        finally:
            await pool.close()
        return made

    return asyncio.run(pay())


@pytest.fixture
def forged(superuser_url: str, seals: list[Seal]) -> Iterator[int]:
    """The position of an event that a superuser has changed, until the test is over."""
    position = seals[0].last_position
    with psycopg.connect(superuser_url, autocommit=True) as hand:
        hand.execute("SET session_replication_role = replica")
        hand.execute("UPDATE events SET type = type || 'x' WHERE position = %s", [position])
        yield position
        hand.execute("UPDATE events SET type = left(type, -1) WHERE position = %s", [position])


def test_sound_history_ends_with_zero_and_tells_the_head(command: Command, seals: list[Seal]) -> None:
    head = seals[-1].hash.hex()

    result = command("audit", "verify", "--since-seal", str(seals[0].number), "--head", head.upper())

    assert result.exit_code == 0, result.output
    assert f"head: seal {seals[-1].number}, {head}" in result.output
    assert "History is as it was sealed." in result.output


def test_forged_history_ends_with_one_and_says_where(command: Command, seals: list[Seal], forged: int) -> None:
    result = command("audit", "verify", "--since-seal", str(seals[0].number))

    assert result.exit_code == 1, result.output
    assert f"WRONG: seal {seals[0].number}: the event at position {forged} was changed" in result.output


def test_programs_read_the_findings_as_json(command: Command, seals: list[Seal], forged: int) -> None:
    result = command("audit", "verify", "--since-seal", str(seals[0].number), "--json")

    told = json.loads(result.output)
    assert result.exit_code == 1
    assert told["findings"] == [{"seal": seals[0].number, "what": f"the event at position {forged} was changed"}]
    assert told["head"] == {"seal": seals[-1].number, "hash": seals[-1].hash.hex()}


@pytest.mark.parametrize("head", ["latest", "0123456789a", ""])
def test_head_that_is_no_hash_is_a_bad_value_and_no_verdict(command: Command, head: str) -> None:
    """An empty one is what a script has whose look-up failed."""
    assert isinstance(command("audit", "verify", "--head", head).exception, BadValue)


def test_export_is_verified_by_the_script(
    command: Command,
    seals: list[Seal],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file, head = tmp_path / "export.jsonl", seals[-1].hash.hex()

    result = command("audit", "export", str(file), "--from", str(seals[0].number), "--to", str(seals[-1].number))

    assert result.exit_code == 0, result.output
    assert head in result.output
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    monkeypatch.setattr("sys.argv", ["verify_export.py", str(file), head.upper()])
    assert main() == 0
    file.write_bytes(file.read_bytes().replace(b"payment.", b"payments", 1))
    assert main() == 1
    assert f"WRONG: seal {seals[0].number} does not hold what was sealed" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "usage: verify_export.py FILE [HEAD]"),
        (["--head", "0123456789ab"], "usage: verify_export.py FILE [HEAD]"),
        (["/absent.jsonl"], "/absent.jsonl: No such file or directory"),
        (["/dev/null", "0123456789a"], "HEAD is 12 to 64 hexadecimal digits"),
        (["/dev/null", ""], "HEAD is 12 to 64 hexadecimal digits"),
    ],
)
def test_script_that_cannot_look_says_so_and_gives_no_verdict(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], told: str
) -> None:
    monkeypatch.setattr("sys.argv", ["verify_export.py", *arguments])

    assert main() == 2, "1 would say that the export is wrong"
    assert capsys.readouterr().err == f"{told}\n"


@pytest.mark.parametrize("arguments", [["-h"], ["--help"], ["/absent.jsonl", "--help"]])
def test_script_says_how_it_is_called(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["verify_export.py", *arguments])

    assert main() == 0
    assert "python3 verify_export.py FILE [HEAD]" in capsys.readouterr().out
