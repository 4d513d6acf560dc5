"""The figures: one row for each run of a contestant, and the median of several."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from statistics import median

LATE_MS = 20.0
"""Where load generator or upstream were later than this (p99), a row says nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What one contestant did in one scenario. None: not measured there."""

    scenario: str
    contestant: str
    late_p99_ms: float = 0.0
    """How late load generator or upstream were, whichever was later."""
    steal_percent: float = 0.0
    """Time that the host took from this machine meanwhile."""
    runs: int = 1
    """How many runs the figures are the median of."""
    void: int = 0
    """Runs left out because they were late; where no other is left, they are shown, marked."""

    # Answers.
    cpu_s_per_m: float | None = None
    """CPU seconds (user and system, the server's process tree) for a million tokens shown."""
    ttft_p50_ms: float | None = None
    """From asking to the first token shown, less the upstream's own part of it."""
    ttft_p99_ms: float | None = None
    delay_p50_ms: float | None = None
    """From a token's stamp to its receipt."""
    delay_p99_ms: float | None = None
    frames_per_token: float | None = None
    kib_each: float | None = None
    """Resident memory gained for each visitor who is answered, or each idle socket."""
    tokens: int | None = None
    lost: int | None = None
    doubled: int | None = None
    reordered: int | None = None
    unended: int | None = None
    """Answers of which the visitor was never told that they had ended."""
    stored_differs: int | None = None
    """Stored answers that are not the upstream's, byte for byte."""

    # Idle sockets.
    accepts_per_s: float | None = None
    cpu_ms_per_accept: float | None = None
    base_mib: float | None = None

    # Writes.
    writes_per_s: float | None = None
    write_p99_ms: float | None = None

    @property
    def is_void(self) -> bool:
        return self.late_p99_ms > LATE_MS


FAULTS = ("lost", "doubled", "reordered", "unended", "stored_differs", "tokens")
"""These are added up over the runs, not averaged."""
KEPT = ("scenario", "contestant", "runs", "void")


def percentile(values: Sequence[float], percent: int) -> float:
    """Return the nearest-rank percentile, 0 of nothing."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)] if ordered else 0.0


def median_of(rows: Sequence[Row]) -> Row:
    """Return the median of each figure over the runs that count, and the sum of each fault.

    Faults are counted in void runs too: a late generator makes delays, but it loses nothing.
    """
    counted = [row for row in rows if not row.is_void] or list(rows)
    merged: dict[str, float | None] = {}
    for field in fields(Row):
        if field.name in KEPT:
            continue
        summed = field.name in FAULTS
        values = [
            value
            for row in (rows if summed else counted)
            if (value := getattr(row, field.name)) is not None
        ]
        merged[field.name] = (sum(values) if summed else median(values)) if values else None
    return replace(
        rows[0],
        runs=len(counted),
        void=sum(row.is_void for row in rows),
        **merged,  # type: ignore[arg-type]  # names are the fields'
    )
