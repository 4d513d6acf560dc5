"""What a reliability run tells: its seed, counts and percentiles.

The gate prints them in pytest's summary. At full length (`make test-long`) they are kept as well,
as `docs/results/<name>.md`.
"""

import os
import platform
import random
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from ..environment import OUTGROWN
from ..server import ROOT

RESULTS = ROOT / "docs" / "results"
PROPERTY = "reliability"


def sized(name: str, *, gate: Any, full: Any) -> pytest.MarkDecorator:
    """Run a test at two sizes: `gate` with every run, `full` when long runs are asked for."""
    patient = pytest.mark.timeout(300)  # for a busy machine; a long run brings its own
    return pytest.mark.parametrize(
        name,
        [
            pytest.param(gate, id="gate", marks=patient),
            pytest.param(full, id="full", marks=pytest.mark.long),
        ],
    )


def percentile(samples: Sequence[float], percent: float) -> float:
    """Return the nearest-rank percentile; 0 of no samples."""
    ordered = sorted(samples) or [0.0]
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


class Report:
    """One run's figures, in the order in which they were told."""

    def __init__(self, name: str, title: str, *, keep: bool) -> None:
        self.name, self.title, self._keep = name, title, keep
        self.seed = int(os.environ.get("SEED", random.randrange(10**6)))
        self.random = random.Random(self.seed)
        stack = "outgrown" if OUTGROWN else "default"
        self.figures: dict[str, str] = {"stack": stack, "seed": str(self.seed)}
        self.void = False
        """The load generator itself was late, so its times say nothing."""

    def tell(self, name: str, value: object) -> None:
        """Note a count, or whatever else was found."""
        self.figures[name] = f"{value:g}" if isinstance(value, float) else str(value)

    def tell_times(self, name: str, seconds: Sequence[float]) -> None:
        """Note the percentiles of samples in seconds."""
        p50, p95, p99 = (percentile(seconds, one) * 1000 for one in (50, 95, 99))
        worst = max(seconds, default=0.0) * 1000
        self.figures[name] = (
            f"p50 {p50:.0f} ms, p95 {p95:.0f} ms, p99 {p99:.0f} ms, worst {worst:.0f} ms "
            f"({len(seconds)} samples)"
        )

    def line(self) -> str:
        """Return everything in one line, for a terminal."""
        told = "; ".join(f"{name} {value}" for name, value in self.figures.items())
        return f"{self.name}: {told}"

    def end(self, passed: bool, record: Callable[[str, object], None]) -> None:
        """Hand the line to pytest, and keep the page of a full-length run."""
        record(PROPERTY, self.line())
        if self._keep:
            RESULTS.mkdir(parents=True, exist_ok=True)
            (RESULTS / f"{self.name}.md").write_text(self._page(passed))

    def _page(self, passed: bool) -> str:
        verdict = "void" if self.void else "passed" if passed else "failed"
        rows = "\n".join(f"| {name} | {value} |" for name, value in self.figures.items())
        return (
            f"# {self.title}\n\n"
            f"{datetime.now(UTC):%d %B %Y}, {os.cpu_count()} cores, {platform.system()}, "
            f"Python {platform.python_version()}: "
            f"**{verdict}**. Made by `make test-long`.\n\n"
            f"| | |\n| --- | --- |\n{rows}\n"
        )


def summary_lines(stats: dict[str, list[Any]]) -> list[str]:
    """Return what the tests of a run told, whichever process they ran in."""
    return sorted(
        {
            str(value)
            for reports in stats.values()
            for report in reports
            for name, value in getattr(report, "user_properties", ())
            if name == PROPERTY
        }
    )
