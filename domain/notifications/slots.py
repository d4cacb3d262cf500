"""How a process deals its slots out among endpoints, so that one that is slow or dead holds up no other."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import TypeVar

from domain.ids import UserId, WebhookEndpointId
from domain.notifications.model import DeliveryPolicy, EndpointStatus, LeasedDelivery, WebhookEndpoint

Key = TypeVar("Key")


class Slots:
    """The slots of a process, each for a delivery on its way, and who may have the free ones.

    An endpoint gets few slots, and one while it is failing. All that fail get half of the slots together, and
    those of one owner a quarter (`per_owner`), however slowly they answer: no customer takes slots from others.
    """

    def __init__(self, policy: DeliveryPolicy) -> None:
        """Begin with all slots free."""
        self._policy = policy
        self._taken: Counter[WebhookEndpointId] = Counter()
        self._taken_by_failing: Counter[WebhookEndpointId] = Counter()
        self._taken_by_owner: Counter[UserId] = Counter()
        self._full: set[WebhookEndpointId] = set()
        self._crowded_out: defaultdict[UserId, set[WebhookEndpointId]] = defaultdict(set)

    @property
    def free(self) -> int:
        """How many slots are free."""
        return self._policy.slots - self._taken.total()

    def take(self, endpoint: WebhookEndpoint) -> None:
        """Take a slot for a delivery to an endpoint."""
        self._taken[endpoint.id] += 1
        self._taken_by_owner[endpoint.owner_id] += 1
        if endpoint.is_failing:
            self._taken_by_failing[endpoint.id] += 1

    def give_back(self, endpoint: WebhookEndpoint) -> set[WebhookEndpointId]:
        """Give back a slot that was taken for this endpoint, as it was then; return the endpoints that wait."""
        _count_down(self._taken, endpoint.id)
        _count_down(self._taken_by_owner, endpoint.owner_id)
        if endpoint.is_failing:
            _count_down(self._taken_by_failing, endpoint.id)
        waiting = self._crowded_out.pop(endpoint.owner_id, set())
        return waiting | {endpoint.id} if endpoint.id in self._full else waiting

    def rooms(self, endpoints: Iterable[WebhookEndpoint], now: datetime) -> dict[WebhookEndpointId, int]:
        """Return how many deliveries may be on their way to each endpoint at once, from all processes."""
        ready = [
            endpoint
            for endpoint in endpoints
            if endpoint.status is EndpointStatus.ENABLED
            and (endpoint.resume_at is None or endpoint.resume_at <= now)
            and not endpoint.is_owner_suspended
        ]
        rooms = self._rooms_of_well([endpoint for endpoint in ready if not endpoint.is_failing])
        left = self._policy.slots // 2 - self._taken_by_failing.total()
        failing = [endpoint.id for endpoint in ready if endpoint.is_failing]
        return rooms | dict.fromkeys(failing[: max(left, 0)], 1)

    def _rooms_of_well(self, endpoints: Sequence[WebhookEndpoint]) -> dict[WebhookEndpointId, int]:
        """Share each owner's slots out among its endpoints; remember those for which none is left."""
        rooms: dict[WebhookEndpointId, int] = {}
        of_owner: defaultdict[UserId, list[WebhookEndpoint]] = defaultdict(list)
        for endpoint in sorted(endpoints, key=lambda endpoint: (self._taken[endpoint.id], endpoint.id)):
            of_owner[endpoint.owner_id].append(endpoint)
        for owner_id, theirs in of_owner.items():
            left = max(self._policy.per_owner - self._taken_by_owner[owner_id], 0)
            share = max(left // len(theirs), 1)
            for endpoint in theirs[:left]:
                rooms[endpoint.id] = min(self._taken[endpoint.id] + share, self._policy.per_endpoint)
            if crowded_out := {endpoint.id for endpoint in theirs[left:]}:
                self._crowded_out[owner_id] |= crowded_out
        return rooms

    def note_full(self, rooms: Mapping[WebhookEndpointId, int], leased: Sequence[LeasedDelivery]) -> None:
        """Remember which endpoints have all the room they may have, once `leased` are on their way too."""
        there = Counter(delivery.endpoint_id for delivery in leased)
        there.update({delivery.endpoint_id: delivery.busy for delivery in leased})
        for key, room in rooms.items():
            is_full = there.get(key, self._taken[key]) >= room
            (self._full.add if is_full else self._full.discard)(key)


def _count_down(counter: Counter[Key], key: Key) -> None:
    counter[key] -= 1
    if not counter[key]:
        del counter[key]
