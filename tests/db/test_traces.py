"""One cent is explained from any id that it has, by indexes alone."""

import json
from collections import defaultdict
from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal
from uuid import uuid4

import pytest
from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection

from db.traces import BESIDE, FINDERS, NODES
from domain.clock import SystemClock
from domain.disputes.model import DisputeStatus
from domain.errors import Forbidden, NotFound
from domain.identity.model import Role
from domain.ids import uuid7
from domain.ledger.model import BANK, STRIPE_BALANCE, UNAPPLIED_CHARGES, Entry, Journal, JournalKind
from domain.orders.model import Order
from domain.pages import PageRequest
from domain.payments.model import AcceptedPayment, Capture, Payment
from domain.payments.service import PaymentService
from domain.reconciliation.desk import Correction, ReconciliationDesk
from domain.reconciliation.model import BookedJournal, BreakKind, Finding, LedgerSide, Run, StripeLine
from domain.reconciliation.ports import LinePage
from domain.reconciliation.service import new_run
from domain.refunds.model import Refund
from domain.settlement.answers import Refusal, StripeTransaction
from domain.settlement.disputes import DisputeSettlement
from domain.settlement.model import Outcome, SettlementPolicy
from domain.settlement.refunds import RefundSettlement
from domain.settlement.service import SettlementService
from domain.traces.model import Node, NodeKind
from domain.traces.service import TraceService
from tests.builders import (
    NOW,
    PAYMENT_POLICY,
    Begin,
    Shop,
    a_dispute,
    a_journal,
    a_line_of_stripe,
    a_request,
    a_requested_refund,
    a_stripe_event,
    a_user,
    an_endpoint,
    disputed,
    principal,
    refunded,
    unique,
)
from tests.captured import captured
from tests.domain.fakes import FakeClock, RecordingAnnouncer
from tests.paid_out import earned, paid_out, reversals_of, taken_back
from tests.paid_out import refund as refund_of

# What has tests of its own below.
ELSEWHERE = {
    NodeKind.IDEMPOTENCY_KEY,
    NodeKind.REQUEST,
    NodeKind.EXCEPTION,
    NodeKind.STRIPE_EVENT,
    NodeKind.DELIVERY,
    NodeKind.PAYOUT,
    NodeKind.TRANSFER,
    NodeKind.STRIPE_PAYOUT,
    NodeKind.PAYOUT_REVERSAL,
    NodeKind.TRANSFER_REVERSAL,
}


@pytest.fixture
def traces(begin: Begin) -> TraceService:
    return TraceService(begin)


@pytest.fixture
async def order(shop: Shop) -> Order:
    return await shop.order()


@pytest.fixture
async def payment(shop: Shop, order: Order) -> Payment:
    """A payment that was settled in another currency, refunded in part and disputed for the rest."""
    exchanged = StripeTransaction(f"txn_{order.id}", 2199, 94, "EUR", Decimal("1.1"))
    return await captured(shop, order, transaction=exchanged)


@pytest.fixture
async def refund(shop: Shop, payment: Payment) -> Refund:
    refund = a_requested_refund(payment, shop)
    async with shop.begin() as tx:
        await tx.refunds.add([refund], publish_at=NOW)
        await tx.commit()
    await RefundSettlement(shop.begin, FakeClock(), SettlementPolicy()).settle(refund.id, refunded(refund))
    return refund


@pytest.fixture
async def dispute_id(shop: Shop, payment: Payment, refund: Refund) -> str:
    dispute = a_dispute(payment, amount_minor=payment.captured_minor - refund.amount_minor)
    told = disputed(dispute, DisputeStatus.NEEDS_RESPONSE, -dispute.amount_minor)
    assert await DisputeSettlement(shop.begin, FakeClock(), SettlementPolicy()).settle(payment.id, told)
    return dispute.stripe_dispute_id


def by_kind(nodes: Sequence[Node]) -> dict[NodeKind, list[Node]]:
    found = defaultdict(list)
    for node in nodes:
        found[node.kind].append(node)
    return found


