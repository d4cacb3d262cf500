from collections.abc import Iterator

import pytest

from tests.builders import Shop
from tests.domain.fakes import FakeCarts, FakeClock, Memory, RecordingAnnouncer, ScriptedGateway
from tests.event_facts import check_facts


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def announcer() -> RecordingAnnouncer:
    return RecordingAnnouncer()


@pytest.fixture
def carts() -> FakeCarts:
    return FakeCarts()


@pytest.fixture
def gateway() -> ScriptedGateway:
    return ScriptedGateway()


@pytest.fixture
def memory() -> Iterator[Memory]:
    """A database in memory; whatever a test has it tell, is told as the API describes it."""
    memory = Memory()
    yield memory
    check_facts(memory.state.events)


@pytest.fixture
async def shop(memory: Memory) -> Shop:
    return await Shop(memory.begin).open()
