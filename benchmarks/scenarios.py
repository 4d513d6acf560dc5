"""What the contestants are put through, and the same in small for a quick look."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """So many visitors; all ask within `spread_s`, and are answered at `rate` tokens a second."""

    name: str
    about: str
    kind: Literal["answers", "idle"] = "answers"
    visitors: int
    tokens: int = 0
    rate: float = 0.0
    spread_s: float = 1.0
    quiet_s: float = 30.0
    """A visitor who hears nothing for so long gives up."""
    also: tuple[str, ...] = ()
    """Contestants that matter here only."""


SCENARIOS = (
    Scenario(
        name="slow",
        about="50 visitors, 120 tokens each at 20 a second",
        visitors=50,
        tokens=120,
        rate=20,
    ),
    Scenario(
        name="fast",
        about="40 visitors, 320 tokens each at 80 a second: 3,200 a second in all",
        visitors=40,
        tokens=320,
        rate=80,
        also=("daphne-unmerged", "uvicorn-unmerged"),
    ),
    Scenario(
        name="burst",
        about="500 visitors ask within one second, 30 tokens each at 2 a second",
        visitors=500,
        tokens=30,
        rate=2,
    ),
    Scenario(name="idle", about="1,000 sockets that say nothing", kind="idle", visitors=1000),
)

QUICK = (
    Scenario(
        name="slow",
        about="5 visitors, 20 tokens each at 20 a second",
        visitors=5,
        tokens=20,
        rate=20,
        spread_s=0.2,
        quiet_s=10,
    ),
    Scenario(
        name="fast",
        about="4 visitors, 80 tokens each at 80 a second",
        visitors=4,
        tokens=80,
        rate=80,
        spread_s=0.2,
        quiet_s=10,
        also=("daphne-unmerged", "uvicorn-unmerged"),
    ),
    Scenario(
        name="burst",
        about="50 visitors ask within a tenth of a second, 4 tokens each at 2 a second",
        visitors=50,
        tokens=4,
        rate=2,
        spread_s=0.1,
        quiet_s=10,
    ),
    Scenario(name="idle", about="50 sockets that say nothing", kind="idle", visitors=50),
)
