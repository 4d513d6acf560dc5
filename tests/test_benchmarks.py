"""The benchmarks run, and what they count they would also find."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.contestants import CONTESTANTS
from benchmarks.figures import LATE_MS, Row, median_of
from benchmarks.receipts import Faults, Receipts, faults
from benchmarks.table import table

from .server import ROOT

pytestmark = pytest.mark.default_stack("needs no server")

SENT = [f"{number}@1.5 " for number in range(10)]


@pytest.mark.timeout(240)
def test_contestants_without_dependencies_of_their_own_still_run(tmp_path: Path) -> None:
    needless = [name for name in ("direct", "naive", "daphne") if not CONTESTANTS[name].needs]
    benchmark = subprocess.Popen(
        [
            *(sys.executable, "-m", "benchmarks", "--quick", "--scenarios", "slow"),
            *("--contestants", ",".join(needless), "--json", str(tmp_path / "rows.json")),
        ],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name != "DATA_DIR"},
        stdout=subprocess.DEVNULL,
    )
    try:
        assert benchmark.wait(timeout=150) == 0
    finally:
        benchmark.terminate()  # and it ends what it started
        benchmark.wait(timeout=40)
    rows = [Row(**row) for row in json.loads((tmp_path / "rows.json").read_text())]
    assert [row.contestant for row in rows] == ["direct", "naive", "daphne"]
    assert [(row.tokens, row.lost, row.unended) for row in rows] == [(100, 0, 0)] * 3
    ours = rows[-1]
    assert (ours.doubled, ours.reordered, ours.stored_differs) == (0, 0, 0)
    assert ours.cpu_s_per_m is not None
    assert ours.ttft_p50_ms is not None
    assert ours.ttft_p50_ms > 0


@pytest.mark.parametrize(
    ("came", "found"),
    [
        pytest.param(SENT, Faults(0, 0, 0), id="all"),
        pytest.param(SENT[:4] + SENT[5:], Faults(1, 0, 0), id="one lost"),
        pytest.param([*SENT[:4], SENT[3], *SENT[4:]], Faults(0, 1, 0), id="one doubled"),
        pytest.param([SENT[1], SENT[0], *SENT[2:]], Faults(0, 0, 1), id="two swapped"),
        pytest.param([], Faults(10, 0, 0), id="none"),
    ],
)
def test_tokens_lost_doubled_and_reordered_are_counted(came: list[str], found: Faults) -> None:
    assert faults("".join(came), "".join(SENT)) == found


def test_a_token_counts_from_when_it_is_whole() -> None:
    receipts = Receipts(asked_at=9.0, frames=[(10.0, "0@9.75"), (10.5, " 1@10.25 "), (11.0, "2@")])
    assert receipts.delays_ms() == [750.0, 250.0]
    assert receipts.ttft_ms(arrived=9.25) == 1000.0


def test_a_run_with_a_late_generator_is_void_but_its_losses_count() -> None:
    good = Row(scenario="slow", contestant="bare", delay_p50_ms=1.0, lost=0)
    late = Row(
        scenario="slow", contestant="bare", delay_p50_ms=50.0, lost=3, late_p99_ms=LATE_MS + 1
    )
    merged = median_of([good, late])
    assert (merged.delay_p50_ms, merged.lost, merged.runs, merged.void) == (1.0, 3, 1, 1)
    assert "VOID" in table("answers", [median_of([late])])


def test_the_table_has_ratios_to_the_bare_relay() -> None:
    rows = [
        Row(scenario="slow", contestant="bare", cpu_s_per_m=200.0),
        Row(scenario="slow", contestant="daphne", cpu_s_per_m=300.0),
    ]
    assert "1.50" in table("answers", rows).splitlines()[-1]
