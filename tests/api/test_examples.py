"""What the document shows of users, goods, money, webhooks and events is what the server takes and gives."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator, FormatChecker

from api.client.events import EventStream
from api.client.sending import Retry
from api.schemas import EventAnswer
from api.webhooks.payloads import PAYLOADS
from tests.api.operations import CALLS, Call

RESULTS = [call for call in CALLS if call.operation.tag == "results"]
SHOP = {"identity", "catalog", "cart", "orders", "payments", "sellers"}
TRADE = [call for call in CALLS if call.operation.tag in SHOP]


@pytest.fixture
async def document(api: httpx.AsyncClient) -> dict[str, Any]:
    described: dict[str, Any] = (await api.get("/openapi.json")).json()
    return described


def models_of(call: Call) -> Iterator[Any]:
    for model in (call.operation.body, call.operation.answer):
        if model is not None:
            yield model


@pytest.mark.parametrize("call", RESULTS, ids=str)
def test_bodies_and_answers_of_results_have_examples_that_hold(document: dict[str, Any], call: Call) -> None:
    for model in models_of(call):
        # A page is shown by its rows.
        is_page = {"data", "next_cursor"} <= model.model_fields.keys()
        row = model.model_fields["data"].annotation.__args__[0] if is_page else model
        examples = document["components"]["schemas"][row.__name__]["examples"]
        assert examples
        for example in examples:
            row.model_validate_json(json.dumps(example))
            assert set(example) <= set(row.model_fields)


@pytest.mark.parametrize("call", TRADE, ids=str)
def test_bodies_and_answers_of_trade_have_examples_that_hold(document: dict[str, Any], call: Call) -> None:
    for model in models_of(call):
        # A list is shown by its rows.
        row = model.model_fields["data"].annotation.__args__[0] if "data" in model.model_fields else model
        schema = {"$ref": f"#/components/schemas/{row.__name__}", "components": document["components"]}
        described = document["components"]["schemas"][row.__name__]
        assert described["examples"]
        for example in described["examples"]:
            if row is call.operation.body:
                row.model_validate_json(json.dumps(example))
            Draft202012Validator(schema, format_checker=FormatChecker()).validate(example)
            assert set(example) <= set(described["properties"])


@pytest.mark.parametrize("event_type", PAYLOADS)
def test_each_webhook_has_an_example_that_holds(document: dict[str, Any], event_type: str) -> None:
    content = document["webhooks"][event_type]["post"]["requestBody"]["content"]["application/json"]

    payload = PAYLOADS[event_type].model_validate_json(json.dumps(content["example"]), strict=True)

    assert payload.type == event_type
    assert not payload.data.model_extra


async def test_stream_is_shown_as_the_client_reads_it(document: dict[str, Any]) -> None:
    content = document["paths"]["/v1/events"]["get"]["responses"]["200"]["content"]["text/event-stream"]

    async def connect(_: Any) -> httpx.Response:
        return httpx.Response(200, text=content["example"])

    async with EventStream(connect, Retry(), after=None) as stream:
        event = await anext(stream)

    EventAnswer.model_validate_json(json.dumps(event))
    assert (event["type"], stream.position) == ("payment.succeeded", "4715")


def test_no_two_models_share_a_name(document: dict[str, Any]) -> None:
    """pydantic would put the paths of their modules before it, which concern no client."""
    assert [name for name in document["components"]["schemas"] if "__" in name] == []
