"""The JSON of the control API."""

import json
from typing import Any

import falcon
import falcon.asgi

from ops.stripe_sandbox.objects import View

Request = falcon.asgi.Request
Response = falcon.asgi.Response
_LONGEST_BODY = 65_536


async def read_body(req: Request) -> Any:
    """Return the JSON of a request."""
    raw = await req.stream.read(_LONGEST_BODY + 1)
    if len(raw) > _LONGEST_BODY:
        raise falcon.HTTPContentTooLarge
    try:
        return json.loads(raw, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise falcon.HTTPBadRequest(title="Not JSON", description=str(error)) from error


async def read_fields(req: Request, known: set[str]) -> dict[str, Any]:
    """Return the object of a request, which may have the known fields alone."""
    body = await read_body(req)
    if not isinstance(body, dict) or body.keys() - known:
        raise unprocessable(f"the body must be an object with no other fields than {', '.join(sorted(known))}")
    return body


def unprocessable(message: str) -> falcon.HTTPUnprocessableEntity:
    """Refuse a body that is JSON, but makes no sense."""
    return falcon.HTTPUnprocessableEntity(title="Refused", description=message)


def show(resp: Response, view: View) -> None:
    """Answer with an object."""
    resp.content_type = falcon.MEDIA_JSON
    resp.text = view.encode()


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a number of JSON")
