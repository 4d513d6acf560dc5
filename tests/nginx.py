"""nginx with the recipe of docs/nginx.conf: the very file, with ports and paths of the tests."""

import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Self

from .server import ROOT, START_S

RECIPE = ROOT / "docs/nginx.conf"
PROGRAM = shutil.which("nginx") or "/usr/sbin/nginx"
# What a system's own nginx.conf holds, for a user that may be anybody and a folder that goes away.
AROUND = """
{user}
daemon off;
pid {folder}/pid;
error_log {folder}/log notice;
worker_processes 1;
events {{ worker_connections 8192; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/recipe;
}}
"""


class Nginx:
    """nginx in front of servers on these ports, with TLS if there is a certificate."""

    def __init__(self, *upstreams: int, certificate: Path | None = None) -> None:
        self.upstreams, self.certificate = upstreams, certificate
        self.port = 0
        self._folder = Path(tempfile.mkdtemp(prefix="chatwidget-nginx-"))
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def plain_socket(self) -> str:
        """Where it listens without TLS if there is a certificate: a path."""
        return f"{self._folder}/plain.sock"

    def log(self) -> str:
        path = self._folder / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def start(self) -> Self:
        """Start it on a free port, or on its earlier one, and wait until it listens."""
        while self._process is None:
            self.port = self.port or free_port()
            self._write()
            (self._folder / "log").unlink(missing_ok=True)
            self._process = subprocess.Popen([PROGRAM, "-p", self._folder, "-c", "main"])
            if not self._listens():
                assert "Address already in use" in self.log(), self.log()
                self._process, self.port = None, 0  # somebody was faster
        return self

    def stop(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            assert self._process.wait(timeout=START_S) == 0
            self._process = None

    def _write(self) -> None:
        """Write the configuration. What the recipe no longer says as here must be changed here."""
        recipe = RECIPE.read_text()
        servers = "".join(f"server 127.0.0.1:{port} max_fails=0;" for port in self.upstreams)
        here = {
            r"server 127\.0\.0\.1:8001 max_fails=0;": servers,
            r"server 127\.0\.0\.1:8002 max_fails=0;": "",
            r"listen 80;": f"listen unix:{self.plain_socket};",
            r"listen 443 ssl;": f"listen 127.0.0.1:{self.port} ssl;",
            r"listen \[::\]:(80|443 ssl);": "",
            r"/etc/ssl/chat.example.com.(?:crt|key)": str(self.certificate),
        }
        if self.certificate is None:
            here[r"listen 443 ssl;"] = f"listen 127.0.0.1:{self.port};"
            here[r"ssl_certificate(_key)? .*;"] = ""
            del here[r"/etc/ssl/chat.example.com.(?:crt|key)"]
        for said, meant in here.items():
            recipe, times = re.subn(said, meant, recipe)
            assert times, f"the recipe does not say {said}"
        user = "user root;" if os.geteuid() == 0 else ""
        (self._folder / "recipe").write_text(recipe)
        (self._folder / "main").write_text(AROUND.format(folder=self._folder, user=user))

    def _listens(self) -> bool:
        """Wait until it does, or has ended."""
        assert self._process is not None
        deadline = time.monotonic() + START_S
        while "start worker process" not in self.log():
            if self._process.poll() is not None:
                return False
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.02)
        return True

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.stop()
        shutil.rmtree(self._folder)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port
