"""How the books, a dispute and its order stand in memory, and what was told of them."""

from domain.disputes.model import Dispute, DisputeStatus
from domain.identity.model import Principal, Role
from domain.ids import UserId, uuid7
from domain.ledger.postings import Part
from domain.orders.model import OrderStatus
from tests.balances import all_balances
from tests.domain.fakes import Memory

NEEDS, REVIEW = DisputeStatus.NEEDS_RESPONSE, DisputeStatus.UNDER_REVIEW
WON, LOST = DisputeStatus.WON, DisputeStatus.LOST
LINE = Part(1, UserId(uuid7()), 1999, 50)
FINANCE = Principal(UserId(uuid7()), Role.FINANCE)


async def books(memory: Memory) -> dict[str, int]:
    async with memory.begin() as tx:
        return {row.account: row.balance_minor for row in await all_balances(tx) if row.balance_minor}


def told(memory: Memory, prefix: str = "dispute.") -> list[str]:
    return [event.type for event in memory.state.events if event.type.startswith(prefix)]


def known(memory: Memory) -> Dispute:
    (dispute,) = memory.state.disputes.values()
    return dispute


def order_of(memory: Memory) -> OrderStatus:
    (order,) = memory.state.orders.values()
    return order.status
