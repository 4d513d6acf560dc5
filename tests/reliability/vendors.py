"""All vendors at once, each a simulator with an agent and a widget of its own."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from chatwidget.models import OPEN, Message, Widget

from ..cast import forget_agents, make_agent, make_widget
from ..providers.cases import CASES, Case
from ..simulators.base import Received

TEXT = "An answer of **several** words, for the visitor."


@dataclass(frozen=True, slots=True)
class Vendor:
    """One vendor under test, answering every question with TEXT."""

    case: Case
    widget: Widget

    @property
    def provider(self) -> str:
        return self.case.provider

    def sends(self) -> int:
        """How often a question was sent, received or not."""
        return len(self.case.simulator.calls(self.case.operations["send"]))

    def receives(self) -> list[Received]:
        """The requests for an answer: polls, or streams."""
        return self.case.simulator.calls(self.case.operations["receive"])

    def open_answers(self) -> int:
        """How many answers are still to come."""
        return Message.objects.filter(
            conversation__agent=self.widget.agent_id, status__in=OPEN
        ).count()


@contextmanager
def vendor(provider: str, **options: object) -> Iterator[Vendor]:
    """Start one; `options` are added to its agent's."""
    case = CASES[provider]()
    try:
        case.answer_with(TEXT)
        settings = case.agent()
        settings["options"] |= options
        widget = make_widget(make_agent(f"At {provider}", **settings))
        yield Vendor(case, widget)
        # Else people's replies would be looked for at a port that may be another's by then.
        forget_agents(case.simulator.url)
        assert case.simulator.violations == []
    finally:
        case.release()
        case.simulator.stop()
