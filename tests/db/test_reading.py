"""Reading payments and their events through the service, on the real database."""

from datetime import timedelta

import pytest

from domain.errors import NotFound
from domain.identity.model import Principal, Role
from domain.ids import UserId, uuid7
from domain.pages import PageRequest
from domain.payments.model import Glance, Sight
from domain.payments.service import PaymentService
from tests.builders import Shop, a_request, principal


async def test_payment_is_read_by_those_it_concerns_and_absent_for_others(
    payments: PaymentService, shop: Shop
) -> None:
    payment = await shop.payment(await shop.order())
    stranger = Principal(UserId(uuid7()), Role.BUYER)

    mine, theirs = await payments.look([Glance(who, payment.id) for who in (principal(shop.buyer), stranger)])

    assert isinstance(mine, Sight)
    assert mine.payment == payment
    assert isinstance(theirs, NotFound)
    assert (await payments.page(principal(shop.seller), PageRequest())).rows == [payment]
    assert (await payments.page(stranger, PageRequest())).rows == []


async def test_version_of_before_a_restore_is_no_known_one(payments: PaymentService, shop: Shop) -> None:
    """After it PostgreSQL numbers its transactions as it did before."""
    payment, buyer = await shop.payment(), principal(shop.buyer)
    (now,) = await payments.look([Glance(buyer, payment.id)])
    assert isinstance(now, Sight)
    number, at = now.version

    (again,) = await payments.look([Glance(buyer, payment.id, (number, at - timedelta(seconds=1)))])

    assert again == now


async def test_events_are_read_by_those_the_payment_concerns(payments: PaymentService, shop: Shop) -> None:
    await payments.accept([a_request(await shop.order())])
    (payment,) = (await payments.page(principal(shop.buyer), PageRequest())).rows

    events = await payments.events(principal(shop.seller), payment.id, PageRequest())

    assert [event.type for event in events.rows] == ["payment.accepted"]
    with pytest.raises(NotFound):
        await payments.events(principal(shop.other_seller), payment.id, PageRequest())
