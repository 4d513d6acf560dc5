"""What the vendors' tests share. A module says whom it is about: `CASE = SiteAssistCase`."""

from collections.abc import Iterator

import pytest

from chatwidget.models import Agent, Widget

from ..cast import make_agent, make_widget, under_test
from .cases import Case


@pytest.fixture
def case(request: pytest.FixtureRequest) -> Iterator[Case]:
    with under_test(request.module.CASE()) as case:
        yield case


@pytest.fixture
def agent(case: Case) -> Agent:
    return make_agent("Under test", **case.agent())


@pytest.fixture
def widget(agent: Agent) -> Widget:
    return make_widget(agent)
