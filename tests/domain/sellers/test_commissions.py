"""Commissions that are agreed with a seller."""

import pytest

from domain.errors import Invalid, NotFound
from domain.ids import UserId, uuid7
from domain.sellers.commissions import CommissionService
from tests.builders import Shop
from tests.domain.fakes import FakeClock, Memory


@pytest.fixture
def commissions(memory: Memory, clock: FakeClock) -> CommissionService:
    return CommissionService(memory.begin, clock)


@pytest.mark.parametrize("commission_bps", [0, 1, 10_000, None])
async def test_commission_is_set_and_told(
    commissions: CommissionService, memory: Memory, shop: Shop, commission_bps: int | None
) -> None:
    await commissions.set(shop.seller.id, commission_bps)

    assert memory.state.rates[shop.seller.id] == commission_bps
    (told,) = memory.state.events
    assert (told.type, told.audience) == ("seller.commission_changed", (shop.seller.id,))
    assert told.data == {"commission_bps": commission_bps}


@pytest.mark.parametrize("commission_bps", [-1, 10_001])
async def test_commission_is_a_part_of_the_whole(
    commissions: CommissionService, memory: Memory, shop: Shop, commission_bps: int
) -> None:
    with pytest.raises(Invalid, match="0 to 10000"):
        await commissions.set(shop.seller.id, commission_bps)
    assert not memory.state.events


async def test_who_is_no_seller_has_no_commission(
    commissions: CommissionService, memory: Memory, shop: Shop
) -> None:
    for user_id in (shop.buyer.id, UserId(uuid7())):
        with pytest.raises(NotFound):
            await commissions.set(user_id, 100)
    assert not memory.state.events
