"""How answers are written."""

from http import HTTPStatus

from falcon.asgi import Response
from pydantic import BaseModel


def render(resp: Response, answer: BaseModel, status: HTTPStatus = HTTPStatus.OK) -> None:
    """Write an answer as JSON."""
    resp.status = int(status)
    resp.content_type = "application/json"
    resp.data = answer.model_dump_json().encode()


def render_accepted(
    resp: Response, answer: BaseModel, status: HTTPStatus, *, location: str, replayed: bool
) -> None:
    """Write the answer of an idempotent request: the same status and Location, however often it is sent."""
    render(resp, answer, status)
    resp.set_header("Location", location)
    if replayed:
        resp.set_header("Idempotent-Replayed", "true")
