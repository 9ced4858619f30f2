"""Routes of dialects, each with its entry of the OpenAPI document: plain ones, as FastAPI has no msgspec types."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import msgspec
from starlette.routing import BaseRoute, Route

from serving.dialects.refusals import status_of, words

COMPONENTS = "#/components/schemas/{name}"
_JSON = "application/json"
Example = msgspec.Struct | dict[str, Any] | str
"""A body that a route takes or answers; a struct's type is its schema."""


class Operation(Route):
    """A route with examples of what it answers and takes; `media` are further types of its body, all of them text."""

    def __init__(
        self,
        method: str,
        path: str,
        endpoint: Callable[..., Any],
        summary: str,
        *,
        answer: Example,
        asked: Example | None = None,
        media: Iterable[str] = (),
    ) -> None:
        super().__init__(path, endpoint, methods=[method], include_in_schema=False)
        self.method = method.lower()
        self.types = [type(one) for one in (answer, asked) if isinstance(one, msgspec.Struct)]
        answers: dict[str, Any] = {"200": {"description": summary, "content": {_JSON: _content(answer)}}}
        names = [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
            for name in self.param_convertors
        ]
        self.entry: dict[str, Any] = {
            "summary": summary,
            "operationId": f"{method} {path}",
            "parameters": names,
            "responses": answers,
        }
        if names:
            self.entry["parameters"] = names
            line = {"detail": "there is no model of that name; this server has ice_cream"}
            answers["404"] = {"description": "No such model or version", "content": {_JSON: {"example": line}}}
        if asked is not None:
            answers["422"] = {}  # the same for all routes
            others = {one: {"schema": {"type": "string"}} for one in media}
            self.entry["requestBody"] = {"required": True, "content": {_JSON: _content(asked), **others}}


def document(routes: Iterable[BaseRoute], found: dict[str, Any]) -> None:
    """Add the operations among the routes, and their types, to an OpenAPI document."""
    operations = [route for route in routes if isinstance(route, Operation)]
    types = dict.fromkeys(one for operation in operations for one in operation.types)
    found["components"]["schemas"] |= msgspec.json.schema_components(types, ref_template=COMPONENTS)[1]
    for operation in operations:
        entry = {**operation.entry, "tags": ["standard protocols"], "responses": {**operation.entry["responses"]}}
        found["paths"].setdefault(operation.path, {})[operation.method] = entry


def in_words(path: str, answers: dict[str, Any]) -> dict[str, Any]:
    """The answers of a path by status, with errors in the words of its dialect."""
    said = words(path)
    if said is None:
        return answers
    found = {}
    for status, answer in ((status_of(int(status)), answer) for status, answer in answers.items()):
        content = answer["content"]
        if status >= 400:
            content = {_JSON: _content(said(status, content[_JSON]["example"]["detail"]))}
        found[str(status)] = {**answer, "content": content}
    return found


def _content(example: Example) -> dict[str, Any]:
    if isinstance(example, msgspec.Struct):
        schema: dict[str, Any] = {"$ref": COMPONENTS.format(name=type(example).__name__)}
    else:
        schema = {"type": "string"} if isinstance(example, str) else {"type": "object", "required": list(example)}
    return {"schema": schema, "example": msgspec.to_builtins(example)}
