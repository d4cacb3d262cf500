"""The API keeps what `/openapi.json` promises, to whatever a machine thinks of that has read it (Schemathesis).

`MARKETFLOW_CONTRACT_EXAMPLES` lets it think for longer than CI does.
"""

import asyncio
import json
import os
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Any

import hypothesis
import pytest
import schemathesis
from schemathesis import Case, Response
from schemathesis.checks import CHECKS, load_all_checks

from domain.identity.model import Role, User
from ops.settings import Settings
from tests.api.test_hostile_clients import Server, free_port, serving
from tests.builders import Shop

TokenOf = Callable[[User | Role], dict[str, str]]

EXAMPLES = int(os.environ.get("MARKETFLOW_CONTRACT_EXAMPLES", "40"))
STEPS = 12
FILES = 4_096
# It ends with its client, and so never for one that waits for the end.
ENDLESS = "/v1/events"
LOGOUT = "DELETE /v1/tokens"
# What the schema of a request cannot say, such as which currencies there are, is refused all the same.
NOT_PROMISED = {"positive_data_acceptance", "negative_data_rejection"}
# The server's own word, before it knows of any operation.
TOO_LONG = 414
CALLERS = {"catalog": "seller", "sellers": "seller", "finance": "finance"}


@pytest.fixture
async def server(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    var = tmp_path_factory.mktemp("contract")
    async with serving(settings, "api.main:create()", free_port(), var, FILES) as server:
        yield server


async def test_nothing_that_the_document_allows_breaks_it(server: Server, token_of: TokenOf, shop: Shop) -> None:
    callers: dict[str, User | Role] = {"buyer": shop.buyer, "seller": shop.seller, "finance": Role.FINANCE}
    callers["leaving"] = Role.BUYER
    tokens = {name: token_of(caller) for name, caller in callers.items()}
    document = json.loads(
        (await server.exchange(b"GET /openapi.json HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")).partition(
            b"\r\n\r\n"
        )[2]
    )

    def run() -> Counter[int]:
        return explore(document, f"http://127.0.0.1:{server.port}", tokens)

    answered = await asyncio.to_thread(run)

    assert answered.total() > EXAMPLES
    assert {200, 201, 404, 422} <= answered.keys(), answered
    assert await server.is_serving(tokens["buyer"])


def explore(document: dict[str, Any], url: str, tokens: dict[str, dict[str, str]]) -> Counter[int]:
    """Let sequences of requests run, each of which may use what an earlier one made; count the statuses."""
    load_all_checks()
    checks = [CHECKS.get_one(name) for name in CHECKS.get_all_names() if name not in NOT_PROMISED]
    schema = schemathesis.openapi.from_dict(document).exclude(path=ENDLESS)
    schema.config.update(base_url=url)
    answered = Counter[int]()

    class Client(schema.as_state_machine()):  # type: ignore[misc]  # it is made from the document
        def get_call_kwargs(self, case: Case) -> dict[str, Any]:
            (tag, *_) = case.operation.tags
            caller = "leaving" if case.operation.label == LOGOUT else CALLERS.get(tag, "buyer")
            return {"headers": tokens[caller], "timeout": 60}

        def validate_response(self, response: Response, case: Case, **more: Any) -> None:
            answered[response.status_code] += 1
            if response.status_code != TOO_LONG:
                case.validate_response(response, checks=checks)

    Client.run(
        settings=hypothesis.settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            derandomize=True,
            database=None,
            deadline=None,
            phases=[hypothesis.Phase.generate],
            suppress_health_check=list(hypothesis.HealthCheck),
        )
    )
    return answered
