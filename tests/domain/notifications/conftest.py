import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta

import pytest

from domain.errors import DomainError
from domain.events import event
from domain.identity.model import Principal, Role
from domain.ids import UserId, uuid7
from domain.notifications.deliveries import DeliveryService
from domain.notifications.endpoints import EndpointService
from domain.notifications.model import Delivery, DeliveryPolicy, WebhookEndpoint
from tests.builders import an_endpoint
from tests.domain.fake_outside import PlainBox, ScriptedEndpoints
from tests.domain.fakes import FakeClock, Memory, RecordingAnnouncer

URL = "https://example.com/hooks"


class FakeResolver:
    """Names lead where a test says."""

    def __init__(self) -> None:
        self.addresses: Sequence[str] = ["93.184.216.34", "2606:4700::1111"]
        self.asked: list[tuple[str, int]] = []

    async def resolve(self, host: str, port: int, *, user_id: UserId) -> Sequence[str]:
        self.asked.append((host, port))
        return self.addresses


def someone(role: Role = Role.SELLER) -> Principal:
    return Principal(UserId(uuid7()), role)


async def refusal(call: object) -> str:
    with pytest.raises(DomainError) as refused:
        await call  # type: ignore[misc]  # any coroutine
    return refused.value.code


class Desk:
    """A worker's desk: endpoints, events for them, and the service that delivers."""

    def __init__(self, memory: Memory, clock: FakeClock, policy: DeliveryPolicy) -> None:
        self.memory, self.clock, self.policy = memory, clock, policy
        self.outside, self.box = ScriptedEndpoints(), PlainBox()
        self.broken: list[BaseException] = []
        self.service = self.another_process()

    def another_process(self) -> DeliveryService:
        return DeliveryService(
            self.memory.begin,
            self.outside,
            self.box,
            self.clock,
            self.policy,
            draw=lambda: 0.5,
            on_broken=self.broken.append,
        )

    async def endpoint(self, owner_id: UserId | None = None, **changes: object) -> WebhookEndpoint:
        endpoint = an_endpoint(owner_id, **changes)
        async with self.memory.begin() as tx:
            await tx.webhook_endpoints.add(endpoint, most=100)
            await tx.commit()
        return endpoint

    async def tell(self, *endpoints: WebhookEndpoint, times: int = 1) -> None:
        """Let something happen that concerns the endpoints' owners."""
        at, audience = self.clock.now(), [endpoint.owner_id for endpoint in endpoints]
        events = [
            event("order.paid", uuid7(), at, audience=audience, by="system", reason="paid", number=number)
            for number in range(times)
        ]
        async with self.memory.begin() as tx:
            await tx.events.append(events)
            await tx.commit()

    async def work(self, *endpoints: WebhookEndpoint) -> None:
        """Name endpoints, as a message does, and let everything run that can run without waiting."""
        await self.service.process([endpoint.id for endpoint in endpoints])
        for _ in range(200):
            await asyncio.sleep(0)

    def later(self, seconds: float) -> datetime:
        return self.clock.now() + timedelta(seconds=seconds)

    def now(self, endpoint: WebhookEndpoint) -> WebhookEndpoint:
        return self.memory.state.webhook_endpoints[endpoint.id]

    def deliveries(self, endpoint: WebhookEndpoint) -> Sequence[Delivery]:
        rows = self.memory.state.deliveries.values()
        return [row.delivery for row in rows if row.delivery.endpoint_id == endpoint.id]


@pytest.fixture
def policy() -> DeliveryPolicy:
    return DeliveryPolicy(slots=8, per_endpoint=3)


@pytest.fixture
async def desk(memory: Memory, clock: FakeClock, policy: DeliveryPolicy) -> AsyncIterator[Desk]:
    desk = Desk(memory, clock, policy)
    yield desk
    desk.outside.let_answer()
    await desk.service.close()


@pytest.fixture
def resolver() -> FakeResolver:
    return FakeResolver()


@pytest.fixture
def service(
    memory: Memory, announcer: RecordingAnnouncer, resolver: FakeResolver, desk: Desk, clock: FakeClock
) -> EndpointService:
    return EndpointService(memory.begin, announcer, resolver, desk.box, clock, allow_private_targets=False)
