"""The ordinary way to build the same backend: a peer to measure against, not a part of MarketFlow.

Sync SQLAlchemy ORM, a statement at a time; one Celery message a request; a prefork worker with two processes;
Stripe's SDK on its default client, requests; one commit a payment. It authenticates, limits rates, keeps
idempotency keys, posts the same entries and takes Stripe's webhooks, as a careful team would build it first.
"""
