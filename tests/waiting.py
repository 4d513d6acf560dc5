"""Waiting for what has no event of its own: a row in the database, a byte in a file."""

import asyncio
from collections.abc import Callable


async def eventually(holds: Callable[[], bool], *, timeout_s: float = 30.0) -> None:
    """Look again and again until `holds()`; TimeoutError if it never does."""
    async with asyncio.timeout(timeout_s):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.05)
