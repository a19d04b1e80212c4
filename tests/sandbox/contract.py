"""Bling's published API description as the judge of what the sandbox answers: shape, types, no key it does not know."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

FIXTURES = Path(__file__).resolve().parent.parent / "fixtures" / "bling"
#: Error words that Bling's pages name beside the description's own list: those of the OAuth layer.
OAUTH_ERRORS = {
    "invalid_token",
    "insufficient_scope",
    "invalid_grant",
    "invalid_client",
    "invalid_request",
    "unsupported_grant_type",
}


@cache
def description() -> Any:
    return json.loads((FIXTURES / "openapi.json").read_text())


@cache
def webhook_examples() -> dict[str, Any]:
    examples: dict[str, Any] = json.loads((FIXTURES / "webhook-examples.json").read_text())
    return examples


def assert_described(method: str, path: str, status: int, body: Any) -> None:
    """The answer is one the description allows for this method and path."""
    if status >= 400:
        assert_error(body)
        return
    operation = _operation(method, path)
    assert str(status) in operation["responses"], f"{method} {path} has no answer {status}"
    schema = operation["responses"][str(status)]["content"]["application/json"]["schema"]
    _validate(schema, body)
    assert_known_keys(schema, body, "$")


def assert_error(body: Any) -> None:
    # The description requires "error.type" of the outer object, where no JSON could have it; the
    # inner object is what counts.
    assert set(body) == {"error"}
    error = dict(body["error"])
    if error["type"] in OAUTH_ERRORS:
        error["type"] = "UNAUTHORIZED"
    schema = {"$ref": "#/components/schemas/Error"}
    _validate(schema, error)
    assert_known_keys(schema, error, "$.error")


def assert_same_shape(example: Any, value: Any, at: str) -> None:
    """`value` has the keys and the JSON types of the example, and an example's items for each of its own."""
    if isinstance(example, dict):
        assert isinstance(value, dict), at
        assert list(value) == list(example), at
        for key, part in example.items():
            assert_same_shape(part, value[key], f"{at}.{key}")
    elif isinstance(example, list):
        assert isinstance(value, list), at
        for item in value:
            assert_same_shape(example[0], item, f"{at}[]")
    elif isinstance(example, bool):
        assert isinstance(value, bool), at
    elif isinstance(example, int | float):
        assert type(value) in (int, float), at
    else:
        assert isinstance(value, str), at


def assert_known_keys(schema: Any, value: Any, at: str) -> None:
    """No object in the answer has a key that the description does not name."""
    if isinstance(value, dict):
        known = _properties(schema)
        for key, part in value.items():
            assert key in known, f"{at}.{key} is not in the description"
            assert_known_keys(known[key], part, f"{at}.{key}")
    elif isinstance(value, list):
        for item in value:
            assert_known_keys(_resolve(schema).get("items", {}), item, f"{at}[]")


def _operation(method: str, path: str) -> Any:
    templates = sorted(description()["paths"], key=lambda t: "{" in t)
    for template in templates:
        pattern = re.sub(r"\{\w+\}", r"\\d+", template)
        if re.fullmatch(pattern, path) and method.lower() in description()["paths"][template]:
            return description()["paths"][template][method.lower()]
    raise AssertionError(f"{method} {path} is not in the description")


def _validate(schema: Any, value: Any) -> None:
    Draft202012Validator({**schema, "components": description()["components"]}).validate(value)


def _properties(schema: Any) -> dict[str, Any]:
    schema = _resolve(schema)
    found: dict[str, Any] = {key: {} for key in schema.get("required", ())}
    for part in schema.get("allOf", ()):
        found |= _properties(part)
    found |= schema.get("properties", {})
    return found


def _resolve(schema: Any) -> Any:
    while "$ref" in schema:
        target = description()
        for step in schema["$ref"].removeprefix("#/").split("/"):
            target = target[step]
        schema = target
    return schema
