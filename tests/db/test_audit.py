"""The audit log on the real database: what a superuser's hand does to history with all triggers off is found.

Its seals stay, as they must; so each test verifies from the first seal of its own on.
"""

import io
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from db.audit import Audit
from db.unit_of_work import Database
from domain.audit.model import Finding, Log, Record, Seal, make_seal
from domain.audit.ports import AuditTransaction
from domain.audit.sealing import AuditSealer
from domain.audit.verification import AuditVerifier
from domain.audit.watch import SealingWatch
from domain.clock import SystemClock
from domain.errors import Refused
from domain.ids import PaymentId, uuid7
from domain.ledger.model import CURRENCY_CONVERSION, STRIPE_BALANCE, Conversion, JournalKind
from ops.audit import verify_export
from tests.builders import Begin, Shop, a_journal
from tests.captured import captured
from tests.engines import as_product_sees
from tests.eventually import eventually

SCRIPT = Path(verify_export.__file__)


class Hand:
    """A superuser's transaction as the verifier takes it."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[AuditTransaction]:
        self.audit = Audit(await as_product_sees(self._connection))
        yield cast("AuditTransaction", self)


@pytest.fixture
async def seals(database: Database, real_shop: Shop) -> list[Seal]:
    """The seals of two payments that were captured and booked, in batches of two; what was there before is sealed
    as well."""
    await AuditSealer(database.begin, SystemClock()).seal()
    for _ in range(2):
        await captured(real_shop, await real_shop.order(), fee_minor=88)
    made: list[Seal] = []
    await AuditSealer(database.begin, SystemClock(), on_seal=made.append, batch_size=2).seal()
    return made


async def findings(superuser: AsyncConnection, seals: list[Seal], head: str | None = None) -> list[Finding]:
    verdict = await AuditVerifier(Hand(superuser).begin).verify(since=seals[0].number, head=head)
    return list(verdict.findings)


async def export(superuser: AsyncConnection, seals: list[Seal]) -> bytes:
    lines = [line async for line in AuditVerifier(Hand(superuser).begin).export(seals[0].number)]
    return "".join(f"{line}\n" for line in lines).encode()


def verify(exported: bytes, path: Path, *head: str) -> "subprocess.CompletedProcess[str]":
    """Run the script as an auditor does, without this project."""
    path.write_bytes(exported)
    command = [sys.executable, "-I", "-S", str(SCRIPT), str(path), *head]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=path.parent)


async def test_what_is_committed_is_sealed_and_right(
    superuser: AsyncConnection, seals: list[Seal], tmp_path: Path
) -> None:
    assert {seal.log for seal in seals} == set(Log)
    assert sum(seal.count for seal in seals if seal.log is Log.JOURNALS) == 4
    assert await findings(superuser, seals, seals[-1].hash.hex()) == []

    result = verify(await export(superuser, seals), tmp_path / "export", seals[-1].hash.hex())

    assert (result.returncode, result.stdout.strip()) == (0, "The export is right.")


async def test_what_is_not_sealed_yet_is_watched(database: Database, real_shop: Shop) -> None:
    watch, sealer = SealingWatch(database.begin), AuditSealer(database.begin, SystemClock())
    await sealer.seal()
    assert await watch.oldest_unsealed() is None

    payment = await captured(real_shop)

    assert await watch.oldest_unsealed() == payment.created_at
    await sealer.seal()
    assert await watch.oldest_unsealed() is None


async def test_record_of_a_journal_is_the_text_of_the_jsonb_array_that_it_is(
    begin: Begin, connection: AsyncConnection
) -> None:
    half = a_journal(
        (STRIPE_BALANCE, -1999),
        (CURRENCY_CONVERSION, 1999),
        kind=JournalKind.CONVERSION_CHARGED,
        currency="EUR",
        conversion=Conversion("EUR", 1999, "USD", 2199, Decimal("1.10")),
    )
    odd = a_journal(source='a "quoted" \\ one,[ ]\n\twith é, \u2028 and \x7f', payment_id=PaymentId(uuid7()))
    transaction_id = (await connection.execute(text("SELECT pg_current_xact_id()::text::bigint"))).scalar_one()
    async with begin() as tx:
        await tx.ledger.post([half, odd])
        records = await tx.audit.records(Log.JOURNALS, transaction_id - 1, transaction_id, limit=10)

    texts = [record.text for record in records]
    as_jsonb = await connection.execute(
        text("SELECT CAST(t AS jsonb)::text FROM unnest(CAST(:texts AS text[])) AS t"), {"texts": texts}
    )
    assert len(texts) == 2
    assert list(as_jsonb.scalars()) == texts
    assert "\n" not in "".join(texts)


EVENT = "position = (SELECT min(position) FROM events WHERE position >= :event)"
JOURNAL = "(SELECT journal_id FROM entries WHERE transaction_id >= :journal ORDER BY transaction_id LIMIT 1)"
ENTRY = f"line = 1 AND journal_id = {JOURNAL}"
HANDS = {
    "one byte of an event": f"UPDATE events SET data = jsonb_set(data, '{{currency}}', '\"US\"') WHERE {EVENT}",
    "its type": f"UPDATE events SET type = 'payment.accepteD' WHERE {EVENT}",
    "its subject": f"UPDATE events SET subject_id = gen_random_uuid() WHERE {EVENT}",
    "its id": f"UPDATE events SET id = gen_random_uuid() WHERE {EVENT}",
    "its time": f"UPDATE events SET created_at = created_at + interval '1 microsecond' WHERE {EVENT}",
    "its transaction": f"UPDATE events SET transaction_id = transaction_id + 1 WHERE {EVENT}",
    "its audience": f"UPDATE events SET audience = audience || gen_random_uuid() WHERE {EVENT}",
    "an event less": f"DELETE FROM events WHERE {EVENT}",
    "an event more": """
        INSERT INTO events (id, position, type, subject_id, data, created_at) OVERRIDING SYSTEM VALUE
        VALUES (gen_random_uuid(), -1 - :event, 'payment.succeeded', gen_random_uuid(), '{}', now())
    """,
    "another order": """
        UPDATE events e SET data = o.data, type = o.type, id = gen_random_uuid() FROM events o
        WHERE e.position = :event AND o.position = (SELECT max(position) FROM events)
    """,
    "a cent": f"UPDATE entries SET amount_minor = amount_minor + 1 WHERE {ENTRY}",
    "an account": f"UPDATE entries SET account = 'processing_fees' WHERE {ENTRY}",
    "a currency": f"UPDATE entries SET currency = 'EUR' WHERE {ENTRY}",
    "a later posting": f"UPDATE entries SET transaction_id = transaction_id + 1 WHERE journal_id = {JOURNAL}",
    "an entry less": f"DELETE FROM entries WHERE {ENTRY}",
    "no entries": f"DELETE FROM entries WHERE journal_id = {JOURNAL}",
    "an entry more": f"INSERT INTO entries SELECT journal_id, 99, account, currency, 7, transaction_id "
    f"FROM entries WHERE {ENTRY}",
    "no journal": f"DELETE FROM journals WHERE id = {JOURNAL}",
    "its source": f"UPDATE journals SET source = source || 'x' WHERE id = {JOURNAL}",
    "its kind": f"UPDATE journals SET kind = 'refund_fee' WHERE id = {JOURNAL}",
    "its payment": f"UPDATE journals SET payment_id = NULL WHERE id = {JOURNAL}",
    "its own time": f"UPDATE journals SET created_at = created_at - interval '1 day' WHERE id = {JOURNAL}",
    "an exchange": f"INSERT INTO conversions VALUES ({JOURNAL}, 'USD', 1, 'EUR', 1, 1)",
    "a seal's hash": "UPDATE audit_seals SET hash = sha256(hash) WHERE number = :seal",
    "a seal's index": "UPDATE audit_seals SET index = substr(index, 2) || '\\x07' WHERE number = :seal",
    "a seal's time": "UPDATE audit_seals SET sealed_at = sealed_at - interval '1 day' WHERE number = :seal",
    "a seal less": "DELETE FROM audit_seals WHERE number = :seal",
}


@pytest.mark.parametrize("hand", HANDS)
async def test_superusers_hand_is_found(superuser: AsyncConnection, seals: list[Seal], hand: str) -> None:
    events, journals = (next(seal for seal in seals if seal.log is log) for log in Log)
    places = {"event": events.first_position, "journal": journals.first_position, "seal": seals[1].number}
    statement = text(HANDS[hand])
    values = {name: value for name, value in places.items() if name in statement.compile().params}
    planted = await superuser.execute(statement, values)
    assert planted.rowcount == 1 or hand in {"a later posting", "no entries"}

    if hand == "an event more":  # it hides below all positions, so the very first seal tells
        verdict = await AuditVerifier(Hand(superuser).begin).verify()
        hidden = f"the event at position {-1 - events.first_position} was inserted"
        assert hidden in {finding.what for finding in verdict.findings}
        return
    assert await findings(superuser, seals) != []
    if hand == "a seal's index":  # an export has it not: it follows from the records
        return
    assert list(verify_export.verify(io.BytesIO(await export(superuser, seals)))) != []


async def test_finding_names_seal_and_record(superuser: AsyncConnection, seals: list[Seal]) -> None:
    seal = seals[0]
    await superuser.execute(text("UPDATE events SET type = 'x' WHERE position = :at"), {"at": seal.last_position})

    found = await findings(superuser, seals)

    assert found == [Finding(seal.number, f"the event at position {seal.last_position} was changed")]


async def test_rewritten_chain_is_told_by_the_published_head(
    superuser: AsyncConnection, seals: list[Seal], tmp_path: Path
) -> None:
    """Who removes the newest events with their seals leaves a sound chain, but without the head that is known."""
    published = seals[-1].hash.hex()
    last = next(seal for seal in reversed(seals))
    await superuser.execute(text("DELETE FROM audit_seals WHERE number = :number"), {"number": last.number})

    assert await findings(superuser, seals) == []
    assert await findings(superuser, seals, published[:12]) != []
    cut = await export(superuser, seals)
    assert verify(cut, tmp_path / "export").returncode == 0
    told = verify(cut, tmp_path / "export", published)
    assert (told.returncode, told.stdout.strip()) == (1, f"WRONG: no seal has the published hash {published}")


async def test_journal_that_commits_late_is_neither_left_out_nor_waited_for_by_others(
    database: Database, superuser: AsyncConnection, seals: list[Seal]
) -> None:
    journal = a_journal()
    sealer = AuditSealer(database.begin, SystemClock(), pause_s=0)
    async with database.begin() as late:
        await late.ledger.post([journal])
        await sealer.seal()
        await late.commit()

    async def is_sealed() -> bool:
        await sealer.seal()
        async with database.begin() as tx:
            following = await tx.audit.seals(seals[-1].number + 1, limit=100)
        keys = {key for seal in following if seal.log is Log.JOURNALS for key, _ in seal.entries()}
        return journal.id.bytes in keys

    # At once, but for transactions of the server's own.
    await eventually(is_sealed)
    assert await findings(superuser, seals) == []


async def test_two_sealers_at_once_make_one_chain(database: Database, real_shop: Shop) -> None:
    sealer = AuditSealer(database.begin, SystemClock(), pause_s=0)
    async with database.begin() as holder:
        assert await holder.audit.try_lock()
        await real_shop.order()

        async with database.begin() as other:
            assert not await other.audit.try_lock()
        assert await sealer.seal() == 0


@pytest.mark.parametrize(
    "change",
    [
        {"number": 3},
        {"previous_hash": bytes(32)},
        {"first_position": 2},
        {"first_position": -2},
        {"last_position": 2**40},
        {"count": 2},
        {"hash": b"short"},
    ],
)
async def test_seal_that_does_not_follow_the_head_is_refused(
    database: Database, real_shop: Shop, connection: AsyncConnection, seals: list[Seal], change: dict[str, Any]
) -> None:
    head = seals[-1]
    assert head.log is Log.JOURNALS
    await captured(real_shop, await real_shop.order(), fee_minor=88)
    last = (await connection.execute(text("SELECT max(transaction_id) FROM entries"))).scalar_one()
    good = {
        "number": head.number + 1,
        "log": head.log,
        "first_position": head.last_position + 1,
        "last_position": last,
        "count": 1,
        "index": bytes(48),
        "previous_hash": head.hash,
        "hash": bytes(31) + b"x",
        "sealed_at": head.sealed_at,
    }
    moved = {
        name: good[name] + value if isinstance(value, int) and name != "count" else value
        for name, value in change.items()
    }

    with pytest.raises(Refused):
        async with database.begin() as tx:
            await tx.audit.add(Seal(**{**good, **moved}))
    async with database.begin() as tx:
        await tx.audit.add(Seal(**good))  # and is rolled back


@pytest.mark.parametrize("log", Log)
async def test_what_is_to_come_cannot_be_sealed(database: Database, seals: list[Seal], log: Log) -> None:
    """It would never be sealed then, and nobody would miss it."""
    before = [seal for seal in seals if seal.log is log][-1]
    record = Record(2**40, bytes(8 if log is Log.EVENTS else 16), "[]")
    beyond = make_seal(seals[-1], log, before.last_position + 1, [record], seals[-1].sealed_at)

    with pytest.raises(Refused):
        async with database.begin() as tx:
            await tx.audit.add(beyond)


async def test_fork_is_refused(database: Database, seals: list[Seal]) -> None:
    with pytest.raises(Refused):
        async with database.begin() as tx:
            await tx.audit.add(seals[-1])


@pytest.mark.parametrize("statement", ["UPDATE audit_seals SET count = 1", "DELETE FROM audit_seals"])
async def test_owner_cannot_change_a_seal(owner_engine: Any, seals: list[Seal], statement: str) -> None:
    assert seals
    async with owner_engine.connect() as owner:
        with pytest.raises(IntegrityError, match="its rows are history"):
            await owner.execute(text(statement))