async def test_every_id_leads_to_the_same_whole_chain(
    traces: TraceService, order: Order, payment: Payment, refund: Refund, dispute_id: str
) -> None:
    whole = await traces.explain(str(payment.id))

    assert {node.id for node in whole.nodes} > {
        str(order.id),
        str(payment.id),
        f"pi_{payment.id}",
        f"ch_{payment.id}",
        f"txn_{order.id}",
        str(refund.id),
        f"re_{refund.id}",
        dispute_id,
    }
    kinds = by_kind(whole.nodes)
    assert kinds.keys() == set(NodeKind) - ELSEWHERE
    assert not whole.is_cut
    for node in whole.nodes:
        found = await traces.explain(node.id)
        assert (found.kind, found.nodes) == (node.kind, whole.nodes)


@pytest.mark.usefixtures("dispute_id")
async def test_each_node_stands_below_what_caused_it(traces: TraceService, order: Order, payment: Payment) -> None:
    nodes = (await traces.explain(str(order.id))).nodes

    assert [node.key for node in nodes if node.depth == 0] == [(NodeKind.ORDER, str(order.id))]
    above: list[Node] = []
    for node in nodes:
        del above[node.depth :]
        assert node.parent == (above[-1].key if above else None)
        above.append(node)
    charge = next(node for node in by_kind(nodes)[NodeKind.JOURNAL] if node.facts["kind"] == "charge")
    assert charge.parent == (NodeKind.CHARGE, f"ch_{payment.id}")


@pytest.mark.usefixtures("dispute_id")
async def test_entries_of_each_journal_show_both_sides(traces: TraceService, payment: Payment) -> None:
    kinds = by_kind((await traces.explain(str(payment.id))).nodes)

    assert len(kinds[NodeKind.JOURNAL]) >= 5
    for journal in kinds[NodeKind.JOURNAL]:
        entries = [entry.facts for entry in kinds[NodeKind.ENTRY] if entry.parent == journal.key]
        assert len(entries) >= 2
        assert sum(entry.get("debit_minor", 0) for entry in entries) == sum(
            entry.get("credit_minor", 0) for entry in entries
        )


async def test_payout_joins_the_payments_that_it_takes_of_with_its_transfer_and_what_was_taken_back(
    traces: TraceService, shop: Shop
) -> None:
    first, second = [await earned(shop) for _ in range(2)]
    payout = await paid_out(shop)
    await refund_of(shop, a_requested_refund(first, shop, 100))
    (reversal,) = await reversals_of(shop, payout)
    await taken_back(shop, reversal)

    whole = await traces.explain(str(payout.id))

    kinds = by_kind(whole.nodes)
    assert {node.id for node in kinds[NodeKind.PAYMENT]} == {str(first.id), str(second.id)}
    joined = {
        NodeKind.PAYOUT,
        NodeKind.TRANSFER,
        NodeKind.PAYOUT_REVERSAL,
        NodeKind.TRANSFER_REVERSAL,
    }
    for kind in joined:
        found = await traces.explain(kinds[kind][0].id)
        assert (found.kind, found.nodes) == (kind, whole.nodes)
    journals = {node.facts["kind"]: node for node in kinds[NodeKind.JOURNAL]}
    assert journals["payout"].parent == kinds[NodeKind.TRANSFER][0].key
    assert journals["payout_reversed"].parent == kinds[NodeKind.TRANSFER_REVERSAL][0].key
    for kind in ("payout", "payout_reversed"):
        (entry, *_) = [node for node in kinds[NodeKind.ENTRY] if node.parent == journals[kind].key]
        for sought in (journals[kind].id, entry.id):
            assert (await traces.explain(sought)).nodes == whole.nodes
    assert {node.facts.get("payout_id") for node in kinds[NodeKind.ENTRY]} == {None, str(payout.id)}
    told = next(node for node in kinds[NodeKind.EVENT] if node.parent == kinds[NodeKind.PAYOUT][0].key)
    assert (await traces.explain(told.id)).nodes == whole.nodes


