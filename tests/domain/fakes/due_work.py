"""What is due, in memory."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from domain.ids import WebhookEndpointId
from domain.notifications.model import EndpointStatus
from domain.settlement.model import Backlog
from domain.work import Work
from tests.domain.fakes.notifications import is_due, is_suspended
from tests.domain.fakes.state import Due, Repository, present_of


class FakeDueWork(Repository):
    async def claim(
        self, work: Work, now: datetime, *, republish_after_s: float, limit: int
    ) -> Sequence[UUID | str]:
        rows = {key: row for key, row in self._state.due[work].items() if row.publish_at and row.publish_at <= now}
        if work is Work.DELIVERIES:
            return self._waiting_endpoints(now)[:limit]
        claimed = sorted(rows, key=lambda key: (rows[key].publish_at, key))[:limit]
        for key in claimed:
            age_s = (now - rows[key].due_at).total_seconds()
            delay_s = min(max(republish_after_s, 2 * age_s), max(republish_after_s, 300))
            rows[key].publish_at = now + timedelta(seconds=delay_s)
        return sorted(claimed, key=lambda key: (rows[key].due_at, key))

    async def give_back(self, work: Work, ids: Sequence[UUID | str], publish_at: datetime) -> None:
        for row in present_of(self._state.due[work], ids).values():
            if row.locked_until is None and row.publish_at:
                row.publish_at = min(publish_at, row.publish_at)

    async def tried(self, work: Work, ids: Sequence[UUID | str]) -> Collection[UUID | str]:
        tables: dict[Work, Mapping[Any, Any]] = {
            Work.CHARGES: self._state.payments,
            Work.REFUNDS: self._state.refunds,
            Work.PAYOUTS: self._state.payouts,
            Work.REVERSALS: self._state.reversals,
            Work.STRIPE_EVENTS: self._state.stripe_events,
            Work.ONBOARDINGS: self._state.seller_accounts,
        }
        return {row_id for row_id, row in present_of(tables[work], ids).items() if row.attempts}

    async def backlogs(self, now: datetime) -> Sequence[Backlog]:
        due = {
            work: [row.due_at for row in self._state.due[work].values() if row.publish_at and row.is_free(now)]
            for work in Work
        }
        endpoints = self._state.webhook_endpoints.values()
        well = {
            each.id
            for each in endpoints
            if each.status is EndpointStatus.ENABLED
            and not each.is_failing
            and not is_suspended(self._state, each.owner_id)
        }
        waiting = [
            row.delivery.due_at
            for row in self._state.deliveries.values()
            if is_due(row, now) and row.delivery.endpoint_id in well
        ]
        due[Work.DELIVERIES] = [at for at in waiting if at is not None]
        return [Backlog(work, len(rows), min(rows, default=None)) for work, rows in due.items()]

    async def postpone(self, work: Work, dues: Mapping[Any, datetime], now: datetime) -> None:
        for row_id, due_at in dues.items():
            if row_id in self._state.due[work] and self._state.due[work][row_id].is_free(now):
                self._state.due[work][row_id] = Due(due_at, due_at)

    def _waiting_endpoints(self, now: datetime) -> list[WebhookEndpointId]:
        waiting = {row.delivery.endpoint_id for row in self._state.deliveries.values() if is_due(row, now)}
        return [
            endpoint.id
            for endpoint in (self._state.webhook_endpoints[key] for key in waiting)
            if endpoint.status is EndpointStatus.ENABLED
            and (endpoint.resume_at is None or endpoint.resume_at <= now)
            and not is_suspended(self._state, endpoint.owner_id)
        ]
