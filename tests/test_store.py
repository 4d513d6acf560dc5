"""The database under many hands: nothing locked, nothing lost, nothing queued behind one thread."""

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest
from django.db import InterfaceError, OperationalError, connection, transaction

from chatwidget.models import RateLimit
from chatwidget.store import Store

from .server import ROOT

WRITERS, PROCESSES, TRANSACTIONS = 8, 4, 250

WRITER = """
import random, sys, threading, uuid
import django
django.setup()
from django.db import OperationalError, connection, transaction
from chatwidget.models import RateLimit

def write():
    for number in range(int(sys.argv[1])):
        try:
            with transaction.atomic():  # reads, then writes what it read: the case that locks
                shared = RateLimit.objects.get(key="shared")
                if random.random() < 0.3:
                    RateLimit.objects.create(key=str(uuid.uuid4()), free_at=number)
                RateLimit.objects.filter(key="shared").update(free_at=shared.free_at + 1)
        except OperationalError:
            print("locked")
    connection.close()

threads = [threading.Thread(target=write) for _ in range(int(sys.argv[2]))]
for thread in threads: thread.start()
for thread in threads: thread.join()
"""


@pytest.fixture
async def store() -> AsyncIterator[Store]:
    store = Store()
    yield store
    store.close()


@pytest.fixture(autouse=True)
def counter() -> Any:
    """One row that everybody counts up."""
    RateLimit.objects.create(key="shared", free_at=0)
    yield RateLimit.objects.filter(key="shared")
    RateLimit.objects.all().delete()


def count() -> float:
    return RateLimit.objects.get(key="shared").free_at


def add_one() -> float:
    row = RateLimit.objects.get(key="shared")
    row.free_at += 1
    row.save()
    return row.free_at


def fail() -> None:
    RateLimit.objects.filter(key="shared").update(free_at=-1000)
    raise ValueError("this write fails after it wrote")


@pytest.mark.default_stack("how SQLite's one lock is waited for")
def test_eight_writers_of_four_processes_do_2000_transactions_and_none_is_locked_out() -> None:
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(TRANSACTIONS), str(WRITERS // PROCESSES)],
            cwd=ROOT,
            env=os.environ | {"DJANGO_SETTINGS_MODULE": "chatwidget.settings"},
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(PROCESSES)
    ]
    assert [writer.communicate(timeout=60)[0] for writer in writers] == [""] * PROCESSES
    assert count() == WRITERS * TRANSACTIONS


@pytest.mark.default_stack("how SQLite's one lock is waited for")
def test_eight_threads_write_2000_transactions_and_none_is_locked_out() -> None:
    problems: list[OperationalError] = []

    def write() -> None:
        try:
            for _ in range(TRANSACTIONS):
                with transaction.atomic():
                    add_one()
        except OperationalError as error:
            problems.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=write) for _ in range(WRITERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    assert count() == WRITERS * TRANSACTIONS


async def test_what_queued_up_is_committed_together(store: Store) -> None:
    entered, may_go = threading.Event(), threading.Event()

    def hold() -> None:
        entered.set()
        may_go.wait()

    def transaction_of() -> int:
        add_one()
        return id(connection.atomic_blocks[-1])

    first = asyncio.create_task(store.write(hold))
    await asyncio.to_thread(entered.wait)
    later = [asyncio.create_task(store.write(transaction_of)) for _ in range(50)]
    await asyncio.sleep(0)
    may_go.set()
    await first
    assert len(set(await asyncio.gather(*later))) == 1
    assert count() == 50


async def test_one_failing_write_takes_none_of_its_group_along(store: Store) -> None:
    works = [fail if number % 10 == 3 else add_one for number in range(50)]
    results = await asyncio.gather(*(store.write(work) for work in works), return_exceptions=True)
    failed = [one for one in results if isinstance(one, ValueError)]
    assert len(failed) == 5
    assert sorted(one for one in results if isinstance(one, float)) == list(range(1, 46))
    assert count() == 45


async def test_whatever_a_write_raises_the_writer_lives_on(store: Store) -> None:
    def leave() -> None:
        raise GeneratorExit

    with pytest.raises(GeneratorExit):
        await store.write(leave)
    assert await store.write(add_one) == 1


async def test_a_cancelled_callers_write_stands(store: Store) -> None:
    entered, may_go = threading.Event(), threading.Event()

    def hold() -> None:
        entered.set()
        may_go.wait()

    first = asyncio.create_task(store.write(hold))
    await asyncio.to_thread(entered.wait)
    cancelled = asyncio.create_task(store.write(add_one))
    await asyncio.sleep(0)
    cancelled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    may_go.set()
    await first
    assert await store.write(add_one) == 2


async def test_a_write_returns_after_its_commit(store: Store) -> None:
    await store.write(add_one)
    assert await asyncio.to_thread(count) == 1  # from another connection


@pytest.mark.default_stack("PostgreSQL's connections are lent by its pool")
async def test_a_lost_connection_is_replaced_and_the_work_repeated(store: Store) -> None:
    connections: list[object] = []

    def lost_once() -> float:
        connection.ensure_connection()
        connections.append(connection.connection)
        if len(connections) == 1:  # as psycopg says it after a restart of the database
            raise InterfaceError("the connection is closed")
        return add_one()

    for number, take in enumerate((store.write, store.read), 1):
        connections.clear()
        assert await take(lost_once) == number
        assert connections[0] is not connections[1]
        assert await take(count) == number


async def test_slow_reads_run_side_by_side(store: Store) -> None:
    together = threading.Barrier(4)  # nobody passes before four are inside at once

    def slow() -> int:
        connection.ensure_connection()
        return together.wait(timeout=10)

    places = await asyncio.gather(*(store.read(slow) for _ in range(20)))
    assert sorted(places) == sorted(list(range(4)) * 5)


async def test_a_long_write_does_not_hold_up_reads(store: Store) -> None:
    entered, may_go = threading.Event(), threading.Event()

    def hold() -> float:
        value = add_one()
        entered.set()
        may_go.wait()
        return value

    writing = asyncio.create_task(store.write(hold))
    await asyncio.to_thread(entered.wait)
    assert await asyncio.wait_for(store.read(count), 5) == 0
    may_go.set()
    assert await writing == 1


async def test_closing_finishes_what_is_queued_and_refuses_what_comes_after() -> None:
    store = Store()
    queued = [asyncio.create_task(store.write(add_one)) for _ in range(20)]
    await asyncio.sleep(0)
    await asyncio.to_thread(store.close)
    assert len(await asyncio.gather(*queued)) == 20
    with pytest.raises(RuntimeError):
        await store.write(add_one)
    with pytest.raises(RuntimeError):
        await store.read(count)
