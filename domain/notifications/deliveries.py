"""Delivering events: fair between endpoints, so that one that is slow or dead holds up no other."""

import asyncio
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, TypeVar

from domain.batches import halving
from domain.clock import Clock
from domain.coalescer import Coalescer
from domain.errors import Refused, Unavailable
from domain.event_types import EventType
from domain.events import Event, event
from domain.following import Follow, follow_nobody
from domain.ids import UserId, WebhookEndpointId
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
from domain.transactions import Begin

_MAX_CONCLUDED = 64

Key = TypeVar("Key")


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
    """The work of the queue `deliveries`: one pool of slots a process, dealt out among the endpoints.

    A message names endpoints and returns as soon as the slots are dealt; a delivery that ends makes room for the
    next of its endpoint. An endpoint gets few slots, one when it is failing, all that fail get half of them
    together, and those of one owner a quarter, however slowly they answer; so one customer takes no slot from the
    others.
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
        """Keep the collaborators: `draw` for the jitter, and who hears of errors outside of any message."""
        self._begin = begin
        self._sender = sender
        self._box = box
        self._clock = clock
        self._policy = policy
        self._draw = draw
        self._on_broken = on_broken
        self._follow = follow
        self._named: set[WebhookEndpointId] = set()
        self._full: set[WebhookEndpointId] = set()
        self._on_their_way: Counter[WebhookEndpointId] = Counter()
        self._failing_on_their_way: Counter[WebhookEndpointId] = Counter()
        self._on_their_way_to: Counter[UserId] = Counter()
        self._crowded_out: defaultdict[UserId, set[WebhookEndpointId]] = defaultdict(set)
        self._tasks: set[asyncio.Task[None]] = set()
        self._dealing = asyncio.Lock()
        self._conclusions: Coalescer[_Sent, None] = Coalescer(self._conclude, max_batch=_MAX_CONCLUDED)
        self._is_closing = False

    async def process(self, endpoint_ids: Iterable[WebhookEndpointId]) -> None:
        """Begin to send what is due to these endpoints, as far as there are slots; safe to repeat.

        A delivery whose sending is cut off is due again when its lease ends, and goes out twice then: a receiver
        knows it by its id. Locks the endpoints, sorted.
        """
        self._named.update(endpoint_ids)
        await self._deal()

    async def close(self) -> None:
        """Take no more, and wait for what is on its way."""
        self._is_closing = True
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def _deal(self) -> None:
        async with self._dealing:
            while self._named and (free := self._free()) and not self._is_closing:
                named, self._named = self._named, set()
                sendings = await self._lease(named, free)
                for sending in sendings:
                    self._start(sending)
                if len(sendings) == free:
                    self._named |= named  # there may be more, once there are slots

    def _free(self) -> int:
        return self._policy.slots - self._on_their_way.total()

    async def _lease(self, named: set[WebhookEndpointId], free: int) -> list[_Sending]:
        now = self._clock.now()
        async with self._begin() as tx:
            endpoints = await tx.webhook_endpoints.lock(sorted(named))
            rooms = self._rooms(endpoints.values(), now)
            leased = await tx.deliveries.lease(
                rooms, now, now + timedelta(seconds=self._policy.lease_s), limit=free
            )
            await tx.commit()
        self._note_full(rooms, leased)
        return self._sendings(leased, endpoints, now)

    def _rooms(self, endpoints: Iterable[WebhookEndpoint], now: datetime) -> dict[WebhookEndpointId, int]:
        """Return how many deliveries may be on their way to each endpoint at once, from all processes."""
        ready = [
            endpoint
            for endpoint in endpoints
            if endpoint.status is EndpointStatus.ENABLED
            and (endpoint.resume_at is None or endpoint.resume_at <= now)
            and not endpoint.is_owner_suspended
        ]
        rooms = self._rooms_of_well([endpoint for endpoint in ready if not endpoint.is_failing])
        left = self._policy.slots // 2 - self._failing_on_their_way.total()
        failing = [endpoint.id for endpoint in ready if endpoint.is_failing]
        return rooms | dict.fromkeys(failing[: max(left, 0)], 1)

    def _rooms_of_well(self, endpoints: Sequence[WebhookEndpoint]) -> dict[WebhookEndpointId, int]:
        """Share each owner's slots out among its endpoints; remember whom none is left for."""
        rooms: dict[WebhookEndpointId, int] = {}
        of_owner: defaultdict[UserId, list[WebhookEndpoint]] = defaultdict(list)
        for endpoint in sorted(endpoints, key=lambda endpoint: (self._on_their_way[endpoint.id], endpoint.id)):
            of_owner[endpoint.owner_id].append(endpoint)
        for owner_id, theirs in of_owner.items():
            left = max(self._policy.per_owner - self._on_their_way_to[owner_id], 0)
            share = max(left // len(theirs), 1)
            for endpoint in theirs[:left]:
                rooms[endpoint.id] = min(self._on_their_way[endpoint.id] + share, self._policy.per_endpoint)
            if crowded_out := {endpoint.id for endpoint in theirs[left:]}:
                self._crowded_out[owner_id] |= crowded_out
        return rooms

    def _note_full(self, rooms: Mapping[WebhookEndpointId, int], leased: Sequence[LeasedDelivery]) -> None:
        """Remember who has all the room it may have: each of its deliveries that ends makes room for another."""
        there = Counter(delivery.endpoint_id for delivery in leased)
        there.update({delivery.endpoint_id: delivery.busy for delivery in leased})
        for key, room in rooms.items():
            is_full = there.get(key, self._on_their_way[key]) >= room
            (self._full.add if is_full else self._full.discard)(key)

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
                self._on_broken(error)  # the leases end, and somebody with the key takes them
        return [
            _Sending(delivery, endpoints[delivery.endpoint_id], keys[delivery.endpoint_id])
            for delivery in leased
            if delivery.endpoint_id in keys
        ]

    def _start(self, sending: _Sending) -> None:
        key = sending.endpoint.id
        self._on_their_way[key] += 1
        self._on_their_way_to[sending.endpoint.owner_id] += 1
        if sending.endpoint.is_failing:
            self._failing_on_their_way[key] += 1
        self._in_background(self._deliver(sending))

    async def _deliver(self, sending: _Sending) -> None:
        delivery, key = sending.delivery, sending.endpoint.id
        try:
            body, now = render(delivery), self._clock.now()
            headers = signed_headers(str(delivery.event_id), body, sending.keys, now)
            with self._follow(delivery):
                answer = await self._send(sending.endpoint.url, headers, body)
            await self._conclusions.submit(_Sent(delivery, answer, self._clock.now()))
        finally:
            _count_down(self._on_their_way, key)
            _count_down(self._on_their_way_to, sending.endpoint.owner_id)
            self._named |= self._crowded_out.pop(sending.endpoint.owner_id, set())
            if sending.endpoint.is_failing:
                _count_down(self._failing_on_their_way, key)
            if key in self._full:
                self._named.add(key)
            if self._named:
                self._in_background(self._deal())

    async def _send(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Send once. An error of ours is an end as well, or the delivery would come again and again for ever."""
        try:
            return await self._sender.send(url, headers, body)
        except Exception as error:  # noqa: BLE001 - whatever it is, the schedule holds
            self._on_broken(error)
            return Unanswered("sender_failed", 0)

    async def _conclude(self, sent: Sequence[_Sent]) -> list[None]:
        return await halving(sent, self._apply, self._conclude_wordless)

    async def _conclude_wordless(self, sent: _Sent, refused: Refused) -> None:
        """Keep nothing of an answer that the database does not take: the delivery is over all the same."""
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


def _count_down(counter: Counter[Key], key: Key) -> None:
    counter[key] -= 1
    if not counter[key]:
        del counter[key]


def _disabled(endpoint: WebhookEndpoint) -> Event:
    return event(
        EventType.WEBHOOK_ENDPOINT_DISABLED,
        endpoint.id,
        endpoint.updated_at,
        audience=[endpoint.owner_id],
        url=endpoint.url,
        reason=endpoint.disabled_reason,
    )