async def test_payment_is_not_followed_into_what_else_its_payout_takes_of(
    traces: TraceService, shop: Shop
) -> None:
    first, second = [await earned(shop) for _ in range(2)]
    payout = await paid_out(shop)

    kinds = by_kind((await traces.explain(str(second.id))).nodes)

    assert [node.id for node in kinds[NodeKind.PAYMENT]] == [str(second.id)]
    assert [(node.id, node.parent) for node in kinds[NodeKind.PAYOUT]] == [
        (str(payout.id), (NodeKind.PAYMENT, str(second.id)))
    ]
    assert str(first.id) not in {node.id for node in kinds[NodeKind.EVENT]}


async def test_request_leads_to_the_payment_that_it_made(traces: TraceService, shop: Shop, begin: Begin) -> None:
    order, request_id = await shop.order(), uuid7().hex
    payments = PaymentService(begin, RecordingAnnouncer(), SystemClock(), PAYMENT_POLICY)
    (accepted,) = await payments.accept([a_request(order, request_id=request_id)])
    assert isinstance(accepted, AcceptedPayment)

    whole = await traces.explain(request_id)

    assert whole.kind is NodeKind.REQUEST
    assert [node.key for node in whole.nodes if node.depth < 3 and node.kind is not NodeKind.EVENT] == [
        (NodeKind.ORDER, str(order.id)),
        (NodeKind.REQUEST, request_id),
        (NodeKind.PAYMENT, str(accepted.payment.id)),
    ]
    with pytest.raises(NotFound):
        await traces.explain(uuid7().hex)


async def test_id_that_a_caller_brought_leads_to_all_payments_that_it_made(
    traces: TraceService, shop: Shop, begin: Begin
) -> None:
    payments = PaymentService(begin, RecordingAnnouncer(), SystemClock(), PAYMENT_POLICY)
    brought = {f"shop-{uuid4()}": 2, uuid4().hex: 1}
    for request_id, count in brought.items():
        for _ in range(count):
            await payments.accept([a_request(await shop.order(), request_id=request_id)])

    for request_id, count in brought.items():
        whole = await traces.explain(request_id)
        assert whole.kind is NodeKind.REQUEST
        assert len(by_kind(whole.nodes)[NodeKind.PAYMENT]) == count


async def test_request_leads_to_the_refund_and_to_the_payout_that_it_asked_for(
    traces: TraceService, shop: Shop, payment: Payment
) -> None:
    of_refund, of_payout = uuid7().hex, f"shop-{uuid4()}"
    refund = a_requested_refund(payment, shop, request_id=of_refund)
    async with shop.begin() as tx:
        await tx.refunds.add([refund], publish_at=NOW)
        await tx.commit()
    await earned(shop)
    payout = await paid_out(shop, request_id=of_payout)

    for request_id, made in {of_refund: refund.id, of_payout: payout.id}.items():
        whole = await traces.explain(request_id)
        assert whole.kind is NodeKind.REQUEST
        (node,) = [node for node in whole.nodes if node.id == str(made)]
        assert node.facts["request_id"] == request_id


async def test_request_leads_to_the_payment_that_it_asked_to_capture_or_to_cancel(
    traces: TraceService, shop: Shop, begin: Begin
) -> None:
    payments = PaymentService(begin, RecordingAnnouncer(), SystemClock(), PAYMENT_POLICY)
    asked = [a_request(await shop.order(), capture=capture) for capture in (Capture.MANUAL, Capture.AUTOMATIC)]
    held, taken = await payments.accept(asked)
    assert isinstance(held, AcceptedPayment)
    assert isinstance(taken, AcceptedPayment)
    of_capture, of_cancellation = uuid7().hex, f"shop-{uuid4()}"
    async with begin() as tx:
        due = {"due_at": NOW, "publish_at": NOW}
        await tx.payments.ask_for_capture(held.payment.id, 1, request_id=of_capture, **due)
        await tx.payments.ask_for_cancellation(taken.payment.id, request_id=of_cancellation, **due)
        await tx.commit()

    for request_id, payment in {of_capture: held.payment, of_cancellation: taken.payment}.items():
        whole = await traces.explain(request_id)
        assert whole.kind is NodeKind.REQUEST
        assert [node.id for node in by_kind(whole.nodes)[NodeKind.PAYMENT]] == [str(payment.id)]


