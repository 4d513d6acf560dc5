"""A real server process on loopback: started, asked, killed and started again by tests."""

import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Self

import pytest

ONE_PROCESS = pytest.mark.default_stack(
    "deltas go to the sockets of the process that answers; others are told what is stored"
)

ROOT = Path(__file__).resolve().parent.parent
START_S = 30
BEHIND = ("nice", "-n", os.environ["BEHIND"]) if "BEHIND" in os.environ else ()
"""How far the service stands back behind who loads it, which else would not be on time."""


class Server:
    """`manage.py serve` with this run's environment and whatever `env` adds."""

    def __init__(self, *arguments: str, **env: str) -> None:
        self.arguments, self.env = arguments, env
        self.port = 0
        self._process: subprocess.Popen[str] | None = None
        handle, name = tempfile.mkstemp(prefix="chatwidget-server-", suffix=".log")
        os.close(handle)
        self._log = Path(name)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self._process is not None, "the server runs"
        return self._process.pid

    @property
    def is_up(self) -> bool:
        return self._process is not None

    def log(self) -> str:
        """Everything it has written so far, both streams."""
        return self._log.read_text(errors="replace")

    def log_into(self, other: "Server") -> None:
        """Have one log for both from now on."""
        self._log.unlink()
        self._log = other._log

    def start(self) -> Self:
        """Start it, on its earlier port if it had one, and wait until it listens."""
        with self._log.open("a") as log:
            self._process = subprocess.Popen(
                [
                    *BEHIND,
                    sys.executable,
                    "manage.py",
                    "serve",
                    "--port",
                    str(self.port),
                    *self.arguments,
                ],
                cwd=ROOT,
                env=os.environ | self.env,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if found := re.search(r"http://127\.0\.0\.1:(\d+)", line):
                self.port = int(found[1])
                return self
        raise AssertionError(f"the server did not start:\n{self.log()}")

    def stop(self) -> int:
        """Ask it to end and wait for it; returns its exit code."""
        return self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it without a word, as a crash does."""
        self._end(signal.SIGKILL)

    def _end(self, how: signal.Signals) -> int:
        process, self._process = self._process, None
        if process is None:
            return 0
        process.send_signal(how)
        code = process.wait(timeout=START_S)
        assert process.stdout is not None
        process.stdout.close()
        return code

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.stop()
        self._log.unlink(missing_ok=True)


@contextmanager
def in_place_of(server: Server, **env: str) -> Iterator[Server]:
    """A server with `env` added, alone at work: the one that runs is down meanwhile."""
    server.stop()
    try:
        with Server(**env) as other:
            yield other
    finally:
        server.start()


@contextmanager
def worker(log: IO[str] | None = None, **env: str) -> Iterator[subprocess.Popen[str]]:
    """A `manage.py worker` that runs; it is ended if the test has not done so."""
    process = subprocess.Popen(
        [*BEHIND, sys.executable, "manage.py", "worker"],
        cwd=ROOT,
        env=os.environ | env,
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
    )
    assert process.stdout is not None
    try:
        assert "running" in process.stdout.readline()
        yield process
    finally:
        process.terminate()
        process.wait(timeout=15)
        process.stdout.close()


def manage(*command: str, **env: str) -> str:
    """Run a management command to its end; returns what it printed."""
    done = subprocess.run(
        [sys.executable, "manage.py", *command],
        cwd=ROOT,
        env=os.environ | env,
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout
