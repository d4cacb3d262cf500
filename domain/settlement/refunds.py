"""Returning captured money that paid for nothing."""

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from domain.clock import Clock
from domain.events import Event, event
from domain.ids import JournalId, RefundId, UserId, uuid7
from domain.ledger.model import Journal, JournalKind
from domain.ledger.postings import post_unapplied_refund
from domain.settlement.decide.situation import retry_delay
from domain.settlement.model import Refund, RefundStatus, Refusal, SettlementPolicy, StripeRefund, Throttled
from domain.settlement.ports import RefundAnswer, RefundGateway, SettlementTransaction
from domain.transactions import Begin


class RefundService:
    """The work of the queue `refunds`."""

    def __init__(
        self,
        begin: Begin[SettlementTransaction],
        gateway: RefundGateway,
        clock: Clock,
        policy: SettlementPolicy,
    ) -> None:
        """Keep the collaborators."""
        self._begin = begin
        self._gateway = gateway
        self._clock = clock
        self._policy = policy

    async def process(self, refund_ids: Sequence[RefundId]) -> int:
        """Send the refunds that are due; return how many were leased. Safe to repeat."""
        now = self._clock.now()
        async with self._begin() as tx:
            leased = await tx.refund_work.lease(
                sorted(refund_ids), now, now + timedelta(seconds=self._policy.lease_s)
            )
            await tx.commit()
        await asyncio.gather(*(self._send(refund) for refund in leased))
        return len(leased)

    async def _send(self, refund: Refund) -> None:
        await self.settle(refund.id, await self._gateway.refund(refund))

    async def settle(self, refund_id: RefundId, answer: RefundAnswer) -> bool:
        """Book what became of a refund; return whether it was news. Locks the refund. Safe to repeat."""
        now = self._clock.now()
        async with self._begin() as tx:
            refund = await tx.refund_work.lock(refund_id)
            if refund is None or refund.status is not RefundStatus.PENDING:
                return False
            after, due_at = self._after(refund, answer, now)
            await tx.refund_work.save(after, due_at=due_at, at=now)
            if after.status is RefundStatus.SUCCEEDED:
                await tx.ledger.post([_journal(after, now)])
            if after.status is not refund.status:
                parties = (await tx.payment_work.parties_of([after.payment_id]))[after.payment_id]
                await tx.events.append([_event(after, parties, now)])
            await tx.commit()
        return True

    def _after(self, refund: Refund, answer: RefundAnswer, now: datetime) -> tuple[Refund, datetime | None]:
        delay = retry_delay(refund.attempts, self._policy)
        match answer:
            case StripeRefund(stripe_refund_id, RefundStatus.PENDING):
                return replace(refund, stripe_refund_id=stripe_refund_id), now + delay
            case StripeRefund(stripe_refund_id, status):
                return replace(refund, stripe_refund_id=stripe_refund_id, status=status), None
            case Refusal():
                return replace(refund, status=RefundStatus.FAILED), None
            case Throttled(_, retry_after_s) if retry_after_s is not None:
                return refund, now + max(delay, timedelta(seconds=retry_after_s))
            case _:
                return refund, now + delay


def _journal(refund: Refund, now: datetime) -> Journal:
    return Journal(
        id=JournalId(uuid7()),
        kind=JournalKind.UNAPPLIED_REFUND,
        source=refund.stripe_refund_id or str(refund.id),
        payment_id=refund.payment_id,
        currency=refund.currency,
        entries=post_unapplied_refund(refund.amount_minor),
        created_at=now,
    )


def _event(refund: Refund, parties: Collection[UserId], now: datetime) -> Event:
    return event(
        f"refund.{refund.status}",
        refund.payment_id,
        now,
        audience=parties,
        refund_id=refund.id,
        amount_minor=refund.amount_minor,
        currency=refund.currency,
    )
