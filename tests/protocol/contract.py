"""Holds every answer to the OpenAPI document that the service itself gives out."""

import re
from functools import cache
from typing import Any

import httpx
from jsonschema import Draft202012Validator, FormatChecker

from ..visitor import JSON, Visitor

PROBLEM = "application/problem+json"
FORMATS = FormatChecker(("uuid",))
UTC_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


@FORMATS.checks("date-time")
def is_utc_time(value: object) -> bool:
    """RFC 3339, in UTC as the protocol has it."""
    return not isinstance(value, str) or bool(UTC_TIME.fullmatch(value))


class Contract:
    """The document, its objects closed: a field that it does not name is an error too."""

    def __init__(self, document: JSON) -> None:
        self.document = document
        self._components = _closed(document["components"])
        self._paths = {
            re.compile(re.sub(r"\{\w+\}", "[^/]+", path)): operations
            for path, operations in document["paths"].items()
        }
        self._validator = cache(self._make_validator)

    async def check(self, response: httpx.Response) -> None:
        """Fail unless this answer is one that the document has for this call."""
        await response.aread()
        call = f"{response.request.method} {response.request.url.path} → {response.status_code}"
        assert "set-cookie" not in response.headers, call
        assert response.headers["x-frame-options"] == "DENY", call
        assert "frame-ancestors 'none'" in response.headers["content-security-policy"], call
        kind = response.headers.get("content-type", "").partition(";")[0]
        if response.status_code >= 400:
            assert kind == PROBLEM, call
            assert response.json()["status"] == response.status_code, call
        assert (response.status_code == 401) == ("www-authenticate" in response.headers), call
        operation = self._operation(response.request)
        if operation is None:
            preflight = response.request.method == "OPTIONS" and response.status_code == 204
            assert preflight or response.status_code in (404, 405), call
            return
        assert str(response.status_code) in operation["responses"], f"{call} is not documented"
        content = operation["responses"][str(response.status_code)].get("content")
        if content is None:
            assert response.content == b"", call
            return
        assert kind in content, f"{call}: {kind}"
        errors = self._validator(content[kind]["schema"]["$ref"]).iter_errors(response.json())
        assert [f"{call}: {error.json_path}: {error.message}" for error in errors] == []

    def of(self, name: str, value: Any) -> None:
        """Fail unless `value` is a `name` of the document's components."""
        errors = self._validator(f"#/components/schemas/{name}").iter_errors(value)
        assert [f"{error.json_path}: {error.message}" for error in errors] == []

    def _operation(self, request: httpx.Request) -> Any:
        for path, operations in self._paths.items():
            if path.fullmatch(request.url.path):
                return operations.get(request.method.lower())
        return None

    def _make_validator(self, ref: str) -> Draft202012Validator:
        return Draft202012Validator(
            {"$ref": ref, "components": self._components}, format_checker=FORMATS
        )


def _closed(schema: Any) -> Any:
    """Copy a schema with every object of known fields closed."""
    if isinstance(schema, list):
        return [_closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    copy = {name: _closed(inner) for name, inner in schema.items()}
    if copy.get("type") == "object" and "properties" in copy:
        copy.setdefault("additionalProperties", False)
    return copy


class CheckedVisitor(Visitor):
    """A visitor who holds every answer to the contract."""

    def __init__(
        self, base: str, key: str, contract: Contract, *, token: str | None = None
    ) -> None:
        super().__init__(base, key, token=token)
        self.http.event_hooks = {"response": [contract.check]}
