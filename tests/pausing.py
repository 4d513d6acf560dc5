"""A process that stops where a test wants to kill it, and says that it is there.

`Pausing` is installed by `paused_settings.py`, in a process that a test starts. PAUSE_AT names a
file: it holds the name of the one point at which the process stops, or nothing. Beside it, with
`.reached` behind its name, is a file that gets a line for everyone who has come there.
"""

import asyncio
import os
import threading
from pathlib import Path
from typing import Any

from django.apps import AppConfig


class Pause:
    """The test's side and the process's side of the two files."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._reached = path.with_name(f"{path.name}.reached")
        self.env = {
            "DJANGO_SETTINGS_MODULE": "tests.paused_settings",
            "PAUSE_AT": str(path),
        }

    def arm(self, point: str) -> None:
        """Stop at this point from now on; "" is none."""
        self._reached.write_text("")
        self.path.write_text(point)

    @property
    def reached(self) -> int:
        """How many have come to the point."""
        return len(self._reached.read_text())

    def at(self, point: str) -> bool:
        """Whether to stop here; notes that somebody has come."""
        if self.path.read_text() != point:
            return False
        with self._reached.open("a") as file:
            file.write(".")
        return True

    def thread(self, point: str) -> None:
        """Stop this thread for good, if this is the point."""
        if self.at(point):
            threading.Event().wait()

    async def task(self, point: str) -> None:
        """Stop this task for good, if this is the point."""
        if self.at(point):
            await asyncio.Event().wait()


class Pausing(AppConfig):
    """Wraps the functions between which a vote's way can break off."""

    name = "tests.pausing"

    def ready(self) -> None:
        from chatwidget import process
        from feedback import delivery

        pause = Pause(Path(os.environ["PAUSE_AT"]))
        touch, publish = delivery.touch, process.publish
        send, settle = delivery._send, delivery.settle

        def paused_touch(*args: Any, **kwargs: Any) -> Any:
            frame = touch(*args, **kwargs)
            pause.thread("before commit")
            return frame

        def paused_publish(*args: Any) -> None:
            pause.thread("after commit")
            publish(*args)

        async def paused_send(due: delivery.Due) -> None:
            await pause.task("after claim")
            await send(due)
            await pause.task("after acknowledgement")

        def paused_settle(*args: Any, **kwargs: Any) -> Any:
            pause.thread("answered, not noted")
            return settle(*args, **kwargs)

        vars(process).update(publish=paused_publish)
        vars(delivery).update(touch=paused_touch, _send=paused_send, settle=paused_settle)
