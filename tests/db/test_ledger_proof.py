"""Each proof of the ledger's verification finds the fault that it is there for, and nothing in sound books.

The faults are planted with the triggers off, as only a superuser can, in transactions that are rolled back.
"""

from decimal import Decimal

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from db.ledger import Ledger
from db.ledger_proof import PROOFS
from db.unit_of_work import Database
from domain.disputes.model import DisputeStatus
from domain.ledger.service import LedgerService
from domain.settlement.answers import StripeTransaction
from domain.settlement.disputes import DisputeSettlement
from domain.settlement.model import Outcome, SettlementPolicy
from domain.settlement.refunds import RefundSettlement
from domain.settlement.service import SettlementService
from tests.builders import NOW, Shop, a_dispute, a_requested_refund
from tests.captured import captured
from tests.domain.fakes import FakeClock
from tests.engines import as_product_sees
from tests.paid_out import RELEASE, drafted, earned, paid_out, reversals_of, taken_back
from tests.paid_out import refund as book_refund
from tests.stripe_answers import disputed, refunded, succeeded

ANY_CHARGE = "(SELECT id FROM journals WHERE kind = 'charge' AND payment_id IS NOT NULL ORDER BY id LIMIT 1)"
CAPTURED = """(SELECT id FROM payments WHERE captured_minor > 0 AND fee_minor > 0 AND order_id IS NOT NULL
    ORDER BY id LIMIT 1)"""
REFUNDED = "(SELECT payment_id FROM refunds WHERE status = 'succeeded' AND origin = 'requested' LIMIT 1)"
REVERSED_PAYOUT = "(SELECT id FROM payouts WHERE reversed_minor > 0 LIMIT 1)"
BOOKED_PAYOUT = "(SELECT id FROM payouts WHERE stripe_transfer_id IS NOT NULL LIMIT 1)"

