"""Stripe's events lead on by what they name."""

import json

import pytest

from domain.errors import NotFound
from domain.payments.model import Payment
from domain.traces.model import NodeKind
from domain.traces.service import TraceService
from tests.builders import NOW, Begin, a_stripe_event


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
