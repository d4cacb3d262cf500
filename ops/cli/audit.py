import json
import os
from pathlib import Path
from typing import Annotated

import typer

from domain.audit.model import Seal, Verdict
from domain.audit.verification import AuditVerifier
from ops.cli.console import errors, output
from ops.cli.environment import running_settings
from ops.sessions import with_database

app = typer.Typer(help="Prove that nobody has rewritten history.", no_args_is_help=True)

_PROGRESS_EVERY = 100


@app.command()
def verify(
    *,
    since_seal: Annotated[int, typer.Option(min=1, help="Begin there, and trust what is before.")] = 1,
    head: Annotated[
        str | None, typer.Option(help="A seal's hash, as a log, a metric or an export tells it.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Recompute all seals from what they seal; exit with 1 when anything was changed, removed or inserted.

    2: a head that is none. 3: it could not look, and nobody knows.
    """
    verdict = with_database(
        running_settings("database_url"),
        lambda database: AuditVerifier(database.begin).verify(
            since=since_seal, head=head.lower() if head is not None else None, on_seal=_show_progress
        ),
    )
    if as_json:
        output.print_json(json.dumps(_plain(verdict)))
    else:
        _show(verdict)
    raise typer.Exit(1 if verdict.findings else 0)


@app.command()
def export(
    file: Annotated[Path, typer.Argument(help="Where to write; ops/audit/verify_export.py verifies it.")],
    *,
    first: Annotated[int, typer.Option("--from", min=1, help="The first seal.")] = 1,
    last: Annotated[int | None, typer.Option("--to", min=1, help="The last seal; all by default.")] = None,
) -> None:
    """Write the seals with all that they seal to a file, which is verified without the database."""
    draft = file.with_name(f"{file.name}.draft")
    draft.unlink(missing_ok=True)
    # It tells who paid whom what: to nobody else, wherever it is written.
    draft.touch(mode=0o600, exist_ok=False)
    try:
        ending = _export(draft, first, last)
        # Whole or not at all: an earlier export may be evidence.
        draft.replace(file)
    finally:
        draft.unlink(missing_ok=True)
    output.print(f"{file} is written. Its head is {json.loads(ending)['head']}", highlight=False, soft_wrap=True)


def _export(file: Path, first: int, last: int | None) -> str:
    """Write an export to a file; return its last line."""
    with file.open("w", encoding="utf-8", newline="\n") as written:

        async def write(verifier: AuditVerifier) -> str:
            line = ""
            async for line in verifier.export(first, last):
                written.write(f"{line}\n")
            written.flush()
            os.fsync(written.fileno())
            return line

        return with_database(
            running_settings("database_url"), lambda database: write(AuditVerifier(database.begin))
        )


def _show_progress(seal: Seal) -> None:
    if seal.number % _PROGRESS_EVERY == 0:
        errors.print(f"through seal {seal.number}", highlight=False)


def _show(verdict: Verdict) -> None:
    for finding in verdict.findings:
        output.print(f"WRONG: seal {finding.seal}: {finding.what}", style="red", highlight=False, soft_wrap=True)
    output.print(f"{verdict.seals} seals, {verdict.records} records recomputed", highlight=False)
    if verdict.head is not None:
        output.print(f"head: seal {verdict.head.number}, {verdict.head.hash.hex()}", highlight=False)
    output.print("History was rewritten." if verdict.findings else "History is as it was sealed.")


def _plain(verdict: Verdict) -> dict[str, object]:
    return {
        "seals": verdict.seals,
        "records": verdict.records,
        "head": {"seal": verdict.head.number, "hash": verdict.head.hash.hex()} if verdict.head else None,
        "findings": [{"seal": finding.seal, "what": finding.what} for finding in verdict.findings],
    }