async def test_idempotency_key_leads_to_what_it_made(traces: TraceService, shop: Shop, payment: Payment) -> None:
    key = f"order 4711/{uuid4()}"
    refund = a_requested_refund(payment, shop, idempotency_key=key)
    async with shop.begin() as tx:
        await tx.refunds.add([refund], publish_at=NOW)
        await tx.commit()

    found = {sought: await traces.explain(sought) for sought in (payment.idempotency_key, key)}

    assert {trace.kind for trace in found.values()} == {NodeKind.IDEMPOTENCY_KEY}
    for trace in found.values():
        assert {str(payment.id), str(refund.id)} <= {node.id for node in trace.nodes}


class TestReconciled:
    """What Stripe lists, what reconciliation says of it, and the journals that no payment has."""

    @pytest.fixture
    async def run(self, begin: Begin) -> Run:
        run = new_run(NOW - timedelta(days=1), NOW, NOW)
        async with begin() as tx:
            await tx.runs.add(run)
            await tx.commit()
        return run

    @pytest.fixture
    async def bank_payout(self, begin: Begin) -> Journal:
        payout_id = unique("po")
        journal = a_journal((BANK, 1911), (STRIPE_BALANCE, -1911), kind=JournalKind.BANK_PAYOUT, source=payout_id)
        async with begin() as tx:
            await tx.ledger.post([journal])
            await tx.commit()
        return journal

    @staticmethod
    async def record(begin: Begin, run: Run, line: StripeLine, *journals: Journal, kind: BreakKind | None) -> None:
        booked = tuple(
            BookedJournal(each.id, each.kind, each.source, each.currency, 0, each.created_at, each.payment_id)
            for each in journals
        )
        async with begin() as tx:
            await tx.comparisons.record(run, [Finding(line, LedgerSide(booked, 0, 0, "USD"), kind)], NOW)
            await tx.commit()

    async def test_payment_shows_its_line_the_exception_and_the_payout_to_the_bank(
        self, traces: TraceService, begin: Begin, run: Run, payment: Payment, bank_payout: Journal
    ) -> None:
        line = a_line_of_stripe(source=f"ch_{payment.id}", payment_id=payment.id)
        of_payout = a_line_of_stripe(category="payout", source=bank_payout.source, amount_minor=-1911, fee_minor=0)
        await self.record(begin, run, line, kind=BreakKind.AMOUNT_MISMATCH)
        await self.record(begin, run, of_payout, bank_payout, kind=None)
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
        self, traces: TraceService, bank_payout: Journal
    ) -> None:
        for sought in (bank_payout.source, str(bank_payout.id), f"{bank_payout.id}:1"):
            kinds = by_kind((await traces.explain(sought)).nodes)
            assert [node.id for node in kinds[NodeKind.JOURNAL]] == [str(bank_payout.id)]
            assert len(kinds[NodeKind.ENTRY]) == 2

    async def test_foreign_charge_leads_to_its_exception_and_the_correction(
        self, traces: TraceService, begin: Begin, run: Run, clock: FakeClock
    ) -> None:
        line, finance = a_line_of_stripe(), a_user(Role.FINANCE)
        await self.record(begin, run, line, kind=BreakKind.UNKNOWN_SOURCE)
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


async def test_event_shows_where_it_was_delivered(traces: TraceService, shop: Shop, order: Order) -> None:
    of_buyer, of_finance = an_endpoint(shop.buyer.id), an_endpoint(shop.seller.id, sees_all=True)
    async with shop.begin() as tx:
        for endpoint in (of_buyer, of_finance):
            assert await tx.webhook_endpoints.add(endpoint, most=10)
        await tx.commit()
    payment = await captured(shop, order)

    kinds = by_kind((await traces.explain(str(payment.id))).nodes)

    told = next(node for node in kinds[NodeKind.EVENT] if node.facts["type"] == "payment.succeeded")
    deliveries = [node for node in kinds[NodeKind.DELIVERY] if node.parent == told.key]
    assert {node.facts["endpoint_id"] for node in deliveries} == {str(of_buyer.id), str(of_finance.id)}
    assert {node.facts["status"] for node in deliveries} == {"pending"}
    found = await traces.explain(deliveries[0].id)
    assert found.kind is NodeKind.DELIVERY
    assert str(payment.id) in {node.id for node in found.nodes}


