"""Whatever is done to a sealed history is found, in the database and in an export, and named."""

import asyncio
import io
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.audit.model import Finding, Log, Record, Seal, Verdict
from domain.audit.sealing import AuditSealer
from domain.audit.verification import AuditVerifier
from domain.audit.watch import SealingWatch
from domain.errors import Invalid
from ops.audit.verify_export import verify as verify_export
from tests.domain.audit.memory_chain import MemoryAudit
from tests.domain.fakes import FakeClock


def an_event(position: int, fact: str = "") -> Record:
    return Record(position, position.to_bytes(8, signed=True), json.dumps([position, fact]))


def a_journal(position: int, number: int, fact: str = "") -> Record:
    return Record(position, UUID(int=number).bytes, json.dumps([str(UUID(int=number)), position, fact]))


def sealer(history: MemoryAudit, batch_size: int = 3, **options: Callable[[Seal], None]) -> AuditSealer:
    return AuditSealer(history.begin, FakeClock(), batch_size=batch_size, pause_s=0, **options)


async def verified(history: MemoryAudit, *, since: int = 1, head: str | None = None) -> Verdict:
    return await AuditVerifier(history.begin).verify(since=since, head=head)


async def exported(history: MemoryAudit) -> list[str]:
    return [line async for line in AuditVerifier(history.begin).export()]


def faults(lines: list[str], head: str | None = None) -> list[str]:
    return list(verify_export(io.BytesIO("".join(f"{line}\n" for line in lines).encode()), head))


@pytest.fixture
async def history() -> MemoryAudit:
    """Ten events with a gap and five journals, two of one transaction, in seals of three."""
    history = MemoryAudit()
    history.rows[Log.EVENTS] = [an_event(position) for position in (1, 2, 3, 4, 5, 8, 9, 10, 11, 12)]
    history.rows[Log.JOURNALS] = [
        a_journal(position, n) for n, position in enumerate((700, 700, 701, 705, 9000), 1)
    ]
    assert await sealer(history).seal() == 15
    return history


async def test_what_waits_to_be_sealed_is_seen(history: MemoryAudit) -> None:
    watch = SealingWatch(history.begin)
    assert await watch.oldest_unsealed() is None

    history.rows[Log.EVENTS].append(an_event(13))

    assert await watch.oldest_unsealed() == history.at


async def test_sealed_history_is_right(history: MemoryAudit) -> None:
    verdict = await verified(history)

    assert verdict.findings == []
    assert (verdict.seals, verdict.records) == (len(history.chain), 15)
    assert verdict.head == history.chain[-1]
    assert faults(await exported(history), history.chain[-1].hash.hex()) == []


async def test_sealing_again_seals_what_is_new_alone(history: MemoryAudit) -> None:
    assert await sealer(history).seal() == 0
    history.rows[Log.EVENTS].append(an_event(13))

    assert await sealer(history).seal() == 1
    assert history.chain[-1].first_position == 13
    assert (await verified(history)).findings == []


async def test_transaction_is_never_cut_between_two_seals(history: MemoryAudit) -> None:
    history.rows[Log.JOURNALS] += [a_journal(9001, number) for number in range(10, 20)]

    await sealer(history).seal()

    assert history.chain[-1].count == 10


async def test_who_does_not_get_the_lock_seals_nothing(history: MemoryAudit) -> None:
    history.rows[Log.EVENTS].append(an_event(13))
    history.is_locked = True

    assert await sealer(history).seal() == 0


async def test_events_wait_until_every_writer_has_ended(history: MemoryAudit) -> None:
    history.rows[Log.EVENTS].append(an_event(13))
    history.running = [999_999] * 3

    assert await sealer(history).seal() == 1
    assert history.running == []


async def test_writer_that_never_ends_holds_events_up_and_journals_behind_it(history: MemoryAudit) -> None:
    history.rows[Log.EVENTS].append(an_event(13))
    history.rows[Log.JOURNALS] += [a_journal(9998, 20), a_journal(9999, 21)]
    history.running = [9999] * 100

    assert await sealer(history).seal() == 1
    assert history.chain[-1].last_position == 9998


async def test_each_seal_is_published_once() -> None:
    history, published = MemoryAudit(), []
    history.rows[Log.EVENTS] = [an_event(position) for position in range(1, 8)]

    await sealer(history, on_seal=published.append).seal()

    assert published == history.chain


