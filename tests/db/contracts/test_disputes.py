"""The contract of the repositories, in PostgreSQL and in memory: disputes."""

from dataclasses import replace

import pytest

from domain.disputes.model import Dispute, DisputeFunds, DisputeStatus
from domain.errors import Refused
from domain.identity.model import Principal
from domain.ids import DisputeId, uuid7
from domain.settlement.model import Returned
from tests.builders import Begin, Shop, a_dispute, principal
from tests.captured import captured
from tests.db.contracts.reading import LATER, read_all


async def test_dispute_is_saved_and_saved_again(any_begin: Begin, shop: Shop) -> None:
    payment = await captured(shop, await shop.order())
    dispute = a_dispute(payment)
    taken = replace(
        dispute,
        status=DisputeStatus.UNDER_REVIEW,
        evidence_due_at=LATER,
        updated_at=LATER,
        funds=DisputeFunds.WITHDRAWN,
        withdrawn_minor=1999,
        withdrawal_id="txn_1",
        transaction_ids=("txn_1",),
    )

    async with any_begin() as tx:
        assert await tx.disputes.by_stripe_id(dispute.stripe_dispute_id) is None
        await tx.disputes.save(dispute)
        assert await tx.disputes.by_stripe_id(dispute.stripe_dispute_id) == dispute
        assert await tx.disputes.holds_money_of(payment.id)
        assert await tx.refund_work.returned(payment.id) == Returned(is_disputed=True)
        await tx.disputes.save(taken)
        assert await tx.disputes.by_stripe_id(dispute.stripe_dispute_id) == taken
        assert await tx.disputes.holds_money_of(payment.id)
        await tx.disputes.save(replace(taken, status=DisputeStatus.LOST, funds=DisputeFunds.LOST))
        assert await tx.disputes.holds_money_of(payment.id)
        assert await tx.refund_work.returned(payment.id) == Returned(lost_minor=1999)
        await tx.disputes.save(replace(taken, status=DisputeStatus.WON, funds=DisputeFunds.REINSTATED))
        assert not await tx.disputes.holds_money_of(payment.id)


async def test_disputes_of_a_payment_are_found_the_oldest_first(any_begin: Begin, shop: Shop) -> None:
    payment, another = await captured(shop), await captured(shop)
    disputes = [a_dispute(payment, amount_minor=amount_minor) for amount_minor in (1000, 999)]

    async with any_begin() as tx:
        for dispute in (*reversed(disputes), a_dispute(another)):
            await tx.disputes.save(dispute)

        assert await tx.disputes.of_payment(payment.id) == disputes


async def test_inquiry_holds_nothing(any_begin: Begin, shop: Shop) -> None:
    payment = await captured(shop, await shop.order())
    inquiry = a_dispute(payment, status=DisputeStatus.WARNING_NEEDS_RESPONSE)

    async with any_begin() as tx:
        await tx.disputes.save(inquiry)
        assert not await tx.disputes.holds_money_of(payment.id)
        await tx.disputes.save(replace(inquiry, status=DisputeStatus.NEEDS_RESPONSE))
        assert await tx.disputes.holds_money_of(payment.id)


async def test_dispute_does_not_go_back(any_begin: Begin, shop: Shop) -> None:
    dispute = a_dispute(await captured(shop), status=DisputeStatus.LOST)

    async def save_twice() -> None:
        async with any_begin() as tx:
            await tx.disputes.save(dispute)
            await tx.disputes.save(replace(dispute, status=DisputeStatus.UNDER_REVIEW))

    with pytest.raises(Refused):
        await save_twice()


async def test_disputes_are_visible_to_those_who_sell(any_begin: Begin, shop: Shop, finance: Principal) -> None:
    of_order = a_dispute(await captured(shop, await shop.order()))
    direct = a_dispute(await captured(shop), status=DisputeStatus.WON)
    newest_first = [direct, of_order]

    async with any_begin() as tx:
        for dispute in newest_first:
            await tx.disputes.save(dispute)
            for who in (principal(shop.seller), finance):
                assert await tx.disputes.visible(who, dispute.id) == dispute
            for who in (principal(shop.other_seller), principal(shop.buyer)):
                assert await tx.disputes.visible(who, dispute.id) is None
        assert await tx.disputes.visible(finance, DisputeId(uuid7())) is None

        async def read(who: Principal, status: DisputeStatus | None = None) -> list[Dispute]:
            return await read_all(lambda request: tx.disputes.page(who, request, status), 1)

        assert await read(principal(shop.seller)) == newest_first
        assert await read(principal(shop.seller), DisputeStatus.WON) == [direct]
        assert await read(principal(shop.other_seller)) == []
        assert [each for each in await read(finance) if each in newest_first] == newest_first
