"""Wishes about payments on the real database: one of two that come at once."""

import asyncio
from dataclasses import replace

from db.unit_of_work import Database
from domain.errors import Conflict
from domain.payments.actions import PaymentActions
from domain.payments.model import Capture, Payment, PaymentStatus
from domain.settlement.model import PaymentChange
from tests.builders import Shop, principal
from tests.captured import stored
from tests.domain.fakes import FakeClock, RecordingAnnouncer


async def authorized(shop: Shop) -> Payment:
    payment = await shop.payment(await shop.order(), capture=Capture.MANUAL)
    known = replace(payment, status=PaymentStatus.REQUIRES_CAPTURE, stripe_intent_id=f"pi_{payment.id}")
    async with shop.begin() as tx:
        await tx.payment_work.save([PaymentChange(known, None)])
        await tx.commit()
    return known


async def test_capture_and_cancellation_at_once_are_one_of_the_two(
    database: Database, real_shop: Shop, announcer: RecordingAnnouncer, clock: FakeClock
) -> None:
    actions = PaymentActions(database.begin, announcer, clock, republish_after_s=30)
    payments = [await authorized(real_shop) for _ in range(4)]
    wishes = [
        wish
        for payment in payments * 3
        for wish in (
            actions.capture(principal(real_shop.seller), payment.id, None),
            actions.cancel(principal(real_shop.buyer), payment.id),
        )
    ]

    async with asyncio.timeout(30):
        answers = await asyncio.gather(*wishes, return_exceptions=True)

    assert all(isinstance(answer, Payment | Conflict) for answer in answers), answers
    for payment in payments:
        after = await stored(real_shop, payment)
        assert after.cancel_requested == (after.capture_minor is None)
    assert len(announcer.announced) == 1
    assert sum(map(len, announcer.announced.values())) == len(payments)
