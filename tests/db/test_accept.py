"""Accepting payments on the real database: once for each key, one alive for each order."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from db.unit_of_work import Database
from domain.errors import Conflict, DomainError, Forbidden, IdempotencyMismatch, Invalid, NotFound, Refused
from domain.identity.model import Role
from domain.ids import OrderId, UserId, uuid7
from domain.pages import PageRequest
from domain.payments.model import DEAD, AcceptedPayment, Payment, PaymentStatus
from domain.payments.service import PaymentService
from domain.settlement.answers import Refusal
from domain.settlement.model import Outcome
from domain.settlement.service import SettlementService
from domain.work import Work
from tests.builders import NOW, Begin, Shop, a_direct_request, a_payment, a_request, a_user, principal
from tests.domain.fakes import RecordingAnnouncer
from tests.stripe_answers import succeeded


def accepted(answer: AcceptedPayment | DomainError) -> AcceptedPayment:
    assert isinstance(answer, AcceptedPayment), answer
    return answer


def codes(answers: list[AcceptedPayment | DomainError]) -> list[str]:
    return [
        answer.code if isinstance(answer, DomainError) else "replayed" if answer.replayed else "accepted"
        for answer in answers
    ]


async def test_accepted_payment_is_stored_told_and_announced(
    payments: PaymentService, begin: Begin, announcer: RecordingAnnouncer, shop: Shop
) -> None:
    order = await shop.order()
    request = a_direct_request(shop.buyer.id, shop.seller.id, traceparent="00-1", request_id="request-1")

    of_order, direct = [accepted(answer).payment for answer in await payments.accept([a_request(order), request])]

    async with begin() as tx:
        assert await tx.payment_work.by_ids([of_order.id, direct.id]) == {of_order.id: of_order, direct.id: direct}
        events = (await tx.events.of_subject(of_order.id)).rows
        (told_of_direct,) = (await tx.events.of_subject(direct.id)).rows
    assert (of_order.amount_minor, of_order.currency, of_order.commission_bps) == (1999, "USD", None)
    assert (direct.amount_minor, direct.commission_bps) == (1999, 250)
    assert (direct.traceparent, direct.request_id) == ("00-1", "request-1")
    assert [event.type for event in events] == ["payment.accepted"]
    assert events[0].audience == told_of_direct.audience == (shop.buyer.id, shop.seller.id)
    assert announcer.announced[Work.CHARGES] == sorted([of_order.id, direct.id])


async def test_sellers_own_commission_stands_over_the_default(
    payments: PaymentService, connection: AsyncConnection, shop: Shop
) -> None:
    cheap = a_user(Role.SELLER)
    await connection.execute(
        text("INSERT INTO users VALUES (:id, :email, 'hash', 'seller', :at)"),
        {"id": cheap.id, "email": cheap.email, "at": NOW},
    )
    await connection.execute(text("INSERT INTO sellers VALUES (:id, 0)"), {"id": cheap.id})

    (answer,) = await payments.accept([a_direct_request(shop.buyer.id, cheap.id)])

    assert accepted(answer).payment.commission_bps == 0


async def test_same_key_and_payload_replays_the_payment(
    payments: PaymentService, announcer: RecordingAnnouncer, shop: Shop
) -> None:
    request = a_direct_request(shop.buyer.id, shop.seller.id)

    first, second = [accepted((await payments.accept([request]))[0]) for _ in range(2)]

    assert (first.replayed, second.replayed) == (False, True)
    assert second.payment == first.payment
    assert announcer.announced[Work.CHARGES] == [first.payment.id]


async def test_same_key_and_another_payload_is_a_mismatch(payments: PaymentService, shop: Shop) -> None:
    request = a_direct_request(shop.buyer.id, shop.seller.id)
    await payments.accept([request])

    (answer,) = await payments.accept([replace(request, amount_minor=2000)])

    assert isinstance(answer, IdempotencyMismatch)


async def test_key_belongs_to_its_payer(payments: PaymentService, shop: Shop) -> None:
    mine = a_direct_request(shop.buyer.id, shop.seller.id)
    theirs = replace(mine, payer_id=shop.other_seller.id)

    assert codes(await payments.accept([mine, theirs])) == ["accepted", "accepted"]


async def test_same_key_in_one_batch_is_accepted_once(payments: PaymentService, begin: Begin, shop: Shop) -> None:
    request = a_direct_request(shop.buyer.id, shop.seller.id)
    other = a_direct_request(shop.buyer.id, shop.seller.id)

    answers = await payments.accept([request, other, request, replace(request, currency="EUR")])

    assert codes(answers) == ["accepted", "accepted", "replayed", "idempotency_key_reused"]
    first, third = accepted(answers[0]).payment, accepted(answers[2]).payment
    assert third.id == first.id
    async with begin() as tx:
        assert len((await tx.events.of_subject(first.id)).rows) == 1


async def test_second_key_for_an_order_meets_the_live_payment(payments: PaymentService, shop: Shop) -> None:
    order = await shop.order()

    together = codes(await payments.accept([a_request(order), a_request(order)]))
    (later,) = await payments.accept([a_request(order)])

    assert sorted(together) == ["accepted", "payment_in_progress"]
    assert isinstance(later, Conflict)
    assert later.code == "payment_in_progress"


async def test_failed_payment_frees_its_order(
    payments: PaymentService, settlement: SettlementService, shop: Shop
) -> None:
    order = await shop.order()
    first = a_request(order)
    failed = accepted((await payments.accept([first]))[0]).payment
    await settlement.settle([Outcome(failed.id, Refusal("expired_card"))])

    answers = await payments.accept([first, a_request(order)])

    assert codes(answers) == ["replayed", "accepted"]
    assert accepted(answers[0]).payment.status is PaymentStatus.FAILED


async def test_key_of_a_refused_request_is_free_for_a_better_one(payments: PaymentService, shop: Shop) -> None:
    order = await shop.order()
    direct, second = a_direct_request(shop.buyer.id, shop.seller.id), a_request(order)
    await payments.accept([a_request(order)])

    refused = codes(await payments.accept([replace(direct, amount_minor=0), second]))
    better = codes(await payments.accept([direct, replace(second, order_id=(await shop.order()).id)]))

    assert refused == ["amount_out_of_range", "payment_in_progress"]
    assert better == ["accepted", "accepted"]


async def test_replay_goes_on_after_the_order_is_paid(
    payments: PaymentService, settlement: SettlementService, shop: Shop
) -> None:
    order = await shop.order()
    request = a_request(order)
    payment = accepted((await payments.accept([request]))[0]).payment
    await settlement.settle([Outcome(payment.id, succeeded(payment))])

    answers = await payments.accept([request, a_request(order)])

    assert codes(answers) == ["replayed", "order_not_payable"]
    assert accepted(answers[0]).payment.status is PaymentStatus.SUCCEEDED


async def test_each_refusal_is_told_to_its_own_request(payments: PaymentService, shop: Shop) -> None:
    order = await shop.order()
    buyer, seller = shop.buyer.id, shop.seller.id
    requests = {
        a_direct_request(buyer, UserId(uuid7())): (Invalid, "seller_not_found"),
        a_direct_request(buyer, buyer): (Invalid, "seller_not_found"),
        a_direct_request(buyer, seller, amount_minor=None): (Invalid, "amount_missing"),
        a_direct_request(buyer, seller, amount_minor=0): (Invalid, "amount_out_of_range"),
        a_direct_request(buyer, seller, amount_minor=100_000_000): (Invalid, "amount_out_of_range"),
        a_direct_request(buyer, seller, amount_minor=1_005, currency="KWD"): (Invalid, "amount_not_chargeable"),
        a_direct_request(buyer, seller, currency="XXX"): (Invalid, "currency_unsupported"),
        replace(a_request(order), payer_id=shop.other_seller.id): (NotFound, "order_not_found"),
        replace(a_request(order), order_id=OrderId(uuid7())): (NotFound, "order_not_found"),
        replace(a_request(order), payer_role=Role.SELLER): (Forbidden, "role_not_allowed"),
        a_direct_request(buyer, seller, payer_role=Role.ADMIN): (Forbidden, "role_not_allowed"),
    }
    good = a_direct_request(buyer, seller, amount_minor=99_999_999)

    *refused, last = await payments.accept([*requests, good])

    assert [(type(answer), answer.code) for answer in refused if isinstance(answer, DomainError)] == list(
        requests.values()
    )
    assert accepted(last).payment.amount_minor == 99_999_999


async def test_request_that_the_database_refuses_spares_its_neighbours(
    payments: PaymentService, shop: Shop
) -> None:
    good = [a_direct_request(shop.buyer.id, shop.seller.id) for _ in range(4)]
    without_payer = a_direct_request(UserId(uuid7()), shop.seller.id)
    with_nul = a_direct_request(shop.buyer.id, shop.seller.id, payment_method="pm\x00")

    answers = await payments.accept([*good[:3], without_payer, with_nul, good[3]])

    assert codes(answers) == ["accepted"] * 3 + ["refused"] * 2 + ["accepted"]
    assert isinstance(answers[3], Refused)


async def test_nothing_is_asked_and_nothing_answered(payments: PaymentService) -> None:
    assert await payments.accept([]) == []


async def test_hundred_requests_with_one_key_make_one_payment(
    real_payments: PaymentService, real_shop: Shop, announcer: RecordingAnnouncer
) -> None:
    request = a_request(await real_shop.order())

    async with asyncio.timeout(30):
        answers = await asyncio.gather(*(real_payments.accept([request]) for _ in range(100)))

    assert len({accepted(answer).payment.id for (answer,) in answers}) == 1
    assert sorted(codes([answer for (answer,) in answers])) == ["accepted", *["replayed"] * 99]
    assert len(announcer.announced[Work.CHARGES]) == 1


async def test_many_keys_for_one_order_leave_one_alive(real_payments: PaymentService, real_shop: Shop) -> None:
    order = await real_shop.order()

    async with asyncio.timeout(30):
        answers = await asyncio.gather(*(real_payments.accept([a_request(order)]) for _ in range(40)))

    assert sorted(codes([answer for (answer,) in answers])) == ["accepted", *["payment_in_progress"] * 39]


async def test_batches_with_the_same_keys_in_opposite_order_do_not_deadlock(
    real_payments: PaymentService, real_shop: Shop, database: Database, blocked: Callable[[int], Awaitable[None]]
) -> None:
    """Held up in the middle of both, each would have what the other wants next, were the keys not sorted."""
    direct = {"payer_id": real_shop.buyer.id, "seller_id": real_shop.seller.id}
    first, middle, last = [a_direct_request(**direct, idempotency_key=key) for key in ("a", "m", "z")]

    async with asyncio.timeout(30), database.begin() as holder:
        await holder.payments.add([a_payment(**direct, idempotency_key="m")], publish_at=NOW)
        one = asyncio.create_task(real_payments.accept([first, middle, last]))
        two = asyncio.create_task(real_payments.accept([last, middle, first]))
        await blocked(2)
        await holder.commit()
        answers = [await one, await two]

    made = [{accepted(answer).payment.id for answer in (batch[0], batch[2])} for batch in answers]
    assert made[0] == made[1]
    assert (
        sorted(codes(answers[0] + answers[1]))
        == ["accepted"] * 2 + ["idempotency_key_reused"] * 2 + ["replayed"] * 2
    )


async def test_accepting_waits_for_the_settlement_of_its_order(
    real_payments: PaymentService,
    real_settlement: SettlementService,
    database: Database,
    real_shop: Shop,
    blocked: Callable[[int], Awaitable[None]],
) -> None:
    """A late success pays the order; a payment accepted meanwhile would be charged for nothing."""
    order = await real_shop.order()
    payment = await real_shop.payment(order)
    await real_settlement.settle([Outcome(payment.id, Refusal("expired_card"))])

    async with asyncio.timeout(30), database.begin() as holder:
        await holder.orders.lock([order.id])
        settling = asyncio.create_task(real_settlement.settle([Outcome(payment.id, succeeded(payment))]))
        await blocked(1)
        accepting = asyncio.create_task(real_payments.accept([a_request(order)]))
        await blocked(2)
        await holder.commit()
        answers = [await settling, codes(await accepting)]

    assert answers == [[True], ["order_not_payable"]]


async def test_accepting_leasing_and_settling_the_same_orders_at_once_does_not_deadlock(
    real_payments: PaymentService, real_settlement: SettlementService, real_shop: Shop, engine: AsyncEngine
) -> None:
    """All lock orders before payments, each sorted; so none waits for another in a circle."""
    orders = [await real_shop.order() for _ in range(30)]
    for end in (lambda _: Refusal("expired_card"), lambda _: Refusal("lost_card"), succeeded):
        await real_payments.accept([a_request(order) for order in orders])
        alive = await alive_payments(real_payments, real_shop)
        outcomes = [Outcome(payment.id, end(payment)) for payment in alive]
        async with asyncio.timeout(30):
            await asyncio.gather(
                *(real_settlement.settle(part) for part in (outcomes, outcomes[::-1], outcomes[::2])),
                *(real_payments.accept([a_request(order) for order in part]) for part in (orders, orders[::-1])),
                *(lease(real_payments, part) for part in (alive, alive[::-1])),
            )

    async with engine.connect() as connection:
        statuses = await connection.execute(
            text("SELECT status, count(*) FROM orders WHERE buyer_id = :id GROUP BY status"),
            {"id": real_shop.buyer.id},
        )
        assert [tuple(row) for row in statuses] == [("paid", 30)]


async def alive_payments(payments: PaymentService, shop: Shop) -> Sequence[Payment]:
    page = await payments.page(principal(shop.buyer), PageRequest(limit=1000))
    return [payment for payment in page.rows if payment.status not in DEAD]


async def lease(payments: PaymentService, wanted: Sequence[Payment]) -> None:
    async with payments._begin() as tx:
        await tx.payment_work.lease([payment.id for payment in wanted], NOW, NOW)
        await tx.commit()
