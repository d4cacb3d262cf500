"""The scheduled run: sellers are paid out what has become available, once an interval."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from domain.clock import Clock
from domain.errors import DomainError, Refused, Unavailable
from domain.ids import UserId
from domain.money import step_minor
from domain.payouts.model import Destination, Payout, RunLease
from domain.payouts.ports import PayoutsTransaction
from domain.payouts.service import PayoutPolicy, draft_payout
from domain.transactions import Begin
from domain.work import Announcer, Work

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class RunPolicy:
    """The settings of scheduled runs, in seconds.

    A run begins with each multiple of the interval since 1970. One process works at it for `budget_s` at a time,
    under a lease that outlasts that.
    """

    interval_s: float = 24 * 3600
    lease_s: float = 60
    budget_s: float = 30

    def run_at(self, now: datetime) -> datetime:
        """Return when the interval began that it is now."""
        return now - (now - _EPOCH) % timedelta(seconds=self.interval_s)


@dataclass(frozen=True, slots=True)
class _Part:
    """What one transaction made of a seller's payouts, and whether enough is left for another one."""

    made: int
    has_more: bool


class PayoutRun:
    """The periodic task that pays out what has become available."""

    def __init__(
        self,
        begin: Begin[PayoutsTransaction],
        announcer: Announcer,
        clock: Clock,
        policy: PayoutPolicy,
        schedule: RunPolicy,
        *,
        page_size: int = 100,
        on_failure: Callable[[UserId, DomainError], None] = lambda _seller_id, _failure: None,
    ) -> None:
        """Keep the collaborators; sellers are read by pages of that size.

        Whoever is to know is told of a seller whom the database could not pay out.
        """
        self._begin = begin
        self._announcer = announcer
        self._clock = clock
        self._policy = policy
        self._schedule = schedule
        self._page_size = page_size
        self._on_failure = on_failure

    async def run(self) -> int:
        """Pay out each seller and currency that has enough available, if it is time; return how many payouts.

        An interval has one run in all processes together, however often they are asked: it is a row with a
        lease, and where the budget or a process ends, the next one who is asked goes on behind the last seller.
        A transaction for each seller, so that one who cannot be paid out holds nobody up; where more is available
        than one payout takes, more of them follow. Safe to repeat and to race. While payouts are paused none is
        made; the interval in which they are again has one.
        """
        if self._policy.is_paused:
            return 0
        now = self._clock.now()
        lease = await self._claim(now)
        if lease is None:
            return 0
        made, over_at, after = 0, now + timedelta(seconds=self._schedule.budget_s), lease.after
        while accounts := await self._accounts(after):
            for account in accounts:
                part = await self._pay_out(account, replace(lease, after=after))
                if part is None:
                    return made
                made += part.made
                if part.has_more:
                    break  # the next page begins with the same seller
                after = account.seller_id
            if self._clock.now() >= over_at:
                await self._pause(lease)
                return made
        async with self._begin() as tx:
            await tx.payout_runs.finish(lease, self._clock.now())
            await tx.commit()
        return made

    async def _claim(self, now: datetime) -> RunLease | None:
        async with self._begin() as tx:
            locked_until = now + timedelta(seconds=self._schedule.lease_s)
            lease = await tx.payout_runs.claim(self._schedule.run_at(now), now, locked_until)
            await tx.commit()
        return lease

    async def _pause(self, lease: RunLease) -> None:
        async with self._begin() as tx:
            await tx.payout_runs.pause(lease, self._clock.now())
            await tx.commit()

    async def _accounts(self, after: UserId | None) -> Sequence[Destination]:
        async with self._begin() as tx:
            return await tx.destinations.enabled(after=after, limit=self._page_size)

    async def _pay_out(self, account: Destination, lease: RunLease) -> _Part | None:
        """Pay a seller out in every currency; None when another process has taken the run over.

        Whom the database refuses to pay out, or not in time, waits for the next run. Errors: Unavailable where it
        does not even take note of that.
        """
        try:
            return await self._try_to_pay_out(account, lease)
        except (Refused, Unavailable) as failure:
            self._on_failure(account.seller_id, failure)
        async with self._begin() as tx:
            still_ours = await tx.payout_runs.advance(lease, account.seller_id, made=0)
            await tx.commit()
        return _Part(0, has_more=False) if still_ours else None

    async def _try_to_pay_out(self, account: Destination, lease: RunLease) -> _Part | None:
        release = self._policy.release(self._clock.now())
        async with self._begin() as tx:
            # Somebody who pays this seller out at this moment, on demand, takes the same shares.
            await tx.payouts.claim_seller(account.seller_id)
            has_netted = await tx.payouts.net(account.seller_id, release)
            available = await tx.payouts.available(account.seller_id, release)
            drafts = [
                await draft_payout(tx, account, currency, release, self._policy, run=lease)
                for currency, amount_minor in sorted(available.items())
                if amount_minor >= self._policy.least(currency)
            ]
            made = [payout for payout in drafts if payout is not None]
            leaves = any(self._leaves_enough(payout, available[payout.currency]) for payout in made)
            has_more = leaves or not has_netted
            await tx.payouts.raise_floor(account.seller_id, release.now)
            done = lease.after if has_more else account.seller_id
            if not await tx.payout_runs.advance(lease, done, made=len(made)):
                return None
            await tx.commit()
        if made:
            self._announcer.announce(Work.PAYOUTS, [payout.id for payout in made])
        return _Part(len(made), has_more=has_more)

    def _leaves_enough(self, payout: Payout, available_minor: int) -> bool:
        """Tell whether what a payout did not take is enough for another: one takes so many entries at most."""
        left_minor = available_minor - payout.amount_minor - payout.carried_minor
        return left_minor >= max(self._policy.least(payout.currency), step_minor(payout.currency))
