"""Who may do what: one row for each route, and no route without a row."""

import re
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import httpx
import pytest

from domain.identity.model import Role, User
from tests.api.operations import CALLS, Call, assert_problem
from tests.api.world import CALLERS, ID, World
from tests.builders import Shop

TokenOf = Callable[[User | Role], dict[str, str]]

# What each caller is answered: `ok` is any success, a figure is that status. Objects belong to `buyer` and
# `seller` (tests/api/world.py); the others of the same role are strangers to them. One cell stands for all, with
# and without a token. A new route wants a line here, and its id, if it is of a new kind, one in `world.OBJECTS`.
TABLE = """
route                                           nobody  buyer  other  seller  other  finance  admin
POST /v1/users                                  ok
GET /v1/users                                   401     403    403    403     403    403      ok
GET /v1/users/{user_id:uuid}                    401     ok     404    404     404    404      ok
POST /v1/users/me/password                      401     ok     ok     ok      ok     ok       ok
POST /v1/users/{user_id:uuid}/suspension        401     403    403    403     403    403      ok
DELETE /v1/users/{user_id:uuid}/suspension      401     403    403    403     403    403      ok
POST /v1/tokens                                 401
POST /v1/tokens/refresh                         401
DELETE /v1/tokens                               401     ok     ok     ok      ok     ok       ok
POST /v1/api-keys                               401     ok     ok     ok      ok     ok       ok
GET /v1/api-keys                                401     ok     ok     ok      ok     ok       ok
DELETE /v1/api-keys/{key_id:uuid}               401     ok     404    404     404    404      ok
POST /v1/products                               401     403    403    ok      ok     403      403
GET /v1/products                                ok
GET /v1/products/{product_id:uuid}              ok
PATCH /v1/products/{product_id:uuid}            401     403    403    ok      404    403      403
DELETE /v1/products/{product_id:uuid}           401     403    403    ok      404    403      403
GET /v1/cart                                    401     ok     ok     403     403    403      403
DELETE /v1/cart                                 401     ok     ok     403     403    403      403
PUT /v1/cart/items/{product_id:uuid}            401     ok     ok     403     403    403      403
DELETE /v1/cart/items/{product_id:uuid}         401     ok     ok     403     403    403      403
POST /v1/orders                                 401     ok     ok     403     403    403      403
GET /v1/orders                                  401     ok     ok     ok      ok     ok       ok
GET /v1/orders/{order_id:uuid}                  401     ok     404    ok      404    ok       ok
POST /v1/orders/{order_id:uuid}/shipments       401     403    403    409     404    403      403
POST /v1/orders/{order_id:uuid}/completion      401     409    404    403     403    403      403
POST /v1/orders/{order_id:uuid}/cancellation    401     ok     404    403     403    403      403
POST /v1/payments                               401     ok     404    403     403    403      403
GET /v1/payments                                401     ok     ok     ok      ok     ok       ok
GET /v1/payments/{payment_id:uuid}              401     ok     404    ok      404    ok       ok
GET /v1/payments/{payment_id:uuid}/events       401     ok     404    ok      404    ok       ok
POST /v1/payments/{payment_id:uuid}/capture     401     403    404    409     404    409      403
POST /v1/payments/{payment_id:uuid}/cancellation 401    ok     404    ok      404    ok       403
GET /v1/payments/{payment_id:uuid}/refunds      401     ok     404    ok      404    ok       ok
POST /v1/payments/{payment_id:uuid}/refunds     401     409    404    409     404    409      403
GET /v1/refunds/{refund_id:uuid}                401     ok     404    ok      404    ok       ok
GET /v1/disputes                                401     403    403    ok      ok     ok       ok
GET /v1/disputes/{dispute_id:uuid}              401     403    403    ok      404    ok       ok
GET /v1/sellers/me                              401     403    403    ok      ok     403      403
GET /v1/sellers/me/statement                    401     403    403    ok      ok     422      403
POST /v1/payouts                                401     403    403    409     409    403      403
GET /v1/payouts                                 401     403    403    ok      ok     ok       ok
GET /v1/payouts/{payout_id:uuid}                401     403    403    ok      404    ok       ok
GET /v1/sellers/me/balance                      401     403    403    ok      ok     403      403
POST /v1/sellers/me/onboarding                  401     403    403    ok      ok     403      403
GET /v1/events                                  401     ok     ok     ok      ok     ok       ok
POST /v1/webhook-endpoints                      401     ok     ok     ok      ok     ok       ok
GET /v1/webhook-endpoints                       401     ok     ok     ok      ok     ok       ok
GET /v1/webhook-endpoints/{endpoint_id:uuid}    401     ok     404    404     404    404      ok
DELETE /v1/webhook-endpoints/{endpoint_id:uuid} 401     ok     404    404     404    404      ok
POST /v1/webhook-endpoints/{endpoint_id:uuid}/secret        401  ok  404  404  404  404  ok
POST /v1/webhook-endpoints/{endpoint_id:uuid}/activation    401  ok  404  404  404  404  ok
GET /v1/webhook-endpoints/{endpoint_id:uuid}/deliveries     401  ok  404  404  404  404  ok
POST /v1/webhook-endpoints/{endpoint_id:uuid}/redeliveries  401  ok  404  404  404  404  ok
POST /v1/deliveries/{delivery_id:uuid}/retry    401     ok     404    404     404    404      ok
POST /v1/webhooks/stripe                        400
GET /v1/ledger/accounts                         401     403    403    403     403    ok       403
GET /v1/ledger/accounts/{account}/entries       401     403    403    403     403    ok       403
GET /v1/ledger/journals/{journal_id:uuid}       401     403    403    403     403    ok       403
GET /v1/ledger/trial-balance                    401     403    403    403     403    ok       403
GET /v1/trace/{any_id}                          401     403    403    403     403    ok       403
POST /v1/reconciliations                       401     403    403    403     403    ok       403
GET /v1/reconciliations                         401     403    403    403     403    ok       403
GET /v1/reconciliations/{run_id:uuid}           401     403    403    403     403    ok       403
GET /v1/reconciliations/{run_id:uuid}/exceptions 401    403    403    403     403    ok       403
POST /v1/reconciliations/{run_id:uuid}/exceptions/{exception_id:uuid}/resolution 401 403 403 403 403 ok 403
GET /health/live                                ok
GET /health/ready                               ok
GET /metrics                                    ok
GET /openapi.json                               ok
GET /docs                                       ok
"""
MATRIX = {f"{method} {template}": cells for method, template, *cells in map(str.split, TABLE.splitlines()[2:])}


