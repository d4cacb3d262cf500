"""Requests and idempotency keys lead to what they made."""

from uuid import uuid4

import pytest

from domain.clock import SystemClock
from domain.errors import NotFound
from domain.ids import uuid7
from domain.payments.model import AcceptedPayment, Capture, Payment
from domain.payments.service import PaymentService
from domain.traces.model import MAX_PAYMENTS, NodeKind
from domain.traces.service import TraceService
from tests.builders import NOW, PAYMENT_POLICY, Begin, Shop, a_request, a_requested_refund
from tests.db.traces.nodes import by_kind
from tests.domain.fakes import RecordingAnnouncer
from tests.paid_out import earned, paid_out


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
    brought = {f"shop-{uuid4()}": 12, uuid4().hex: 1}
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


async def test_id_of_several_requests_leads_to_all_that_they_asked_for(
    traces: TraceService, shop: Shop, begin: Begin, payment: Payment
) -> None:
    brought = f"shop-{uuid4()}"
    payments = PaymentService(begin, RecordingAnnouncer(), SystemClock(), PAYMENT_POLICY)
    (accepted,) = await payments.accept([a_request(await shop.order(), request_id=brought)])
    assert isinstance(accepted, AcceptedPayment)
    async with shop.begin() as tx:
        await tx.refunds.add([a_requested_refund(payment, shop, request_id=brought)], publish_at=NOW)
        await tx.commit()

    found = by_kind((await traces.explain(brought)).nodes)[NodeKind.PAYMENT]

    assert {node.id for node in found} == {str(payment.id), str(accepted.payment.id)}


async def test_trace_of_an_id_that_too_many_bear_says_that_it_is_cut(
    traces: TraceService, shop: Shop, begin: Begin
) -> None:
    payments = PaymentService(begin, RecordingAnnouncer(), SystemClock(), PAYMENT_POLICY)
    brought = f"shop-{uuid4()}"
    requests = [a_request(await shop.order(), request_id=brought) for _ in range(MAX_PAYMENTS + 1)]

    await payments.accept(requests[1:])
    whole = await traces.explain(brought)
    await payments.accept(requests[:1])
    cut = await traces.explain(brought)

    assert [len(by_kind(trace.nodes)[NodeKind.PAYMENT]) for trace in (whole, cut)] == [MAX_PAYMENTS] * 2
    assert (whole.is_cut, cut.is_cut) == (False, True)


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
