"""What Stripe's webhooks tell of transfers, of their reversals, and of payouts to banks."""

from collections.abc import Collection, Sequence
from dataclasses import replace

from domain.errors import Refused, Unavailable
from domain.ids import PayoutId
from domain.payouts.model import UNDER_WAY, Reversal, ReversalStatus
from domain.settlement.answers import Absent, BankPayout, StripeReversal, StripeTransfer
from domain.settlement.gateways import TransferGateway
from domain.settlement.inbox.refund_events import MAX_ATTEMPTS
from domain.settlement.inbox.stripe_events import Statuses, Told
from domain.settlement.model import StripeEventStatus
from domain.settlement.own_payouts import OwnPayouts
from domain.settlement.payouts import PayoutSettlement
from domain.settlement.ports import SettlementTransaction
from domain.settlement.reversals import ReversalSettlement
from domain.settlement.stripe_objects import UNREADABLE, read_event_account, read_transfer
from domain.settlement.together import all_of
from domain.transactions import Begin

TRANSFER_CREATED = "transfer.created"
TRANSFER_REVERSED = "transfer.reversed"
"""Tells of the transfer and not of all its reversals: they are read from Stripe's list."""
BANK_EVENTS = frozenset({"payout.created", "payout.updated", "payout.paid", "payout.failed", "payout.canceled"})
"""Of a connected account, or of the platform itself: the payout is read from Stripe, as it stands now."""

_MOST_EARLIER = 20
"""Into how many earlier payouts to a bank it is looked; Stripe pauses an account whose bank keeps refusing."""


class PayoutEvents:
    """`domain.settlement.inbox.stripe_events.EventReader` of payouts."""

    kinds = BANK_EVENTS | {TRANSFER_CREATED, TRANSFER_REVERSED}

    def __init__(
        self,
        begin: Begin[SettlementTransaction],
        gateway: TransferGateway,
        payouts: PayoutSettlement,
        reversals: ReversalSettlement,
        own: OwnPayouts,
    ) -> None:
        """Keep the collaborators."""
        self._begin = begin
        self._gateway = gateway
        self._payouts = payouts
        self._reversals = reversals
        self._own = own

    async def read(self, told: Sequence[Told]) -> Statuses:
        """Settle what events report, and return what became of each, by id."""
        done = await all_of(self._read_one(each) for each in told)
        return {each.event.id: status for each, status in zip(told, done, strict=True) if status is not None}

    async def _read_one(self, told: Told) -> StripeEventStatus | None:
        try:
            if told.event.type in BANK_EVENTS:
                return await self._follow_bank(told)
            matched = await (
                self._book_transfer(told) if told.event.type == TRANSFER_CREATED else self._book_reversals(told)
            )
        except UNREADABLE:
            return StripeEventStatus.QUARANTINED
        except Unavailable:
            return None
        except Refused:
            # A reversal of ours that claims the same money will be refused by Stripe, and makes room for this one.
            return StripeEventStatus.QUARANTINED if told.event.attempts >= MAX_ATTEMPTS else None
        return StripeEventStatus.PROCESSED if matched else StripeEventStatus.UNMATCHED

    async def _book_transfer(self, told: Told) -> bool:
        transfer = read_transfer(told.raw)
        if transfer.payout_id is None:
            return False
        return await self._payouts.settle(transfer.payout_id, transfer)

    async def _book_reversals(self, told: Told) -> bool:
        """Book all reversals of a transfer of ours, and first the transfer, should nobody have heard of it."""
        transfer = read_transfer(told.raw)
        if not await self._book_transfer(told) or transfer.payout_id is None:
            return False
        found = await self._gateway.reversals_of(transfer.transfer_id)
        if not isinstance(found, Sequence):
            raise Unavailable("Stripe does not list the reversals", code="stripe_unavailable")
        for reversal in found:
            await self._book_reversal(transfer.payout_id, reversal)
        return True

    async def _book_reversal(self, payout_id: PayoutId, found: StripeReversal) -> None:
        async with self._begin() as tx:
            known = await tx.reversal_work.find(found.reversal_id, found.stripe_reversal_id)
        if known is None or known.status is ReversalStatus.FAILED or _is_another(known, found):
            await self._reversals.adopt(payout_id, found)
        elif known.status is ReversalStatus.PENDING:
            await self._reversals.settle(known.id, found)

    async def _follow_bank(self, told: Told) -> StripeEventStatus:
        account_id, stripe_payout_id = read_event_account(told.event.body), str(told.raw["id"])
        if account_id is None:
            booked = await self._own.follow(stripe_payout_id)
            return StripeEventStatus.PROCESSED if booked else StripeEventStatus.UNMATCHED
        bank = await self._read_bank_payout(account_id, stripe_payout_id)
        if bank is None:
            return StripeEventStatus.UNMATCHED
        await self._book_unheard(bank.payout_ids)
        matched = await self._payouts.follow(bank)
        return StripeEventStatus.PROCESSED if matched else StripeEventStatus.UNMATCHED

    async def _read_bank_payout(self, account_id: str, stripe_payout_id: str) -> BankPayout | None:
        """Return a payout to a bank with all that is in it, also by way of earlier ones that came back.

        Those are read themselves: what was told of them may be waiting behind this. None where there is no such
        payout for us.
        """
        newest = await self._read_one_bank_payout(account_id, stripe_payout_id)
        if newest is None:
            return None
        read: dict[str, BankPayout | None] = {stripe_payout_id: newest}
        left = list(newest.earlier_ids)
        while left and len(read) <= _MOST_EARLIER:
            if (earlier_id := left.pop(0)) not in read:
                read[earlier_id] = earlier = await self._read_one_bank_payout(account_id, earlier_id)
                left += earlier.earlier_ids if earlier is not None else ()
        found = [bank for bank in read.values() if bank is not None]
        return replace(
            newest,
            transfer_ids=tuple(each for bank in found for each in bank.transfer_ids),
            earlier_ids=tuple(dict.fromkeys([*read, *left]))[1:],
            payout_ids=tuple(each for bank in found for each in bank.payout_ids),
        )

    async def _read_one_bank_payout(self, account_id: str, stripe_payout_id: str) -> BankPayout | None:
        match await self._gateway.bank_payout(account_id, stripe_payout_id):
            case BankPayout() as bank:
                return bank
            case Absent():
                return None
        raise Unavailable("Stripe does not say what is in the payout", code="stripe_unavailable")

    async def _book_unheard(self, payout_ids: Collection[PayoutId]) -> None:
        """Book those of the transfers of ours in a payout to a bank of which nobody has heard.

        Our own list of transfers decides: an account may be another platform's too, which names what it likes.
        Errors: Unavailable where the list does not say, or not yet; so the event comes again.
        """
        async with self._begin() as tx:
            named = await tx.payout_work.by_ids(payout_ids)
        for payout in named.values():
            if payout.is_booked:
                continue
            found = await self._gateway.find_transfer(payout)
            if isinstance(found, StripeTransfer):
                await self._payouts.settle(payout.id, found)
            elif not isinstance(found, Absent) or payout.status in UNDER_WAY:
                raise Unavailable("Stripe does not say what became of the transfer", code="stripe_unavailable")


def _is_another(known: Reversal, found: StripeReversal) -> bool:
    """Tell whether Stripe made one of ours twice: under a key that was given up, and under the next one."""
    return known.stripe_reversal_id not in {None, found.stripe_reversal_id}
