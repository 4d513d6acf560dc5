"""What the reliability tests share: each reports what it found."""

import tempfile
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest

from chatwidget.models import Widget

from ..cast import make_agent, make_widget, openai_agent
from ..environment import OUTGROWN
from ..server import Server
from ..simulators.openai import OpenAISimulator
from ..simulators.raia import RaiaSimulator
from .database import Database
from .report import Report

passed = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Remember how the test itself went, for its report."""
    report = yield
    if report.when == "call":
        item.stash[passed] = report.passed
    return report


@pytest.fixture
def report(
    request: pytest.FixtureRequest, record_property: Callable[[str, object], None]
) -> Iterator[Report]:
    """The report of this test: named after it, its title the docstring's first line."""
    test = request.node
    parts = [test.originalname.removeprefix("test_").replace("_", "-")]
    if hasattr(test, "callspec"):
        parts += [one for one in test.callspec._idlist if one not in ("gate", "full")]
    parts += ["outgrown"] if OUTGROWN else []
    title = (test.obj.__doc__ or parts[0]).splitlines()[0]
    keep = test.get_closest_marker("long") is not None
    report = Report("-".join(parts), title, keep=keep)
    yield report
    report.end(test.stash.get(passed, False), record_property)
    assert not report.void, "void: the load generator itself was late"


@pytest.fixture
def at_openai(openai: OpenAISimulator) -> Widget:
    """A widget whose agent streams."""
    return make_widget(openai_agent(openai))


@pytest.fixture
def at_raia(raia: RaiaSimulator) -> Widget:
    """A widget whose agent is asked and polled."""
    agent = make_agent("Polled", "raia", base_url=raia.url, credentials={"secret_key": raia.key})
    return make_widget(agent)


@pytest.fixture
def sqlite() -> Iterator[Database]:
    """A database that nobody else works in."""
    with tempfile.TemporaryDirectory(prefix="chatwidget-sqlite-") as folder:
        yield Database(Path(folder) / "db.sqlite3")


@pytest.fixture
def up_again(server: Server) -> Iterator[None]:
    """A test that fails while the server is down leaves none without it."""
    yield
    if not server.is_up:
        server.start()
