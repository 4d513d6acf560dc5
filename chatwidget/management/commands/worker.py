"""`manage.py worker`: background work in a process of its own."""

import asyncio
import signal
from typing import Any

from django.core.management.base import BaseCommand

from chatwidget import process


class Command(BaseCommand):
    """Delivers feedback, recovers orphaned turns, follows people's replies, applies retention."""

    help = "Run the background jobs until stopped. Any number of workers may run at once."
    requires_migrations_checks = True

    def handle(self, *args: Any, **options: Any) -> None:
        """Run until SIGINT or SIGTERM, then give back what is under way."""
        asyncio.run(self._run())

    async def _run(self) -> None:
        ended = asyncio.Event()
        for name in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(name, ended.set)
        process.start(background=True)
        self.stdout.write("The worker is running.")
        await ended.wait()
        await process.stop()
