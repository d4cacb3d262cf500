"""Reversals: what a seller was paid out and loses again is taken back of the transfer that brought it."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from domain.clock import Clock
from domain.errors import Refused
from domain.events import event
from domain.ids import PayoutId, ReversalId, uuid7
from domain.payouts.model import Payout, PayoutStatus, Reversal, ReversalStatus, payout_event
from domain.settlement.aftermath import post
from domain.settlement.answers import Absent, Refusal, ReversalAnswer, StripeReversal
from domain.settlement.decide.reversals import ReversalSituation, decide_reversal
from domain.settlement.gateways import TransferGateway
from domain.settlement.model import ReversalChange, SettlementPolicy
from domain.settlement.ports import SettlementTransaction
from domain.settlement.steps import TransferStep, next_transfer_step
from domain.settlement.together import all_of
from domain.transactions import Begin


class ReversalSettlement:
    """Turns what Stripe says of reversals into their states, journals and events; all or nothing."""

    def __init__(self, begin: Begin[SettlementTransaction], clock: Clock, policy: SettlementPolicy) -> None:
        """Keep the collaborators."""
        self._begin = begin
        self._clock = clock
        self._policy = policy

    async def settle(self, reversal_id: ReversalId, answer: ReversalAnswer) -> bool:
        """Book what became of a reversal of ours; return whether it was news.

        A repeated, late or disordered answer changes nothing, so a retry is safe. What the database refuses is
        quarantined. Locks the payout, then the reversal.
        """
        try:
            return await self._settle(reversal_id, answer)
        except Refused as refused:
            await self._quarantine(reversal_id, refused)
            return True

    async def adopt(self, payout_id: PayoutId, found: StripeReversal) -> bool:
        """Book a reversal that was made at Stripe without us, once; return whether it was news.

        Errors: Refused while a reversal of ours that is still pending claims the same money, which Stripe will
        refuse to it. So it is worth to be tried again. Locks as `settle`.
        """
        now = self._clock.now()
        async with self._begin() as tx:
            (payout,) = await tx.payout_work.lock([payout_id])
            reversal = await tx.reversal_work.find(None, found.stripe_reversal_id)
            if reversal is None:
                reversal = _external(payout_id, found, now)
                await tx.reversal_work.add([reversal])
            change = decide_reversal(ReversalSituation(reversal, payout, now, self._policy), found)
            await _write(tx, payout, reversal, change, now)
            await tx.commit()
        return change.reversal != reversal

    async def _settle(self, reversal_id: ReversalId, answer: ReversalAnswer) -> bool:
        now = self._clock.now()
        async with self._begin() as tx:
            known = await tx.reversal_work.find(reversal_id, None)
            if known is None:
                return False
            (payout,) = await tx.payout_work.lock([known.payout_id])
            reversal = await tx.reversal_work.lock(reversal_id)
            change = decide_reversal(ReversalSituation(reversal, payout, now, self._policy), answer)
            await _write(tx, payout, reversal, change, now)
            await tx.commit()
        return change.reversal != reversal

    async def _quarantine(self, reversal_id: ReversalId, refused: Refused) -> None:
        now = self._clock.now()
        async with self._begin() as tx:
            known = await tx.reversal_work.find(reversal_id, None)
            if known is None:
                return
            (payout,) = await tx.payout_work.lock([known.payout_id])
            await tx.reversal_work.quarantine(reversal_id, refused.message, now)
            told = event(
                "payout.reversal_quarantined",
                payout.id,
                now,
                audience=[payout.seller_id],
                reversal_id=reversal_id,
                reason=refused.code,
            )
            await tx.events.append([told])
            await tx.commit()


class ReversalSender:
    """The work of the queue `reversals`."""

    def __init__(
        self,
        begin: Begin[SettlementTransaction],
        gateway: TransferGateway,
        settlement: ReversalSettlement,
        clock: Clock,
        policy: SettlementPolicy,
    ) -> None:
        """Keep the collaborators."""
        self._begin = begin
        self._gateway = gateway
        self._settlement = settlement
        self._clock = clock
        self._policy = policy

    async def process(self, reversal_ids: Sequence[ReversalId]) -> int:
        """Bring the reversals that are due forward by one step each; return how many were leased.

        Safe to repeat.
        """
        now = self._clock.now()
        async with self._begin() as tx:
            leased = await tx.reversal_work.lease(
                sorted(reversal_ids), now, now + timedelta(seconds=self._policy.lease_s)
            )
            payouts = await tx.payout_work.by_ids([reversal.payout_id for reversal in leased])
            await tx.commit()
        await all_of(self._advance(each, payouts[each.payout_id].stripe_transfer_id or "", now) for each in leased)
        return len(leased)

    async def _advance(self, reversal: Reversal, transfer_id: str, now: datetime) -> None:
        answer: ReversalAnswer
        match next_transfer_step(reversal, now, self._policy):
            case TransferStep.SEND:
                answer = await self._send(reversal, transfer_id)
            case TransferStep.LOOK_UP:
                answer = await self._find(reversal, transfer_id)
        await self._settlement.settle(reversal.id, answer)

    async def _send(self, reversal: Reversal, transfer_id: str) -> ReversalAnswer:
        """Send a reversal; a repeated attempt is refused for good only where no earlier one arrived."""
        answer = await self._gateway.reverse(reversal, transfer_id)
        if isinstance(answer, Refusal) and reversal.attempts > 1:
            found = await self._find(reversal, transfer_id)
            return answer if isinstance(found, Absent) else found
        return answer

    async def _find(self, reversal: Reversal, transfer_id: str) -> ReversalAnswer:
        found = await self._gateway.reversals_of(transfer_id)
        if not isinstance(found, Sequence):
            return found
        return next((each for each in found if each.reversal_id == reversal.id), Absent())


async def _write(
    tx: SettlementTransaction, payout: Payout, before: Reversal, change: ReversalChange, now: datetime
) -> None:
    await tx.reversal_work.save(change.reversal, due_at=change.due_at)
    if change.journals:
        await post(tx, change.journals, now)
    await tx.events.append(change.events)
    is_news = change.reversal.status is not before.status
    if is_news and await tx.reversal_work.reversed_minor(payout.id) == payout.amount_minor:
        taken_back = replace(payout, status=PayoutStatus.REVERSED, failure_code=None, updated_at=now)
        await tx.payout_work.save(taken_back, due_at=None)
        await tx.events.append([payout_event(taken_back, now)])


def _external(payout_id: PayoutId, found: StripeReversal, now: datetime) -> Reversal:
    """Return a reversal that was made without us, and that is for no entry of ours."""
    return Reversal(
        id=ReversalId(uuid7()),
        payout_id=payout_id,
        amount_minor=found.amount_minor,
        currency=found.currency,
        status=ReversalStatus.PENDING,
        created_at=now,
        updated_at=now,
    )
