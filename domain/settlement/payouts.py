"""Payouts: those that are due are transferred, and whatever reports what became of one ends in one settlement."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from domain.clock import Clock
from domain.errors import Refused
from domain.events import event
from domain.following import Follow, follow_nobody
from domain.ids import PayoutId
from domain.payouts.model import Payout
from domain.settlement.aftermath import post, take_back
from domain.settlement.answers import Absent, BankPayout, Refusal, StripeTransfer, TransferAnswer
from domain.settlement.decide.payouts import PayoutSituation, decide_bank_payout, decide_payout
from domain.settlement.gateways import TransferGateway
from domain.settlement.model import PayoutChange, SettlementPolicy
from domain.settlement.ports import SettlementTransaction
from domain.settlement.steps import TransferStep, next_transfer_step
from domain.settlement.together import all_of
from domain.transactions import Begin


class PayoutSettlement:
    """Turns what Stripe says of transfers and of payouts to banks into payout states, journals and events."""

    def __init__(self, begin: Begin[SettlementTransaction], clock: Clock, policy: SettlementPolicy) -> None:
        """Keep the collaborators."""
        self._begin = begin
        self._clock = clock
        self._policy = policy

    async def settle(self, payout_id: PayoutId, answer: TransferAnswer) -> bool:
        """Book what became of a payout's transfer; return whether there is such a payout.

        A repeated, late or disordered answer changes nothing, so a retry is safe. What the database refuses is
        quarantined. Locks the payout, and with an answer that may end it or book it the others of the same
        payments, sorted by id.
        """
        try:
            return await self._settle(payout_id, answer)
        except Refused as refused:
            await self._quarantine(payout_id, refused)
            return True

    async def follow(self, bank: BankPayout) -> bool:
        """Mirror a payout to a bank in those of ours that are in it; return whether there are any.

        Safe to repeat. Locks the payouts, sorted by id.
        """
        now = self._clock.now()
        async with self._begin() as tx:
            found = [
                *await tx.payout_work.of_transfers(bank.transfer_ids),
                *await tx.payout_work.of_bank_payouts([bank.stripe_payout_id, *bank.earlier_ids]),
            ]
            locked = await tx.payout_work.lock(sorted({payout.id for payout in found}))
            for payout in locked:
                if (change := decide_bank_payout(payout, bank, now)) is not None:
                    await _write(tx, change, now)
            await tx.commit()
        return bool(locked)

    async def _settle(self, payout_id: PayoutId, answer: TransferAnswer) -> bool:
        now = self._clock.now()
        async with self._begin() as tx:
            payout = await _lock(tx, payout_id, answer)
            if payout is None:
                return False
            await _write(tx, decide_payout(PayoutSituation(payout, now, self._policy), answer), now)
            await tx.commit()
        return True

    async def _quarantine(self, payout_id: PayoutId, refused: Refused) -> None:
        now = self._clock.now()
        async with self._begin() as tx:
            (payout,) = await tx.payout_work.lock([payout_id])
            await tx.payout_work.quarantine(payout_id, refused.message, now)
            told = event("payout.quarantined", payout_id, now, audience=[payout.seller_id], reason=refused.code)
            await tx.events.append([told])
            await tx.commit()


class PayoutSender:
    """The work of the queue `payouts`."""

    def __init__(
        self,
        begin: Begin[SettlementTransaction],
        gateway: TransferGateway,
        settlement: PayoutSettlement,
        clock: Clock,
        policy: SettlementPolicy,
        *,
        follow: Follow[Payout] = follow_nobody,
        is_paused: bool = False,
    ) -> None:
        """Keep the collaborators. While it is paused, what is due stays due."""
        self._is_paused = is_paused
        self._begin = begin
        self._follow = follow
        self._gateway = gateway
        self._settlement = settlement
        self._clock = clock
        self._policy = policy

    async def process(self, payout_ids: Sequence[PayoutId]) -> int:
        """Bring the payouts that are due forward by one step each; return how many were leased. Safe to repeat."""
        if self._is_paused:
            return 0
        now = self._clock.now()
        async with self._begin() as tx:
            leased = await tx.payout_work.lease(
                sorted(payout_ids), now, now + timedelta(seconds=self._policy.lease_s)
            )
            await tx.commit()
        await all_of(self._advance(payout, now) for payout in leased)
        return len(leased)

    async def _advance(self, payout: Payout, now: datetime) -> None:
        with self._follow(payout):
            await self._settlement.settle(payout.id, await self._ask(payout, now))

    async def _ask(self, payout: Payout, now: datetime) -> TransferAnswer:
        match next_transfer_step(payout, now, self._policy):
            case TransferStep.SEND:
                return await self._send(payout)
            case TransferStep.LOOK_UP:
                return await self._gateway.find_transfer(payout)

    async def _send(self, payout: Payout) -> TransferAnswer:
        """Send a transfer; a repeated attempt is refused for good only where no earlier one arrived."""
        answer = await self._gateway.transfer(payout)
        if isinstance(answer, Refusal) and payout.attempts > 1:
            found = await self._gateway.find_transfer(payout)
            return answer if isinstance(found, Absent) else found
        return answer


async def _lock(tx: SettlementTransaction, payout_id: PayoutId, answer: TransferAnswer) -> Payout | None:
    """Lock a payout, and where an answer may end or book it the others of which may be taken back then."""
    decides = isinstance(answer, StripeTransfer | Refusal | Absent)
    others = await tx.payout_work.of_same_payments(payout_id) if decides else ()
    locked = await tx.payout_work.lock(sorted({payout_id, *others}))
    return next((payout for payout in locked if payout.id == payout_id), None)


async def _write(tx: SettlementTransaction, change: PayoutChange, now: datetime) -> None:
    payout = change.payout
    await tx.payout_work.save(payout, due_at=change.due_at)
    if change.lets_go or change.closes:
        # What was lost while the transfer was under way.
        losses = set(await tx.reversal_work.losses_of(payout.id))
        if change.lets_go:
            # What this one had made up for, and what was transferred earlier.
            losses |= set(await tx.payout_work.let_go(payout.id))
        await take_back(tx, losses, now)
    if change.journals:
        await post(tx, change.journals, now)
    if change.closes:
        await tx.payout_work.close(payout.id, change.journals[0].id)
    await tx.events.append(change.events)
