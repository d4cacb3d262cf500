"""OpenAPI 3.1, made from the routes, their operations and their pydantic models."""

import re
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from api.operations import Operation
from api.schemas import Problem
from api.webhooks.payloads import PAYLOADS, describe_webhooks

_PARAMETER = re.compile(r"{(\w+)(?::(\w+))?}")
# Bare, or quoted (RFC 9651): printable ASCII.
_KEY_PATTERN = r'^([!#-~]([ -~]*[!-~])?|"([ !#-\[\]-~]|\\["\\])+")$'
_REF = "#/components/schemas/{model}"
_SECURITY_SCHEMES = {
    "token": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
    "api_key": {"type": "http", "scheme": "bearer", "bearerFormat": "mf_…", "description": "with that scope"},
}

Route = tuple[str, str, Operation]


def describe(routes: Iterable[Route], *, version: str) -> dict[str, Any]:
    """Return the OpenAPI document of these routes."""
    known = list(routes)
    models: set[type[BaseModel]] = {Problem, *PAYLOADS.values()}
    models |= {model for _, _, op in known for model in (op.body, op.answer) if model is not None}
    ordered = sorted(models, key=lambda model: model.__name__)
    references, definitions = models_json_schema(
        [(model, "serialization" if _answers(known, model) else "validation") for model in ordered],
        ref_template=_REF,
    )
    schemas = {model: reference for (model, _), reference in references.items()}
    paths: dict[str, dict[str, Any]] = {}
    for template, method, op in known:
        path = _PARAMETER.sub(r"{\1}", template)
        paths.setdefault(path, {})[method.lower()] = _operation(template, method, op, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "MarketFlow",
            "version": version,
            "description": "Money is in integer minor units, times are RFC 3339 in UTC, ids are UUIDv7. "
            "Errors are problem documents with a stable `code`. An Idempotency-Key is kept as long as what it "
            "made, at least 24 hours.",
        },
        "paths": paths,
        "webhooks": describe_webhooks(schemas),
        "components": {
            "schemas": definitions["$defs"],
            "securitySchemes": _SECURITY_SCHEMES,
        },
    }


def _answers(routes: list[Route], model: type) -> bool:
    return all(op.body is not model for _, _, op in routes)


def _operation(template: str, method: str, op: Operation, schemas: dict[Any, Any]) -> dict[str, Any]:
    described: dict[str, Any] = {
        "summary": op.summary,
        "tags": [op.tag],
        "operationId": _operation_id(template, method),
        "parameters": [*_path_parameters(template), *_query_parameters(op), *_header_parameters(op)],
        "responses": _responses(template, method, op, schemas),
        "security": _security(op),
    }
    if op.body is not None:
        content = {"application/json": {"schema": schemas[op.body]}}
        described["requestBody"] = {"required": not op.optional_body, "content": content}
    elif op.raw_body:
        described["requestBody"] = {"required": True, "content": {"application/json": {"schema": {}}}}
    return described


def _security(op: Operation) -> list[dict[str, list[str]]]:
    if op.public and not op.greets:
        return []
    keyed: list[dict[str, list[str]]] = [{"api_key": [str(op.scope)]}] if op.scope else []
    return [*([{}] if op.public else []), {"token": []}, *keyed]


def _operation_id(template: str, method: str) -> str:
    words = [word for word in re.split(r"[^A-Za-z]+", _PARAMETER.sub("one", template)) if word not in {"", "v"}]
    return "_".join([method.lower(), *words])


def _path_parameters(template: str) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "in": "path",
            "required": True,
            "schema": {"type": "string", **({"format": "uuid"} if converter == "uuid" else {})},
        }
        for name, converter in _PARAMETER.findall(template)
    ]


def _query_parameters(op: Operation) -> list[dict[str, Any]]:
    schema = op.query.model_json_schema()
    return [
        {"name": name, "in": "query", "required": name in schema.get("required", []), "schema": described}
        for name, described in _inlined(schema.get("properties", {}), schema.get("$defs", {})).items()
    ]