@pytest.mark.parametrize(
    ("log", "change", "what"),
    [
        (
            Log.EVENTS,
            lambda rows: [*rows[:4], an_event(5, "forged"), *rows[5:]],
            "event at position 5 was changed",
        ),
        (Log.EVENTS, lambda rows: rows[1:], "event at position 1 was removed"),
        (Log.EVENTS, lambda rows: [*rows, an_event(6)], "event at position 6 was inserted"),
        (Log.EVENTS, lambda rows: [*rows, an_event(-7)], "event at position -7 was inserted"),
        (Log.EVENTS, lambda rows: [*rows, rows[0]], "there are events twice"),
        (Log.JOURNALS, lambda rows: rows[:-1], f"journal {UUID(int=5)} was removed"),
        (Log.JOURNALS, lambda rows: [a_journal(3, 99), *rows], f"journal {UUID(int=99)} was inserted"),
        (
            Log.JOURNALS,
            lambda rows: [*rows[:2], a_journal(701, 3, "forged"), *rows[3:]],
            f"journal {UUID(int=3)} was changed",
        ),
    ],
)
async def test_finding_names_the_record(
    history: MemoryAudit, log: Log, change: Callable[[list[Record]], list[Record]], what: str
) -> None:
    history.rows[log] = change(history.rows[log])

    findings = (await verified(history)).findings

    assert [what in finding.what for finding in findings] == [True]
    assert faults(await exported(history)) != []


@pytest.mark.parametrize(
    "change",
    [
        lambda seal: {"count": seal.count + 1},
        lambda seal: {"previous_hash": seal.hash},
        lambda seal: {"hash": seal.previous_hash},
        lambda seal: {"sealed_at": seal.sealed_at - timedelta(days=1)},
        lambda seal: {"first_position": seal.first_position + 1},
        lambda seal: {"last_position": seal.last_position - 1},
        lambda seal: {"number": seal.number + 70},
        lambda seal: {"log": Log.JOURNALS if seal.log is Log.EVENTS else Log.EVENTS},
    ],
)
@pytest.mark.parametrize("place", [0, 2, -1])
async def test_changed_seal_is_found(
    history: MemoryAudit, change: Callable[[Seal], dict[str, object]], place: int
) -> None:
    seal = history.chain[place]
    history.chain[place] = replace(seal, **change(seal))  # type: ignore[arg-type]  # any field

    assert (await verified(history)).findings != []
    assert faults(await exported(history)) != []


async def test_changed_index_is_found(history: MemoryAudit) -> None:
    history.chain[0] = replace(history.chain[0], index=history.chain[0].index[::-1])

    assert "its own row was changed" in {finding.what for finding in (await verified(history)).findings}
    assert faults(await exported(history)) == []  # it is made anew from the records there


def made_anew(seal: Seal, **changes: Any) -> Seal:
    """Return a seal that was changed by somebody who knows how its hash is made."""
    changed = replace(seal, **changes)
    return replace(changed, hash=changed.compute_hash())


@pytest.mark.parametrize("place", [0, 2])
async def test_seal_that_was_made_anew_is_not_what_the_next_one_follows(history: MemoryAudit, place: int) -> None:
    seal = history.chain[place]
    history.chain[place] = made_anew(seal, sealed_at=seal.sealed_at - timedelta(days=1))

    findings = (await verified(history)).findings

    assert findings == [Finding(seal.number + 1, "it does not follow the seal before")]
    assert faults(await exported(history)) != []


async def test_chain_that_was_made_anew_from_another_beginning_is_found(history: MemoryAudit) -> None:
    previous_hash = bytes(range(32))
    for place, seal in enumerate(history.chain):
        history.chain[place] = made_anew(seal, previous_hash=previous_hash)
        previous_hash = history.chain[place].hash

    assert (await verified(history)).findings == [Finding(1, "it does not follow the beginning")]


async def test_removed_seal_is_found_and_cut_chain_by_the_published_head(history: MemoryAudit) -> None:
    head = history.chain[-1].hash.hex()
    removed = MemoryAudit()
    removed.rows, removed.chain = history.rows, [*history.chain[:1], *history.chain[2:]]
    assert (await verified(removed)).findings != []

    last = history.chain.pop()
    history.rows[last.log] = [row for row in history.rows[last.log] if row.position < last.first_position]

    assert (await verified(history)).findings == []
    assert (await verified(history, head=head)).findings != []
    assert faults(await exported(history)) == []
    assert faults(await exported(history), head) != []


