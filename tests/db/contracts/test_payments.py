"""The contract of the repositories, in PostgreSQL and in memory: payments."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from domain.errors import Refused
from domain.events import event
from domain.identity.model import Principal, Role
from domain.ids import PaymentId, UserId, uuid7
from domain.pages import PageRequest
from domain.payments.model import Capture, Glance, Payment, PaymentStatus, Sight
from domain.settlement.model import PaymentChange
from domain.work import Work
from tests.builders import NOW, Begin, Shop, a_payment, a_product, principal
from tests.captured import captured
from tests.db.contracts.reading import LATER, read_all


async def test_payment_comes_back_as_it_was_added(any_begin: Begin, shop: Shop) -> None:
    payment = await shop.payment(await shop.order(), traceparent="00-1", request_id="request-1")
    unknown = PaymentId(uuid7())

    async with any_begin() as tx:
        assert await tx.payment_work.by_ids([payment.id, unknown]) == {payment.id: payment}
        assert await tx.payment_work.orders_of([payment.id, unknown]) == {payment.id: payment.order_id}
        key = (payment.payer_id, payment.idempotency_key)
        assert await tx.payments.by_keys([key, (payment.payer_id, "other")]) == {key: payment}


async def test_payment_of_an_order_is_the_one_that_paid_for_it(any_begin: Begin, shop: Shop) -> None:
    paid = await captured(shop, await shop.order())
    pending = await shop.payment(await shop.order())
    assert paid.order_id is not None
    assert pending.order_id is not None

    async with any_begin() as tx:
        assert await tx.payments.of_order(paid.order_id) == paid
        assert await tx.payments.of_order(pending.order_id) is None


async def test_order_has_another_payment_only_while_that_one_is_not_given_up(any_begin: Begin, shop: Shop) -> None:
    order = await shop.order()

    ids = []
    for end in (
        {"status": PaymentStatus.FAILED, "failure_code": "expired_card"},
        {"status": PaymentStatus.CANCELED},
    ):
        payment = await shop.payment(order)
        ids.append(payment.id)
        async with any_begin() as tx:
            await tx.payment_work.save([PaymentChange(replace(payment, **end), None)])
            await tx.commit()
    async with any_begin() as tx:
        without = [has_other for _, has_other in await tx.payment_work.lock(ids)]
    alive = await shop.payment(order)
    async with any_begin() as tx:
        beside = {payment.id: has_other for payment, has_other in await tx.payment_work.lock([*ids, alive.id])}

    assert without == [False, False]
    assert beside == {ids[0]: True, ids[1]: True, alive.id: False}


async def test_payment_concerns_its_payer_and_its_sellers(any_begin: Begin, shop: Shop) -> None:
    mixed = await shop.payment(await shop.order(shop.product, shop.other_product, shop.product))
    direct = await shop.payment()

    async with any_begin() as tx:
        parties = await tx.payment_work.parties_of([mixed.id, direct.id, PaymentId(uuid7())])

    assert {payment_id: sorted(concerned) for payment_id, concerned in parties.items()} == {
        mixed.id: sorted([shop.buyer.id, shop.seller.id, shop.other_seller.id]),
        direct.id: sorted([shop.buyer.id, shop.seller.id]),
    }


async def test_payments_that_collide_are_left_out(any_begin: Begin, shop: Shop) -> None:
    order = await shop.order()
    direct = {"payer_id": shop.buyer.id, "seller_id": shop.seller.id}
    first = a_payment(**direct, idempotency_key="b")
    same_key = a_payment(**direct, idempotency_key="b")
    alive, second_of_order = a_payment(order, idempotency_key="c"), a_payment(order, idempotency_key="d")

    async with any_begin() as tx:
        added = await tx.payments.add([second_of_order, alive, first, same_key], publish_at=NOW)
        again = await tx.payments.add([first], publish_at=NOW)
        nothing = await tx.payments.add([], publish_at=NOW)

    assert set(added) == {first.id, alive.id}
    assert (set(again), set(nothing)) == (set(), set())


async def test_payments_go_in_with_their_events_and_the_commission_of_their_seller(
    any_begin: Begin, shop: Shop
) -> None:
    first = a_payment(payer_id=shop.buyer.id, seller_id=shop.seller.id, commission_bps=300)
    of_nobody = a_payment(payer_id=shop.buyer.id, seller_id=shop.buyer.id)
    told = [event("payment.accepted", payment.id, NOW, audience=[shop.buyer.id]) for payment in (first, of_nobody)]

    async with any_begin() as tx:
        added = await tx.payments.add([first, of_nobody], publish_at=NOW, events=told)
        seen = [*(await tx.events.of_subject(first.id)).rows, *(await tx.events.of_subject(of_nobody.id)).rows]

    assert added == {first.id: 300}
    assert seen == told[:1]


async def test_payments_are_visible_to_those_they_concern(
    any_begin: Begin, shop: Shop, finance: Principal
) -> None:
    of_order, direct = await shop.payment(await shop.order()), await shop.payment()
    stranger = Principal(UserId(uuid7()), Role.BUYER)
    for payment in (of_order, direct):
        asked = [
            (principal(shop.buyer), payment.id),
            (principal(shop.other_seller), payment.id),
            (principal(shop.seller), payment.id),
            (stranger, payment.id),
            (finance, payment.id),
            (finance, PaymentId(uuid7())),
        ]
        async with any_begin() as tx:
            assert await tx.payments.visible(asked) == [payment, None, payment, None, payment, None]


async def test_who_knows_a_payment_is_told_of_news_alone(any_begin: Begin, shop: Shop) -> None:
    payment, other = await shop.payment(), await shop.payment()
    buyer, stranger = principal(shop.buyer), Principal(UserId(uuid7()), Role.BUYER)

    async def look(*glances: Glance) -> Sequence[Sight | None]:
        async with any_begin() as tx:
            return await tx.payments.look(glances)

    first, second = await look(Glance(buyer, payment.id), Glance(buyer, other.id))
    assert first is not None
    assert second is not None
    assert (first.news, second.news) == (payment, other)
    known = Glance(buyer, payment.id, first.version)

    assert await look(known, Glance(buyer, payment.id)) == [Sight(None, first.version), first]
    assert await look(Glance(stranger, payment.id, first.version)) == [None]

    async with any_begin() as tx:
        await tx.payments.ask_for_cancellation(payment.id, due_at=NOW, publish_at=NOW)
        await tx.commit()
    (changed, unchanged) = await look(known, Glance(buyer, other.id, second.version))
    assert changed is not None
    assert changed.news.cancel_requested
    assert changed.version != first.version
    assert unchanged == Sight(None, second.version)


async def test_pages_of_payments_are_complete_and_stable(any_begin: Begin, shop: Shop, finance: Principal) -> None:
    more = [a_product(seller.id) for seller in (shop.seller, shop.seller, shop.other_seller)]
    async with any_begin() as tx:
        for product in more:
            await tx.products.add(product)
        await tx.commit()
    both = shop.product, shop.other_product, *more
    mixed, direct = await shop.payment(await shop.order(*both)), await shop.payment()
    single, other = await shop.payment(await shop.order()), await shop.payment(await shop.order(*both))
    newest_first = [other, single, direct, mixed]

    async with any_begin() as tx:
        for limit in (1, 2, 3, 4, 5):
            pages = {
                who.id: await read_all(lambda request, who=who: tx.payments.page(principal(who), request), limit)
                for who in (shop.buyer, shop.seller, shop.other_seller)
            }
            assert pages[shop.buyer.id] == newest_first
            assert pages[shop.seller.id] == newest_first
            assert pages[shop.other_seller.id] == [other, mixed]
        everything = await read_all(lambda request: tx.payments.page(finance, request), 100)
        first = await tx.payments.page(principal(shop.seller), PageRequest(2))
    await shop.payment()
    async with any_begin() as tx:
        second = await tx.payments.page(principal(shop.seller), PageRequest(2, first.next_after))

    assert [payment for payment in everything if payment in newest_first] == newest_first
    assert [*first.rows, *second.rows] == newest_first
    assert second.next_after is None


async def test_payments_of_an_order_are_those_that_the_asker_may_see(
    any_begin: Begin, shop: Shop, finance: Principal
) -> None:
    order = await shop.order()
    payment = await shop.payment(order)
    await shop.payment(await shop.order())

    async with any_begin() as tx:
        seen = {
            who: (await tx.payments.page(who, PageRequest(), order.id)).rows
            for who in (principal(shop.buyer), principal(shop.seller), principal(shop.other_seller), finance)
        }

    assert list(seen.values()) == [[payment], [payment], [], [payment]]


async def test_wishes_about_a_payment_are_kept_and_make_it_due(any_begin: Begin, shop: Shop) -> None:
    captured_later = await shop.payment(capture=Capture.MANUAL, traceparent="00-1", request_id="request-1")
    cancelled = await shop.payment(request_id="request-1")

    async with any_begin() as tx:
        for payment in (captured_later, cancelled):
            await tx.payment_work.save([PaymentChange(payment, None)])
        await tx.payments.ask_for_capture(
            captured_later.id, 1000, request_id="request-2", due_at=NOW, publish_at=LATER
        )
        await tx.payments.ask_for_cancellation(cancelled.id, due_at=NOW, publish_at=LATER)
        assert await tx.payments.lock(captured_later.id) == replace(
            captured_later, capture_minor=1000, request_id="request-2"
        )
        assert await tx.payments.lock(cancelled.id) == replace(cancelled, cancel_requested=True)
        assert len(await tx.payment_work.lease([captured_later.id, cancelled.id], NOW, LATER)) == 2
        await tx.payment_work.drop_captures([captured_later.id])
        assert (await tx.payments.lock(captured_later.id)).capture_minor is None


async def test_saving_writes_what_settlement_decides_and_takes_no_wish_back(any_begin: Begin, shop: Shop) -> None:
    payment = await shop.payment(capture=Capture.MANUAL)

    async with any_begin() as tx:
        await tx.payments.ask_for_capture(payment.id, 1000, due_at=NOW, publish_at=NOW)
        asked = await tx.payments.lock(payment.id)
        decided = replace(
            asked,
            status=PaymentStatus.UNKNOWN,
            failure_code="a code",
            client_secret="a secret",
            stripe_intent_id=f"pi_{payment.id}",
            stripe_charge_id=f"ch_{payment.id}",
            funds_available_at=LATER,
            lookup_only=True,
            updated_at=LATER,
        )
        other = replace(decided, capture_minor=None, payment_method="pm_other", attempts=9)
        await tx.payment_work.save([PaymentChange(other, NOW)])

        assert await tx.payments.lock(payment.id) == decided


async def test_looks_at_an_authorization_do_not_count_as_attempts_to_capture(any_begin: Begin, shop: Shop) -> None:
    """The first capture that Stripe throttles is to wait for seconds, not for minutes."""
    payment = await shop.payment(capture=Capture.MANUAL)

    async with any_begin() as tx:
        for day in range(10):
            at = NOW + timedelta(days=day)
            (looked_at,) = await tx.payment_work.lease([payment.id], at, at + timedelta(seconds=1))
        await tx.payments.ask_for_capture(payment.id, 1000, due_at=at, publish_at=at)
        assert await tx.due_work.tried(Work.CHARGES, [payment.id]) == {payment.id}
        (leased,) = await tx.payment_work.lease([payment.id], at + timedelta(days=1), at + timedelta(days=2))

    assert (looked_at.attempts, leased.attempts) == (10, 2)


async def test_looks_at_a_payment_that_is_to_be_cancelled_are_not_forgotten(any_begin: Begin, shop: Shop) -> None:
    """They tell that it may have been charged."""
    payment = await shop.payment()

    async with any_begin() as tx:
        await tx.payment_work.lease([payment.id], NOW, NOW + timedelta(seconds=1))
        await tx.payments.ask_for_cancellation(payment.id, due_at=NOW, publish_at=NOW)
        (leased,) = await tx.payment_work.lease([payment.id], LATER, LATER + timedelta(seconds=1))

    assert leased.attempts == 2


async def test_payment_has_one_wish(any_begin: Begin, shop: Shop) -> None:
    payment = await shop.payment(capture=Capture.MANUAL)

    async def ask_for_both() -> None:
        async with any_begin() as tx:
            await tx.payments.ask_for_capture(payment.id, 1000, due_at=NOW, publish_at=LATER)
            await tx.payments.ask_for_cancellation(payment.id, due_at=NOW, publish_at=LATER)

    with pytest.raises(Refused):
        await ask_for_both()


async def test_locked_payment_knows_whether_its_order_has_another(any_begin: Begin, shop: Shop) -> None:
    order = await shop.order()
    first = await shop.payment(order)
    direct = await shop.payment()
    failed = replace(first, status=PaymentStatus.FAILED, failure_code="expired_card")
    async with any_begin() as tx:
        await tx.payment_work.save([PaymentChange(failed, None)])
        await tx.commit()
    second = await shop.payment(order)

    async with any_begin() as tx:
        locked = await tx.payment_work.lock([direct.id, second.id, PaymentId(uuid7()), first.id])

    assert list(locked) == sorted([(failed, True), (second, False), (direct, False)], key=lambda row: row[0].id)


async def test_saved_change_is_read_again_and_due_when_it_says(any_begin: Begin, shop: Shop) -> None:
    payment = await shop.payment()
    changed = replace(
        payment,
        status=PaymentStatus.SUCCEEDED,
        failure_code="x",
        client_secret="s",
        stripe_intent_id="pi_1",
        stripe_charge_id="ch_1",
        captured_minor=1000,
        fee_minor=5,
        lookup_only=True,
        updated_at=LATER,
    )

    async with any_begin() as tx:
        await tx.payment_work.lease([payment.id], NOW, LATER)
        await tx.payment_work.save([PaymentChange(changed, due_at=LATER)])
        found = (await tx.payment_work.by_ids([payment.id]))[payment.id]
        assert await tx.payment_work.lease([payment.id], LATER - timedelta(seconds=1), LATER) == []
        (leased,) = await tx.payment_work.lease([payment.id], LATER, LATER)

    assert replace(found, attempts=0, first_charged_at=None) == changed
    assert (leased.status, leased.attempts, leased.first_charged_at) == (PaymentStatus.SUCCEEDED, 2, NOW)


@pytest.mark.parametrize(
    "changes",
    [{"captured_minor": 2000, "status": PaymentStatus.SUCCEEDED}, {"status": PaymentStatus.PROCESSING}],
    ids=["captured above the amount", "step backwards"],
)
async def test_change_against_the_rules_is_refused(any_begin: Begin, shop: Shop, changes: dict[str, Any]) -> None:
    payment = await shop.payment()

    async def save(*versions: Payment) -> None:
        async with any_begin() as tx:
            for version in versions:
                await tx.payment_work.save([PaymentChange(version, NOW)])

    with pytest.raises(Refused):
        await save(replace(payment, status=PaymentStatus.UNKNOWN), replace(payment, **changes))