def _inlined(part: Any, definitions: dict[str, Any]) -> Any:
    """Return a part of a schema with its definitions in the place of what refers to them: enumerations."""
    match part:
        case {"$ref": str(reference), **more}:
            return {**definitions[reference.rpartition("/")[2]], **more}
        case dict():
            return {name: _inlined(value, definitions) for name, value in part.items()}
        case list():
            return [_inlined(value, definitions) for value in part]
        case _:
            return part


def _header_parameters(op: Operation) -> list[dict[str, Any]]:
    key = {"type": "string", "minLength": 1, "maxLength": 255, "pattern": _KEY_PATTERN}
    signature = {"type": "string", "examples": ["t=1764057600,v1=5257a8…"]}
    etag = {"type": "string", "description": "the ETag of the version one has"}
    described = [
        (op.idempotent, not op.optional_key, "Idempotency-Key", key),
        (op.raw_body, True, "Stripe-Signature", signature),
        (op.conditional, False, "If-None-Match", etag),
        (
            op.waits,
            False,
            "Prefer",
            {"type": "string", "examples": ["wait=10"], "description": "RFC 7240, seconds"},
        ),
        (op.resumes, False, "Last-Event-ID", {"type": "string", "pattern": "^[0-9]{1,18}$"}),
    ]
    return [
        {"name": name, "in": "header", "required": is_needed, "schema": schema}
        for is_taken, is_needed, name, schema in described
        if is_taken
    ]


def _responses(template: str, method: str, op: Operation, schemas: dict[Any, Any]) -> dict[str, Any]:
    success: dict[str, Any] = {"description": op.status.phrase}
    if op.answer is not None:
        also = {media_type: {"schema": {"type": "string"}} for media_type in op.also}
        shown = {"example": op.example} if op.example else {}
        schema = _streamed(schemas[op.answer]) if op.resumes else schemas[op.answer]
        success["content"] = {op.media_type: {"schema": schema, **shown}, **also}
    elif op.status is not HTTPStatus.NO_CONTENT:
        success["content"] = {op.media_type: {"schema": {}}}
    if headers := _answer_headers(op):
        success["headers"] = {name: {"schema": {"type": "string"}} for name in headers}
    problem = {"application/problem+json": {"schema": schemas[Problem]}}
    return {
        str(int(op.status)): success,
        **({"304": {"description": "the client has this version"}} if op.conditional else {}),
        **{
            str(int(status)): {"description": status.phrase, "content": problem}
            for status in _refusals(template, method, op)
        },
    }


def _streamed(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a server-sent event, whose data is that, as OpenAPI 3.2 writes it."""
    text = {"type": "string"}
    data = {**text, "contentMediaType": "application/json", "contentSchema": schema}
    return {
        "type": "object",
        "description": "an event of the stream (WHATWG HTML, server-sent events)",
        "properties": {"id": {**text, "pattern": "^[0-9]{1,18}$"}, "event": text, "data": data},
        "required": ["id", "event", "data"],
    }


def _answer_headers(op: Operation) -> list[str]:
    headers = ["Location"] if op.location else []
    if op.conditional:
        headers.append("ETag")
    if op.waits:
        headers += ["Preference-Applied", "Retry-After"]
    return headers


def _refusals(template: str, method: str, op: Operation) -> list[HTTPStatus]:
    # The server itself refuses a line that is too long, before it knows of any operation.
    statuses = {HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.SERVICE_UNAVAILABLE}
    statuses.add(HTTPStatus.REQUEST_URI_TOO_LONG)
    if not op.public:
        statuses |= {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}
    if op.greets:
        statuses.add(HTTPStatus.UNAUTHORIZED)
    if op.public and op.body is not None:
        statuses |= {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}
    if op.limited:
        statuses.add(HTTPStatus.TOO_MANY_REQUESTS)
    names_another = any(name.endswith("_id") for name in op.query.model_fields)
    if "{" in template or op.idempotent or names_another:
        statuses.add(HTTPStatus.NOT_FOUND)
    if method != "GET":
        statuses.add(HTTPStatus.CONFLICT)
    # A POST that takes no body refuses what comes as one.
    if op.body is not None or op.raw_body or method == "POST":
        statuses |= {
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        }
    return sorted(statuses)