def cells(call: Call) -> list[str]:
    """The expected answers in the order of the callers."""
    answers = MATRIX.get(str(call), [])
    return answers * len(CALLERS) if len(answers) == 1 else answers


CELLS = [
    pytest.param(call, caller, expected, id=f"{call} as {caller}")
    for call in CALLS
    for caller, expected in zip(CALLERS, cells(call), strict=False)
]


def test_every_route_has_a_row_and_every_row_a_route() -> None:
    assert {str(call): len(cells(call)) for call in CALLS} == dict.fromkeys(MATRIX, len(CALLERS))


def test_public_operations_alone_answer_nobody() -> None:
    assert {str(call) for call in CALLS if len(MATRIX[str(call)]) == 1} == {
        str(call) for call in CALLS if call.operation.public
    }


@pytest.fixture
async def world(shop: Shop) -> World:
    return await World.create(shop)


async def send(
    api: httpx.AsyncClient, call: Call, path: str, body: object, token: dict[str, str]
) -> httpx.Response:
    key = {"Idempotency-Key": uuid4().hex} if call.operation.idempotent else {}
    content = {"json": body} if body is not None else {}
    return await api.request(call.method, path, headers={**call.headers, **token, **key}, **content)


@pytest.mark.parametrize(("call", "caller", "expected"), CELLS)
async def test_caller_is_answered_as_the_matrix_says(
    api: httpx.AsyncClient, token_of: TokenOf, world: World, call: Call, caller: str, expected: str
) -> None:
    token = token_of(world.callers[caller]) if caller in world.callers else {}

    answer = await send(api, call, await world.path(call), await world.body(call.body), token)

    if expected == "ok":
        assert answer.is_success, answer.text
        return
    problem = assert_problem(answer, int(expected))
    if expected == "404":
        # What belongs to others looks like what is not there, or its id would tell that it exists.
        missing = assert_problem(await send(api, call, call.path, call.body, token), 404)
        assert (problem["code"], problem["detail"]) == (missing["code"], missing["detail"])
        assert problem["code"].endswith("_not_found"), problem
    if expected == "401" and not call.operation.public:
        assert problem["code"] == "token_missing"
    if expected == "403":
        assert problem["code"] == "role_not_allowed"


def lists() -> Iterator[Any]:
    """Each private list, its objects' name in paths, who may read it, and whether that caller may have one."""
    for call in CALLS:
        inside = re.compile(rf"(?:GET|DELETE) {re.escape(call.template)}/{{(\w+):uuid}}")
        row = next((row for row in MATRIX if inside.fullmatch(row)), None)
        if call.method != "GET" or call.operation.public or row is None:
            continue
        name = ID.findall(row)[0]
        for caller, seen, had in zip(CALLERS, MATRIX[str(call)], MATRIX[row], strict=True):
            if seen == "ok":
                yield pytest.param(call, name, caller, had == "ok", id=f"{call} as {caller}")


@pytest.mark.parametrize(("call", "name", "caller", "may_have"), list(lists()))
async def test_list_holds_what_its_reader_may_have_and_nothing_else(
    api: httpx.AsyncClient, token_of: TokenOf, world: World, call: Call, name: str, caller: str, *, may_have: bool
) -> None:
    object_id = await world.id(name)

    answer = await api.get(f"{call.path}?limit=100", headers=token_of(world.callers[caller]))

    # It is the newest of its kind, and so on the first page of whoever sees all.
    assert (object_id in [found["id"] for found in answer.json()["data"]]) is may_have
