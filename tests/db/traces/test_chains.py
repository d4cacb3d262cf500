"""One cent is explained from any id that it has: what hangs together, and below what each node stands."""

from dataclasses import replace

import pytest

from domain.notifications.model import DisabledReason, EndpointStatus
from domain.orders.model import Order
from domain.payments.model import Payment
from domain.refunds.model import Refund
from domain.settlement.answers import Refusal
from domain.settlement.model import Outcome, SettlementPolicy
from domain.settlement.service import SettlementService
from domain.traces.model import Node, NodeKind
from domain.traces.service import TraceService
from tests.builders import Shop, a_requested_refund, an_endpoint
from tests.captured import captured
from tests.db.traces.nodes import by_kind
from tests.domain.fakes import FakeClock, RecordingAnnouncer
from tests.paid_out import earned, paid_out, reversals_of, taken_back
from tests.paid_out import refund as refund_of

# What has tests of its own, below or in the files beside this one.
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


@pytest.mark.parametrize("status", [EndpointStatus.DISABLED, EndpointStatus.DELETED])
async def test_delivery_to_an_endpoint_that_is_gone_is_shown(
    traces: TraceService, shop: Shop, order: Order, status: EndpointStatus
) -> None:
    endpoint = an_endpoint(shop.other_seller.id, sees_all=True)
    async with shop.begin() as tx:
        assert await tx.webhook_endpoints.add(endpoint, most=10)
        await tx.commit()
    payment = await captured(shop, order)
    gone = replace(
        endpoint,
        status=status,
        secret="" if status is EndpointStatus.DELETED else endpoint.secret,
        disabled_reason=DisabledReason.FAILING,
    )
    async with shop.begin() as tx:
        await tx.webhook_endpoints.save([gone])
        await tx.commit()

    deliveries = by_kind((await traces.explain(str(payment.id))).nodes)[NodeKind.DELIVERY]

    assert {node.facts["endpoint_id"] for node in deliveries} == {str(endpoint.id)}
    found = await traces.explain(deliveries[0].id)
    assert deliveries[0].id in {node.id for node in found.nodes}


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