async def test_chain_that_was_made_anew_does_not_have_the_published_head(history: MemoryAudit) -> None:
    head = history.chain[-1].hash.hex()
    history.rows[Log.EVENTS][0] = an_event(1, "forged")
    history.chain.clear()
    await sealer(history).seal()

    assert (await verified(history)).findings == []
    assert (await verified(history, head=head[:12])).findings != []


async def test_older_head_and_its_first_digits_are_known(history: MemoryAudit) -> None:
    assert (await verified(history, head=history.chain[1].hash.hex()[:12])).findings == []


@pytest.mark.parametrize("head", ["", "ab", "A" * 12, "x" * 64])
async def test_head_that_is_no_hash_is_refused(history: MemoryAudit, head: str) -> None:
    with pytest.raises(Invalid):
        await verified(history, head=head)


async def test_verification_since_a_seal_reads_the_later_ones_alone(history: MemoryAudit) -> None:
    history.rows[Log.EVENTS][0] = an_event(1, "forged")

    assert (await verified(history, since=2)).findings == []
    assert (await verified(history, since=2)).seals == len(history.chain) - 1
    assert (await verified(history, since=1)).findings != []


@pytest.mark.parametrize("since", range(1, 5))
async def test_removed_first_seal_of_the_asked_is_found(history: MemoryAudit, since: int) -> None:
    del history.chain[since - 1]

    assert (await verified(history, since=since)).findings != []


async def test_verification_since_a_seal_behind_the_end_of_the_chain_proves_nothing(history: MemoryAudit) -> None:
    newest = len(history.chain)

    assert (await verified(history, since=newest + 1)).findings == []
    (finding,) = (await verified(history, since=newest + 2)).findings
    assert finding.what == f"there is no seal {newest + 1} or later"


async def test_export_of_seals_that_do_not_exist_is_refused(history: MemoryAudit) -> None:
    verifier = AuditVerifier(history.begin)

    with pytest.raises(Invalid):
        _ = [line async for line in verifier.export(len(history.chain) + 1)]


@pytest.mark.parametrize(
    "lay_hand",
    [
        lambda lines: lines[:-1],
        lambda lines: [*lines, lines[-1]],
        lambda lines: lines[1:],
        lambda lines: [*lines[:2], lines[3], lines[2], *lines[4:]],
        lambda lines: [*lines[:2], *lines[3:]],
        lambda lines: [*lines[:3], lines[2], *lines[3:]],
        lambda lines: [lines[0], *lines[5:]],
        lambda lines: lines[:0],
    ],
)
async def test_any_hand_on_an_export_is_found(
    history: MemoryAudit, lay_hand: Callable[[list[str]], list[str]]
) -> None:
    lines = lay_hand(await exported(history))

    assert faults(lines, history.chain[0].hash.hex()) != []


positions = st.lists(st.integers(1, 60), unique=True, min_size=1, max_size=30).map(sorted)
transactions = st.lists(st.integers(1, 50), min_size=1, max_size=30).map(sorted)


@given(positions, transactions, st.integers(1, 12), st.data())
def test_any_single_change_of_a_random_history_is_found(
    events: list[int], journals: list[int], batch_size: int, data: st.DataObject
) -> None:
    async def run() -> None:
        history = MemoryAudit()
        cut = data.draw(st.integers(0, len(events)))
        history.rows[Log.EVENTS] = [an_event(position) for position in events[:cut]]
        history.rows[Log.JOURNALS] = [a_journal(position, n) for n, position in enumerate(journals)]
        await sealer(history, batch_size).seal()
        history.rows[Log.EVENTS] += [an_event(position) for position in events[cut:]]
        await sealer(history, batch_size).seal()
        head = history.chain[-1].hash.hex()
        assert (await verified(history, head=head)).findings == []
        assert faults(await exported(history), head) == []

        rows = history.rows[data.draw(st.sampled_from(Log))]
        place = data.draw(st.integers(0, len(rows) - 1))
        match data.draw(st.sampled_from(["change", "remove", "insert", "swap"])):
            case "remove":
                del rows[place]
            case "insert":
                rows.append(replace(rows[place], key=(2**60).to_bytes(len(rows[place].key))))
            case "swap" if rows[place].position != rows[-1].position:
                one, other = rows[place], rows[-1]
                rows[place] = replace(one, key=other.key, text=other.text)
                rows[-1] = replace(other, key=one.key, text=one.text)
            case _:
                rows[place] = replace(rows[place], text=rows[place].text.replace('""', '"."'))

        assert (await verified(history, head=head)).findings != []

    asyncio.run(run())
