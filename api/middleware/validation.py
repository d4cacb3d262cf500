"""What is asked: reads and checks body, query and idempotency key before any responder runs."""

import json
import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import NoReturn, TypeVar

from falcon import uri
from falcon.asgi import Request, Response
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from api.errors import BadRequest
from api.operations import Operation
from api.requests import WholeRequest
from api.schemas import EmptyQuery, RequestModel
from domain.errors import Invalid, NotFound
from ops.telemetry import PAYMENT_ID

Model = TypeVar("Model", bound=BaseModel)

_MAX_KEY_CHARS = 255
_KEY = re.compile(r"[\x20-\x7e]{1,255}")
_MAX_ERRORS = 20
_MAX_COUNTED = 500
_NO_QUERY = EmptyQuery()


class _NoBody(RequestModel):
    """Nothing."""


class Validation:
    """Puts `body`, `query` and `idempotency_key` on the request's context."""

    def __init__(self, *, max_body_bytes: int) -> None:
        """Keep how many bytes a body may have."""
        self._max_body_bytes = max_body_bytes

    async def process_resource(
        self, req: Request, resp: Response, resource: object, params: dict[str, object]
    ) -> None:
        """Read and check what the operation takes. Errors: BadRequest (400, 413, 415), Invalid and NotFound."""
        operation = req.context.operation
        if operation is None:
            return
        _check_path(params)
        if (payment_id := params.get("payment_id")) is not None:
            PAYMENT_ID.set(payment_id)
        # PERF: most requests have no parameters and may have none.
        has_query = bool(req.query_string) or operation.query is not EmptyQuery
        req.context.query = _parse_query(req, operation.query) if has_query else _NO_QUERY
        if operation.idempotent:
            key = req.get_header("Idempotency-Key")
            may_miss = operation.optional_key and key is None
            req.context.idempotency_key = None if may_miss else read_idempotency_key(key)
        if operation.body is not None:
            req.context.body = await self._read_json(req, operation, operation.body)
        elif operation.raw_body:
            req.context.body = await self._read(req, operation)
        elif req.method == "POST":
            await self._read_nothing(req, operation)

    async def _read_json(self, req: Request, operation: Operation, model: type[Model]) -> Model:
        if operation.optional_body:
            body = await self._read(req, operation)
            # Many clients name a media type whether they send anything or not.
            if not body:
                return model()
            _check_media_type(req)
            return parse_json(body, model)
        _check_media_type(req)
        return parse_json(await self._read(req, operation), model)

    async def _read_nothing(self, req: Request, operation: Operation) -> None:
        """Refuse a body that would be ignored as if it had been obeyed; an empty object counts as none."""
        if body := await self._read(req, operation):
            _check_media_type(req)
            parse_json(body, _NoBody)

    async def _read(self, req: Request, operation: Operation) -> bytes:
        """Return the body, of announced length or in chunks. Errors: BadRequest (413 too large, 400 cut off)."""
        limit = operation.max_body_bytes or self._max_body_bytes
        if (req.content_length or 0) > limit:
            _refuse_size(limit)
        body = bytearray()
        async for chunk in req.stream:
            body += chunk
            if len(body) > limit:
                _refuse_size(limit)
        if isinstance(req, WholeRequest) and req.is_cut:
            raise BadRequest(HTTPStatus.BAD_REQUEST, "body_incomplete", "the body ended before its end")
        return bytes(body)


def _refuse_size(limit: int) -> NoReturn:
    raise BadRequest(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "body_too_large", f"a body may have at most {limit} bytes"
    )


def parse_json(body: bytes, model: type[Model]) -> Model:
    """Read a JSON body strictly. Errors: BadRequest `json_invalid`; Invalid `fields_invalid`, naming them.

    pydantic's parser refuses what Python's accepts: deep nesting, lone surrogates, bytes that are not UTF-8. It
    does not notice repeated names, so a second, cheap pass looks for those.
    """
    try:
        parsed = model.model_validate_json(body)
    except ValidationError as error:
        if error.error_count() == 1 and (first := error.errors(include_url=False)[0])["type"] == "json_invalid":
            raise _json_invalid(f"the body is not JSON: {first['ctx']['error']}") from None
        raise _fields_invalid(error) from None
    _NAMES.decode(body.decode())
    return parsed


