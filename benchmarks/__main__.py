"""One command: every contestant, every scenario, side by side.

    python -m benchmarks [--quick] [--scenarios slow,idle] [--contestants bare,daphne] [--repeats 3]

`make benchmark ARGUMENTS="…"` installs the peers first. README.md says how to read the tables.
"""

import argparse
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from . import writes
from .contestants import CONTESTANTS, Contestant
from .figures import Row, median_of
from .load import WARM_UP
from .processes import (
    LOAD_CORE,
    LOG,
    ROOT,
    SERVER_CORE,
    RunFailedError,
    free_port,
    on_core,
    python,
    server,
)
from .scenarios import QUICK, SCENARIOS, Scenario
from .table import table

RUN_S = 180
"""No run takes longer."""
LOG_CHARS = 3000
PACKAGES = (
    *("Django", "channels", "daphne", "Twisted", "autobahn", "uvicorn", "uvloop", "httptools"),
    *("websockets", "starlette", "httpx", "httpx-aiohttp", "aiohttp", "chainlit"),
)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    every = [one.name for one in SCENARIOS] + [writes.NAME]
    parser.add_argument("--scenarios", default=",".join(every), help="of " + ", ".join(every))
    parser.add_argument(
        "--contestants",
        default="",
        help="of " + ", ".join(CONTESTANTS) + "; all that are installed, if not given",
    )
    parser.add_argument("--repeats", type=int, default=1, help="runs of each; the median counts")
    parser.add_argument("--quick", action="store_true", help="small sizes: does it all work?")
    parser.add_argument("--json", type=Path, help="write all rows to this file, too")
    given = parser.parse_args()
    given.scenarios = given.scenarios.split(",")
    given.contestants = given.contestants.split(",") if given.contestants else []
    if unknown := {*given.scenarios} - {*every} | {*given.contestants} - {*CONTESTANTS}:
        parser.error(f"not known: {', '.join(sorted(unknown))}")
    return given


def chosen(scenario: Scenario, names: list[str]) -> Iterator[tuple[str, Contestant]]:
    """Yield who takes part: as asked for, or all but those that matter elsewhere."""
    everywhere = [name for name in CONTESTANTS if not name.endswith("-unmerged")]
    for name in names or [*everywhere, *scenario.also]:
        contestant = CONTESTANTS[name]
        if scenario.kind == "idle" and contestant.command is None:
            continue  # nothing to measure
        if contestant.missing:
            note(f"{name} is left out: {', '.join(contestant.missing)} not installed")
            continue
        yield name, contestant


class Bench:
    """What all runs share: the upstream, and a database that each run of ours gets a copy of."""

    def __init__(self, upstream: str, data: Path, visitors: int) -> None:
        self.upstream, self._data = upstream, data
        self._visitors = visitors + WARM_UP
        self._known: list[dict[str, str]] = []

    def run(self, name: str, contestant: Contestant, scenario: Scenario) -> Row:
        """Start the contestant, let the visitors come, and return what was measured.

        Raises RunFailedError, with the end of what the server wrote.
        """
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="benchmark-")))
            env = {"UPSTREAM": self.upstream} | contestant.env
            if contestant.is_ours:
                env |= self._copied(folder)
            port, pid = int(self.upstream.rpartition(":")[2]), None
            try:
                if contestant.command:
                    port = free_port()
                    command = contestant.command(port)
                    running = server(command, port, core=SERVER_CORE, cwd=folder, env=env)
                    pid = stack.enter_context(running)
                return loaded(
                    {
                        "contestant": name,
                        "speaks": contestant.speaks,
                        "address": f"127.0.0.1:{port}",
                        "upstream": self.upstream,
                        "server": pid,
                        "scenario": asdict(scenario),
                        "known": self._known if contestant.is_ours else [],
                    }
                )
            except RunFailedError as error:
                log = (folder / LOG).read_text() if contestant.command else ""
                raise RunFailedError(f"{error}\n{log[-LOG_CHARS:]}") from None

    def _copied(self, folder: Path) -> dict[str, str]:
        if not self._known:
            given = ["--upstream", self.upstream, "--visitors", str(self._visitors)]
            prepared = subprocess.run(
                python("-m", "benchmarks.contestants.prepare", *given),
                cwd=ROOT,
                env=os.environ | {"DATA_DIR": str(self._data)},
                check=True,
                stdout=subprocess.PIPE,
            )
            self._known = json.loads(prepared.stdout)
        shutil.copytree(self._data, folder / "data")
        return {
            "DATA_DIR": str(folder / "data"),
            "PROVIDER_ALLOW_PRIVATE": "true",
            "RATE_LIMITS": "off",
        }


