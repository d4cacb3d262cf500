"""The contract of the repositories, in PostgreSQL and in memory: refunds."""

from dataclasses import replace
from typing import Any

import pytest

from domain.errors import Refused
from domain.identity.model import Principal, Role
from domain.ids import PaymentId, RefundId, UserId, uuid7
from domain.refunds.model import RefundOrigin, RefundStatus
from domain.settlement.model import Returned
from tests.builders import NOW, Begin, Shop, a_refund, a_requested_refund, principal, unique
from tests.captured import captured
from tests.db.contracts.reading import LATER


async def test_refund_comes_back_with_its_lines(any_begin: Begin, shop: Shop) -> None:
    payment = await captured(shop, await shop.order(shop.product, shop.other_product))
    refund = a_requested_refund(payment, shop, traceparent="00-1", request_id="request-1")
    same_key = replace(a_requested_refund(payment, shop), idempotency_key=refund.idempotency_key)

    async with any_begin() as tx:
        assert set(await tx.refunds.add([refund, same_key], publish_at=LATER)) == {refund.id}
        assert set(await tx.refunds.add([], publish_at=LATER)) == set()
        assert await tx.refunds.by_key(shop.buyer.id, refund.idempotency_key) == refund
        assert await tx.refunds.by_key(shop.seller.id, refund.idempotency_key) is None
        assert await tx.refunds.of_payment(payment.id) == [refund]
        assert (await tx.payments.lock(payment.id)).refunded_minor == 1000


async def test_refunds_are_visible_to_those_they_concern(any_begin: Begin, shop: Shop, finance: Principal) -> None:
    payment = await captured(shop, await shop.order(shop.product, shop.other_product))
    refund = a_requested_refund(payment, shop)

    async with any_begin() as tx:
        await tx.refunds.add([refund], publish_at=LATER)
        for who in (principal(shop.buyer), principal(shop.seller), finance):
            assert await tx.refunds.visible(who, refund.id) == refund
        for who in (principal(shop.other_seller), Principal(UserId(uuid7()), Role.BUYER)):
            assert await tx.refunds.visible(who, refund.id) is None
        assert await tx.refunds.visible(finance, RefundId(uuid7())) is None


async def test_refund_is_leased_found_and_saved(any_begin: Begin, shop: Shop) -> None:
    payment = await captured(shop)
    refund, other = a_refund(payment, amount_minor=1000), a_refund(payment, amount_minor=999)

    async with any_begin() as tx:
        await tx.refunds.add([refund, other], publish_at=LATER)
        leased = replace(refund, attempts=1, first_sent_at=NOW)
        assert await tx.refund_work.lease([refund.id], NOW, LATER) == [leased]
        assert await tx.refund_work.lease([refund.id], NOW, LATER) == []
        assert await tx.refund_work.lock(refund.id) == leased
        done = replace(
            leased,
            status=RefundStatus.SUCCEEDED,
            stripe_refund_id=f"re_{refund.id}",
            is_booked=True,
            transaction_id="txn_1",
            failure_transaction_id="txn_2",
            key_number=1,
            first_sent_at=None,
            key_burnt_at=LATER,
            updated_at=LATER,
        )
        await tx.refund_work.save(done, due_at=None)
        assert await tx.refund_work.find(refund.id, None) == done
        assert await tx.refund_work.find(other.id, done.stripe_refund_id) == done
        assert await tx.refund_work.find(other.id, "re_of_nobody") == other
        assert await tx.refund_work.find(None, "re_of_nobody") is None
        assert await tx.refund_work.lease([refund.id], LATER, LATER) == []
        assert await tx.refund_work.returned(payment.id) == Returned(1000)
        assert await tx.refund_work.returned(PaymentId(uuid7())) == Returned(0)


async def test_failed_refund_makes_room_for_another(any_begin: Begin, shop: Shop) -> None:
    payment = await captured(shop)
    refund = a_refund(payment)
    failed = replace(refund, status=RefundStatus.FAILED, failure_code="lost_or_stolen_card")

    async with any_begin() as tx:
        await tx.refunds.add([refund], publish_at=LATER)
        assert (await tx.payments.lock(payment.id)).refunded_minor == 1999
        await tx.refund_work.save(failed, due_at=None)
        assert (await tx.payments.lock(payment.id)).refunded_minor == 0
        assert await tx.refunds.add([a_refund(payment)], publish_at=LATER)


async def test_refunds_above_what_was_captured_are_refused(any_begin: Begin, shop: Shop) -> None:
    payment = await captured(shop)

    async def refund(*amounts: int) -> None:
        async with any_begin() as tx:
            for amount_minor in amounts:
                await tx.refunds.add([a_refund(payment, amount_minor=amount_minor)], publish_at=LATER)

    with pytest.raises(Refused):
        await refund(1000, 1000)
    with pytest.raises(Refused):
        await refund(2000)
    await refund(1000, 999)


async def test_refund_that_failed_at_stripe_before_we_heard_of_it_never_counts(
    any_begin: Begin, shop: Shop
) -> None:
    payment = await captured(shop)
    failed = a_refund(payment, status=RefundStatus.FAILED, stripe_refund_id=unique("re"))

    async with any_begin() as tx:
        await tx.refunds.add([a_refund(payment)], publish_at=LATER)
        await tx.refunds.add([failed], publish_at=LATER)
        assert failed in await tx.refunds.of_payment(payment.id)
        assert (await tx.payments.lock(payment.id)).refunded_minor == 1999


@pytest.mark.parametrize(
    "changes",
    [
        {"status": RefundStatus.SUCCEEDED},
        {"stripe_refund_id": None},
        {"origin": RefundOrigin.LATE_SUCCESS},
        {"origin": RefundOrigin.REQUESTED},
        {"amount_minor": 2000, "lines": ()},
    ],
    ids=["succeeded", "without Stripe's id", "late success", "requested", "more than was captured"],
)
async def test_no_other_refund_starts_as_settled(any_begin: Begin, shop: Shop, changes: dict[str, Any]) -> None:
    asked = a_requested_refund(
        await captured(shop), shop, status=RefundStatus.FAILED, stripe_refund_id=unique("re")
    )
    if changes.get("origin") is not RefundOrigin.REQUESTED:
        nobody = {"requested_by": None, "idempotency_key": None, "request_hash": None}
        asked = replace(asked, origin=RefundOrigin.EXTERNAL, **nobody)
    refund = replace(asked, **changes)

    async def add() -> None:
        async with any_begin() as tx:
            await tx.refunds.add([refund], publish_at=LATER)

    with pytest.raises(Refused):
        await add()


async def test_refund_that_is_quarantined_is_due_no_more(any_begin: Begin, shop: Shop) -> None:
    refund = a_refund(await captured(shop))

    async with any_begin() as tx:
        await tx.refunds.add([refund], publish_at=LATER)
        await tx.refund_work.quarantine(refund.id, "another amount", NOW)
        assert await tx.refund_work.lease([refund.id], LATER, LATER) == []
        await tx.refund_work.save(refund, due_at=LATER)
        assert await tx.refund_work.lease([refund.id], LATER, LATER)