# For each proof, ways to break what it proves.
FAULTS = {
    "a journal does not balance, or has other entries than it names": [
        f"UPDATE entries SET amount_minor = amount_minor + 1 WHERE line = 1 AND journal_id = {ANY_CHARGE}",
        f"DELETE FROM entries WHERE journal_id = {ANY_CHARGE}",
        f"UPDATE journals SET entry_count = entry_count + 1 WHERE id = {ANY_CHARGE}",
        f"UPDATE entries SET currency = 'XXX' WHERE journal_id = {ANY_CHARGE}",
        f"""INSERT INTO entries (journal_id, line, account, currency, amount_minor)
            SELECT {ANY_CHARGE}, line, 'stripe_balance', 'USD', line - 10 FROM unnest(ARRAY[9, 11]) AS line""",
    ],
    "an entry has no journal": [f"DELETE FROM journals WHERE id = {ANY_CHARGE}"],
    "debits and credits differ in a currency": [
        f"UPDATE entries SET amount_minor = amount_minor + 1 WHERE line = 1 AND journal_id = {ANY_CHARGE}",
    ],
    "a folded balance is not the sum of its entries": [
        "UPDATE balances SET balance_minor = balance_minor + 1",
        "INSERT INTO balances VALUES ('stripe_balance', 'XXX', 1)",
        "DELETE FROM balances WHERE account = 'stripe_balance'",
        "UPDATE balance_folds SET through = 0",
        "UPDATE entries SET transaction_id = 1 WHERE transaction_id = (SELECT max(transaction_id) FROM entries)",
    ],
    "a journal's id tells another day than the journal": [
        f"UPDATE journals SET created_at = created_at + interval '2 days' WHERE id = {ANY_CHARGE}",
    ],
    "a day of Stripe's list is not the sum of its lines": [
        "INSERT INTO stripe_days VALUES ('2020-02-02', 'USD', 1, 1)",
        """INSERT INTO stripe_transactions (id, category, amount_minor, fee_minor, currency, created_at, seen_at)
            VALUES ('txn_x', 'charge', 1, 0, 'USD', '2020-02-02', now())""",
    ],
    "a captured payment is not booked to the cent": [
        f"UPDATE payments SET captured_minor = captured_minor - 1 WHERE id = {CAPTURED}",
        f"DELETE FROM journals WHERE kind = 'charge' AND payment_id = {CAPTURED}",
        f"UPDATE journals SET payment_id = NULL WHERE kind = 'charge' AND payment_id = {CAPTURED}",
        f"UPDATE journals SET kind = 'charge' WHERE kind = 'stripe_fee' AND payment_id = {CAPTURED}",
        f"UPDATE payments SET captured_minor = 0, status = 'failed', failure_code = 'x' WHERE id = {CAPTURED}",
    ],
    "a payment's fee is not booked to the cent": [
        f"UPDATE payments SET fee_minor = fee_minor + 1 WHERE id = {CAPTURED}",
        f"UPDATE payments SET fee_minor = NULL WHERE id = {CAPTURED}",
        f"DELETE FROM journals WHERE kind = 'stripe_fee' AND payment_id = {CAPTURED}",
    ],
    "what counts as refunded is not the sum of the refunds": [
        f"UPDATE payments SET refunded_minor = refunded_minor + 1 WHERE id = {REFUNDED}",
        f"UPDATE refunds SET amount_minor = amount_minor - 1 WHERE payment_id = {REFUNDED}",
        f"UPDATE refunds SET status = 'failed', is_booked = false WHERE payment_id = {REFUNDED}",
    ],
    "a refund is not booked to the cent": [
        f"UPDATE refunds SET is_booked = false WHERE payment_id = {REFUNDED}",
        f"UPDATE refunds SET stripe_refund_id = 'rx_' || id WHERE payment_id = {REFUNDED}",
        f"DELETE FROM journals WHERE kind = 'refund' AND payment_id = {REFUNDED}",
        f"UPDATE journals SET kind = 'charge' WHERE kind = 'refund' AND payment_id = {REFUNDED}",
    ],
    "a refund's journal has no refund": [
        f"UPDATE refunds SET stripe_refund_id = 'rx_' || id WHERE payment_id = {REFUNDED}",
        f"UPDATE journals SET payment_id = NULL WHERE kind = 'refund' AND payment_id = {REFUNDED}",
        f"UPDATE journals SET source = 'rx_' || id WHERE kind = 'refund' AND payment_id = {REFUNDED}",
    ],
    "a refund's lines do not add up to it": [
        "UPDATE refund_lines SET amount_minor = amount_minor + 1",
    ],
    "a payout's entries do not come to its amount": [
        "UPDATE payouts SET amount_minor = amount_minor + 1 WHERE status = 'pending'",
        "UPDATE payouts SET currency = 'EUR'",
        f"DELETE FROM payout_entries WHERE payout_id = {BOOKED_PAYOUT} AND line > 1",
        f"UPDATE payout_entries SET journal_id = gen_random_uuid() WHERE payout_id = {BOOKED_PAYOUT}",
    ],
    "a payout is not booked to the cent": [
        f"UPDATE payouts SET amount_minor = amount_minor + 1 WHERE id = {BOOKED_PAYOUT}",
        f"UPDATE payouts SET stripe_transfer_id = 'tr_x' WHERE id = {BOOKED_PAYOUT}",
        "DELETE FROM journals WHERE kind = 'payout'",
    ],
    "what counts as taken back is not the sum of the reversals": [
        f"UPDATE payouts SET reversed_minor = reversed_minor - 1 WHERE id = {REVERSED_PAYOUT}",
        "UPDATE payout_reversals SET status = 'failed', failure_code = 'x'",
    ],
    "a reversal is not booked to the cent": [
        "UPDATE payout_reversals SET status = 'failed', failure_code = 'x' WHERE status = 'succeeded'",
        "UPDATE payout_reversals SET stripe_reversal_id = 'trr_x' || id WHERE status = 'succeeded'",
        "DELETE FROM journals WHERE kind = 'payout_reversed'",
    ],
    "a transfer's journal has no payout": [
        "UPDATE journals SET source = 'tr_x' WHERE id = (SELECT id FROM journals WHERE kind = 'payout' LIMIT 1)",
        """UPDATE journals SET source = 'trr_x'
            WHERE id IN (SELECT id FROM journals WHERE kind = 'payout_reversed' LIMIT 1)""",
    ],
    "an entry is open below the floor of its seller": [
        "UPDATE payout_floors SET journal_id = 'ffffffff-ffff-7fff-bfff-ffffffffffff'",
    ],
    "what no payout takes of a payment does not come to nothing": [
        """DELETE FROM payout_entries WHERE (journal_id, line) IN (
            SELECT journal_id, line FROM payout_entries WHERE payout_id IS NULL LIMIT 1)""",
        f"UPDATE payout_entries SET payout_id = NULL WHERE payout_id = {BOOKED_PAYOUT}",
    ],
    "a dispute's money is not booked to the cent": [
        "UPDATE disputes SET funds = 'reinstated' WHERE funds = 'withdrawn'",
        "UPDATE disputes SET funds = 'lost' WHERE funds = 'withdrawn'",
        "UPDATE disputes SET withdrawn_minor = withdrawn_minor - 1 WHERE funds = 'withdrawn'",
        "UPDATE disputes SET transaction_ids = '{}'",
        "DELETE FROM journals WHERE kind = 'dispute_opened'",
    ],
    "a dispute's journal has no dispute": [
        "UPDATE disputes SET transaction_ids = '{}'",
        "UPDATE journals SET payment_id = NULL WHERE kind = 'dispute_fee'",
        "UPDATE journals SET kind = 'dispute_lost' WHERE kind = 'charge'",
    ],
    "more is held of sellers than their disputes took": [
        "DELETE FROM entries WHERE account = 'disputed_funds'",
    ],
    "an exchange is not booked on both sides": [
        "DELETE FROM conversions",
        "UPDATE conversions SET from_minor = from_minor + 1",
        "UPDATE conversions SET to_minor = to_minor + 1",
        "UPDATE conversions SET to_currency = 'GBP'",
        "DELETE FROM journals WHERE kind = 'conversion_settled'",
        "DELETE FROM journals WHERE kind = 'conversion_charged'",
    ],
    "a paid order and its captured payments disagree": [
        "UPDATE orders SET status = 'expired' WHERE id = (SELECT id FROM orders WHERE status = 'paid' LIMIT 1)",
        "UPDATE orders SET status = 'paid' WHERE id = (SELECT id FROM orders WHERE status = 'pending' LIMIT 1)",
        f"UPDATE payments SET status = 'failed', failure_code = 'x' WHERE id = {CAPTURED}",
    ],
}


