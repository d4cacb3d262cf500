"""The contract of the repositories, in PostgreSQL and in memory: the ledger and the event log."""

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from domain.errors import Refused
from domain.events import event
from domain.ids import UserId, uuid7
from domain.ledger.model import CURRENCY_CONVERSION, STRIPE_BALANCE, Balance, Conversion, JournalKind
from tests.balances import all_balances
from tests.builders import NOW, Begin, Shop, a_journal
from tests.captured import captured


async def test_journals_have_one_kind_and_source(any_begin: Begin) -> None:
    journal = a_journal()

    async def post(journals: Sequence[Any]) -> None:
        async with any_begin() as tx:
            await tx.ledger.post(journals)
            await tx.commit()

    await post([journal])
    with pytest.raises(Refused):
        await post([a_journal(), replace(a_journal(), source=journal.source)])

    async with any_begin() as tx:
        seller = journal.entries[1].account
        balances = {row.account: row.balance_minor for row in await all_balances(tx)}
    assert balances[seller] == -1949


async def test_events_of_a_subject_are_kept_in_order(any_begin: Begin) -> None:
    subject, other = uuid7(), uuid7()
    two, nobody = [UserId(uuid7()), UserId(uuid7())], ()
    facts = [
        event("payment.accepted", subject, NOW, audience=two, order_id=other, amount_minor=5, currency=None),
        event("payment.succeeded", subject, NOW, audience=nobody),
        event("order.paid", other, NOW, audience=two[:1]),
    ]

    async with any_begin() as tx:
        await tx.events.append(facts[:1])
        await tx.events.append(facts[1:])
        await tx.events.append([])
        assert list((await tx.events.of_subject(subject)).rows) == facts[:2]
        assert list((await tx.events.of_subject(uuid7())).rows) == []
        for who, told in ((two[0], facts[:1]), (two[1], facts[:1]), (UserId(uuid7()), [])):
            assert list((await tx.events.of_subject(subject, concerning=who)).rows) == told

    assert facts[0].data == {"order_id": str(other), "amount_minor": 5, "currency": None}


async def test_journals_are_found_by_what_caused_them_and_balances_by_account(any_begin: Begin) -> None:
    journal = a_journal()
    seller = journal.entries[1].account

    async with any_begin() as tx:
        await tx.ledger.post([journal, a_journal((STRIPE_BALANCE, 5), (seller, -5), currency="EUR")])
        assert await tx.ledger.by_source(journal.kind, journal.source) == journal
        assert await tx.ledger.by_source(JournalKind.REFUND, journal.source) is None
        balances = await tx.ledger.balances_of([seller])

    assert balances == [Balance(seller, "EUR", -5), Balance(seller, "USD", -1949)]


async def test_exchange_comes_back_with_its_rate(any_begin: Begin) -> None:
    conversion = Conversion("EUR", 1999, "USD", 2199, Decimal("1.10005"))
    charged = a_journal(
        (STRIPE_BALANCE, -1999),
        (CURRENCY_CONVERSION, 1999),
        kind=JournalKind.CONVERSION_CHARGED,
        currency="EUR",
        conversion=conversion,
    )

    async with any_begin() as tx:
        await tx.ledger.post([a_journal(), charged])
        assert await tx.ledger.by_source(charged.kind, charged.source) == charged


async def test_booked_charges_name_their_payments(any_begin: Begin, shop: Shop) -> None:
    payment = await captured(shop)

    async with any_begin() as tx:
        found = await tx.ledger.payments_of([payment.stripe_charge_id, "ch_of_nobody"])

    assert found == {payment.stripe_charge_id: payment.id}
