"""Stripe's events about intents."""

import json
from typing import Any

from domain.payments.model import Payment
from domain.settlement.answers import IntentStatus
from domain.settlement.model import StripeEvent
from tests.builders import a_stripe_event


def told(kind: str, payment: Payment, status: IntentStatus = IntentStatus.SUCCEEDED, **raw: Any) -> StripeEvent:
    """Return Stripe's event about a payment's intent."""
    intent = {
        "id": f"pi_{payment.id}",
        "status": status,
        "currency": payment.currency.lower(),
        "amount_received": payment.amount_minor if status is IntentStatus.SUCCEEDED else 0,
        "latest_charge": f"ch_{payment.id}",
        "metadata": {"payment_id": str(payment.id)},
        **raw,
    }
    return a_stripe_event(kind, json.dumps({"data": {"object": intent}}))
