"""Bling's published description as a judge of requests and answers: names, types, enums, required parts."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

FILE = Path(__file__).resolve().parent.parent / "fixtures" / "bling" / "openapi.json"


class NotDescribed(AssertionError):
    """What was sent or answered is not in the description."""


@cache
def description() -> dict[str, Any]:
    return json.loads(FILE.read_text())


def check_request(method: str, path: str, query: Sequence[tuple[str, str]], body: bytes | None) -> None:
    operation = _operation(method, path)
    parameters = {found["name"]: found for found in map(_resolve, operation.get("parameters", []))}
    for name, text in query:
        if name not in parameters:
            raise NotDescribed(f"{method} {path} has no parameter {name}")
        _check_parameter(parameters[name], text)
    named = {name for name, _ in query}
    for name, parameter in parameters.items():
        if parameter["in"] == "query" and parameter.get("required") and name not in named:
            raise NotDescribed(f"{method} {path} needs {name}")
        if name in named and parameter["schema"]["type"] != "array" and [n for n, _ in query].count(name) > 1:
            raise NotDescribed(f"{name} is given more than once")
    described = operation.get("requestBody")
    if bool(described) != bool(body):
        raise NotDescribed(f"{method} {path}: a body where none is described, or none where one is")
    if described and body:
        sent = json.loads(body, parse_float=Decimal)
        _validate(described["content"]["application/json"]["schema"], sent, f"{method} {path}")
        _refuse_unknown_keys(described["content"]["application/json"]["schema"], sent)


def check_answer(method: str, path: str, status: int, payload: object) -> None:
    """Successes as described; refusals as Bling's `Error`, whose envelope the description draws wrongly."""
    if status >= 400:
        _validate({"$ref": "#/components/schemas/Error"}, payload["error"], f"{method} {path} {status}")  # type: ignore[index]
        return
    responses = _operation(method, path)["responses"]
    if str(status) not in responses:
        raise NotDescribed(f"{method} {path} does not answer {status}")
    _validate(responses[str(status)]["content"]["application/json"]["schema"], payload, f"{method} {path} {status}")


def _operation(method: str, path: str) -> dict[str, Any]:
    for template, operations in description()["paths"].items():
        if re.fullmatch(re.sub(r"\{\w+\}", "[0-9]+", template), path) and method.lower() in operations:
            return operations[method.lower()]
    raise NotDescribed(f"no {method} {path}")


def _resolve(part: dict[str, Any]) -> dict[str, Any]:
    if "$ref" not in part:
        return part
    found: Any = description()
    for step in part["$ref"].removeprefix("#/").split("/"):
        found = found[step]
    return found


def _check_parameter(parameter: dict[str, Any], text: str) -> None:
    schema = parameter["schema"]
    if schema["type"] == "array":
        schema = schema["items"]
    if schema["type"] == "integer" and not re.fullmatch(r"-?[0-9]+", text):
        raise NotDescribed(f"{parameter['name']}={text} is no integer")
    value: object = int(text) if schema["type"] == "integer" else text
    if schema.get("format") == "datetime" and not re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", text):
        raise NotDescribed(f"{parameter['name']}={text} is no date and time")
    _validate(schema, value, parameter["name"])


def _validate(schema: dict[str, Any], value: object, place: str) -> None:
    rooted = {**schema, "components": description()["components"]}
    errors = [f"{error.json_path}: {error.message}" for error in Draft202012Validator(rooted).iter_errors(value)]
    if errors:
        raise NotDescribed(f"{place}: {'; '.join(errors)}")


def _refuse_unknown_keys(schema: dict[str, Any], sent: dict[str, Any]) -> None:
    known = {key for part in map(_resolve, schema["allOf"]) for key in part["properties"]}
    if unknown := sent.keys() - known:
        raise NotDescribed(f"keys that are not described: {unknown}")
