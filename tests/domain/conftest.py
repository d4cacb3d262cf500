import pytest

from tests.builders import Shop
from tests.domain.fakes import FakeCarts, FakeClock, Memory, RecordingAnnouncer, ScriptedGateway


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
def memory() -> Memory:
    return Memory()


@pytest.fixture
async def shop(memory: Memory) -> Shop:
    return await Shop(memory.begin).open()
