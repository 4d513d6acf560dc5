"""What tests share: one real database file per worker, one real server, the simulators."""

import shutil
from collections.abc import Iterator

import pytest
from django.core.management import call_command

from chatwidget.models import Conversation

from .environment import DATA_DIR
from .reliability.report import summary_lines
from .server import Server
from .simulators.openai import OpenAISimulator
from .simulators.raia import RaiaSimulator


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what the reliability tests found, also when they passed."""
    if lines := summary_lines(terminalreporter.stats):
        terminalreporter.section("reliability")
        for line in lines:
            terminalreporter.write_line(line)


@pytest.fixture(scope="session", autouse=True)
def database(django_db_blocker: pytest.FixtureRequest) -> Iterator[None]:
    """Migrate the run's own database. Tests commit for real: the server reads the same file."""
    with django_db_blocker.unblock():  # type: ignore[attr-defined]
        call_command("migrate", verbosity=0)
        yield
    shutil.rmtree(DATA_DIR, ignore_errors=True)


@pytest.fixture(scope="session")
def server(database: None) -> Iterator[Server]:
    """The default stack: one process, SQLite, in-memory layer, background work inside."""
    with Server() as running:
        yield running
        assert "Traceback" not in running.log(), running.log()


@pytest.fixture(scope="session")
def limited(database: None) -> Iterator[Server]:
    """The same with its limits on, behind a proxy that names each visitor's address.

    Without background work: tests that count what one process does share the database with it.
    """
    with Server(
        RATE_LIMITS="on", TRUSTED_PROXIES="1", HELLO_S="0.3", EMBEDDED_WORKER="false"
    ) as running:
        yield running
        assert "Traceback" not in running.log(), running.log()


@pytest.fixture
def raia() -> Iterator[RaiaSimulator]:
    """raia; a request that its document does not allow fails the test."""
    with RaiaSimulator() as simulator:
        yield simulator
        # Nobody is to look at its conversations once its port may be another simulator's.
        Conversation.objects.filter(agent__base_url=simulator.url).update(sync_at=None)
        assert simulator.violations == []


@pytest.fixture
def openai() -> Iterator[OpenAISimulator]:
    """An OpenAI-compatible server, likewise."""
    with OpenAISimulator() as simulator:
        yield simulator
        assert simulator.violations == []
