"""Reading disputes; Stripe's webhooks alone change them."""

from domain.disputes.model import Dispute, DisputeStatus
from domain.disputes.ports import DisputesTransaction
from domain.errors import NotFound
from domain.identity.model import Principal, Role, require_role
from domain.ids import DisputeId
from domain.pages import Page, PageRequest
from domain.transactions import Begin


class DisputeService:
    """The disputes, as sellers and finance see them."""

    def __init__(self, begin: Begin[DisputesTransaction]) -> None:
        """Keep how transactions begin."""
        self._begin = begin

    async def get(self, principal: Principal, dispute_id: DisputeId) -> Dispute:
        """Return a dispute of the calling seller's payments, or any. Errors: Forbidden for buyers; NotFound."""
        require_role(principal, Role.SELLER, Role.FINANCE, Role.ADMIN)
        async with self._begin() as tx:
            dispute = await tx.disputes.visible(principal, dispute_id)
        if dispute is None:
            raise NotFound("there is no such dispute", code="dispute_not_found")
        return dispute

    async def page(
        self, principal: Principal, request: PageRequest, status: DisputeStatus | None = None
    ) -> Page[Dispute]:
        """Return a page of the disputes that the caller may see, newest first. Errors: Forbidden for buyers."""
        require_role(principal, Role.SELLER, Role.FINANCE, Role.ADMIN)
        async with self._begin() as tx:
            return await tx.disputes.page(principal, request, status)
