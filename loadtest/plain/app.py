"""The API: `gunicorn loadtest.plain.app:app`."""

import os
from typing import Literal
from uuid import UUID

import falcon
import jwt
import redis
import stripe
from pydantic import BaseModel, Field, ValidationError
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session as OrmSession

from loadtest.plain.models import Event, Payment, Session, StripeEvent
from loadtest.plain.tasks import charge

SECRET = os.environ["PLAIN_JWT_SECRET"]
WEBHOOK_SECRET = os.environ["PLAIN_WEBHOOK_SECRET"]
LIMIT_PER_MINUTE = 10_000_000

limits = redis.Redis.from_url(os.environ["PLAIN_REDIS_URL"])


class PaymentBody(BaseModel):
    """What a payer sends."""

    seller_id: UUID
    amount_minor: int = Field(ge=1)
    currency: str = Field(pattern="^[A-Z]{3}$")
    payment_method: str = Field(min_length=1, max_length=255)
    capture: Literal["automatic"] = "automatic"


class Payments:
    """`/v1/payments`."""

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Store a payment and enqueue its charge."""
        payer_id = authenticate(req)
        limit(payer_id)
        key = req.get_header("Idempotency-Key", required=True)
        try:
            body = PaymentBody.model_validate_json(req.bounded_stream.read())
        except ValidationError as error:
            raise falcon.HTTPUnprocessableEntity(description=str(error)) from error
        with Session() as session:
            payment = find(session, payer_id, key) or store(session, payer_id, key, body)
        resp.status = falcon.HTTP_ACCEPTED
        resp.set_header("Location", f"/v1/payments/{payment.id}")
        resp.media = {"id": str(payment.id), "status": payment.status, "amount_minor": payment.amount_minor}


class Webhooks:
    """`/v1/webhooks/stripe`."""

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Verify an event and note it; the task has settled the payment already, or will."""
        body = req.bounded_stream.read()
        try:
            event = stripe.Webhook.construct_event(body, req.get_header("Stripe-Signature"), WEBHOOK_SECRET)
        except (ValueError, stripe.SignatureVerificationError) as error:
            raise falcon.HTTPBadRequest from error
        with Session() as session:
            if session.get(StripeEvent, event.id) is None:
                session.add(StripeEvent(id=event.id, type=event.type))
                session.commit()


def authenticate(req: falcon.Request) -> UUID:
    """Return whose token it is."""
    token = (req.get_header("Authorization") or "").removeprefix("Bearer ")
    try:
        claims = jwt.decode(token, SECRET, algorithms=["HS256"], audience="marketflow-api", issuer="marketflow")
    except jwt.InvalidTokenError as error:
        raise falcon.HTTPUnauthorized from error
    return UUID(claims["sub"])


def limit(payer_id: UUID) -> None:
    """Refuse a payer that asks too often."""
    name = f"plain:{payer_id}"
    with limits.pipeline() as pipeline:
        pipeline.incr(name)
        pipeline.expire(name, 60)
        count, _ = pipeline.execute()
    if count > LIMIT_PER_MINUTE:
        raise falcon.HTTPTooManyRequests


def store(session: OrmSession, payer_id: UUID, key: str, body: PaymentBody) -> Payment:
    """Store a payment and enqueue its charge; a request that lost a race gets the winner's payment."""
    payment = Payment(payer_id=payer_id, idempotency_key=key, **body.model_dump(exclude={"capture"}))
    session.add(payment)
    try:
        session.flush()
        session.add(Event(payment_id=payment.id, type="payment.accepted"))
        session.commit()
    except IntegrityError:
        session.rollback()
        earlier = find(session, payer_id, key)
        if earlier is None:
            raise
        return earlier
    charge.delay(str(payment.id))
    return payment


def find(session: OrmSession, payer_id: UUID, key: str) -> Payment | None:
    """Return the payment that was made under a key."""
    return session.scalar(select(Payment).where(Payment.payer_id == payer_id, Payment.idempotency_key == key))


app = falcon.App()
app.add_route("/v1/payments", Payments())
app.add_route("/v1/webhooks/stripe", Webhooks())
