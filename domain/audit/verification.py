"""Proving that nothing was changed, and taking the proof out of the database."""

import json
from collections.abc import AsyncIterator, Callable, Iterator

from domain.audit.model import FORMAT, GENESIS, MAX_EXTRA, Finding, Log, Record, Seal, Verdict, compare
from domain.audit.ports import AuditTransaction
from domain.errors import Invalid
from domain.transactions import Begin

_PAGE = 10
_MAX_FINDINGS = 100
MIN_HEAD_DIGITS = 12
"""So many hexadecimal digits of a head name it: as many as the metric shows."""


def _tell_nobody(_: Seal) -> None:
    """Hear of progress where nobody waits for it."""


class AuditVerifier:
    """Reads the chain with all that it seals, a seal at a time."""

    def __init__(self, begin: Begin[AuditTransaction]) -> None:
        """Keep how transactions begin."""
        self._begin = begin

    async def verify(
        self, *, since: int = 1, head: str | None = None, on_seal: Callable[[Seal], None] = _tell_nobody
    ) -> Verdict:
        """Recompute the chain from a seal on, and return what is not as it was sealed, at most 100 findings.

        `head` is the hash of a seal as it was published outside the database, in hexadecimal digits, the first
        12 at least: without one a chain that was cut or made anew as a whole cannot be told. One that is empty is
        none, and nobody is to believe that it was compared. Errors: Invalid.
        """
        if head is not None and (len(head) < MIN_HEAD_DIGITS or set(head) - set("0123456789abcdef")):
            raise Invalid(f"a head is {MIN_HEAD_DIGITS} hexadecimal digits or more", code="head_invalid")
        before = await self._before(since)
        last, seals, records, is_met = before, 0, 0, head is None
        findings: list[Finding] = []
        ends = await self._ends(since)
        async for seal, found in self._read(since, None):
            findings += _links(seal, last, since + seals, ends)
            findings += compare(seal, found)
            is_met = is_met or seal.hash.hex().startswith(head or "")
            last, seals, records = seal, seals + 1, records + len(found)
            ends[seal.log] = seal.last_position
            on_seal(seal)
            if len(findings) >= _MAX_FINDINGS:
                break
        else:
            if since > 1 and last is None:
                # Who reads nothing has proved nothing: the end of the chain may have been cut off.
                findings.append(Finding(since, f"there is no seal {since - 1} or later"))
            if not is_met:
                number = last.number if last else 0
                findings.append(Finding(number, f"no seal from {since} on has the published hash {head}"))
        return Verdict(seals, records, last, findings[:_MAX_FINDINGS])

    async def export(self, first: int = 1, last: int | None = None) -> AsyncIterator[str]:
        """Yield the lines of an export of the seals of some numbers: see `ops/audit/verify_export.py`.

        Errors: Invalid where none has such a number.
        """
        yield json.dumps({"format": FORMAT})
        head = None
        async for seal, records in self._read(first, last):
            yield json.dumps(_facts(seal))
            for record in records:
                yield record.text
            head = seal
        if head is None and (first > 1 or last is not None):
            raise Invalid("no seal has such a number", code="seals_unknown")
        yield json.dumps({"head": head.hash.hex() if head else GENESIS.hex()})

    async def _read(self, first: int, last: int | None) -> AsyncIterator[tuple[Seal, list[Record]]]:
        while True:
            async with self._begin() as tx:
                page = await tx.audit.seals(first, limit=_PAGE)
            for seal in page:
                if last is not None and seal.number > last:
                    return
                async with self._begin() as tx:
                    limit = seal.count + MAX_EXTRA
                    found = await tx.audit.records(seal.log, seal.after, seal.last_position, limit=limit)
                yield seal, list(found)
            if len(page) < _PAGE:
                return
            first = page[-1].number + 1

    async def _before(self, since: int) -> Seal | None:
        async with self._begin() as tx:
            found = await tx.audit.seals(since - 1, limit=1) if since > 1 else ()
        return found[0] if found and found[0].number == since - 1 else None

    async def _ends(self, since: int) -> dict[Log, int]:
        async with self._begin() as tx:
            return {log: await tx.audit.sealed_through(log, before=since) for log in Log}


def _links(seal: Seal, last: Seal | None, number: int, ends: dict[Log, int]) -> Iterator[Finding]:
    """Yield what is wrong with a seal itself, and with how it follows the one before."""
    before = last.number if last else 0
    if seal.number != before + 1 and (last is not None or seal.number != number):
        yield Finding(seal.number, f"the seals between {before} and {seal.number} are missing")
    if last is not None and seal.previous_hash != last.hash:
        yield Finding(seal.number, "it does not follow the seal before")
    if last is None and seal.number == 1 and seal.previous_hash != GENESIS:
        yield Finding(seal.number, "it does not follow the beginning")
    if seal.first_position != ends[seal.log] + 1:
        yield Finding(seal.number, f"it does not begin where the seal of {seal.log} before has ended")
    if seal.compute_hash() != seal.hash:
        yield Finding(seal.number, "its own row was changed")


def _facts(seal: Seal) -> dict[str, object]:
    return {
        "seal": seal.number,
        "log": str(seal.log),
        "first_position": seal.first_position,
        "last_position": seal.last_position,
        "count": seal.count,
        "sealed_at": seal.sealed_at.isoformat(),
        "previous_hash": seal.previous_hash.hex(),
        "hash": seal.hash.hex(),
    }
