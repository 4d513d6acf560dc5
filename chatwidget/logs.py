"""Log lines that cannot be forged: a record starts one line, control characters are escaped.

Every line written on behalf of a request carries its id, also those of the turn that it started,
in whichever process that turn goes on: one search finds what became of a message.
"""

import copy
import json
import logging
import re
import uuid
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

request_id: ContextVar[str] = ContextVar("request_id", default="")
"""The id of the request that this task or thread works for; empty: none."""

REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{8,64}")


def begin_request(given: str = "") -> str:
    """Set and return this context's request id: `given` where it can be one, else a new one."""
    chosen = given if REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
    request_id.set(chosen)
    return chosen


# C0 and C1 controls, DEL, line and paragraph separators, the bidirectional marks and overrides.
CONTROLS = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]"
)


def escape_controls(text: str) -> str:
    """Return `text` with every control character as its Python escape."""
    return CONTROLS.sub(lambda found: found.group().encode("unicode_escape").decode(), text)


class PlainFormatter(logging.Formatter):
    """Readable records for a terminal: a line each, tracebacks indented below theirs."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s", "%H:%M:%S")

    def format(self, record: logging.LogRecord) -> str:
        """Return the record's lines."""
        if getattr(record, "status_code", 500) < 500:  # a client's mistake, not ours
            record = copy.copy(record)
            record.exc_info = record.exc_text = None
        return super().format(record)

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 (logging's name)
        line = super().formatMessage(record)
        request = request_id.get()
        return escape_controls(f"{line} [{request}]" if request else line)

    def formatException(self, ei: object) -> str:  # noqa: N802
        lines = super().formatException(ei).split("\n")  # type: ignore[arg-type]
        return "\n".join(f"  {escape_controls(line)}" for line in lines)

    def formatStack(self, stack_info: str) -> str:  # noqa: N802
        return "\n".join(f"  {escape_controls(line)}" for line in stack_info.split("\n"))


class JSONFormatter(logging.Formatter):
    """One JSON object a line, for machines."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record's line: time (RFC 3339, UTC), level, logger, message, and the rest."""
        entry: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if request := request_id.get():
            entry["request_id"] = request
        if record.exc_info and getattr(record, "status_code", 500) >= 500:
            entry["traceback"] = self.formatException(record.exc_info)
        return json.dumps(entry).replace("\x7f", "\\u007f")  # all else JSON escapes by itself
