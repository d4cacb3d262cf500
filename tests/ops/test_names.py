"""A name for which no server answers costs a thread, and nobody else a moment."""

import asyncio
import socket

import pytest

from ops.names import NameLookups, TooManyLookups, TooManyLookupsForOne
from tests.dead_names import dead_names
from tests.eventually import eventually


async def test_addresses_of_a_name_are_those_of_the_system() -> None:
    found = await NameLookups(most=1).look_up("127.0.0.1", 443)

    assert [(kind, address) for kind, *_, address in found] == [(socket.AF_INET, ("127.0.0.1", 443))]


async def test_name_that_is_none_is_an_error() -> None:
    names = NameLookups(most=1)

    with pytest.raises(socket.gaierror):
        await names.look_up("no-such-host.invalid", 443)
    with pytest.raises(UnicodeError):
        await names.look_up("a" * 64 + ".example", 443)


async def test_dead_names_hold_up_neither_each_other_nor_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    names = NameLookups(most=100)
    with dead_names(monkeypatch):
        waiting = [asyncio.create_task(names.look_up(f"dead-{number}.example", 443)) for number in range(99)]
        async with asyncio.timeout(30):
            assert await names.look_up("localhost", 443)
            assert await asyncio.get_running_loop().getaddrinfo("localhost", 443)
    answers = await asyncio.gather(*waiting, return_exceptions=True)

    assert all(isinstance(answer, socket.gaierror) for answer in answers)


async def test_names_of_one_leave_room_for_those_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    names = NameLookups(most=3, most_for_one=2)
    with dead_names(monkeypatch):
        for number in range(2):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await names.look_up(f"dead-{number}.example", 443, whom="ann")
        with pytest.raises(TooManyLookupsForOne):
            await names.look_up("localhost", 443, whom="ann")
        assert await names.look_up("localhost", 443, whom="ben")

    await eventually(lambda: not names._running)
    assert await names.look_up("localhost", 443, whom="ann")


async def test_lookup_that_was_given_up_counts_until_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    names = NameLookups(most=2)
    with dead_names(monkeypatch):
        for number in range(2):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await names.look_up(f"dead-{number}.example", 443)
        with pytest.raises(TooManyLookups):
            await names.look_up("localhost", 443)

    async def there_is_room() -> bool:
        try:
            return bool(await names.look_up("localhost", 443))
        except TooManyLookups:
            return False

    await eventually(there_is_room)
