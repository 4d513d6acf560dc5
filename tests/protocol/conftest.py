"""What the protocol's tests share: an agent that answers at once, one to steer, visitors."""

from collections.abc import AsyncIterator

import httpx
import pytest

from chatwidget.models import Widget

from ..cast import make_agent, make_widget, openai_agent
from ..server import Server
from ..simulators.openai import OpenAISimulator
from .contract import CheckedVisitor, Contract


@pytest.fixture(scope="session")
def contract(server: Server) -> Contract:
    return Contract(httpx.get(f"{server.url}/api/v1/schema", trust_env=False).json())


@pytest.fixture
def widget() -> Widget:
    """A widget whose agent answers without a pause."""
    return make_widget(make_agent(options={"think_s": 0, "words_per_s": 10_000}))


@pytest.fixture
def model(openai: OpenAISimulator) -> Widget:
    """A widget whose agent answers what and when the test says."""
    return make_widget(openai_agent(openai))


@pytest.fixture
async def ann(server: Server, contract: Contract, widget: Widget) -> AsyncIterator[CheckedVisitor]:
    """A visitor of `widget`."""
    async with CheckedVisitor(server.url, widget.key, contract) as visitor:
        yield visitor


@pytest.fixture
async def bob(server: Server, contract: Contract, widget: Widget) -> AsyncIterator[CheckedVisitor]:
    """Another visitor of the same widget."""
    async with CheckedVisitor(server.url, widget.key, contract) as visitor:
        yield visitor


@pytest.fixture
async def mia(server: Server, contract: Contract, model: Widget) -> AsyncIterator[CheckedVisitor]:
    """A visitor of `model`."""
    async with CheckedVisitor(server.url, model.key, contract) as visitor:
        yield visitor
