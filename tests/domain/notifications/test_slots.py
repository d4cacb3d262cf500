"""Who gets the slots of a process, and who is told when one becomes free."""

from typing import Any

import pytest

from domain.ids import UserId, uuid7
from domain.notifications.model import DeliveryPolicy, WebhookEndpoint
from domain.notifications.slots import Slots
from tests.builders import NOW, a_leased_delivery, an_endpoint


@pytest.fixture
def slots() -> Slots:
    """Eight slots: four for all that fail together, two for an owner, three for an endpoint."""
    return Slots(DeliveryPolicy(slots=8, per_endpoint=3))


def failing(**changes: Any) -> WebhookEndpoint:
    return an_endpoint(failures=3, failing_since=NOW, **changes)


def of_one_owner(count: int) -> list[WebhookEndpoint]:
    owner_id = UserId(uuid7())
    return [an_endpoint(owner_id) for _ in range(count)]


def test_slots_are_free_again_one_by_one(slots: Slots) -> None:
    endpoint = an_endpoint()
    for _ in range(2):
        slots.take(endpoint)
    assert slots.free == 6

    slots.give_back(endpoint)
    assert slots.free == 7
    slots.give_back(endpoint)
    assert slots.free == 8


def test_those_that_fail_get_half_of_the_slots_with_what_they_have(slots: Slots) -> None:
    others = [failing() for _ in range(5)]
    for _ in range(3):
        slots.take(failing())
    assert len(slots.rooms(others, NOW)) == 1

    last = failing()
    slots.take(last)
    assert slots.rooms(others, NOW) == {}
    slots.give_back(last)
    assert set(slots.rooms(others, NOW).values()) == {1}


def test_slots_of_those_that_answer_are_not_taken_off_those_that_fail(slots: Slots) -> None:
    well = [an_endpoint() for _ in range(4)]
    others = [failing() for _ in range(5)]
    for endpoint in well:
        slots.take(endpoint)
    assert len(slots.rooms(others, NOW)) == 4

    for endpoint in well:
        slots.give_back(endpoint)
    assert len(slots.rooms(others, NOW)) == 4


def test_last_slot_of_an_owner_goes_to_the_endpoint_that_has_fewest_and_the_other_waits(slots: Slots) -> None:
    busy, idle = of_one_owner(2)
    for _ in range(2):
        slots.take(busy)

    assert slots.rooms([busy, idle], NOW) == {idle.id: 1}

    assert slots.give_back(busy) == {busy.id}


@pytest.mark.parametrize(("elsewhere", "waits"), [(2, True), (1, False)])
def test_endpoint_that_has_all_its_room_waits_whichever_process_took_it(
    slots: Slots, elsewhere: int, *, waits: bool
) -> None:
    endpoint = an_endpoint()
    rooms = slots.rooms([endpoint], NOW)
    slots.note_full(rooms, [a_leased_delivery(endpoint, busy=elsewhere)])
    slots.take(endpoint)

    assert slots.give_back(endpoint) == ({endpoint.id} if waits else set())


def test_endpoint_that_has_room_again_waits_no_longer(slots: Slots) -> None:
    endpoint = an_endpoint()
    slots.note_full({endpoint.id: 1}, [a_leased_delivery(endpoint)])

    slots.note_full({endpoint.id: 2}, [a_leased_delivery(endpoint)])
    slots.take(endpoint)

    assert slots.give_back(endpoint) == set()
