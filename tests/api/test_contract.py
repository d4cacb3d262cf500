"""The API keeps what `/openapi.json` promises, to whatever a machine thinks of that has read it (Schemathesis).

`MARKETFLOW_CONTRACT_EXAMPLES` lets it think for longer than CI does.
"""

import asyncio
import contextlib
import json
import os
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import hypothesis
import pytest
import schemathesis
from schemathesis import Case, GenerationMode, Response
from schemathesis.checks import CHECKS, load_all_checks
from schemathesis.core.failures import FailureGroup

from db.unit_of_work import Database
from domain.events import event
from domain.identity.model import Role, User
from ops.settings import Settings
from tests.api.test_hostile_clients import Server, free_port, serving
from tests.builders import NOW, Shop

TokenOf = Callable[[User | Role], dict[str, str]]
Document = dict[str, Any]
Answered = Counter[tuple[str, int]]

EXAMPLES = int(os.environ.get("MARKETFLOW_CONTRACT_EXAMPLES", "40"))
EACH = max(1, EXAMPLES // 10)
STEPS = 12
FILES = 4_096
TIMEOUT_S = 60
TOO_LONG = {413, 414}
STREAM = "/v1/events"
PRODUCT = "/v1/products/{product_id}"
SUSPENSION = "/v1/users/{user_id}/suspension"
LOGOUT = "DELETE /v1/tokens"
CALLERS = {"catalog": "seller", "sellers": "seller", "finance": "finance"}

# How a request is refused for its form, of which the document tells all. What else it may be refused for, and what
# our own validators say in words of their own, no schema could say: which of two times is the earlier one, for
# example, or which fields go together.
FORM = {
    "json_invalid",
    "media_type_unsupported",
    "body_too_large",
    "idempotency_key_missing",
    "idempotency_key_invalid",
}
OWN_WORDS = "Value error, "


@pytest.fixture(scope="module")
async def server(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    var = tmp_path_factory.mktemp("contract")
    async with serving(settings, "api.main:create()", free_port(), var, FILES) as server:
        yield server


@pytest.fixture
async def document(server: Server) -> Document:
    request = b"GET /openapi.json HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    described: Document = json.loads((await server.exchange(request)).partition(b"\r\n\r\n")[2])
    return described


@pytest.fixture
async def tokens(token_of: TokenOf, shop: Shop, database: Database) -> dict[str, dict[str, str]]:
    """Of a buyer to whom something has happened, a seller with a product, and others."""
    async with database.begin() as tx:
        await tx.events.append([event("test.happened", shop.buyer.id, NOW, audience=[shop.buyer.id])])
        await tx.commit()
    callers: dict[str, User | Role] = {"buyer": shop.buyer, "seller": shop.seller, "finance": Role.FINANCE}
    callers |= {"admin": Role.ADMIN, "leaving": Role.BUYER}
    return {name: token_of(caller) for name, caller in callers.items()}


def opened(document: Document, server: Server) -> schemathesis.BaseSchema:
    load_all_checks()
    schema = schemathesis.openapi.from_dict(document)
    # Of the stream, which ends with its client alone, the first words are read.
    schema.config.update(base_url=f"http://127.0.0.1:{server.port}")
    schema.config.max_stream_events = 1
    # A good token is sent with each request, so that it is not refused for a bad one. NUL, which no text may hold,
    # is refused in the words of whatever else the value might have been.
    schema.config.generation.update(with_security_parameters=False, allow_x00=False)
    return schema


def headers_of(case: Case, tokens: dict[str, dict[str, str]]) -> dict[str, str]:
    (tag, *_) = case.operation.tags
    by_operation = {LOGOUT: "leaving", "POST /v1/users/me/password": "buyer"}
    role = "admin" if case.operation.path.startswith("/v1/users") else CALLERS.get(tag, "buyer")
    return tokens[by_operation.get(case.operation.label, role)]


def whole(value: Any) -> Any:
    """Write 1.0 as 1. They are one number to JSON Schema, and to us one of them is not how a cent is written."""
    match value:
        case float() if value.is_integer():
            return int(value)
        case list():
            return [whole(item) for item in value]
        case dict():
            return {name: whole(item) for name, item in value.items()}
        case _:
            return value


def check(case: Case, response: Response, **more: Any) -> None:
    """Hold an answer to the document.

    Schemathesis' own check of what is to be accepted knows no reasons, so refusals are read here.
    """
    left_out = {"positive_data_acceptance"}
    if response.status_code in TOO_LONG:
        # They say no all the same; the check knows of no such words.
        left_out.add("negative_data_rejection")
    if case.operation.path == PRODUCT:
        # One that is withdrawn is there for its seller, who made it.
        left_out.add("use_after_free")
    if case.method.upper() == "DELETE":
        # It may be gone before: that is no fault of an answer.
        left_out.add("ensure_resource_availability")
    checks = [CHECKS.get_one(name) for name in CHECKS.get_all_names() if name not in left_out]
    case.validate_response(response, checks=checks, **more)
    if is_good(case) and response.status_code in {400, 413, 415, 422}:
        assert list(faults_of_form(response.json())) == [], case.as_curl_command()


def is_good(case: Case) -> bool:
    """Whether the request keeps to the document."""
    return case.meta is not None and case.meta.generation.mode.is_positive


def faults_of_form(problem: dict[str, Any]) -> Iterator[str]:
    """Yield for which faults of its form a request was refused."""
    if problem["code"] == "fields_invalid":
        yield from (error["message"] for error in problem["errors"] if not error["message"].startswith(OWN_WORDS))
    elif problem["code"] in FORM:
        yield problem["code"]


def thinking(examples: int, **more: Any) -> hypothesis.settings:
    return hypothesis.settings(
        max_examples=examples,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
        **more,
    )


async def test_nothing_that_the_document_allows_breaks_it(
    server: Server, document: Document, tokens: dict[str, dict[str, str]]
) -> None:
    """Each operation takes what the document allows, and refuses what it does not."""

    def run() -> tuple[Answered, list[str]]:
        return try_each_operation(opened(document, server), tokens)

    answered, broken = await asyncio.to_thread(run)

    assert broken == []
    operations = {f"{method.upper()} {path}" for path, methods in document["paths"].items() for method in methods}
    assert {label for label, _ in answered} == operations
    assert await server.is_serving(tokens["buyer"])


def try_each_operation(
    schema: schemathesis.BaseSchema, tokens: dict[str, dict[str, str]]
) -> tuple[Answered, list[str]]:
    answered, broken = Answered(), []
    for found in schema.get_all_operations():
        operation = found.ok()
        for mode in GenerationMode:

            @thinking(EACH)
            @hypothesis.given(case=operation.as_strategy(generation_mode=mode))
            def try_it(case: Case) -> None:
                case.body = whole(case.body)
                headers = headers_of(case, tokens)
                if is_good(case) and case.operation.path == STREAM:
                    # From now on nothing happens to the buyer; something did.
                    headers = {**headers, "Last-Event-ID": "0"}
                response = case.call(headers=headers, timeout=TIMEOUT_S)
                answered[case.operation.label, response.status_code] += 1
                check(case, response, headers=headers)

            try:
                try_it()
            except hypothesis.errors.Unsatisfiable:
                # Without parameters and body there is nothing to do wrong; nor with a body of whatever kind.
                assert mode.is_negative, operation.label
            except (AssertionError, FailureGroup) as error:
                parts = error.exceptions if isinstance(error, FailureGroup) else [error]
                broken += [f"{operation.label}: {part}" for part in parts]
    return answered, broken


async def test_what_one_request_makes_others_can_use_until_it_is_gone(
    server: Server, document: Document, tokens: dict[str, dict[str, str]]
) -> None:
    """Sequences of requests, along the links by which one answer fills in the next request."""

    def run() -> Answered:
        # Whoever is suspended might be one of those who call, whose keys and sessions end with that.
        paths = {path: methods for path, methods in document["paths"].items() if path != SUSPENSION}
        return follow_links(opened({**document, "paths": paths}, server), tokens)

    answered = await asyncio.to_thread(run)

    assert answered.total() > EXAMPLES
    assert await server.is_serving(tokens["buyer"])
    followed = {label for label, status in answered if "{" in label and status < 300}
    assert len(followed) >= 3, answered
    assert any(label.startswith("DELETE") for label in followed), answered


def follow_links(schema: schemathesis.BaseSchema, tokens: dict[str, dict[str, str]]) -> Answered:
    """Let sequences of requests run, each of which may use what an earlier one made; count the statuses."""
    answered = Answered()

    class Client(schema.as_state_machine()):  # type: ignore[misc]  # it is made from the document
        def get_call_kwargs(self, case: Case) -> dict[str, Any]:
            return {"headers": headers_of(case, tokens), "timeout": TIMEOUT_S}

        def before_call(self, case: Case) -> None:
            case.body = whole(case.body)

        def validate_response(self, response: Response, case: Case, **more: Any) -> None:
            answered[case.operation.label, response.status_code] += 1
            check(case, response, recorder=self.recorder)

    # Each sequence begins anew. What one of them did changes the answers to the next, which Hypothesis, where it
    # knows of both, would take for a mistake; that the first of two is always the shortest, it does not change.
    for number in range(EXAMPLES // 2):
        with contextlib.suppress(hypothesis.errors.FlakyStrategyDefinition):
            hypothesis.seed(number)(Client).run(settings=thinking(2, stateful_step_count=STEPS))
    return answered
