"""Refunds on the real database: never above what was captured, whoever asks and however many at once."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import permutations
from random import Random

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from db.unit_of_work import Database
from domain.coalescer import Coalescer
from domain.errors import Conflict, DomainError, Refused
from domain.identity.model import Principal, Role
from domain.ids import UserId, uuid7
from domain.ledger.model import COMMISSION_REVENUE, STRIPE_BALANCE, JournalKind, seller_payable
from domain.ledger.postings import Part
from domain.orders.model import OrderStatus
from domain.payments.model import Payment
from domain.refunds.model import AcceptedRefund, RefundExceedsCaptured, RefundOrigin, RefundRequest, RefundStatus
from domain.refunds.rules import RefundPolicy
from domain.refunds.service import RefundService
from domain.settlement.answers import Refusal, StripeTransaction
from domain.settlement.inbox.charge_owners import ChargeOwners
from domain.settlement.inbox.refund_events import RefundEvents
from domain.settlement.model import SettlementPolicy
from domain.settlement.refunds import RefundSettlement
from domain.settlement.service import SettlementService
from tests.balances import all_balances
from tests.builders import NOW, Begin, Shop, a_refund, a_requested_refund, a_user, unique
from tests.captured import captured, settle, stored
from tests.domain.fakes import FakeClock, RecordingAnnouncer, ScriptedGateway
from tests.stripe_answers import refunded

Blocked = Callable[[int], Awaitable[None]]


@pytest.fixture
async def finance(database: Database) -> Principal:
    user = a_user(Role.FINANCE)
    async with database.begin() as tx:
        await tx.users.add(user)
        await tx.commit()
    return Principal(user.id, Role.FINANCE)


@pytest.fixture
def refunds(database: Database, announcer: RecordingAnnouncer, clock: FakeClock) -> RefundService:
    return RefundService(database.begin, announcer, clock, RefundPolicy(3600, 30))


@pytest.fixture
def settlement_of_refunds(database: Database, clock: FakeClock) -> RefundSettlement:
    return RefundSettlement(database.begin, clock, SettlementPolicy())


@pytest.fixture
def refund_events(
    database: Database, real_settlement: SettlementService, settlement_of_refunds: RefundSettlement
) -> RefundEvents:
    """What webhooks tell; Stripe itself is never asked."""
    gateway = ScriptedGateway()
    owners = ChargeOwners(database.begin, gateway, Coalescer(real_settlement.settle, max_batch=1))
    return RefundEvents(database.begin, gateway, settlement_of_refunds, owners)


def asking(payment: Payment, amount_minor: int | None = None, key: str = "") -> RefundRequest:
    return RefundRequest(payment.id, key or unique("key"), "too small", amount_minor)


async def balances(begin: Begin) -> dict[str, int]:
    async with begin() as tx:
        return {row.account: row.balance_minor for row in await all_balances(tx) if row.currency == "USD"}


async def ask(refunds: RefundService, who: Principal, request: RefundRequest) -> AcceptedRefund | DomainError:
    try:
        return await refunds.request(who, request)
    except DomainError as error:
        return error


async def test_fifty_refunds_at_once_do_not_exceed_what_was_captured(
    refunds: RefundService, real_shop: Shop, finance: Principal
) -> None:
    payment = await captured(real_shop, await real_shop.order(real_shop.product, real_shop.other_product))

    async with asyncio.timeout(30):
        answers = await asyncio.gather(*(ask(refunds, finance, asking(payment, 99)) for _ in range(50)))

    accepted = [answer.refund for answer in answers if isinstance(answer, AcceptedRefund)]
    refused = [answer for answer in answers if isinstance(answer, RefundExceedsCaptured)]
    assert (len(accepted), len(refused)) == (25, 25)
    assert (await stored(real_shop, payment)).refunded_minor == 25 * 99
    for line, captured_minor in ((1, 1999), (2, 501)):
        parts = [part for refund in accepted for part in refund.lines if part.line == line]
        assert sum(part.amount_minor for part in parts) <= captured_minor


async def test_fifty_equal_requests_at_once_are_one_refund(
    refunds: RefundService, announcer: RecordingAnnouncer, real_shop: Shop, finance: Principal
) -> None:
    payment = await captured(real_shop)
    request = asking(payment, 10)

    async with asyncio.timeout(30):
        answers = await asyncio.gather(*(refunds.request(finance, request) for _ in range(50)))

    assert len({answer.refund.id for answer in answers}) == 1
    assert sum(not answer.replayed for answer in answers) == 1
    assert (await stored(real_shop, payment)).refunded_minor == 10


async def test_one_key_for_two_payments_at_once_is_one_refund(
    refunds: RefundService, real_shop: Shop, finance: Principal
) -> None:
    payments = [await captured(real_shop) for _ in range(2)]
    key = unique("key")

    answers = await asyncio.gather(*(ask(refunds, finance, asking(p, 10, key)) for p in payments))

    codes = sorted(getattr(answer, "code", "accepted") for answer in answers)
    assert codes == ["accepted", "idempotency_key_reused"]
    assert sorted([(await stored(real_shop, payment)).refunded_minor for payment in payments]) == [0, 10]


async def test_database_counts_for_itself_when_two_programs_forget_to_lock(
    database: Database, real_shop: Shop, blocked: Blocked
) -> None:
    payment = await captured(real_shop)

    async def refund_without_lock() -> None:
        async with database.begin() as tx:
            await tx.refunds.add([a_refund(payment, amount_minor=1000)], publish_at=NOW)
            await tx.commit()

    async with asyncio.timeout(30), database.begin() as first:
        await first.refunds.add([a_refund(payment, amount_minor=1000)], publish_at=NOW)
        second = asyncio.create_task(refund_without_lock())
        await blocked(1)
        await first.commit()
        with pytest.raises(Refused, match="payments_refunded"):
            await second


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE refunds SET amount_minor = 1 WHERE payment_id = :id",
        "UPDATE refunds SET amount_minor = 2000 WHERE payment_id = :id",
        "UPDATE payments SET refunded_minor = 2000 WHERE id = :id",
        "UPDATE payments SET captured_minor = 999 WHERE id = :id",
        "DELETE FROM refunds WHERE payment_id = :id",
        "TRUNCATE refunds CASCADE",
        "UPDATE refund_lines SET amount_minor = 1",
        "DELETE FROM refund_lines",
        "INSERT INTO refund_lines SELECT refund_id, 2, seller_id, 1, 0 FROM refund_lines",
    ],
)
async def test_refund_is_history_also_to_the_owner(
    real_shop: Shop, database: Database, owner_engine: AsyncEngine, statement: str
) -> None:
    payment = await captured(real_shop)
    async with database.begin() as tx:
        await tx.refunds.add([a_requested_refund(payment, real_shop)], publish_at=NOW)
        await tx.commit()

    async with owner_engine.connect() as connection:
        values = {"id": payment.id} if ":id" in statement else {}
        if statement.startswith("UPDATE refunds SET amount_minor = 1 "):
            # The count follows the owner's hand: what it says stays true.
            await connection.execute(text(statement), values)
            row = await connection.execute(text("SELECT refunded_minor FROM payments WHERE id = :id"), values)
            assert row.scalar_one() == 1
        else:
            with pytest.raises(IntegrityError):
                await connection.execute(text(statement), values)
        await connection.rollback()


@pytest.mark.parametrize(
    "lines",
    [
        lambda seller: (Part(1, seller, 999, 25),),
        lambda seller: (Part(1, seller, 1000, 1001),),
        lambda seller: (Part(1, seller, 1000, -1),),
        lambda seller: (Part(0, seller, 1000, 25),),
        lambda seller: (Part(1, seller, 1000, 25), Part(1, seller, 0, 0)),
        lambda _: (Part(1, UserId(uuid7()), 1000, 25),),
    ],
    ids=["other sum", "commission above", "commission below", "line 0", "line twice", "no seller"],
)
async def test_lines_that_contradict_their_refund_are_refused(
    begin: Begin, shop: Shop, lines: Callable[[UserId], tuple[Part, ...]]
) -> None:
    payment = await captured(shop)
    refund = a_requested_refund(payment, shop, lines=lines(shop.seller.id))

    async def add() -> None:
        async with begin() as tx:
            await tx.refunds.add([refund], publish_at=NOW)

    with pytest.raises(Refused):
        await add()


async def test_refunds_and_their_failure_are_booked_to_the_cent(
    refunds: RefundService, settlement_of_refunds: RefundSettlement, real_shop: Shop, finance: Principal
) -> None:
    order = await real_shop.order(real_shop.product, real_shop.other_product)
    payment = await captured(real_shop, order)
    before = await balances(real_shop.begin)
    first, rest = [(await refunds.request(finance, asking(payment, amount))).refund for amount in (1000, None)]

    for refund in (first, rest, first):
        await settlement_of_refunds.settle(refund.id, refunded(refund))
    after = await balances(real_shop.begin)
    async with real_shop.begin() as tx:
        assert (await tx.orders.lock([order.id]))[order.id].status is OrderStatus.REFUNDED
    await settlement_of_refunds.settle(first.id, refunded(first, status=rest.status.FAILED))

    sellers = [seller_payable(user.id) for user in (real_shop.seller, real_shop.other_seller)]
    assert [after[seller] for seller in sellers] == [0, 0]
    assert after[STRIPE_BALANCE] == before[STRIPE_BALANCE] - 2500
    assert after[COMMISSION_REVENUE] == before[COMMISSION_REVENUE] + 63
    undone = await balances(real_shop.begin)
    assert [undone[seller] for seller in sellers] == [-780, -195]
    async with real_shop.begin() as tx:
        assert (await tx.orders.lock([order.id]))[order.id].status is OrderStatus.PAID
        assert (await tx.ledger.verify()).faults == []


async def test_refund_made_without_us_is_adopted_once_by_many(
    settlement_of_refunds: RefundSettlement, real_shop: Shop
) -> None:
    payment = await captured(real_shop)
    found = replace(refunded(a_refund(payment, amount_minor=1000)), refund_id=None)

    async with asyncio.timeout(30):
        news = await asyncio.gather(*(settlement_of_refunds.adopt(payment.id, found) for _ in range(20)))

    assert sum(news) == 1
    async with real_shop.begin() as tx:
        assert len(await tx.refunds.of_payment(payment.id)) == 1
        assert (await tx.ledger.verify()).faults == []


@pytest.mark.parametrize("order", sorted(permutations(["made", "failed", "next"])))
async def test_refund_that_failed_and_the_next_one_are_booked_in_whatever_order_they_are_heard_of(
    refund_events: RefundEvents, real_shop: Shop, order: Sequence[str]
) -> None:
    payment = await captured(real_shop, await real_shop.order(real_shop.product, real_shop.other_product))
    made, following = (replace(refunded(a_refund(payment)), refund_id=None) for _ in range(2))
    back = StripeTransaction(unique("txn"), 2500, 0, "USD")
    failed = replace(made, status=RefundStatus.FAILED, failure_transaction_id=back.id, failure_transaction=back)
    before = await balances(real_shop.begin)

    told = {"made": made, "failed": failed, "next": following}
    for name in (*order, *order, *order):  # what is refused comes again, and what is not may
        with suppress(Refused):
            assert await refund_events.settle(told[name])

    async with real_shop.begin() as tx:
        refunds = {refund.stripe_refund_id: refund for refund in await tx.refunds.of_payment(payment.id)}
        journals = [
            await tx.ledger.by_source(kind, found.stripe_refund_id)
            for found in (made, following)
            for kind in (JournalKind.REFUND, JournalKind.REFUND_FAILED)
        ]
        assert (await tx.ledger.verify()).faults == []
    assert {name: (refund.status, refund.is_booked) for name, refund in refunds.items()} == {
        made.stripe_refund_id: (RefundStatus.FAILED, False),
        following.stripe_refund_id: (RefundStatus.SUCCEEDED, True),
    }
    assert refunds[made.stripe_refund_id].lines == refunds[following.stripe_refund_id].lines
    assert [journal is not None for journal in journals] == [True, True, True, False]
    assert (await balances(real_shop.begin))[STRIPE_BALANCE] == before[STRIPE_BALANCE] - 2500
    assert (await stored(real_shop, payment)).refunded_minor == 2500


async def test_refund_that_a_restore_has_lost_costs_its_own_seller_alone(
    refund_events: RefundEvents, real_shop: Shop
) -> None:
    payment = await captured(real_shop, await real_shop.order(real_shop.product, real_shop.other_product))
    before = await balances(real_shop.begin)
    part = Part(2, real_shop.other_seller.id, 501, 13)
    lost = a_refund(payment, amount_minor=501, lines=(part,))

    for _ in range(2):
        assert await refund_events.settle(refunded(lost))

    after = await balances(real_shop.begin)
    accounts = [seller_payable(user.id) for user in (real_shop.seller, real_shop.other_seller)]
    assert [after[account] - before[account] for account in accounts] == [0, 488]
    async with real_shop.begin() as tx:
        (refund,) = await tx.refunds.of_payment(payment.id)
        assert (refund.origin, refund.lines) == (RefundOrigin.EXTERNAL, (part,))
        assert (await tx.ledger.verify()).faults == []


async def test_asking_and_settling_at_once_do_not_deadlock(
    refunds: RefundService, settlement_of_refunds: RefundSettlement, real_shop: Shop, finance: Principal
) -> None:
    shuffled = Random(1)
    payments = [await captured(real_shop, await real_shop.order()) for _ in range(4)]
    known = [(await refunds.request(finance, asking(payment, 100))).refund for payment in payments]
    jobs: list[Awaitable[object]] = [ask(refunds, finance, asking(p, 300)) for p in payments * 8]
    jobs += [settlement_of_refunds.settle(refund.id, refunded(refund)) for refund in known * 4]
    jobs += [settlement_of_refunds.settle(refund.id, Refusal("x")) for refund in known]
    shuffled.shuffle(jobs)

    async with asyncio.timeout(30):
        answers = await asyncio.gather(*jobs)

    assert all(not isinstance(answer, DomainError) or isinstance(answer, Conflict) for answer in answers)
    async with real_shop.begin() as tx:
        assert (await tx.ledger.verify()).faults == []


async def test_settled_payment_keeps_no_quarantine(begin: Begin, shop: Shop, connection: AsyncConnection) -> None:
    payment = await shop.payment()
    async with begin() as tx:
        await tx.payment_work.quarantine(payment.id, "odd", NOW)
        await tx.commit()

    await settle(shop, payment)

    row = text("SELECT quarantined_at, quarantine_reason FROM payments WHERE id = :id")
    assert tuple((await connection.execute(row, {"id": payment.id})).one()) == (None, None)
