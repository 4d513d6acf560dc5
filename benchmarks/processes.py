"""Processes of a run: started on a core of their own, looked at in /proc, ended by their id."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOG = "server.log"
START_S, END_S = 60.0, 20.0
TICKS = os.sysconf("SC_CLK_TCK")
PAGE_KIB = os.sysconf("SC_PAGE_SIZE") // 1024

SERVER_CORE, LOAD_CORE = 0, 1
"""The server has a core to itself; upstream and visitors share the other."""


class RunFailedError(Exception):
    """There is no row; the text says why."""


@contextmanager
def on_core(core: int) -> Iterator[None]:
    """Have what is started in here run on one core, where there are several."""
    cores = os.sched_getaffinity(0)
    try:
        if len(cores) > 1:
            os.sched_setaffinity(0, {sorted(cores)[core]})
        yield
    finally:
        os.sched_setaffinity(0, cores)


def free_port() -> int:
    """Return a port of loopback that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


@contextmanager
def server(
    command: list[str], port: int, *, core: int, cwd: Path, env: dict[str, str] | None = None
) -> Iterator[int]:
    """Run a server until the end of the block; yields its process id once it listens.

    What it writes is in `cwd`, in LOG. Raises RunFailedError if it does not listen in time.
    """
    with (cwd / LOG).open("w") as written, on_core(core):
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env=os.environ | {"PYTHONPATH": str(ROOT)} | (env or {}),
            stdout=written,
            stderr=subprocess.STDOUT,
        )
    try:
        if not _listens(process, port):
            raise RunFailedError(f"{' '.join(command)} does not listen")
        yield process.pid
    finally:
        process.terminate()
        try:
            process.wait(timeout=END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _listens(process: subprocess.Popen[bytes], port: int) -> bool:
    until = time.monotonic() + START_S
    while time.monotonic() < until and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return True
    return False


def python(*arguments: str) -> list[str]:
    """Return the command that runs this interpreter."""
    return [sys.executable, *arguments]


# --- what /proc tells -----------------------------------------------------------------------------


def tree(pid: int) -> list[int]:
    """Return a process and its descendants."""
    parents = {}
    for entry in Path("/proc").glob("[0-9]*"):
        if fields := _stat(int(entry.name)):
            parents[int(entry.name)] = int(fields[1])
    found = [pid]
    for one in found:
        found += [child for child, parent in parents.items() if parent == one]
    return found


def cpu_s(pid: int) -> float:
    """Return the user and system time of a process tree, ended children included."""
    return sum(sum(map(int, _stat(one)[11:15])) for one in tree(pid) if _stat(one)) / TICKS


def memory_kib(pid: int) -> int:
    """Return the resident memory of a process tree."""
    return sum(
        int(Path(f"/proc/{one}/statm").read_text().split()[1]) * PAGE_KIB for one in tree(pid)
    )


def steal() -> tuple[float, float]:
    """Return (time taken by the host, all time) of all cores, in ticks."""
    times = [float(one) for one in Path("/proc/stat").read_text().split("\n")[0].split()[1:9]]
    return times[7], sum(times)


def _stat(pid: int) -> list[str]:
    """Return a process's fields from `state` on (proc(5)), or none if it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
