"""Memory that a rush left behind, given back to the system.

The C library keeps what was freed between two blocks still in use, in as many heaps as there are
threads: after a rush, or a day of visitors, a process looks twice as large as it is.
"""

import asyncio
import ctypes
from typing import Never

from .store import Store

EVERY_S = 30.0

_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
"""glibc's; others have none, and give back by themselves."""


def give_back() -> None:
    """Give back what is free. Takes milliseconds, during which other threads run."""
    if _trim:
        _trim(ctypes.c_size_t(0))


async def give_back_always(store: Store) -> Never:
    """Give back now and then, on a thread of the store."""
    while True:
        await asyncio.sleep(EVERY_S)
        await store.read(give_back)
