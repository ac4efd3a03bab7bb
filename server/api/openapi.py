"""GET /openapi.json: the OpenAPI description of all routes (https://spec.openapis.org/oas/v3.1.0), made once.

FastAPI's own does not know what our routes read and answer, because they do that by themselves; what each says of
itself (server.api.description) is put together here.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi.routing import APIRoute
from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from server.api.description import EVENTS, JSON, ErrorAnswer
from server.errors import ApiError
from server.http.access import ErrorShape, needs_key, shape_of

_ALWAYS = (400, 403, 408, 431, 500, 503)  # what any request can be answered with
_ABOUT = """\
Every GET can be asked as HEAD, and OPTIONS says which methods a path takes. Every answer has `x-request-id`, that of
the request if it has one. A request that is no HTTP, or for which there is no connection, is answered 400, 408, 431 or
503 in the server's own error shape at any path. A body may be compressed (`content-encoding: gzip` or `deflate`)."""
_PARAMETERS = {  # of paths
    "model": "name, or name/version.",
    "name": "Of the model.",
    "version": "Of the model, a whole number.",
    "session_id": "As it was given when the session began.",
}
_HEADERS = {
    "x-request-id": {"description": "The request's, or a new one.", "schema": {"type": "string"}},
    "retry-after": {"description": "Seconds after which to try again.", "schema": {"type": "integer", "minimum": 1}},
}
_WITH_RETRY = (429, 503)
_KEY, _ADMIN_KEY = "key", "admin_key"
_Models = dict[tuple[type[BaseModel], JsonSchemaMode], dict[str, Any]]


def document(
    routes: Iterable[Any],
    info: Mapping[str, str],
    shapes: Mapping[str, ErrorShape],
    *,
    root_path: str = "",
    has_keys: bool = False,
) -> dict[str, Any]:
    """The description.

    Args:
        routes: those of an app; others than APIRoute, and hidden ones, are left out.
        info: title, summary and version.
        shapes: of errors, by path or the folder above (server.http.access.shape_of).
        root_path: where a proxy has put the server; empty for none.
        has_keys: whether API keys are asked for.
    """
    shown = [route for route in routes if isinstance(route, APIRoute) and route.include_in_schema]
    asked = {(model, mode) for route in shown for model, mode in _models_of(route)}
    ordered = sorted(asked, key=lambda item: (item[0].__name__, item[0].__module__, item[1]))
    models, definitions = models_json_schema(ordered, ref_template="#/components/schemas/{model}")
    paths: dict[str, dict[str, Any]] = {}
    for route in shown:
        shape = shape_of(route.path, shapes)
        for method in sorted(route.methods or ()):
            is_asked = has_keys and needs_key(route.path, method)
            operation = _operation(route, method.lower(), models, shape, needs_key=is_asked)
            paths.setdefault(route.path_format, {})[method.lower()] = operation
    found: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {**info, "description": _ABOUT},
        "servers": [{"url": root_path or "/"}],
        "paths": paths,
        "components": {"schemas": definitions.get("$defs", {})},
    }
    if has_keys:
        scheme = {"type": "http", "scheme": "bearer", "description": "One of RNNSERVE_API_KEYS."}
        found["components"]["securitySchemes"] = {_KEY: scheme}
    return found


def _models_of(route: APIRoute) -> Iterator[tuple[type[BaseModel], JsonSchemaMode]]:
    extra = route.openapi_extra or {}
    yield extra.get("error", ErrorAnswer), "serialization"
    if "body" in extra:
        yield extra["body"]["model"], "validation"
    for response in route.responses.values():
        for key in ("answer", "event"):
            if key in response:
                yield response[key], "serialization"


def _operation(
    route: APIRoute, method: str, models: Any, shape: ErrorShape | None, *, needs_key: bool
) -> dict[str, Any]:
    extra = route.openapi_extra or {}
    error = extra.get("error", ErrorAnswer)
    statuses = {int(status): content for status, content in route.responses.items()}
    for status in (*_ALWAYS, *((401,) if needs_key else ())):
        statuses.setdefault(status, {"answer": error})
    answers: dict[str, dict[str, Any]] = {}
    for status in sorted(statuses):
        response = _response(status, statuses[status], error, models)
        before = answers.setdefault(str(_status_of(status, shape)), response)
        if before is not response:  # two of ours are one in a dialect
            before["description"] += " " + response["description"]
    answers.setdefault("400", _response(400, statuses[400], error, models))  # also where a dialect has another for most
    operation: dict[str, Any] = {
        "tags": list(route.tags) or ["further"],
        "summary": route.summary or "",
        "description": route.description,
        "operationId": re.sub(r"\W+", "_", f"{method}{route.path_format}").strip("_"),
        "parameters": _parameters(route, extra.get("parameters", ())),
        "responses": dict(sorted(answers.items())),
    }
    if "body" in extra:
        body = extra["body"]
        media: dict[str, Any] = {"schema": models[(body["model"], "validation")]}
        if body["example"] is not None:
            media["example"] = body["example"]
        operation["requestBody"] = {"required": body["required"], "content": dict.fromkeys(body["types"], media)}
    elif "requestBody" in extra:
        operation["requestBody"] = extra["requestBody"]
    if needs_key:
        operation["security"] = [{_KEY: []}]
    return operation


def _status_of(status: int, shape: ErrorShape | None) -> int:
    """The status that an error has in a dialect."""
    if shape is None or status < 400:
        return status
    error = ApiError("", code="any")
    error.status = status
    return shape(error)[0]


def _event_schema(either: list[dict[str, Any]]) -> dict[str, Any]:
    """Of one server-sent event, as OpenAPI 3.2 has it."""
    content = {"contentMediaType": JSON, "contentSchema": {"anyOf": either}}
    data = {"anyOf": [{"const": "[DONE]", "description": "The last event."}, {"type": "string", **content}]}
    return {"type": "object", "properties": {"data": data}, "required": ["data"]}


def _response(status: int, found: Mapping[str, Any], error: type[BaseModel], models: Any) -> dict[str, Any]:
    content = dict(found.get("content", {}))
    if "answer" in found:
        content[JSON] = {"schema": models[(found["answer"], "serialization")]}
    if "event" in found:
        either = [models[(kind, "serialization")] for kind in (found["event"], error)]
        content[EVENTS] = {"itemSchema": _event_schema(either)}
    headers = {**_HEADERS, **found.get("headers", {})}
    if status not in _WITH_RETRY:
        del headers["retry-after"]
    return {"description": _meaning(status), "headers": headers, **({"content": content} if content else {})}


def _meaning(status: int) -> str:
    """What a status means: of errors, the cases that there are."""
    if status < 400:
        return "The answer."
    cases = [cls.__doc__ or "" for cls in ApiError.__subclasses__() if cls.status == status]
    return " ".join(cases) or HTTPStatus(status).phrase


def _parameters(route: APIRoute, own: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    given = {(item["in"], item["name"]): dict(item) for item in own}
    found = []
    for name in route.param_convertors:
        known = given.pop(("path", name), {"name": name, "in": "path", "description": _PARAMETERS.get(name, "")})
        found.append({"schema": {"type": "string", "minLength": 1}, **known, "required": True})
    return [*found, *given.values()]
