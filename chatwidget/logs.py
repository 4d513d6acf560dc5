"""Log lines that cannot be forged: a record starts one line, control characters are escaped."""

import copy
import logging
import re

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
        return escape_controls(super().formatMessage(record))

    def formatException(self, ei: object) -> str:  # noqa: N802
        lines = super().formatException(ei).split("\n")  # type: ignore[arg-type]
        return "\n".join(f"  {escape_controls(line)}" for line in lines)

    def formatStack(self, stack_info: str) -> str:  # noqa: N802
        return "\n".join(f"  {escape_controls(line)}" for line in stack_info.split("\n"))
