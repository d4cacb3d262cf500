"""Delivering events: fair between endpoints, so that one that is slow or dead holds up no other."""

import asyncio
import random
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from domain.batches import halving
from domain.clock import Clock
from domain.coalescer import Coalescer
from domain.errors import Refused, Unavailable
from domain.event_types import EventType
from domain.events import Event, event
from domain.following import Follow, follow_nobody
from domain.ids import WebhookEndpointId
from domain.notifications.decide import conclude, judge
from domain.notifications.model import (
    Answer,
    DeliveryPolicy,
    EndpointStatus,
    LeasedDelivery,
    Unanswered,
    WebhookEndpoint,
)
from domain.notifications.payload import render
from domain.notifications.ports import NotificationsTransaction, SecretBox, WebhookSender
from domain.notifications.signatures import signed_headers
from domain.notifications.slots import Slots
from domain.transactions import Begin

_MAX_CONCLUDED = 64


@dataclass(frozen=True, slots=True)
class _Sending:
    """A leased delivery with where it goes and what signs it."""

    delivery: LeasedDelivery
    endpoint: WebhookEndpoint
    keys: Sequence[str]


@dataclass(frozen=True, slots=True)
class _Sent:
    """A delivery that was sent, and how it ended."""

    delivery: LeasedDelivery
    answer: Answer
    at: datetime


class DeliveryService:
    """The work of the queue `deliveries`: deliveries go out side by side, as far as `Slots` allow.

    A message names endpoints and returns as soon as their slots are dealt out; a delivery that ends makes room for
    the next one.
    """

    def __init__(
        self,
        begin: Begin[NotificationsTransaction],
        sender: WebhookSender,
        box: SecretBox,
        clock: Clock,
        policy: DeliveryPolicy,
        *,
        draw: Callable[[], float] = random.random,
        on_broken: Callable[[BaseException], None] = lambda _: None,
        follow: Follow[LeasedDelivery] = follow_nobody,
    ) -> None:
        """Keep the collaborators; `draw` is for the jitter, `on_broken` hears of errors outside any message."""
        self._begin = begin
        self._sender = sender
        self._box = box
        self._clock = clock
        self._policy = policy
        self._draw = draw
        self._on_broken = on_broken
        self._follow = follow
        self._named: set[WebhookEndpointId] = set()
        self._slots = Slots(policy)
        self._tasks: set[asyncio.Task[None]] = set()
        self._dealing = asyncio.Lock()
        self._conclusions: Coalescer[_Sent, None] = Coalescer(self._conclude, max_batch=_MAX_CONCLUDED)
        self._is_closing = False

    async def process(self, endpoint_ids: Iterable[WebhookEndpointId]) -> None:
        """Start to send what is due to these endpoints, as far as there are slots. Safe to repeat.

        A delivery that is interrupted becomes due again when its lease ends, and may go out twice: the receiver
        knows it by its id. Locks the endpoints, sorted by id. Errors: Unavailable `database_unavailable`.
        """
        self._named.update(endpoint_ids)
        await self._deal()

    async def close(self) -> None:
        """Start no more deliveries, and wait for those on their way."""
        self._is_closing = True
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def _deal(self) -> None:
        async with self._dealing:
            while self._named and (free := self._slots.free) and not self._is_closing:
                named, self._named = self._named, set()
                sendings = await self._lease(named, free)
                for sending in sendings:
                    self._start(sending)
                if len(sendings) == free:
                    self._named |= named  # more may be due, once slots are free

    async def _lease(self, named: set[WebhookEndpointId], free: int) -> list[_Sending]:
        now = self._clock.now()
        async with self._begin() as tx:
            endpoints = await tx.webhook_endpoints.lock(sorted(named))
            rooms = self._slots.rooms(endpoints.values(), now)
            leased = await tx.deliveries.lease(
                rooms, now, now + timedelta(seconds=self._policy.lease_s), limit=free
            )
            await tx.commit()
        self._slots.note_full(rooms, leased)
        return self._sendings(leased, endpoints, now)

    def _sendings(
        self,
        leased: Sequence[LeasedDelivery],
        endpoints: Mapping[WebhookEndpointId, WebhookEndpoint],
        now: datetime,
    ) -> list[_Sending]:
        keys: dict[WebhookEndpointId, Sequence[str]] = {}
        for key in {delivery.endpoint_id for delivery in leased}:
            try:
                keys[key] = [self._box.open(sealed) for sealed in endpoints[key].sealed_secrets(now)]
            except Unavailable as error:
                self._on_broken(error)  # the leases end, and a process that has the key takes them
        return [
            _Sending(delivery, endpoints[delivery.endpoint_id], keys[delivery.endpoint_id])
            for delivery in leased
            if delivery.endpoint_id in keys
        ]

    def _start(self, sending: _Sending) -> None:
        self._slots.take(sending.endpoint)
        self._in_background(self._deliver(sending))

    async def _deliver(self, sending: _Sending) -> None:
        delivery = sending.delivery
        try:
            body, now = render(delivery), self._clock.now()
            headers = signed_headers(str(delivery.event_id), body, sending.keys, now)
            with self._follow(delivery):
                answer = await self._send(sending.endpoint.url, headers, body)
            await self._conclusions.submit(_Sent(delivery, answer, self._clock.now()))
        finally:
            self._named |= self._slots.give_back(sending.endpoint)
            if self._named:
                self._in_background(self._deal())

    async def _send(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Send once. An error of ours counts as no answer; else the delivery would be repeated for ever."""
        try:
            return await self._sender.send(url, headers, body)
        except Exception as error:  # noqa: BLE001 - whatever it is, the schedule holds
            self._on_broken(error)
            return Unanswered("sender_failed", 0)

    async def _conclude(self, sent: Sequence[_Sent]) -> list[None]:
        return await halving(sent, self._apply, self._conclude_wordless)

    async def _conclude_wordless(self, sent: _Sent, refused: Refused) -> None:
        """Drop an answer that the database refuses to store; the delivery ends all the same."""
        self._on_broken(refused)
        await self._apply([replace(sent, answer=Unanswered("answer_unreadable", sent.answer.latency_ms))])

    async def _apply(self, sent: Sequence[_Sent]) -> list[None]:
        async with self._begin() as tx:
            endpoints = await tx.webhook_endpoints.lock(sorted({one.delivery.endpoint_id for one in sent}))
            judged = dict(endpoints)
            for one in sent:
                key = one.delivery.endpoint_id
                judged[key] = judge(judged[key], one.answer, one.at, self._policy)
            changed = [endpoint for key, endpoint in judged.items() if endpoint is not endpoints[key]]
            await tx.webhook_endpoints.save(changed)
            await tx.deliveries.conclude(
                [conclude(one.delivery, one.answer, one.at, self._policy, self._draw()) for one in sent]
            )
            await tx.events.append(
                [_disabled(endpoint) for endpoint in changed if endpoint.status is EndpointStatus.DISABLED]
            )
            await tx.commit()
        return [None] * len(sent)

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._on_broken(error)


def _disabled(endpoint: WebhookEndpoint) -> Event:
    return event(
        EventType.WEBHOOK_ENDPOINT_DISABLED,
        endpoint.id,
        endpoint.updated_at,
        audience=[endpoint.owner_id],
        url=endpoint.url,
        reason=endpoint.disabled_reason,
    )
