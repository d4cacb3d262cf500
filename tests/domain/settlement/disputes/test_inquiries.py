"""An inquiry takes nothing, and may become a dispute."""

from domain.disputes.model import DisputeFunds, DisputeStatus
from domain.orders.model import OrderStatus
from domain.payments.model import Payment
from domain.refunds.model import RefundRequest
from domain.refunds.service import RefundService
from domain.settlement.disputes import DisputeSettlement
from tests.builders import a_dispute, unique
from tests.domain.fakes import Memory
from tests.domain.settlement.disputes.standing import FINANCE, NEEDS, books, known, order_of, told
from tests.stripe_answers import disputed


async def test_inquiry_moves_no_money_and_leaves_the_order_alone(
    disputes: DisputeSettlement, refunds: RefundService, memory: Memory, payment: Payment
) -> None:
    dispute = a_dispute(payment, status=DisputeStatus.WARNING_NEEDS_RESPONSE)
    before = await books(memory)

    for status in (DisputeStatus.WARNING_NEEDS_RESPONSE, DisputeStatus.WARNING_UNDER_REVIEW):
        await disputes.settle(payment.id, disputed(dispute, status))

    assert await books(memory) == before
    assert order_of(memory) is OrderStatus.PAID
    assert (await refunds.request(FINANCE, RefundRequest(payment.id, unique("key"), "x"))).refund
    await disputes.settle(payment.id, disputed(dispute, DisputeStatus.WARNING_CLOSED))
    assert told(memory) == [
        "dispute.opened",
        "dispute.warning_needs_response",
        "dispute.warning_under_review",
        "dispute.warning_closed",
    ]


async def test_inquiry_may_become_a_dispute(disputes: DisputeSettlement, memory: Memory, payment: Payment) -> None:
    dispute = a_dispute(payment, status=DisputeStatus.WARNING_UNDER_REVIEW)
    await disputes.settle(payment.id, disputed(dispute, DisputeStatus.WARNING_UNDER_REVIEW))

    await disputes.settle(payment.id, disputed(dispute, NEEDS, -1999))

    assert (known(memory).status, known(memory).funds) == (NEEDS, DisputeFunds.WITHDRAWN)
    assert order_of(memory) is OrderStatus.DISPUTED
