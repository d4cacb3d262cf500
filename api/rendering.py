"""How answers are written."""

from hashlib import blake2b
from http import HTTPStatus

from falcon.asgi import Request, Response
from pydantic import BaseModel


def render(resp: Response, answer: BaseModel, status: HTTPStatus = HTTPStatus.OK) -> None:
    """Write an answer as JSON."""
    resp.status = int(status)
    resp.content_type = "application/json"
    resp.data = to_json(answer)


def render_nothing(resp: Response) -> None:
    """Answer that it is done, where there is nothing to show."""
    resp.status = int(HTTPStatus.NO_CONTENT)


def render_conditional(req: Request, resp: Response, body: bytes, tag: str) -> None:
    """Write an answer with its ETag; 304 without it when the client has that version (RFC 9110, section 13)."""
    resp.set_header("ETag", tag)
    # What is private may be kept by its client alone, and asked for again before it is used.
    resp.set_header("Cache-Control", "private, no-cache")
    if has_tag(req, tag):
        resp.status = int(HTTPStatus.NOT_MODIFIED)
        return
    resp.content_type = "application/json"
    resp.data = body


def entity_tag(body: bytes) -> str:
    """Return the ETag of an answer: a strong one, of its bytes."""
    return f'"{blake2b(body, digest_size=8).hexdigest()}"'


def has_tag(req: Request, tag: str) -> bool:
    """Tell whether the client has that version, or any (`*`); comparing is weak (RFC 9110, 13.1.2)."""
    header = req.get_header("If-None-Match")
    if header is None:
        return False
    known = {known.strip().removeprefix("W/") for known in header.split(",")}
    return tag in known or "*" in known


def to_json(answer: BaseModel) -> bytes:
    """Write what `model_dump_json` does. PERF: that makes text, which would have to be made bytes again."""
    return answer.__pydantic_serializer__.to_json(answer)


def render_accepted(
    resp: Response, answer: BaseModel, status: HTTPStatus, *, location: str, replayed: bool
) -> None:
    """Write the answer of an idempotent request: the same status and Location, however often it is sent."""
    render(resp, answer, status)
    resp.set_header("Location", location)
    if replayed:
        resp.set_header("Idempotent-Replayed", "true")
