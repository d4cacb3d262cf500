"""Users, their sessions and keys, and the sellers' accounts at Stripe, in memory."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from uuid import UUID

from domain.errors import Refused
from domain.identity.model import ApiKey, EndReason, Principal, RefreshToken, Role, Session, User
from domain.ids import ApiKeyId, SessionId, UserId
from domain.pages import Page, PageRequest
from domain.sellers.model import ONBOARDING_TRANSITIONS, SellerAccount
from domain.work import Work
from tests.domain.fakes.state import Due, Repository, count_attempt, lease_due, page_of, present_of


class FakeUsers(Repository):
    async def add(self, user: User) -> bool:
        if await self.by_email(user.email):
            return False
        self._state.users[user.id] = user
        if user.role is Role.SELLER:
            self._state.rates[user.id] = None
        return True

    async def by_email(self, email: str) -> User | None:
        return next((user for user in self._state.users.values() if user.email == email), None)

    async def by_id(self, user_id: UserId) -> User | None:
        return self._state.users.get(user_id)

    async def lock(self, user_id: UserId) -> User | None:
        return self._state.users.get(user_id)

    async def set_password(self, user_id: UserId, password_hash: str) -> None:
        self._state.users[user_id] = replace(self._state.users[user_id], password_hash=password_hash)

    async def renew_hash(self, user_id: UserId, *, old: str, new: str) -> bool:
        if self._state.users[user_id].password_hash != old:
            return False
        await self.set_password(user_id, new)
        return True

    async def set_suspended(self, user_id: UserId, suspended_at: datetime | None) -> None:
        self._state.users[user_id] = replace(self._state.users[user_id], suspended_at=suspended_at)

    async def page(self, request: PageRequest, *, email: str | None) -> Page[User]:
        return page_of([user for user in self._state.users.values() if email in {None, user.email}], request)

    async def seller_rates(self, ids: Collection[UserId]) -> Mapping[UserId, int | None]:
        return {seller_id: self._state.rates[seller_id] for seller_id in ids if seller_id in self._state.rates}

    async def set_seller_rate(self, seller_id: UserId, commission_bps: int | None) -> bool:
        if seller_id not in self._state.rates:
            return False
        self._state.rates[seller_id] = commission_bps
        return True


class FakeSellerAccounts(Repository):
    async def add(self, account: SellerAccount, *, publish_at: datetime) -> bool:
        if account.seller_id not in self._state.rates:
            raise Refused("seller_accounts_seller_id_fkey")
        if account.seller_id in self._state.seller_accounts:
            return False
        self._state.seller_accounts[account.seller_id] = account
        self._state.due[Work.ONBOARDINGS][account.seller_id] = Due(account.created_at, publish_at)
        return True

    async def by_sellers(self, ids: Collection[UserId]) -> Mapping[UserId, SellerAccount]:
        return present_of(self._state.seller_accounts, ids)

    async def lock(self, seller_id: UserId) -> SellerAccount | None:
        return self._state.seller_accounts.get(seller_id)

    async def lease(self, ids: Sequence[UserId], now: datetime, locked_until: datetime) -> Sequence[SellerAccount]:
        accounts = self._state.seller_accounts
        leased = lease_due(self._state.due[Work.ONBOARDINGS], ids, now, locked_until)
        for seller_id in leased:
            count_attempt(accounts, seller_id)
            account = accounts[seller_id]
            if account.stripe_account_id is None:
                accounts[seller_id] = replace(account, first_sent_at=account.first_sent_at or now)
        return [accounts[seller_id] for seller_id in leased]

    async def save(self, account: SellerAccount, *, due_at: datetime | None) -> None:
        self._change(account)
        self._state.due[Work.ONBOARDINGS][account.seller_id] = Due(due_at, due_at)

    async def ask(self, account: SellerAccount, *, due_at: datetime, publish_at: datetime) -> None:
        self._change(account)
        self._wake(account.seller_id, due_at, publish_at)

    async def wake(
        self, stripe_account_id: str, seller_id: UserId | None, *, due_at: datetime, publish_at: datetime
    ) -> UserId | None:
        for account in self._state.seller_accounts.values():
            if account.stripe_account_id in {None, stripe_account_id} and (
                account.stripe_account_id is not None or account.seller_id == seller_id
            ):
                self._wake(account.seller_id, due_at, publish_at)
                return account.seller_id
        return None

    def _change(self, account: SellerAccount) -> None:
        before = self._state.seller_accounts[account.seller_id]
        moves = account.status is not before.status
        if moves and account.status not in ONBOARDING_TRANSITIONS[before.status]:
            raise Refused("a trigger of seller_accounts")
        if before.stripe_account_id not in {None, account.stripe_account_id}:
            raise Refused("a trigger of seller_accounts")
        self._state.seller_accounts[account.seller_id] = account

    def _wake(self, seller_id: UserId, due_at: datetime, publish_at: datetime) -> None:
        account = self._state.seller_accounts[seller_id]
        self._state.seller_accounts[seller_id] = replace(account, wakes=account.wakes + 1)
        row = self._state.due[Work.ONBOARDINGS][seller_id]
        row.due_at, row.publish_at = due_at, publish_at


class FakeSessions(Repository):
    async def start(self, session: Session, token: RefreshToken) -> None:
        self._state.sessions[session.id] = session
        self._state.refresh_tokens[token.hash] = token

    async def lock(self, token_hash: bytes) -> tuple[Session, RefreshToken] | None:
        token = self._state.refresh_tokens.get(token_hash)
        return (self._state.sessions[token.session_id], token) if token else None

    async def rotate(self, old: RefreshToken, new: RefreshToken) -> None:
        tokens = self._state.refresh_tokens
        if self._state.sessions[old.session_id].ended_at is not None:
            raise Refused("the session is over")
        tokens[old.hash], tokens[new.hash] = old, new
        for token in list(tokens.values()):
            if (token.session_id, token.generation) == (old.session_id, old.generation - 1):
                tokens[token.hash] = replace(token, seed=None)

    async def end(self, session_id: SessionId, reason: EndReason, at: datetime) -> bool:
        session = self._state.sessions.get(session_id)
        if session is None or session.ended_at is not None:
            return False
        self._state.sessions[session_id] = replace(session, ended_at=at)
        self._state.end_reasons[session_id] = reason
        self._state.revoked.add(session_id)
        return True

    async def end_all(self, user_id: UserId, reason: EndReason, at: datetime, *, except_newest: int = 0) -> None:
        live = [s.id for s in self._state.sessions.values() if s.user_id == user_id and s.ended_at is None]
        for session_id in sorted(live, reverse=True)[except_newest:]:
            await self.end(session_id, reason, at)

    async def ended(self, ids: Collection[SessionId]) -> Collection[SessionId]:
        return {session_id for session_id in ids if session_id in self._state.end_reasons}

    async def prune(self, before: datetime, *, limit: int) -> int:
        sessions, tokens = self._state.sessions, self._state.refresh_tokens
        old = [session.id for session in sessions.values() if session.expires_at < before][:limit]
        for session_id in old:
            del sessions[session_id]
        for token in [token for token in tokens.values() if token.session_id not in sessions]:
            del tokens[token.hash]
        expired = [token.hash for token in tokens.values() if token.expires_at < before][: limit - len(old)]
        for token_hash in expired:
            del tokens[token_hash]
        return len(old) + len(expired)


class FakeApiKeys(Repository):
    async def add(self, key: ApiKey) -> None:
        self._state.api_keys[key.id] = key

    async def count(self, user_id: UserId) -> int:
        return len([key for key in self._alive() if key.user_id == user_id])

    async def by_prefixes(self, prefixes: Collection[str]) -> Mapping[str, tuple[ApiKey, User]]:
        found = [key for key in self._alive() if key.prefix in prefixes]
        return {key.prefix: (key, self._state.users[key.user_id]) for key in found}

    async def page(self, principal: Principal, request: PageRequest, *, user_id: UserId | None) -> Page[ApiKey]:
        seen = [key for key in self._alive() if _may_see(principal, key) and user_id in {None, key.user_id}]
        return page_of(seen, request)

    async def end(self, principal: Principal, key_id: ApiKeyId, at: datetime) -> ApiKey | None:
        key = next((key for key in self._alive() if key.id == key_id and _may_see(principal, key)), None)
        if key is None:
            return None
        self._state.revoked.add(key_id)
        self._state.api_keys[key_id] = replace(key, ended_at=at)
        return self._state.api_keys[key_id]

    async def end_all(self, user_id: UserId, at: datetime) -> None:
        for key in self._alive():
            if key.user_id == user_id:
                await self.end(Principal(user_id, Role.BUYER), key.id, at)

    async def note_uses(self, ids: Sequence[ApiKeyId], at: datetime) -> None:
        for key_id in ids:
            self._state.api_keys[key_id] = replace(self._state.api_keys[key_id], last_used_at=at)

    def _alive(self) -> list[ApiKey]:
        return [key for key in self._state.api_keys.values() if key.ended_at is None]


class FakeRevocations(Repository):
    """Without a clock: everything is recent, and old at once when it is to be pruned."""

    async def recent(self, within_s: float, *, after: UUID | None, limit: int) -> Sequence[UUID]:
        return [found for found in sorted(self._state.revoked) if after is None or found > after][:limit]

    async def prune(self, older_than_s: float, *, limit: int) -> int:
        return 0


def _may_see(principal: Principal, key: ApiKey) -> bool:
    return principal.role is Role.ADMIN or principal.user_id == key.user_id