@pytest.fixture
async def sound_books(database: Database, real_shop: Shop, real_settlement: SettlementService) -> None:
    """Books that hold a pending order, a settled one that is folded into the balances, one that is not yet, a
    refund, a dispute, an exchange, a payout of which a part was taken back, and one that is under way."""
    await real_shop.order()
    for is_folded in (True, False):
        payment = await real_shop.payment(await real_shop.order())
        await real_settlement.settle([Outcome(payment.id, succeeded(payment))])
        if is_folded:
            await LedgerService(database.begin).roll_up()
    payment = await captured(real_shop)
    refund = a_requested_refund(payment, real_shop)
    async with database.begin() as tx:
        await tx.refunds.add([refund], publish_at=NOW)
        await tx.commit()
    await RefundSettlement(database.begin, FakeClock(), SettlementPolicy()).settle(refund.id, refunded(refund))
    payment = await earned(real_shop)
    payout = await paid_out(real_shop)
    await book_refund(real_shop, a_requested_refund(payment, real_shop))
    for reversal in await reversals_of(real_shop, payout):
        await taken_back(real_shop, reversal)
    await earned(real_shop)
    await drafted(real_shop)
    async with database.begin() as tx:
        await tx.payouts.raise_floor(real_shop.seller.id, NOW)
        await tx.commit()
    payment = await captured(real_shop, await real_shop.order())
    exchanged = StripeTransaction(f"txn_{payment.id}_in_usd", 2199, 94, "USD", Decimal("1.1"), NOW)
    await captured(real_shop, currency="EUR", transaction=exchanged)
    async with database.begin() as tx:
        await tx.payouts.net(real_shop.seller.id, RELEASE)
        await tx.commit()
    told = disputed(a_dispute(payment), DisputeStatus.NEEDS_RESPONSE, -1999)
    await DisputeSettlement(database.begin, FakeClock(), SettlementPolicy()).settle(payment.id, told)


@pytest.mark.usefixtures("sound_books")
async def test_sound_books_have_no_fault(database: Database) -> None:
    async with database.begin() as tx:
        verification = await tx.ledger.verify()

    assert verification.faults == []
    assert verification.entries >= 2 * verification.journals >= 8
    assert sum(total.balance_minor for total in verification.totals) == 0


@pytest.mark.usefixtures("sound_books")
@pytest.mark.parametrize(("what", "fault"), [(what, fault) for what, faults in FAULTS.items() for fault in faults])
async def test_planted_fault_is_found(superuser: AsyncConnection, what: str, fault: str) -> None:
    planted = await superuser.execute(text(fault))
    assert planted.rowcount > 0

    found = (await Ledger(await as_product_sees(superuser)).verify()).faults

    assert what in {each.what for each in found}
    assert all(each.where for each in found)


async def test_floor_above_what_a_payout_may_let_go_is_found(connection: AsyncConnection, shop: Shop) -> None:
    await earned(shop)
    await drafted(shop)
    put = "INSERT INTO payout_floors VALUES (:seller_id, 'ffffffff-ffff-7fff-bfff-ffffffffffff')"
    await connection.execute(text(put), {"seller_id": shop.seller.id})

    found = (await Ledger(await as_product_sees(connection)).verify()).faults

    assert "an entry is open below the floor of its seller" in {each.what for each in found}


def test_every_proof_has_a_fault() -> None:
    assert FAULTS.keys() == PROOFS.keys()
