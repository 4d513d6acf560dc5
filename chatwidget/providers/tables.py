"""Rows of data as Markdown tables, within bounds, for vendors that answer with both."""

import re
from collections.abc import Iterable, Mapping, Sequence

from .base import JSON

MAX_ROWS, MAX_COLUMNS, MAX_CELL_CHARS = 50, 12, 200
# Data is text, not Markdown: what would mean something is escaped.
MEANINGFUL = re.compile(r"([\\`*_{}\[\]()<>#+!|~&])")


def table(title: JSON, rows: Sequence[Mapping[str, JSON]]) -> str:
    """Return rows as a Markdown table. Columns are the keys, in order of appearance."""
    columns = list(dict.fromkeys(name for row in rows for name in row))[:MAX_COLUMNS]
    lines = [_line(map(_cell, columns)), _line("---" for _ in columns)]
    lines += [_line(_cell(row.get(name)) for name in columns) for row in rows[:MAX_ROWS]]
    head = [f"**{_cell(title)}**", ""] if title else []
    more = len(rows) - MAX_ROWS
    tail = ["", f"… and {more} more rows"] if more > 0 else []
    return "\n".join([*head, *lines, *tail])


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(value: JSON) -> str:
    text = " ".join(str("" if value is None else value).split())
    text = text if len(text) <= MAX_CELL_CHARS else f"{text[:MAX_CELL_CHARS]}…"
    return MEANINGFUL.sub(r"\\\1", text)
