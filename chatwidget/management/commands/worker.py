"""`manage.py worker`: background work in a process of its own."""

import asyncio
import signal
from typing import Any

from django.core.management.base import CommandParser
from prometheus_client import start_http_server

from chatwidget import process
from chatwidget.management.base import DatabaseCommand


class Command(DatabaseCommand):
    """Delivers feedback, recovers orphaned turns, follows people's replies, applies retention."""

    help = "Run the background jobs until stopped. Any number of workers may run at once."
    requires_migrations_checks = True

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--metrics-port", type=int, help="Tell this worker's own numbers on this local port."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Run until SIGINT or SIGTERM, then give back what is under way."""
        if options["metrics_port"]:
            start_http_server(options["metrics_port"], addr="127.0.0.1")
        asyncio.run(self._run())

    async def _run(self) -> None:
        ended = asyncio.Event()
        for name in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(name, ended.set)
        process.start(background=True)
        self.stdout.write("The worker is running.")
        await ended.wait()
        await process.stop()
