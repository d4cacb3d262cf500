"""One contract for the repositories in PostgreSQL and for the fakes in memory that the domain's tests stand on."""

import pytest

from domain.identity.model import Principal, Role
from domain.ids import UserId, uuid7
from tests.builders import Begin, Shop


@pytest.fixture
async def shop(any_begin: Begin) -> Shop:
    return await Shop(any_begin).open()


@pytest.fixture
def finance() -> Principal:
    return Principal(UserId(uuid7()), Role.FINANCE)
