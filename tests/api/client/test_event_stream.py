"""Following goes on through everything that breaks, without a gap and without repeating an event."""

import asyncio
import gc
import json
from collections.abc import Callable

import httpx
import pytest

from api.client import NEVER, Client, Forbidden, Unauthenticated
from tests.api.client.conftest import Body, Server, ok, problem, streaming
from tests.eventually import eventually


def event(position: int) -> str:
    return f"id: {position}\nevent: x\ndata: {json.dumps({'id': f'e{position}'})}\n\n"


def greeting(position: int) -> str:
    return f"retry: 1\nid: {position}\n\n"


async def taken(client: Client, count: int, after: str | None = None) -> tuple[list[str], str | None]:
    found: list[str] = []
    async with asyncio.timeout(30), client.events(after=after) as stream:
        async for each in stream:
            found.append(each["id"])
            if len(found) == count:
                break
        return found, stream.position


async def test_events_come_in_order_with_their_place(server: Server, client: Client) -> None:
    server.will(streaming(Body(greeting(7), event(8) + event(11), stays=True)))

    assert await taken(client, 2) == (["e8", "e11"], "11")
    assert server.headers("Last-Event-ID") == [None]
    assert server.headers("Authorization") == ["Bearer a-token"]


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x85"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
async def test_text_of_an_event_ends_no_line(server: Server, client: Client, separator: str, newline: str) -> None:
    data = json.dumps({"id": f"e{separator}id: 99{separator}data: 8"}, ensure_ascii=False)
    told = f"id: 8\nevent: x\ndata: {data}\n\n".replace("\n", newline)
    middle = told.index(separator) + 1
    server.will(streaming(Body(greeting(7), told[:middle], told[middle:], stays=True)))

    assert await taken(client, 1) == ([f"e{separator}id: 99{separator}data: 8"], "8")


@pytest.mark.parametrize(
    "broken",
    [
        lambda: Body(greeting(7), event(8)),
        lambda: Body(greeting(7), event(8), then=httpx.ReadError("cut")),
        lambda: Body(greeting(7), event(8), then=httpx.ReadTimeout("silent")),
        lambda: Body(greeting(7), event(8), event(9)[:-1]),
        lambda: Body(greeting(7), event(8), "id: 9\n", then=httpx.RemoteProtocolError("cut")),
    ],
)
async def test_broken_stream_goes_on_after_the_last_whole_event(
    server: Server, client: Client, broken: Callable[[], Body]
) -> None:
    server.will(streaming(broken()), streaming(Body(greeting(8), event(9), stays=True)))

    assert await taken(client, 2) == (["e8", "e9"], "9")
    assert server.headers("Last-Event-ID") == [None, "8"]


async def test_stream_that_breaks_before_any_event_goes_on_from_its_beginning(
    server: Server, client: Client
) -> None:
    server.will(streaming(Body(greeting(7))), streaming(Body(greeting(7), event(8), stays=True)))

    await taken(client, 1)

    assert server.headers("Last-Event-ID") == [None, "7"]


async def test_sign_of_life_moves_the_place_on(server: Server, client: Client) -> None:
    alive = ": still here\nid: 20\n\n"
    server.will(
        streaming(Body(greeting(7), event(8), alive)), streaming(Body(greeting(20), event(21), stays=True))
    )

    await taken(client, 2)

    assert server.headers("Last-Event-ID") == [None, "20"]


async def test_place_is_given(server: Server, client: Client) -> None:
    server.will(streaming(Body(event(43), stays=True)))

    assert await taken(client, 1, after="42") == (["e43"], "43")
    assert server.headers("Last-Event-ID") == ["42"]


@pytest.mark.parametrize(
    "away", [httpx.ConnectError("refused"), problem(503), problem(429, Retry_After="0"), httpx.Response(502)]
)
async def test_server_that_is_away_is_asked_again(
    server: Server, client: Client, away: httpx.Response | Exception
) -> None:
    server.will(away, away, away, streaming(Body(event(8), stays=True)))

    assert await taken(client, 1) == (["e8"], "8")


async def test_caller_who_may_not_follow_is_told(server: Server, client: Client) -> None:
    server.will(problem(403, "scope_missing"))

    with pytest.raises(Forbidden):
        await taken(client, 1)


async def test_expired_token_is_renewed(server: Server, make: Callable[..., Client]) -> None:
    client = make()
    tokens = {"access_token": "old", "refresh_token": "r1", "expires_in": 900}
    client.credentials.take(tokens)
    server.will(
        streaming(Body(greeting(7), event(8))),
        problem(401),
        ok({**tokens, "access_token": "new"}),
        streaming(Body(greeting(8), event(9), stays=True)),
    )

    assert await taken(client, 2) == (["e8", "e9"], "9")
    assert server.headers("Authorization") == ["Bearer old", "Bearer old", None, "Bearer new"]


@pytest.mark.parametrize(
    "away",
    [httpx.ConnectError("refused"), httpx.ReadTimeout("slow"), problem(503), problem(429), httpx.Response(502)],
)
async def test_server_that_is_away_when_the_token_is_due_is_asked_again(
    server: Server, make: Callable[..., Client], away: httpx.Response | Exception
) -> None:
    client = make(retry=NEVER)
    tokens = {"access_token": "old", "refresh_token": "r1", "expires_in": 0}
    client.credentials.take(tokens)
    fresh = ok({**tokens, "access_token": "new", "expires_in": 900})
    server.will(away, away, fresh, streaming(Body(greeting(7), event(8), stays=True)))

    assert await taken(client, 1) == (["e8"], "8")
    assert server.headers("Authorization") == [None, None, None, "Bearer new"]


async def test_session_that_is_over_ends_the_stream(server: Server, make: Callable[..., Client]) -> None:
    client = make()
    client.credentials.take({"access_token": "old", "refresh_token": "r1", "expires_in": 0})
    server.will(problem(401, "refresh_token_invalid"))

    with pytest.raises(Unauthenticated):
        await taken(client, 1)


async def test_stream_says_when_it_is_open(server: Server, client: Client) -> None:
    server.will(streaming(Body(greeting(7), stays=True)))
    stream = client.events()
    following = asyncio.create_task(anext(stream))

    async with asyncio.timeout(30):
        await stream.opened()

    assert stream.position == "7"
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
    await stream.aclose()


async def test_closed_stream_closes_its_connection(server: Server, client: Client) -> None:
    body = Body(greeting(7), event(8), stays=True)
    server.will(streaming(body))

    await taken(client, 1)

    await eventually(lambda: body.is_closed)


async def test_stream_that_is_left_closes_its_connection_at_once(server: Server, client: Client) -> None:
    """Not at a search for cycles, which ends what belongs together in any order, and comes when it comes."""
    body = Body(greeting(7), event(8), stays=True)
    server.will(streaming(body))
    told: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    gc.disable()
    try:
        async for _ in client.events():
            break
        await eventually(lambda: body.is_closed, deadline_s=5)
    finally:
        gc.enable()
    assert not told


async def test_who_gave_up_waiting_goes_on_where_it_stood(server: Server, client: Client) -> None:
    server.will(
        streaming(Body(greeting(7), event(8), stays=True)), streaming(Body(greeting(8), event(9), stays=True))
    )
    async with asyncio.timeout(30), client.events() as stream:
        assert (await anext(stream))["id"] == "e8"
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await anext(stream)

        assert (await anext(stream))["id"] == "e9"

    assert server.headers("Last-Event-ID") == [None, "8"]
    with pytest.raises(StopAsyncIteration):
        await anext(stream)
