"""Bodies in and out: strict JSON. A module that REST framework loads while loading itself."""

import json
from typing import IO, Any

from rest_framework.exceptions import ParseError
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.parsers import BaseParser, JSONParser


class StrictJSONParser(JSONParser):
    """JSON as RFC 8259 has it: no NaN, and nesting that is too deep is an error, not a crash."""

    def parse(
        self, stream: IO[Any], media_type: str | None = None, parser_context: Any = None
    ) -> Any:
        """Return the parsed body. Raises ParseError for what is not JSON."""
        try:
            body = json.loads(stream.read().decode("utf-8"), parse_constant=_refuse)
        except (ValueError, RecursionError) as error:
            reason = "too deep" if isinstance(error, RecursionError) else "not JSON"
            raise ParseError(f"The body is not readable JSON ({reason}).") from error
        return body


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


class BytesParser(BaseParser):
    """The body as it is, whatever it is said to be. Its length is bounded before (asgi.py)."""

    media_type = "*/*"

    def parse(
        self, stream: IO[Any], media_type: str | None = None, parser_context: Any = None
    ) -> Any:
        """Return the body, as bytes."""
        return bytes(stream.read())


class FirstRenderer(DefaultContentNegotiation):
    """Answer in the one way there is, whatever `Accept` says (RFC 9110, 12.4.1 allows it)."""

    def select_renderer(
        self, request: Any, renderers: Any, format_suffix: str | None = None
    ) -> tuple[Any, str]:
        """Return the view's first renderer and its media type."""
        return renderers[0], renderers[0].media_type
