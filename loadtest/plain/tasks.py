"""The worker: `celery -A loadtest.plain.tasks worker`; one payment a task."""

import os
from datetime import UTC, datetime
from uuid import UUID

import stripe
from celery import Celery

from loadtest.plain.models import Entry, Event, Payment, Session

app = Celery("plain", broker=os.environ["PLAIN_BROKER_URL"])
app.conf.update(task_ignore_result=True, broker_connection_retry_on_startup=True)

client = stripe.StripeClient(
    os.environ["PLAIN_STRIPE_API_KEY"],
    base_addresses={"api": os.environ["PLAIN_STRIPE_API_BASE"]},
    http_client=stripe.RequestsClient(timeout=10),
)
COMMISSION_BPS = 250


@app.task(bind=True, max_retries=5, acks_late=True)  # type: ignore[untyped-decorator]  # Celery ships no types
def charge(self, payment_id: str) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001 - Celery's own task
    """Charge a payment, post its entries and settle it."""
    with Session() as session:
        payment = session.get(Payment, UUID(payment_id))
        if payment is None or payment.status != "pending":
            return
        try:
            intent = client.v1.payment_intents.create(
                {
                    "amount": payment.amount_minor,
                    "currency": payment.currency.lower(),
                    "payment_method": payment.payment_method,
                    "payment_method_types": ["card"],  # type: ignore[typeddict-unknown-key]  # the name at this version
                    "confirm": True,
                    "metadata": {"payment_id": payment_id},
                    "expand": ["latest_charge.balance_transaction"],
                },
                {"idempotency_key": f"charge-{payment_id}"},
            )
        except stripe.CardError as error:
            payment.status, payment.failure_code = "failed", error.code
            session.add(Event(payment_id=payment.id, type="payment.failed"))
        except stripe.StripeError as error:
            raise self.retry(exc=error, countdown=1) from error
        else:
            settle(session, payment, intent)
        session.commit()


def settle(session, payment: Payment, intent) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001 - the ORM's session, Stripe's object
    """Post what was captured and Stripe's fee, and mark the payment as paid."""
    amount, fee = intent.amount_received, intent.latest_charge.balance_transaction.fee
    commission = round(amount * COMMISSION_BPS / 10_000)
    seller = f"seller_payable:{payment.seller_id}"
    for account, amount_minor in (
        ("stripe_balance", amount),
        (seller, commission - amount),
        ("commission_revenue", -commission),
        (seller, fee),
        ("stripe_balance", -fee),
    ):
        session.add(
            Entry(payment_id=payment.id, account=account, currency=payment.currency, amount_minor=amount_minor)
        )
    payment.status = "succeeded"
    payment.stripe_intent_id = intent.id
    payment.stripe_charge_id = intent.latest_charge.id
    payment.settled_at = datetime.now(UTC)
    session.add(Event(payment_id=payment.id, type="payment.succeeded"))