async def test_all_payments_of_an_order_are_in_one_trace(traces: TraceService, shop: Shop, order: Order) -> None:
    failed = await shop.payment(order)
    service = SettlementService(shop.begin, RecordingAnnouncer(), FakeClock(), SettlementPolicy())
    assert await service.settle([Outcome(failed.id, Refusal("expired_card"))]) == [True]
    second = await captured(shop, order)

    found = await traces.explain(f"ch_{second.id}")

    assert {node.id for node in by_kind(found.nodes)[NodeKind.PAYMENT]} == {str(failed.id), str(second.id)}


async def test_direct_payment_is_its_own_root(traces: TraceService, shop: Shop) -> None:
    payment = await captured(shop)

    nodes = (await traces.explain(f"ch_{payment.id}")).nodes

    assert nodes[0].key == (NodeKind.PAYMENT, str(payment.id))
    assert NodeKind.ORDER not in by_kind(nodes)


async def test_order_without_payment_has_a_trace(traces: TraceService, order: Order) -> None:
    assert next(iter((await traces.explain(str(order.id))).nodes)).kind is NodeKind.ORDER


@pytest.mark.parametrize("told", ["metadata", "charge", "id"])
async def test_stripe_event_leads_on_by_what_it_names(
    traces: TraceService, begin: Begin, payment: Payment, told: str
) -> None:
    clue = {
        "metadata": {"metadata": {"payment_id": str(payment.id)}},
        "charge": {"charge": f"ch_{payment.id}"},
        "id": {"id": f"pi_{payment.id}"},
    }[told]
    event = a_stripe_event(body=json.dumps({"data": {"object": clue}}))
    async with begin() as tx:
        await tx.stripe_events.add([event], publish_at=NOW)
        await tx.commit()

    found = await traces.explain(event.id)

    assert found.kind is NodeKind.STRIPE_EVENT
    assert str(payment.id) in {node.id for node in found.nodes}


@pytest.mark.parametrize(
    "body", ["{}", "[", '{"data": {"object": {"id": 7}}}', '{"data": {"object": {"id": "x"}}}']
)
async def test_stripe_event_that_names_nothing_of_ours_has_no_trace(
    traces: TraceService, begin: Begin, body: str
) -> None:
    event = a_stripe_event(body=body)
    async with begin() as tx:
        await tx.stripe_events.add([event], publish_at=NOW)
        await tx.commit()

    with pytest.raises(NotFound):
        await traces.explain(event.id)


@pytest.mark.parametrize("sought", ["", "ch_unknown", "evt_unknown", "nothing", "'; DROP", "a\x00", "x" * 300])
async def test_unknown_id_is_not_found(traces: TraceService, sought: str) -> None:
    with pytest.raises(NotFound) as refusal:
        await traces.explain(sought)

    assert refusal.value.code == "trace_not_found"


@pytest.mark.parametrize("role", [role for role in Role if role != Role.FINANCE])
async def test_finance_alone_sees_traces(traces: TraceService, payment: Payment, role: Role) -> None:
    with pytest.raises(Forbidden):
        await traces.get(principal(a_user(role)), str(payment.id))


@pytest.mark.parametrize("statement", [*(finder.statement for finder in FINDERS), BESIDE, *NODES])
async def test_every_look_up_has_an_index(connection: AsyncConnection, statement: TextClause) -> None:
    """With sequential scans priced out, none is left: so each table is read by an index."""
    await connection.execute(text("SET LOCAL enable_seqscan = off"))
    forms = {"sought": "x", "uuid": None, "line": 1, "kinds": ["charge"]}
    ids = ("order_ids", "payment_ids", "payout_ids", "line_ids", "exception_ids", "journal_ids")
    values = {**forms, **{name: [] for name in ids}, "until": None, "limit": 9}
    names = statement.compile().params

    plan = await connection.execute(text(f"EXPLAIN {statement}"), {name: values[name] for name in names})

    assert "Seq Scan" not in "\n".join(plan.scalars())
