"""What came of an answer, frame by frame, against what the upstream says it sent."""

import re
from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise

TOKEN = re.compile(r"(\d+)@(\d+\.\d+) ")


@dataclass
class Receipts:
    """One answer as it arrived. Filled while the clock runs, read afterwards."""

    asked_at: float = 0.0
    frames: list[tuple[float, str]] = field(default_factory=list)
    """(when it came, the text in it)"""
    ended: bool = False
    stored: str | None = None
    """What the contestant has kept of it, if it keeps anything."""

    @property
    def text(self) -> str:
        return "".join(text for _, text in self.frames)

    def delays_ms(self) -> list[float]:
        """How long after its stamp each token was whole here, in order of arrival."""
        found, seen, text = [], 0, ""
        for at, piece in self.frames:
            text = text[seen:] + piece
            seen = 0
            for token in TOKEN.finditer(text):
                found.append((at - float(token[2])) * 1000)
                seen = token.end()
        return found

    def ttft_ms(self, arrived: float) -> float | None:
        """Asking to the upstream's receipt, and first stamp to first token; None: none came.

        What lies between is the upstream's own.
        """
        delays = self.delays_ms()
        return (arrived - self.asked_at) * 1000 + delays[0] if delays else None


@dataclass(frozen=True, slots=True)
class Faults:
    """Tokens that did not come once and in their place."""

    lost: int
    doubled: int
    reordered: int


def faults(received: str, sent: str) -> Faults:
    """Compare what came with what was sent."""
    came = [int(token[1]) for token in TOKEN.finditer(received)]
    times, wanted = Counter(came), {int(token[1]) for token in TOKEN.finditer(sent)}
    return Faults(
        lost=len(wanted - times.keys()),
        doubled=sum(count - 1 for count in times.values()),
        reordered=sum(after < before for before, after in pairwise(came)),
    )
