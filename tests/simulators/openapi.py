"""Checks requests and answers against a vendor's OpenAPI document (3.0 or 3.1).

Stricter than the document where a client has no business being lax: a body field or a query
parameter that the document does not name is a problem, although OpenAPI would let it pass.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from jsonschema import Draft202012Validator, FormatChecker, ValidationError

JSON = Any

FORM = "application/x-www-form-urlencoded"
FORMATS = FormatChecker(("uuid",))


@FORMATS.checks("date-time", raises=ValueError)
def _is_date_time(value: object) -> bool:
    return not isinstance(value, str) or datetime.fromisoformat(value).tzinfo is not None


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path."""

    method: str
    template: str
    """The path as the document writes it, with `{names}`."""
    pattern: re.Pattern[str]
    spec: Mapping[str, JSON]

    def path_values(self, path: str) -> dict[str, str]:
        found = self.pattern.fullmatch(path)
        return found.groupdict() if found else {}


class Document:
    """An OpenAPI document.

    A `$ref` that leads nowhere (published documents have some) allows anything and is listed in
    `dangling`, so that a test can say which ones it knows of.
    """

    def __init__(self, raw: JSON) -> None:
        self.raw = raw
        self.dangling: set[str] = set()
        self._validators: dict[tuple[str, ...], Draft202012Validator] = {}

    @classmethod
    def load(cls, path: Path) -> Document:
        return cls(json.loads(path.read_text()))

    @cached_property
    def operations(self) -> list[Operation]:
        """Those with the fewest placeholders first: `/users/search` before `/users/{id}`."""
        found = [
            Operation(method.upper(), template, _pattern(template), self._merged(item, spec))
            for template, item in self.raw["paths"].items()
            for method, spec in item.items()
            if method in ("get", "post", "put", "patch", "delete")
        ]
        return sorted(found, key=lambda operation: operation.template.count("{"))

    def match(self, method: str, path: str) -> Operation | None:
        for operation in self.operations:
            if operation.method == method and operation.pattern.fullmatch(path):
                return operation
        return None

    def request_problems(
        self,
        operation: Operation,
        query: Mapping[str, str],
        headers: Mapping[str, str],
        body: bytes,
    ) -> list[str]:
        """What is wrong with a request, one line each; empty if nothing is."""
        problems = self._parameter_problems(operation, query, headers)
        problems += self._body_problems(operation, headers, body)
        return [f"{operation.method} {operation.template}: {problem}" for problem in problems]

    def answer_problems(self, operation: Operation, status: int, body: JSON) -> list[str]:
        """What is wrong with an answer.  Fields the document does not name are fine here."""
        answer = operation.spec["responses"].get(str(status))
        if answer is None:
            return [f"status {status} is not documented"]
        schema = _json_schema_of(self._resolved(answer))
        if schema is None:
            return [] if body is None else ["an answer has a body but should have none"]
        key = (operation.method, operation.template, str(status))
        return self._errors(key, schema, body, closed=False)

    # Parts of a request

    def _parameter_problems(
        self, operation: Operation, query: Mapping[str, str], headers: Mapping[str, str]
    ) -> list[str]:
        problems = []
        known = set()
        for parameter in operation.spec.get("parameters", ()):
            name, place = parameter["name"], parameter["in"]
            given = query.get(name) if place == "query" else headers.get(name)
            if place == "query":
                known.add(name)
            elif place != "header":
                continue
            if given is None:
                if parameter.get("required"):
                    problems.append(f"{place} parameter {name} is missing")
                continue
            schema = parameter.get("schema", {})
            key = (operation.method, operation.template, place, name)
            value = _typed(given, self._resolved(schema).get("type"))
            errors = self._errors(key, schema, value, closed=True)
            problems += [f"{place} parameter {name}: {error}" for error in errors]
        return problems + [f"unknown query parameter {name}" for name in set(query) - known]

    def _body_problems(
        self, operation: Operation, headers: Mapping[str, str], body: bytes
    ) -> list[str]:
        wanted = self._resolved(operation.spec.get("requestBody", {}))
        schema = _json_schema_of(wanted)
        if schema is None:
            return ["has a body but should have none"] if body else []
        if not body:
            return ["has no body"] if wanted.get("required") else []
        media_type = headers.get("Content-Type", "").partition(";")[0].strip()
        if media_type not in wanted["content"]:
            return [f"body is declared as {media_type!r}"]
        try:
            value = form_fields(body) if media_type == FORM else json.loads(body)
        except ValueError as error:
            return [f"body is not what it is declared as: {error}"]
        key = (operation.method, operation.template, "body")
        return self._errors(key, schema, value, closed=True)

    # JSON Schema

    def _errors(
        self, key: tuple[str, ...], schema: JSON, value: JSON, *, closed: bool
    ) -> list[str]:
        if key not in self._validators:
            whole = {"allOf": [schema], "components": self.raw.get("components", {})}
            whole = self._converted(whole, closed)
            self._validators[key] = Draft202012Validator(whole, format_checker=FORMATS)
        errors = self._validators[key].iter_errors(value)
        return [f"{error.json_path}: {told(error)}" for error in errors]

    def _converted(self, node: JSON, closed: bool) -> JSON:
        """OpenAPI's dialect as JSON Schema; `closed` forbids fields that are not named."""
        if isinstance(node, list):
            return [self._converted(item, closed) for item in node]
        if not isinstance(node, dict):
            return node
        if isinstance(node.get("$ref"), str) and self._target(node["$ref"]) is None:
            self.dangling.add(node["$ref"])
            return {}
        result = {name: self._converted(item, closed) for name, item in node.items()}
        if closed and node.get("type") == "object" and "properties" in node:
            result.setdefault("additionalProperties", False)
        if node.get("nullable") is True:
            return {"anyOf": [result, {"type": "null"}]}
        return result

    def _resolved(self, node: JSON) -> JSON:
        while "$ref" in node:
            node = self._target(node["$ref"]) or {}
        return node

    def _target(self, ref: str) -> JSON:
        node = self.raw if ref.startswith("#/") else {}
        for step in ref.removeprefix("#/").split("/"):
            node = node.get(step.replace("~1", "/").replace("~0", "~")) if node else None
        return node

    def _merged(self, item: JSON, spec: JSON) -> JSON:
        parameters = [*item.get("parameters", ()), *spec.get("parameters", ())]
        return {**spec, "parameters": [self._resolved(parameter) for parameter in parameters]}


