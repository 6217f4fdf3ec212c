"""The OpenAPI document, made from the table of operations. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import version
from typing import Any, Final

from stepwell.core.plain import Schema, schema_of
from stepwell.core.records import Run
from stepwell.web.api.calls import Operation
from stepwell.web.api.given import Given, Nothing

_REF: Final = "#/components/schemas/{model}"

_ABOUT: Final = """Start durable workflows, follow them and act on them.

Times are ISO 8601 in UTC, durations in seconds; lists go page by page, by cursors. Whatever is refused is told as
`application/problem+json` (RFC 9457), with `errors` where single fields are wrong."""

_PROBLEM: Final[Schema] = {
    "type": "object",
    "description": "What went wrong (RFC 9457).",
    "properties": {
        "type": {"type": "string", "description": "`urn:stepwell:IllegalTransition`, or `about:blank` where the status says all."},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "errors": {
            "type": "array",
            "description": "What is wrong with single fields.",
            "items": {
                "type": "object",
                "properties": {
                    "detail": {"type": "string"},
                    "pointer": {"type": "string", "description": "Where in the body, as a JSON pointer: `#/input/email`."},
                    "parameter": {"type": "string", "description": "Which parameter."},
                },
                "required": ["detail"],
            },
        },
    },
    "required": ["type", "title", "status", "detail"],
}

_REFUSALS: Final = {
    400: "The request makes no sense.",
    401: "Nobody knows whose the request is.",
    403: "The role does not allow it, or another site has sent it.",
    404: "There is no such thing.",
    409: "How things stand does not allow it.",
    413: "Too large.",
    415: "The body is not JSON.",
    422: "A parameter, the body or the input has not the right form.",
    503: "The database is away, or it would take too long.",
}


def document(operations: Iterable[Operation], prefix: str) -> Schema:
    """What the operations are, for programs. `prefix`: under which the application is mounted."""
    known: dict[str, Schema] = {"Problem": _PROBLEM}
    paths: dict[str, Schema] = {}
    operations = tuple(operations)
    for operation in operations:
        told = _operation(operation, known)
        if operation.answers is Run:
            told["responses"][str(operation.status)]["links"] = _links(operations)
        paths.setdefault(f"/api{operation.shown_path}", {})[operation.method.lower()] = told
    return {
        "openapi": "3.1.0",
        "info": {"title": "Stepwell", "version": version("stepwell"), "description": _ABOUT},
        "servers": [{"url": prefix or "/"}],
        "security": [{"bearer": []}, {}],
        "tags": [{"name": name} for name in dict.fromkeys(_tag(operation) for operation in operations)],
        "paths": paths,
        "components": {
            "schemas": known,
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
            "responses": {str(status): _refusal(said) for status, said in _REFUSALS.items()},
        },
    }


def _operation(operation: Operation, known: dict[str, Schema]) -> Schema:
    told: Schema = {
        "operationId": operation.name,
        "tags": [_tag(operation)],
        "summary": operation.summary,
        "description": f"{operation.description}\n\nTakes the role {operation.role.word}.".strip(),
        "parameters": [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}} for name in operation.parts
        ],
        "responses": _responses(operation, known),
    }
    if operation.method != "POST":
        told["parameters"] += _parameters(operation.takes, known)
    elif operation.takes is not Nothing:
        schema = _component(operation.takes, known)
        needed = any(field.is_required() for field in operation.takes.model_fields.values())
        told["requestBody"] = {"required": needed, "content": {"application/json": {"schema": schema}}}
    return told


def _links(operations: Iterable[Operation]) -> Schema:
    """What can be done with a run that was answered."""
    about = [operation for operation in operations if operation.parts == ["run_id"]]
    return {each.name: {"operationId": each.name, "parameters": {"run_id": "$response.body#/id"}} for each in about}


def _tag(operation: Operation) -> str:
    return operation.path.split("/")[1]


def _responses(operation: Operation, known: dict[str, Schema]) -> Schema:
    answers: Schema = {"description": "Done."}
    if operation.answers is not None:
        answers = {"description": "Done.", "content": {"application/json": {"schema": schema_of(operation.answers, known)}}}
    told = {str(operation.status): answers}
    if operation.name == "start":
        told["200"] = {**answers, "description": "The run that was started before with this key."}
    return told | {str(status): {"$ref": f"#/components/responses/{status}"} for status in _refusals(operation)}


def _refusals(operation: Operation) -> list[int]:
    """With which it may be refused."""
    refusals = {400, 401, 403, 422, 503}
    if operation.parts:
        refusals.add(404)
    if operation.conflicts:
        refusals.add(409)
    if operation.method == "POST":
        refusals |= {413, 415}
    return sorted(refusals)


def _refusal(said: str) -> Schema:
    return {"description": said, "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}}


# -- what is given


def _component(kind: type[Given], known: dict[str, Schema]) -> Schema:
    schema = _schema(kind, known)
    known[kind.__name__] = schema
    return {"$ref": f"#/components/schemas/{kind.__name__}"}


def _schema(kind: type[Given], known: dict[str, Schema]) -> Schema:
    schema = kind.model_json_schema(ref_template=_REF)
    for name, definition in schema.pop("$defs", {}).items():
        known.setdefault(name, {key: value for key, value in definition.items() if key != "title"})
    schema.pop("title")
    for field in schema.get("properties", {}).values():
        field.pop("title", None)
        if field.get("default", ...) is None:
            del field["default"]
    return schema


def _parameters(kind: type[Given], known: dict[str, Schema]) -> list[Schema]:
    schema = _schema(kind, known)
    return [_parameter(name, field, name in schema.get("required", ())) for name, field in schema.get("properties", {}).items()]


def _parameter(name: str, field: dict[str, Any], required: bool) -> Schema:
    said = field.pop("description", None)
    told: Schema = {"name": name, "in": "query", "required": required, "schema": _as_parameter(field)}
    return told if said is None else {**told, "description": said}


def _as_parameter(schema: Schema) -> Schema:
    """In an address there is no null, and one of several is given as several are."""
    while "anyOf" in schema:
        choices = [each for each in schema["anyOf"] if each != {"type": "null"}]
        several = [each for each in choices if each.get("type") == "array"]
        schema = {**{key: value for key, value in schema.items() if key != "anyOf"}, **(several or choices)[0]}
    return schema
