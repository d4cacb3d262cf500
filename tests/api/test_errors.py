"""Each kind of error has one status, and no error tells more than it should."""

from collections.abc import Iterator
from http import HTTPStatus

import httpx
import pytest
import structlog
from falcon.asgi import App

from api import errors
from api.errors import STATUS_BY_KIND, BadRequest, status_of
from domain.errors import (
    Conflict,
    DomainError,
    Forbidden,
    IdempotencyMismatch,
    IllegalTransition,
    Invalid,
    NotFound,
    RateLimited,
    Refused,
    Unauthenticated,
    Unavailable,
)
from domain.settlement.inbox.signatures import SignatureInvalid

EXPECTED: list[tuple[type[DomainError], int]] = [
    (Invalid, 422),
    (IdempotencyMismatch, 422),
    (Unauthenticated, 401),
    (Forbidden, 403),
    (NotFound, 404),
    (Conflict, 409),
    (IllegalTransition, 409),
    (Refused, 409),
    (RateLimited, 429),
    (Unavailable, 503),
    (SignatureInvalid, 400),
    (DomainError, 500),
]


class Failing:
    """A resource that raises what it is given."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    async def on_get(self, req: object, resp: object) -> None:
        raise self._error


async def answer_to(error: Exception) -> httpx.Response:
    app = App()
    errors.install(app)
    app.add_route("/", Failing(error))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://api.test") as client:
        return await client.get("/")


def kinds(base: type[DomainError] = DomainError) -> Iterator[type[DomainError]]:
    for kind in base.__subclasses__():
        yield kind
        yield from kinds(kind)


@pytest.mark.parametrize(("kind", "status"), EXPECTED, ids=lambda value: getattr(value, "__name__", value))
async def test_kind_of_error_is_a_status(kind: type[DomainError], status: int) -> None:
    answer = await answer_to(kind("why it is so"))

    assert answer.status_code == status
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["code"] == kind.code


def test_no_kind_of_error_is_forgotten() -> None:
    covered = tuple(kind for kind, _ in STATUS_BY_KIND)

    assert [kind for kind in kinds() if not issubclass(kind, (*covered, BadRequest))] == []


async def test_facts_of_an_error_are_told() -> None:
    answer = await answer_to(Conflict("the order is paid", code="order_not_payable", order_status="paid"))

    assert (answer.json()["code"], answer.json()["order_status"]) == ("order_not_payable", "paid")


async def test_fact_replaces_no_member_of_a_problem() -> None:
    answer = await answer_to(
        Conflict("the order is paid", status="paid", detail="x", title="x", type="x", resp="x")
    )

    assert (answer.status_code, answer.json()["status"]) == (409, 409)
    assert answer.json()["detail"] == "the order is paid"


async def test_unavailable_says_when_to_come_back() -> None:
    assert int((await answer_to(Unavailable("out of reach"))).headers["Retry-After"]) >= 1


async def test_what_is_out_of_reach_is_told_to_the_log_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.errors._SILENCE_S", 3600)
    with structlog.testing.capture_logs() as lines:
        for _ in range(3):
            await answer_to(Unavailable("out of reach", code="unheard_of"))

    assert [(line["event"], line["code"]) for line in lines] == [("unavailable", "unheard_of")]


async def test_what_the_database_says_is_not_told() -> None:
    answer = await answer_to(Refused('violates constraint "payments_key" of relation payments'))

    assert "payments" not in answer.text


async def test_unexpected_error_leaks_nothing() -> None:
    answer = await answer_to(RuntimeError("password=hunter2 at /srv/app/secret.py"))

    assert (answer.status_code, answer.json()["code"]) == (500, "internal_error")
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert "hunter2" not in answer.text
    assert "RuntimeError" not in answer.text


def test_status_of_a_request_error_is_its_own() -> None:
    assert status_of(BadRequest(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "body_too_large", "…")) == 413
