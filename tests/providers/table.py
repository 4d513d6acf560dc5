"""`python -m tests.providers.table`: run the suites of all vendors and print what came of it.

Two tables in Markdown: checks by provider, faults by provider and call.
"""

import re
import sys
from collections import Counter

import pytest

from chatwidget.providers import PROVIDERS

from .cases import CASES
from .fault_matrix import CONNECTION, FAULTS, NOT_A_STREAM, Cell, places

SUITES = ["tests/providers/test_conformance.py", "tests/providers/test_fault_matrix.py"]
NONE = "–"


class Collector:
    """A pytest plugin that remembers outcomes by test and parameter."""

    def __init__(self) -> None:
        self.passed: dict[tuple[str, str], bool] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        found = re.search(r"::test_(\w+)\[(.*)\]$", report.nodeid)
        if found:
            key = found[1], found[2]
            self.passed[key] = self.passed.get(key, True) and report.passed


def words(check: str, provider: str) -> str:
    """What a passed check means at this provider, by what it declares."""
    declared = PROVIDERS[provider]
    if "vote" in check or "comment" in check or "mind" in check:
        if not declared.takes_votes:
            return "kept here"
        if "taken_back" in check:
            return "cleared" if declared.clears_votes else "not expressible"
        if "comment_alone" in check and not declared.takes_comments:
            return "kept here"
        if "comment_alone" in check:
            return "waits for a vote" if declared.comment_needs_vote else "delivered"
    if "asks_for" in check and not CASES[provider].reads():
        return "nothing is polled"
    if "after_a_crash" in check:
        return "resumed" if declared.resumes else "interrupted"
    return "yes"


def line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def print_checks(passed: dict[tuple[str, str], bool]) -> None:
    checks = list(dict.fromkeys(check for check, parameter in passed if parameter in CASES))
    print(line("", *CASES), line("---", *("---" for _ in CASES)), sep="\n")
    for check in checks:
        told = [
            words(check, provider) if passed.get((check, provider)) else "FAILED"
            for provider in CASES
        ]
        print(line(check.replace("_", " "), *told))


def print_faults(passed: dict[tuple[str, str], bool]) -> None:
    by_cell = {parameter: good for (_, parameter), good in passed.items()}
    counts: Counter[str] = Counter()

    def told(cell: Cell) -> str:
        if cell.why_not:
            counts["not applicable"] += 1
            return NONE
        good = by_cell.get(str(cell), False)
        counts["passed" if good else "FAILED"] += 1
        return cell.ending.removeprefix("agent_") if good else "FAILED"

    calls = [(provider, place) for provider, case in CASES.items() for place in places(case)]
    connections = [(provider, "connection") for provider in CASES]
    for faults, columns in ((list(FAULTS), calls), (list(CONNECTION), connections)):
        print(line("", *(f"{provider}: {place}" for provider, place in columns)))
        print(line("---", *("---" for _ in columns)))
        for fault in faults:
            print(line(fault, *(told(Cell(*column, fault)) for column in columns)))
        print()
    print(f"{NONE} {NOT_A_STREAM}")
    print(", ".join(f"{kind}: {count}" for kind, count in counts.items()))


def main() -> int:
    collector = Collector()
    code = pytest.main([*SUITES, "-p", "no:randomly", "-p", "no:cacheprovider"], [collector])
    print()
    print_checks(collector.passed)
    print()
    print_faults(collector.passed)
    return int(code)


if __name__ == "__main__":
    sys.exit(main())
