"""Onboarding: sellers' accounts are made at Stripe, and read again whenever something is told of them."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from domain.clock import Clock
from domain.following import Follow, follow_nobody
from domain.ids import UserId
from domain.sellers.model import OnboardingStatus, SellerAccount
from domain.settlement.answers import Absent, AccountAnswer, LinkAnswer, Refusal, StripeAccount
from domain.settlement.decide.accounts import AccountSituation, decide_account
from domain.settlement.gateways import AccountGateway
from domain.settlement.model import SettlementPolicy
from domain.settlement.ports import SettlementTransaction
from domain.settlement.steps import AccountStep, next_account_step
from domain.settlement.together import all_of
from domain.transactions import Begin


class Onboarding:
    """The work of the queue `onboardings`."""

    def __init__(
        self,
        begin: Begin[SettlementTransaction],
        gateway: AccountGateway,
        clock: Clock,
        policy: SettlementPolicy,
        *,
        follow: Follow[SellerAccount] = follow_nobody,
    ) -> None:
        """Keep the collaborators."""
        self._begin = begin
        self._follow = follow
        self._gateway = gateway
        self._clock = clock
        self._policy = policy

    async def process(self, seller_ids: Sequence[UserId]) -> int:
        """Bring the accounts that are due forward by one step each; return how many were leased. Safe to repeat.

        Who holds the lease is the only one who reads the account at Stripe and writes what it read. What is told
        of the account meanwhile wakes it, and it is read again: so nothing old ever stands over something newer.
        """
        now = self._clock.now()
        async with self._begin() as tx:
            leased = await tx.seller_accounts.lease(
                sorted(seller_ids), now, now + timedelta(seconds=self._policy.lease_s)
            )
            await tx.commit()
        await all_of(self._advance(account, now) for account in leased)
        return len(leased)

    async def _advance(self, account: SellerAccount, now: datetime) -> None:
        with self._follow(account):
            answer = await self._ask(account, now)
            link: LinkAnswer | None = None
            if account.status is OnboardingStatus.PENDING and isinstance(answer, StripeAccount):
                link = None if answer.payouts_enabled else await self._gateway.make_link(answer.stripe_account_id)
            await self._settle(account, answer, link)

    async def _ask(self, account: SellerAccount, now: datetime) -> AccountAnswer:
        match next_account_step(account, now, self._policy):
            case AccountStep.OPEN:
                return await self._open(account)
            case AccountStep.RETRIEVE:
                return await self._gateway.retrieve_account(account)
            case AccountStep.LOOK_UP:
                return await self._gateway.find_account(account)

    async def _open(self, account: SellerAccount) -> AccountAnswer:
        """Make an account; a repeated attempt is refused for good only where no earlier one arrived."""
        answer = await self._gateway.open_account(account)
        if isinstance(answer, Refusal) and account.attempts > 1:
            found = await self._gateway.find_account(account)
            return answer if isinstance(found, Absent) else found
        return answer

    async def _settle(self, leased: SellerAccount, answer: AccountAnswer, link: LinkAnswer | None) -> None:
        now = self._clock.now()
        async with self._begin() as tx:
            account = await tx.seller_accounts.lock(leased.seller_id)
            if account is None:  # nobody deletes an account
                return
            change = decide_account(AccountSituation(account, now, self._policy), answer, link)
            due_at = change.due_at if account.wakes == leased.wakes else now
            await tx.seller_accounts.save(change.account, due_at=due_at)
            await tx.events.append(change.events)
            await tx.commit()