def form_fields(body: bytes) -> dict[str, str]:
    """Return the fields of a form's body. Raises ValueError."""
    return dict(parse_qsl(body.decode(), keep_blank_values=True, strict_parsing=True))


def told(error: ValidationError) -> str:
    """What is wrong, and with alternatives what is wrong with each."""
    why = "; ".join(inner.message[:100] for inner in error.context or ())
    return error.message[:300] + (f" ({why})" if why else "")


def _pattern(template: str) -> re.Pattern[str]:
    parts = re.split(r"\{(\w+)\}", template)
    parts[0::2] = map(re.escape, parts[0::2])
    parts[1::2] = [f"(?P<{name}>[^/]+)" for name in parts[1::2]]
    return re.compile("".join(parts))


def _json_schema_of(part: JSON) -> JSON:
    """The schema of a request body or an answer, None if it has none."""
    content = part.get("content", {}).get("application/json")
    return None if content is None else content.get("schema", {})


def _typed(text: str, kind: JSON) -> JSON:
    """A query value as the JSON value it stands for; left as text if it does not look like one."""
    kinds = kind if isinstance(kind, list) else [kind]
    if "boolean" in kinds:
        return {"true": True, "false": False}.get(text, text)
    if {"number", "integer"} & set(kinds) and re.fullmatch(r"-?\d+(\.\d+)?", text):
        return json.loads(text)
    return text
