"""Rendered payments, each kept as long as PostgreSQL says that the payment is still the same version."""

from dataclasses import dataclass
from datetime import datetime

from api.payments.schemas import PaymentAnswer
from api.payments.waiting import PaymentReader
from api.rendering import entity_tag, to_json
from domain.identity.model import Principal
from domain.ids import PaymentId, UserId
from domain.payments.model import Payment, Version

_MAX_KEPT = 2_048
"""Of about a kilobyte each."""


@dataclass(frozen=True, slots=True)
class Rendered:
    """A payment as a caller sees it, in JSON, and what the headers of the answer depend on."""

    body: bytes
    tag: str
    is_settled: bool
    created_at: datetime

    @classmethod
    def of(cls, payment: Payment, principal: Principal) -> "Rendered":
        """Render a payment for a caller."""
        body = to_json(PaymentAnswer.of(payment, principal))
        return cls(body, entity_tag(body), payment.is_settled, payment.created_at)


class RenderedPayments:
    """Reads payments, and renders each version once for each caller.

    PERF: a client polls many times for a payment that changes twice.
    """

    def __init__(self, reader: PaymentReader) -> None:
        """Keep what reads the payments."""
        self._reader = reader
        self._kept: dict[tuple[UserId, PaymentId], tuple[Version, Rendered]] = {}

    async def get(self, principal: Principal, payment_id: PaymentId) -> Rendered:
        """Return a payment as it is. Errors: NotFound."""
        key = (principal.user_id, payment_id)
        known, kept = self._kept.get(key, (None, None))
        sight = await self._reader.look(principal, payment_id, known)
        if sight.payment is None and kept is not None:
            return kept
        rendered = Rendered.of(sight.news, principal)
        self._keep(key, sight.version, rendered)
        return rendered

    def _keep(self, key: tuple[UserId, PaymentId], version: Version, rendered: Rendered) -> None:
        self._kept.pop(key, None)
        if len(self._kept) >= _MAX_KEPT:
            del self._kept[next(iter(self._kept))]
        self._kept[key] = version, rendered
