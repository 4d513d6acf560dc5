"""What a rush left is given back."""

import asyncio
import ctypes
import os

import pytest

from chatwidget import memory
from chatwidget.store import Store

from .vitals import Vitals
from .waiting import eventually

GLIBC = hasattr(ctypes.CDLL(None), "malloc_trim")


@pytest.mark.skipif(not GLIBC, reason="another C library, which gives back by itself")
async def test_what_a_rush_left_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "EVERY_S", 0.01)
    vitals, store = Vitals(os.getpid()), Store()
    rush = [bytes(2_000) for _ in range(30_000)]
    last = rush.pop()  # with it in use, the C library keeps all that was before it
    rush.clear()
    left = vitals.resident
    giving = asyncio.create_task(memory.give_back_always(store))
    await eventually(lambda: vitals.resident < left - 40_000_000)
    giving.cancel()
    store.close()
    assert len(last) == 2_000
