"""What a seller lost of the shares that a payout takes, and nobody took back: real database and fakes alike."""

from decimal import Decimal

from domain.ledger.model import STRIPE_BALANCE, EntryRef, JournalKind, seller_payable
from domain.ledger.postings import Part
from domain.payments.model import Payment
from domain.payouts.model import Payout
from domain.refunds.model import RefundStatus
from domain.settlement.answers import Refusal, StripeTransaction
from domain.settlement.model import SettlementPolicy
from domain.settlement.refunds import RefundSettlement
from tests.builders import NOW, Shop, a_journal, a_requested_refund, unique
from tests.captured import captured
from tests.domain.fakes import FakeClock
from tests.paid_out import balance, complete, drafted, earned, paid_out, parts, refund, reversals_of, sent
from tests.stripe_answers import refunded


async def losses(shop: Shop, payout: Payout | None) -> set[EntryRef]:
    assert payout is not None
    async with shop.begin() as tx:
        return set(await tx.reversal_work.losses_of(payout.id))


async def lost_by(shop: Shop, kind: JournalKind, source: str) -> EntryRef:
    """Return the entry by which the shop's seller loses in a journal."""
    async with shop.begin() as tx:
        journal = await tx.ledger.by_source(kind, source)
    accounts = [entry.account for entry in journal.entries]
    return EntryRef(journal.id, 1 + accounts.index(seller_payable(shop.seller.id)))


async def test_loss_is_one_of_the_payout_that_takes_the_share_until_a_later_one_makes_up_for_it(
    shop: Shop,
) -> None:
    payment = await earned(shop)
    first = await drafted(shop)
    assert await losses(shop, first) == set()

    asked = a_requested_refund(payment, shop)
    await refund(shop, asked)
    lost = {await lost_by(shop, JournalKind.REFUND, f"re_{asked.id}")}
    assert await losses(shop, first) == lost

    await earned(shop)
    later = await drafted(shop)
    assert later is not None
    assert [await losses(shop, payout) for payout in (first, later)] == [set(), set()]
    await sent(shop, later, Refusal("balance_insufficient"))
    assert await losses(shop, first) == lost


async def test_loss_that_a_later_payout_makes_up_for_is_not_taken_back_besides(shop: Shop) -> None:
    """However it was found: that payout may have been drafted since."""
    payment = await earned(shop)
    first = await drafted(shop)
    assert first is not None
    asked = a_requested_refund(payment, shop)
    await refund(shop, asked)
    lost = [await lost_by(shop, JournalKind.REFUND, f"re_{asked.id}")]
    await earned(shop)
    assert await drafted(shop) is not None

    await sent(shop, first)

    async with shop.begin() as tx:
        assert await tx.reversal_work.debits_of(lost) == []


async def test_loss_of_one_seller_is_none_of_a_payout_to_another(shop: Shop) -> None:
    order = await shop.order(shop.product, shop.other_product)
    payment = await captured(shop, order, fee_minor=0)
    await complete(shop, order)
    payouts = [await drafted(shop, seller=seller) for seller in (shop.seller, shop.other_seller)]

    asked = a_requested_refund(payment, shop)
    await refund(shop, asked)

    lost = {await lost_by(shop, JournalKind.REFUND, f"re_{asked.id}")}
    assert [await losses(shop, payout) for payout in payouts] == [lost, set()]


async def test_each_seller_s_loss_is_taken_back_of_its_own_payout(shop: Shop) -> None:
    sellers = (shop.seller, shop.other_seller)
    order = await shop.order(shop.product, shop.other_product)
    payment = await captured(shop, order, fee_minor=0)
    await complete(shop, order)
    payouts = [await paid_out(shop, seller=seller) for seller in sellers]

    lines = tuple(Part(line, seller.id, 100 * line, 2) for line, seller in enumerate(sellers, 1))
    await refund(shop, a_requested_refund(payment, shop, 300, lines=lines))

    taken = [[each.amount_minor for each in await reversals_of(shop, payout)] for payout in payouts]
    assert taken == [[98], [198]]


async def test_loss_of_a_payment_is_none_of_a_payout_that_made_up_for_an_earlier_one(shop: Shop) -> None:
    payment = await earned(shop)
    first = await drafted(shop)
    await refund(shop, a_requested_refund(payment, shop))
    await earned(shop)
    later = await drafted(shop)

    asked = a_requested_refund(payment, shop, 500)
    await refund(shop, asked)

    lost = {await lost_by(shop, JournalKind.REFUND, f"re_{asked.id}")}
    assert [await losses(shop, payout) for payout in (first, later)] == [lost, set()]


