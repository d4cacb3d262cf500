"""Accepting payments, and reading what was told of them."""

import pytest

from domain.errors import NotFound
from domain.events import event
from domain.identity.model import Principal, Role
from domain.ids import UserId, uuid7
from domain.pages import PageRequest
from domain.payments.model import AcceptedPayment, PaymentRequest
from domain.payments.service import PaymentService
from domain.work import Work
from tests.builders import NOW, PAYMENT_POLICY, Begin, Shop, a_direct_request, a_request, principal
from tests.domain.fakes import FakeClock, Memory, RecordingAnnouncer

FINANCE = Principal(UserId(uuid7()), Role.FINANCE)


def service(memory: Memory, announcer: RecordingAnnouncer, **begins: Begin) -> PaymentService:
    return PaymentService(
        **{"begin": memory.begin, **begins}, announcer=announcer, clock=FakeClock(), policy=PAYMENT_POLICY
    )


def never() -> None:
    pytest.fail("this is not how its transaction begins")


async def accepted(payments: PaymentService, request: PaymentRequest) -> AcceptedPayment:
    (answer,) = await payments.accept([request])
    assert isinstance(answer, AcceptedPayment)
    return answer


async def test_payment_of_an_order_is_accepted_in_one_transaction(
    memory: Memory, announcer: RecordingAnnouncer, shop: Shop
) -> None:
    """Its order is locked until then: a statement with a transaction of its own would let it go."""
    payments = service(memory, announcer, each=never)

    direct = a_direct_request(shop.buyer.id, shop.seller.id)
    answers = await payments.accept([a_request(await shop.order()), direct])

    made = [answer.payment.id for answer in answers if isinstance(answer, AcceptedPayment)]
    assert sorted(memory.state.payments) == sorted(made)
    assert announcer.announced[Work.CHARGES] == sorted(made)


async def test_direct_payment_needs_no_transaction_of_several_statements(
    memory: Memory, announcer: RecordingAnnouncer, shop: Shop
) -> None:
    payments = service(memory, announcer, begin=never, each=memory.begin)

    answer = await accepted(payments, a_direct_request(shop.buyer.id, shop.seller.id))

    assert memory.state.payments.keys() == {answer.payment.id}


async def test_repeated_request_is_announced_once(
    memory: Memory, announcer: RecordingAnnouncer, shop: Shop
) -> None:
    payments, request = service(memory, announcer), a_request(await shop.order())

    first, again = [await accepted(payments, request) for _ in range(2)]

    assert (again.payment, again.replayed) == (first.payment, True)
    assert announcer.announced[Work.CHARGES] == [first.payment.id]


async def test_seller_reads_of_a_payment_what_concerns_it_alone(
    memory: Memory, announcer: RecordingAnnouncer, shop: Shop
) -> None:
    payments = service(memory, announcer)
    order = await shop.order(shop.product, shop.other_product)
    payment = (await accepted(payments, a_request(order))).payment
    async with memory.begin() as tx:
        facts = {"refund_id": uuid7(), "amount_minor": 501, "currency": "USD"}
        audience = [shop.buyer.id, shop.other_seller.id]
        await tx.events.append([event("refund.succeeded", payment.id, NOW, audience=audience, **facts)])
        await tx.commit()

    async def read(who: Principal) -> list[str]:
        return [told.type for told in (await payments.events(who, payment.id, PageRequest())).rows]

    everything = ["payment.accepted", "refund.succeeded"]
    assert await read(principal(shop.seller)) == ["payment.accepted"]
    assert await read(principal(shop.other_seller)) == everything
    assert await read(FINANCE) == everything
    with pytest.raises(NotFound):
        await read(Principal(UserId(uuid7()), Role.SELLER))