def loaded(job: dict[str, object]) -> Row:
    """Run the load generator on its core. Raises RunFailedError with what it wrote."""
    with on_core(LOAD_CORE):
        try:
            load = subprocess.run(
                python("-m", "benchmarks.load"),
                cwd=ROOT,
                input=json.dumps(job),
                capture_output=True,
                text=True,
                timeout=RUN_S,
            )
        except subprocess.TimeoutExpired:
            raise RunFailedError(f"not done after {RUN_S} s") from None
    if load.returncode:
        raise RunFailedError(f"the load generator failed\n{load.stderr[-LOG_CHARS:]}")
    for line, times in Counter(load.stderr.splitlines()).items():
        note(f"  {times} x {line}")
    return Row(**json.loads(load.stdout))


@contextmanager
def upstream() -> Iterator[str]:
    """The one upstream of all runs."""
    port = free_port()
    command = python("-m", "benchmarks.upstream", "--port", str(port))
    with (
        tempfile.TemporaryDirectory(prefix="benchmark-") as folder,
        server(command, port, core=LOAD_CORE, cwd=Path(folder)),
    ):
        yield f"http://127.0.0.1:{port}"


def machine() -> str:
    """Return what the figures depend on."""
    cpu = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    found = []
    for package in PACKAGES:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return f"{os.cpu_count()} cores, {cpu}; Python {platform.python_version()}; {', '.join(found)}"


def note(text: str) -> None:
    """Tell of progress, beside the result."""
    print(text, file=sys.stderr, flush=True)


failures: list[str] = []


def failed(text: str) -> None:
    """Tell of a run that gave no row; the command will exit with 1."""
    failures.append(text)
    note(f"  FAILED: {text}")


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # what was started is ended then, too
    given = arguments()
    scenarios = [
        one for one in (QUICK if given.quick else SCENARIOS) if one.name in given.scenarios
    ]
    rows: list[Row] = []
    if scenarios:
        rows += relayed(scenarios, given.contestants, given.repeats)
    if writes.NAME in given.scenarios:
        rows += [row for _ in range(given.repeats) for row in writes.measured(quick=given.quick)]
    print(f"{machine()}\n")
    for title, kind, names in [
        *((f"{one.name}: {one.about}", one.kind, [one.name]) for one in scenarios),
        *((about, "writes", [name]) for name, about in writes.ABOUT.items()),
    ]:
        if found := merged([row for row in rows if row.scenario in names]):
            print(f"**{title}**\n\n{table(kind, found)}\n")
    if given.json:
        given.json.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    if failures:
        raise SystemExit(f"{len(failures)} runs failed, see above")


def relayed(scenarios: list[Scenario], names: list[str], repeats: int) -> list[Row]:
    """Run everybody in turn, `repeats` times round, so that a bad minute meets them all."""
    rows = []
    with upstream() as address, tempfile.TemporaryDirectory(prefix="benchmark-") as data:
        bench = Bench(address, Path(data), max(one.visitors for one in scenarios))
        for turn in range(repeats):
            for scenario in scenarios:
                for name, contestant in chosen(scenario, names):
                    note(f"{turn + 1}/{repeats} {scenario.name}: {contestant.label}")
                    try:
                        rows.append(bench.run(name, contestant, scenario))
                    except RunFailedError as error:  # the others' figures stand all the same
                        failed(str(error))
    return rows


def merged(rows: list[Row]) -> list[Row]:
    """Return the median row of each contestant, in order of appearance."""
    names = dict.fromkeys(row.contestant for row in rows)
    return [median_of([row for row in rows if row.contestant == name]) for name in names]


if __name__ == "__main__":
    main()