async def test_loss_that_is_taken_back_is_none_any_more(shop: Shop) -> None:
    payment = await earned(shop)
    payout = await paid_out(shop)

    await refund(shop, a_requested_refund(payment, shop))

    assert await losses(shop, payout) == set()


async def correct(shop: Shop, payment: Payment, amount_minor: int) -> None:
    """Book by hand that the shop's seller is owed that for a payment, or owes it."""
    legs = ((seller_payable(shop.seller.id), -amount_minor), (STRIPE_BALANCE, amount_minor))
    async with shop.begin() as tx:
        await tx.ledger.post([a_journal(*legs, kind=JournalKind.CORRECTION, payment_id=payment.id)])
        await tx.commit()


async def test_what_a_person_books_is_no_loss_to_be_taken_back(shop: Shop) -> None:
    payment = await earned(shop)
    payout = await drafted(shop)

    await correct(shop, payment, -100)

    assert await losses(shop, payout) == set()


async def test_what_a_person_books_is_no_share_of_which_a_loss_is_taken_back(shop: Shop) -> None:
    payment = await earned(shop)
    of_share = await paid_out(shop)
    await correct(shop, payment, 100)
    of_correction = await paid_out(shop)

    await refund(shop, a_requested_refund(payment, shop))

    assert [len(await reversals_of(shop, payout)) for payout in (of_share, of_correction)] == [1, 0]


def exchanged(amount_minor: int) -> StripeTransaction:
    """Return a movement of euros that Stripe made in dollars."""
    return StripeTransaction(unique("txn"), amount_minor, 0, "USD", Decimal("1.1"), NOW)


async def test_loss_is_taken_back_of_who_took_the_share_and_not_of_who_made_up_for_an_earlier_one(
    shop: Shop,
) -> None:
    """An exchange gives shares and takes them by the same kind of journal."""
    payment = await captured(shop, currency="EUR", transaction=exchanged(2200))
    first = await drafted(shop)
    moves = [exchanged(-550) for _ in range(2)]
    await refund(shop, a_requested_refund(payment, shop, 500), transaction_id=moves[0].id, transaction=moves[0])
    await earned(shop)
    later = await drafted(shop)
    assert first is not None
    assert later is not None
    for payout in (first, later):
        await sent(shop, payout)

    await refund(shop, a_requested_refund(payment, shop, 500), transaction_id=moves[1].id, transaction=moves[1])

    assert [len(await reversals_of(shop, payout)) for payout in (first, later)] == [1, 0]


async def exchanged_and_failed(shop: Shop) -> tuple[Payout, set[EntryRef]]:
    """Store a payout under way of a share that was exchanged, and a refund that was, failed and came back.

    Return the payout, and what the refund took of the seller.
    """
    came, went, back = (exchanged(amount_minor) for amount_minor in (2200, -1100, 1100))
    payment = await captured(shop, currency="EUR", transaction=came)
    payout = await drafted(shop)
    assert payout is not None
    asked = a_requested_refund(payment, shop)
    await refund(shop, asked, transaction_id=went.id, transaction=went)
    failed = refunded(
        asked,
        RefundStatus.FAILED,
        transaction_id=went.id,
        failure_transaction_id=back.id,
        failure_transaction=back,
    )
    assert await RefundSettlement(shop.begin, FakeClock(), SettlementPolicy()).settle(asked.id, failed)
    lost = [(JournalKind.REFUND, f"re_{asked.id}"), (JournalKind.CONVERSION_SETTLED, went.id)]
    return payout, {await lost_by(shop, kind, source) for kind, source in lost}


async def test_what_is_exchanged_back_is_no_loss(shop: Shop) -> None:
    """The same kind of journal gives back, in the currency that Stripe settled in, what a failed refund took."""
    payout, lost = await exchanged_and_failed(shop)

    assert await losses(shop, payout) == lost


async def test_refund_that_was_exchanged_and_failed_while_its_share_was_under_way_takes_nothing_back(
    shop: Shop,
) -> None:
    payout, _ = await exchanged_and_failed(shop)

    await sent(shop, payout)

    assert await reversals_of(shop, payout) == []
    assert parts(await balance(shop)) == (0, 0, 0)