def read_idempotency_key(header: str | None) -> str:
    """Return the key, quoted (a structured-field string, RFC 9651) or bare. Errors: BadRequest."""
    if header is None:
        raise BadRequest(HTTPStatus.BAD_REQUEST, "idempotency_key_missing", "the Idempotency-Key header is needed")
    key = header.strip()
    if key.startswith('"'):
        key = _unquote(key)
    if _KEY.fullmatch(key) is None:
        raise _key_invalid()
    return key


def _unquote(quoted: str) -> str:
    inner = quoted[1:-1]
    plain = inner.replace("\\\\", "").replace('\\"', "")
    if len(quoted) < len('""') or not quoted.endswith('"') or '"' in plain or "\\" in plain:
        raise _key_invalid()
    return inner.replace('\\"', '"').replace("\\\\", "\\")


def _key_invalid() -> BadRequest:
    return BadRequest(
        HTTPStatus.BAD_REQUEST,
        "idempotency_key_invalid",
        f"an Idempotency-Key has 1 to {_MAX_KEY_CHARS} printable ASCII characters",
    )


def _check_path(params: Mapping[str, object]) -> None:
    """Refuse text that PostgreSQL cannot hold: nothing can have such a name."""
    for value in params.values():
        if isinstance(value, str) and "\x00" in value:
            raise NotFound("there is nothing under this path")


def _check_media_type(req: Request) -> None:
    media_type = (req.content_type or "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise BadRequest(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "media_type_unsupported", "the body must be application/json"
        )


def _parse_query(req: Request, model: type[Model]) -> Model:
    raw = uri.parse_query_string(req.query_string, keep_blank=True)
    _refuse_repeated(raw)
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        raise _fields_invalid(error) from None


def _refuse_repeated(parameters: Mapping[str, str | list[str]]) -> None:
    """Refuse parameters that are given more than once; no list of ours is."""
    repeated = [name for name, value in parameters.items() if isinstance(value, list)]
    if repeated:
        details = [{"field": name, "message": "is given more than once"} for name in repeated[:_MAX_ERRORS]]
        raise Invalid("some fields are wrong", code="fields_invalid", errors=details)


def _fields_invalid(error: ValidationError) -> Invalid:
    """Name the first fields that are wrong.

    PERF: pydantic makes all of its errors or none, and a body has room for thousands of unknown fields. Nobody
    reads so many, and other requests would wait meanwhile.
    """
    if (count := error.error_count()) > _MAX_COUNTED:
        details = [{"field": "", "message": f"{count} values are wrong, too many to name them"}]
    else:
        details = [
            {"field": ".".join(str(part) for part in detail["loc"]), "message": _message(detail)}
            for detail in error.errors(include_url=False, include_context=False)[:_MAX_ERRORS]
        ]
    return Invalid("some fields are wrong", code="fields_invalid", errors=details)


def _message(detail: ErrorDetails) -> str:
    """Return pydantic's message; after a validator of ours it calls a text's characters items."""
    if detail["type"] in {"too_short", "too_long"} and isinstance(detail["input"], str):
        return detail["msg"].replace(" item", " character")
    return detail["msg"]


def _json_invalid(message: str) -> BadRequest:
    return BadRequest(HTTPStatus.BAD_REQUEST, "json_invalid", message)


def _refuse_repeated_names(pairs: list[tuple[str, object]]) -> dict[str, object]:
    names = dict(pairs)
    if len(names) != len(pairs):
        raise _json_invalid("a name stands twice in one object")
    return names


_NAMES = json.JSONDecoder(object_pairs_hook=_refuse_repeated_names)
