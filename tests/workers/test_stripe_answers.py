"""Reading what Stripe answers: a list is whole or nothing is known, and what cannot be read is said to be so."""

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import pytest
from aiohttp import web

from domain.settlement.answers import Refusal, Throttled, Unsure
from domain.settlement.stripe_objects import JsonObject
from workers.stripe_answers import read_list, read_object
from workers.stripe_calls import StripeCalls

PATH = "/v1/things"
FIRST = {"data": [{"id": "th_1"}, {"id": "th_2"}], "has_more": True}
LAST = {"data": [{"id": "th_3"}], "has_more": False}


class Pages:
    """A Stripe that has these pages, the last of them for ever, and notes what it was asked."""

    def __init__(self) -> None:
        self.pages: Sequence[Any] = [LAST]
        self.status = 200
        self.asked: list[dict[str, str]] = []

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.append(dict(request.query))
        page = self.pages[min(len(self.asked), len(self.pages)) - 1]
        return web.json_response(page, status=self.status)


@pytest.fixture
def stripe() -> Pages:
    return Pages()


@pytest.fixture
async def calls(stripe: Pages, connect: Callable[..., StripeCalls]) -> AsyncIterator[StripeCalls]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", stripe.answer)
    runner = web.AppRunner(app, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield connect(api_base=f"http://127.0.0.1:{runner.addresses[0][1]}")
    await runner.cleanup()


def name(raw: JsonObject) -> str:
    return str(raw["id"])


async def test_list_is_read_to_its_end(stripe: Pages, calls: StripeCalls) -> None:
    stripe.pages = [FIRST, LAST]

    assert await read_list(calls, PATH, {"group": "g"}, name) == ["th_1", "th_2", "th_3"]
    assert stripe.asked == [
        {"group": "g", "limit": "100"},
        {"group": "g", "limit": "100", "starting_after": "th_2"},
    ]


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"data": None, "has_more": False},
        {"data": {}, "has_more": False},
        {"data": "", "has_more": False},
        {"data": [{"id": "th_3"}]},
        {"data": [], "has_more": True},
        {"data": ["th_3"], "has_more": False},
        {"data": [{"name": "nameless"}], "has_more": False},
        {"data": 7, "has_more": False},
    ],
)
async def test_list_with_a_page_that_cannot_be_read_tells_nothing(
    stripe: Pages, calls: StripeCalls, wrong: JsonObject
) -> None:
    stripe.pages = [FIRST, wrong]

    assert isinstance(await read_list(calls, PATH, {}, name), Unsure)
    assert len(stripe.asked) == 2


async def test_list_that_does_not_end_tells_nothing(stripe: Pages, calls: StripeCalls) -> None:
    stripe.pages = [FIRST]

    assert await read_list(calls, PATH, {}, name, max_pages=3) == Unsure("the list does not end")
    assert len(stripe.asked) == 3


async def test_refused_list_is_no_refusal_of_what_was_looked_for(stripe: Pages, calls: StripeCalls) -> None:
    stripe.status = 400
    stripe.pages = [{"error": {"type": "invalid_request_error", "code": "parameter_unknown"}}]

    assert await read_list(calls, PATH, {}, name) == Unsure("the list was refused")


async def test_throttled_list_says_so(stripe: Pages, calls: StripeCalls) -> None:
    stripe.status = 429
    stripe.pages = [{"error": {"type": "invalid_request_error", "code": "rate_limit"}}]

    assert isinstance(await read_list(calls, PATH, {}, name), Throttled)


@pytest.mark.parametrize(
    "wrong", [{}, {"id": None}, {"id": "th_1", "parts": "none"}, {"id": "th_1", "parts": [1]}]
)
def test_object_that_cannot_be_read_is_unsure(wrong: JsonObject) -> None:
    def parts(raw: JsonObject) -> list[str]:
        return [raw["id"].upper(), *(each.get("id") for each in raw["parts"])]

    assert isinstance(read_object(wrong, parts), Unsure)


@pytest.mark.parametrize("answer", [Refusal("no_such_thing"), Throttled("rate limit"), Unsure("no answer")])
def test_answer_without_an_object_stays_what_it_is(answer: Refusal | Throttled | Unsure) -> None:
    assert read_object(answer, name) is answer
