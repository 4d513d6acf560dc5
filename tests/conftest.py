"""What tests share: one real database per worker, one real server, the simulators."""

import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from django.core.management import call_command
from django.db import connection, transaction
from playwright.sync_api import expect

from chatwidget.models import Conversation

from . import stack
from .cast import under_test
from .environment import DATA_DIR, OUTGROWN
from .providers.cases.siteassist import SiteAssistCase
from .reliability.report import summary_lines
from .server import Server
from .simulators.openai import OpenAISimulator
from .simulators.raia import RaiaSimulator
from .simulators.siteassist import SiteAssistSimulator

expect.set_options(timeout=20_000)  # a busy machine's browser may need longer than 5 s


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what the reliability tests found, also when they passed."""
    if lines := summary_lines(terminalreporter.stats):
        terminalreporter.section("reliability")
        for line in lines:
            terminalreporter.write_line(line)


def pytest_report_header() -> str:
    return f"stack: {'outgrown' if OUTGROWN else 'default'}"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is of the other stack by nature; its marker says why."""
    other = "default_stack" if OUTGROWN else "outgrown_stack"
    left_out = [item for item in items if is_of(item, other) or (OUTGROWN and is_spared(item))]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


def is_of(item: pytest.Item, stack: str) -> bool:
    marker = item.get_closest_marker(stack)
    assert not marker or marker.args, f"{item.nodeid} does not say why it is of the {stack}"
    return marker is not None


KEPT = {"widget": "test_main_job.py", "providers": "test_conformance.py"}
"""What a browser shows and what an adapter makes of its vendor's words hardly depend on the stack:
of their folders, the outgrown one runs this."""


def is_spared(item: pytest.Item) -> bool:
    return KEPT.get(item.path.parent.name, item.path.name) != item.path.name


@pytest.fixture(scope="session", autouse=True)
def database(django_db_blocker: pytest.FixtureRequest) -> Iterator[None]:
    """Migrate the run's own database. Tests commit for real: the server reads the same one."""
    with ExitStack() as open_until_the_end:
        if OUTGROWN:
            folder = Path(DATA_DIR)
            address = open_until_the_end.enter_context(stack.postgres(folder / "postgres"))
            assert address == os.environ["DATABASE_URL"]
            open_until_the_end.enter_context(stack.redis(folder / "redis.sock"))
        open_until_the_end.enter_context(django_db_blocker.unblock())  # type: ignore[attr-defined]
        if OUTGROWN:  # each task of a test has a connection of its own, and gives none back
            connection.settings_dict["OPTIONS"]["pool"]["max_size"] = 1000
        call_command("migrate", verbosity=0)
        yield
        if OUTGROWN:
            connection.close()
            connection.close_pool()  # type: ignore[attr-defined]
    shutil.rmtree(DATA_DIR, ignore_errors=True)


def new_server(**env: str) -> Server:
    """A server of this run's stack, whose parts a test need not know."""
    return stack.Stack(**env) if OUTGROWN else Server(**env)


@pytest.fixture(scope="session")
def server(database: None) -> Iterator[Server]:
    """The service as visitors know it, with background work."""
    with new_server() as running:
        yield running
        assert "Traceback" not in running.log(), running.log()


@pytest.fixture(scope="session")
def limited(database: None) -> Iterator[Server]:
    """The same with its limits on, behind a proxy that names each visitor's address.

    Without background work: tests that count what one process does share the database with it.
    """
    with new_server(
        RATE_LIMITS="on", TRUSTED_PROXIES="1", HELLO_S="0.3", EMBEDDED_WORKER="false"
    ) as running:
        yield running
        assert "Traceback" not in running.log(), running.log()


@pytest.fixture
def undone() -> Iterator[None]:
    """Leave nothing behind: the database is shared with tests that run a real server."""
    with transaction.atomic():
        yield
        transaction.set_rollback(True)


@pytest.fixture
def raia() -> Iterator[RaiaSimulator]:
    """raia; a request that its document does not allow fails the test."""
    with RaiaSimulator() as simulator:
        yield simulator
        # Nobody is to look at its conversations once its port may be another simulator's.
        for conversation in Conversation.objects.filter(agent__base_url=simulator.url):
            Conversation.objects.filter(pk=conversation.pk).update(sync_at=None)
        assert simulator.violations == []


@pytest.fixture
def openai() -> Iterator[OpenAISimulator]:
    """An OpenAI-compatible server, likewise."""
    with OpenAISimulator() as simulator:
        yield simulator
        assert simulator.violations == []


@pytest.fixture
def siteassist_case() -> Iterator[SiteAssistCase]:
    """SiteAssist, and how an agent is set up there."""
    with under_test(SiteAssistCase()) as case:
        yield case


@pytest.fixture
def siteassist(siteassist_case: SiteAssistCase) -> SiteAssistSimulator:
    return siteassist_case.simulator
