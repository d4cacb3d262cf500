"""What Stripe lists, what reconciliation says of it, and the journals that no payment has."""

from datetime import timedelta

import pytest

from domain.identity.model import Role
from domain.ledger.model import BANK, STRIPE_BALANCE, UNAPPLIED_CHARGES, Entry, Journal, JournalKind
from domain.pages import PageRequest
from domain.payments.model import Payment
from domain.reconciliation.desk import Correction, ReconciliationDesk
from domain.reconciliation.model import BookedJournal, BreakKind, Finding, LedgerSide, Run, StripeLine
from domain.reconciliation.ports import LinePage
from domain.reconciliation.service import new_run
from domain.traces.model import NodeKind
from domain.traces.service import TraceService
from tests.builders import NOW, Begin, a_journal, a_line_of_stripe, a_user, principal, unique
from tests.db.traces.nodes import by_kind
from tests.domain.fakes import FakeClock


@pytest.fixture
async def run(begin: Begin) -> Run:
    run = new_run(NOW - timedelta(days=1), NOW, NOW)
    async with begin() as tx:
        await tx.runs.add(run)
        await tx.commit()
    return run


@pytest.fixture
async def bank_payout(begin: Begin) -> Journal:
    payout_id = unique("po")
    journal = a_journal((BANK, 1911), (STRIPE_BALANCE, -1911), kind=JournalKind.BANK_PAYOUT, source=payout_id)
    async with begin() as tx:
        await tx.ledger.post([journal])
        await tx.commit()
    return journal


async def record(begin: Begin, run: Run, line: StripeLine, *journals: Journal, kind: BreakKind | None) -> None:
    booked = tuple(
        BookedJournal(each.id, each.kind, each.source, each.currency, 0, each.created_at, each.payment_id)
        for each in journals
    )
    async with begin() as tx:
        await tx.comparisons.record(run, [Finding(line, LedgerSide(booked, 0, 0, "USD"), kind)], NOW)
        await tx.commit()


async def test_payment_shows_its_line_the_exception_and_the_payout_to_the_bank(
    traces: TraceService, begin: Begin, run: Run, payment: Payment, bank_payout: Journal
) -> None:
    line = a_line_of_stripe(source=f"ch_{payment.id}", payment_id=payment.id)
    of_payout = a_line_of_stripe(category="payout", source=bank_payout.source, amount_minor=-1911, fee_minor=0)
    await record(begin, run, line, kind=BreakKind.AMOUNT_MISMATCH)
    await record(begin, run, of_payout, bank_payout, kind=None)
    async with begin() as tx:
        await tx.comparisons.unpack(of_payout, LinePage([of_payout, line], has_more=False), is_first=True)
        await tx.commit()

    nodes = {node.key: node for node in (await traces.explain(str(payment.id))).nodes}

    listed = (NodeKind.BALANCE_TRANSACTION, line.id)
    to_bank = (NodeKind.STRIPE_PAYOUT, bank_payout.source)
    left = (NodeKind.BALANCE_TRANSACTION, of_payout.id)
    assert nodes[listed].parent == (NodeKind.CHARGE, f"ch_{payment.id}")
    assert (nodes[listed].facts["amount_minor"], nodes[listed].facts["fee_minor"]) == (1999, 88)
    assert nodes[to_bank].parent == listed
    assert nodes[left].parent == to_bank
    assert nodes[NodeKind.JOURNAL, str(bank_payout.id)].parent == left
    (exception,) = [node for node in nodes.values() if node.kind is NodeKind.EXCEPTION]
    assert (exception.parent, exception.facts["type"]) == (listed, "amount_mismatch")
    for sought in (line.id, exception.id, bank_payout.source, of_payout.id, str(bank_payout.id)):
        found = {node.key for node in (await traces.explain(sought)).nodes}
        assert {to_bank, left, (NodeKind.JOURNAL, str(bank_payout.id))} <= found
    assert {node.key for node in (await traces.explain(bank_payout.source)).nodes} >= nodes.keys()


async def test_payout_that_is_booked_and_not_listed_yet_has_a_trace(
    traces: TraceService, bank_payout: Journal
) -> None:
    for sought in (bank_payout.source, str(bank_payout.id), f"{bank_payout.id}:1"):
        kinds = by_kind((await traces.explain(sought)).nodes)
        assert [node.id for node in kinds[NodeKind.JOURNAL]] == [str(bank_payout.id)]
        assert len(kinds[NodeKind.ENTRY]) == 2


async def test_foreign_charge_leads_to_its_exception_and_the_correction(
    traces: TraceService, begin: Begin, run: Run, clock: FakeClock
) -> None:
    line, finance = a_line_of_stripe(), a_user(Role.FINANCE)
    await record(begin, run, line, kind=BreakKind.UNKNOWN_SOURCE)
    async with begin() as tx:
        await tx.users.add(finance)
        await tx.commit()
    desk = ReconciliationDesk(begin, clock)
    (exception,) = (await desk.exceptions(principal(finance), run.id, PageRequest(limit=9))).rows
    correction = Correction("USD", [Entry(STRIPE_BALANCE, 1911), Entry(UNAPPLIED_CHARGES, -1911)])
    resolved = await desk.resolve(principal(finance), run.id, exception.id, "another shop", correction)
    assert resolved.resolution is not None
    journal_id = str(resolved.resolution.journal_id)

    whole = (await traces.explain(line.source or "")).nodes

    assert [(node.kind, node.id, node.depth) for node in whole if node.kind is not NodeKind.ENTRY] == [
        (NodeKind.BALANCE_TRANSACTION, line.id, 0),
        (NodeKind.EXCEPTION, str(exception.id), 1),
        (NodeKind.JOURNAL, journal_id, 2),
    ]
    for sought in (line.id, str(exception.id), journal_id, f"{journal_id}:2"):
        assert (await traces.explain(sought)).nodes == whole
