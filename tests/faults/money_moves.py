"""A case of its own: captured money moves on and back, while workers die and Stripe's answers are lost."""

import asyncio
import os
import signal
import uuid
from collections.abc import Awaitable, Callable
from contextlib import suppress

from api.client import Conflict
from tests.eventually import eventually
from tests.faults.harness import Harness
from tests.faults.load import Load

AT_ONCE = "pm_card_bypassPending"
"""Stripe lets its money go at once, so that it can be paid out."""
PAYMENTS = 12
CURRENCY = "USD"
FAULTS = (
    ("POST /v1/transfers", "drop_after"),
    ("POST /v1/transfers", "drop_before"),
    ("POST /v1/transfers", "error_500_after"),
    ("POST /v1/refunds", "drop_after"),
    ("POST /v1/refunds", "error_500"),
    ("POST /v1/refunds", "error_429"),
)


async def money_moves(harness: Harness, rounds: int) -> Load:
    """Pay out, refund what was paid out, and so take it back, under faults of Stripe and kills of workers."""
    load = await harness.customers()
    payee = harness.payee
    for _ in range(rounds):
        before, paid = _transfers(harness), await _paid(load, payee.user_id)
        await _injured(harness, load, lambda: _pay_out(harness, load))
        # A payout that failed lets its shares go, and then a refund is taken from what is still to be paid out.
        await eventually(lambda before=before: _transfers(harness) > before, 60.0)
        await _injured(harness, load, lambda: _refund(harness, load, paid))  # noqa: B023 - awaited here
    await eventually(lambda: _something_was_taken_back(harness), 60.0)
    return load


async def _paid(load: Load, seller_id: str) -> list[str]:
    """Let customers pay the seller, and wait until Stripe lets the money go."""

    async def pay() -> str:
        buyer, key = load.rng.choice(load.buyers), str(uuid.uuid4())
        amount_minor = load.rng.randint(500, 20_000)
        payment = await buyer.payments.pay_seller(seller_id, amount_minor, CURRENCY, AT_ONCE, key=key)
        load.accepted[key] = payment["id"]
        await buyer.payments.wait(payment["id"], timeout_s=60)
        return payment["id"]

    return list(await asyncio.gather(*(pay() for _ in range(PAYMENTS))))


async def _injured(harness: Harness, load: Load, work: Callable[[], Awaitable[None]]) -> None:
    """Do some work while Stripe's answers are lost, and a worker dies in the middle of it."""
    for match, effect in harness.rng.sample(FAULTS, k=3):
        await harness.fault(match, effect, rate=0.5)
    working = asyncio.ensure_future(work())
    await asyncio.sleep(harness.rng.uniform(0.1, 0.5))
    if pids := harness.stack.pids("workers"):
        with suppress(ProcessLookupError):
            os.kill(harness.rng.choice(pids), signal.SIGKILL)
        harness.note("worker killed")
    await working
    await asyncio.sleep(harness.rng.uniform(0.3, 1.0))
    await harness.heal()


async def _pay_out(harness: Harness, load: Load) -> None:
    """Ask for payouts again and again, beside the scheduled runs; each share goes once."""
    for _ in range(5):
        key = str(uuid.uuid4())
        with suppress(Conflict):  # a scheduled run was faster
            load.payouts[key] = (await harness.payee.client.payouts.request(CURRENCY, key=key))["id"]
            harness.note("payout asked for")
        await asyncio.sleep(harness.rng.uniform(0.05, 0.3))


async def _refund(harness: Harness, load: Load, payment_ids: list[str]) -> None:
    """Refund parts of payments, several at once of one."""

    finance = await harness.finance()

    async def refund(payment_id: str) -> None:
        amount_minor, key = harness.rng.randint(50, 400), str(uuid.uuid4())
        with suppress(Conflict):  # another one took it
            answer = await finance.payments.refund(payment_id, "it broke", amount_minor=amount_minor, key=key)
            load.refunds[key] = answer["id"]
            harness.note("refund asked for")

    await asyncio.gather(*(refund(payment_id) for payment_id in payment_ids * 2))


def _transfers(harness: Harness) -> int:
    with harness.database() as connection:
        row = connection.execute("SELECT count(*) FROM payouts WHERE stripe_transfer_id IS NOT NULL").fetchone()
    return int(row[0]) if row else 0


async def _something_was_taken_back(harness: Harness) -> bool:
    """Whether the case has moved money each of its ways."""
    with harness.database() as connection:
        row = connection.execute(
            "SELECT (SELECT count(*) FROM payouts WHERE stripe_transfer_id IS NOT NULL) > 0"
            " AND (SELECT count(*) FROM refunds WHERE status = 'succeeded') > 0"
            " AND (SELECT count(*) FROM payout_reversals WHERE status = 'succeeded') > 0"
        ).fetchone()
    return bool(row and row[0])
