"""The rows as Markdown tables, with ratios to the contestants that others are measured by."""

from collections.abc import Callable, Sequence

from .contestants import BARE, CHAINLIT, CONTESTANTS, NAIVE
from .figures import FAULTS, Row

Rows = dict[str, Row]
"""By contestant, within one scenario."""
Column = tuple[str, Callable[[Row, Rows], str]]
NOTHING = "-"


def number(value: float | None) -> str:
    """Return a figure with as many digits as it deserves."""
    if value is None:
        return NOTHING
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def ratio(field: str, to: str) -> Callable[[Row, Rows], str]:
    """Return a column's cells: the figure divided by that of the contestant `to`."""

    def cell(row: Row, rows: Rows) -> str:
        mine = getattr(row, field)
        theirs = getattr(rows[to], field) if to in rows else None
        return f"{mine / theirs:.2f}" if mine is not None and theirs else NOTHING

    return cell


def figure(field: str) -> Callable[[Row, Rows], str]:
    return lambda row, rows: number(getattr(row, field))


def pair(first: str, second: str) -> Callable[[Row, Rows], str]:
    def cell(row: Row, rows: Rows) -> str:
        if getattr(row, first) is None:
            return NOTHING
        return f"{number(getattr(row, first))} / {number(getattr(row, second))}"

    return cell


def runs(row: Row, rows: Rows) -> str:
    if row.is_void:
        return f"VOID ({row.void})"
    return f"{row.runs} ({row.void} void)" if row.void else str(row.runs)


LAST: list[Column] = [
    ("late p99, ms", figure("late_p99_ms")),
    ("steal %", figure("steal_percent")),
    ("runs", runs),
]

COLUMNS: dict[str, list[Column]] = {
    "answers": [
        ("CPU s / 1M tokens", figure("cpu_s_per_m")),
        ("x bare", ratio("cpu_s_per_m", BARE)),
        ("x textbook", ratio("cpu_s_per_m", NAIVE)),
        ("x Chainlit", ratio("cpu_s_per_m", CHAINLIT)),
        ("added TTFT p50 / p99, ms", pair("ttft_p50_ms", "ttft_p99_ms")),
        ("added delay p50 / p99, ms", pair("delay_p50_ms", "delay_p99_ms")),
        ("frames / token", figure("frames_per_token")),
        ("KiB / visitor", figure("kib_each")),
        ("tokens", figure("tokens")),
        *((name.replace("_", " "), figure(name)) for name in FAULTS if name != "tokens"),
        *LAST,
    ],
    "idle": [
        ("KiB / socket", figure("kib_each")),
        ("x bare", ratio("kib_each", BARE)),
        ("x textbook", ratio("kib_each", NAIVE)),
        ("accepts / s", figure("accepts_per_s")),
        ("x bare", ratio("accepts_per_s", BARE)),
        ("x textbook", ratio("accepts_per_s", NAIVE)),
        ("CPU ms / accept", figure("cpu_ms_per_accept")),
        ("base MiB", figure("base_mib")),
        *LAST,
    ],
    "writes": [
        ("writes / s", figure("writes_per_s")),
        ("p99, ms", figure("write_p99_ms")),
        ("runs", runs),
    ],
}


def table(kind: str, rows: Sequence[Row]) -> str:
    """Return one scenario's rows as a Markdown table that can be read as it is."""
    by_contestant = {row.contestant: row for row in rows}
    columns = COLUMNS[kind]
    lines = [["", *(title for title, _ in columns)]]
    for row in rows:
        known = CONTESTANTS.get(row.contestant)
        name = known.label if known else row.contestant
        lines.append([name, *(cell(row, by_contestant) for _, cell in columns)])
    widths = [max(len(cell) for cell in column) for column in zip(*lines, strict=True)]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join(aligned(line, widths) for line in (lines[0], rule, *lines[1:]))


def aligned(line: list[str], widths: list[int]) -> str:
    """Return one line of the table: the name to the left, figures to the right."""
    name, *cells = (
        cell.rjust(width) if place else cell.ljust(width)
        for place, (cell, width) in enumerate(zip(line, widths, strict=True))
    )
    return f"| {' | '.join([name, *cells])} |"
