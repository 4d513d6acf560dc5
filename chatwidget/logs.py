"""Log lines that cannot be forged: control characters are written as escapes."""

import logging
import re

# C0 and C1 controls, DEL and the bidirectional overrides; tab and line feed stay (tracebacks).
CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def escape_controls(text: str) -> str:
    """Return `text` with every control character as its Python escape."""
    return CONTROLS.sub(lambda found: found.group().encode("unicode_escape").decode(), text)


class PlainFormatter(logging.Formatter):
    """One readable line per record, for a terminal."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s", "%H:%M:%S")

    def format(self, record: logging.LogRecord) -> str:
        return escape_controls(super().format(record))
