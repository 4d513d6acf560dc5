"""The checklist on a widget's page: what keeps it from being shown, and what to change."""

import pytest

from chatwidget.admin.doctor import Finding, examine
from chatwidget.models import Role, Widget
from tests.cast import add_message, make_agent, make_conversation, make_widget

pytestmark = pytest.mark.usefixtures("undone")

OWN, SITE = "https://chat.example.com", "https://www.example.com"


@pytest.fixture
def widget() -> Widget:
    return make_widget(make_agent(), origins=[SITE])


def ask_from(widget: Widget, url: object) -> None:
    message = add_message(make_conversation(widget=widget), "Hi", role=Role.VISITOR)
    message.page = {"url": url}
    message.save()


def bad(widget: Widget) -> list[Finding]:
    return [finding for finding in examine(widget, OWN) if not finding.good]


def test_a_widget_in_use_has_nothing_against_it(widget: Widget) -> None:
    ask_from(widget, f"{SITE}/plans?secret=1")
    findings = list(examine(widget, OWN))
    assert [finding.good for finding in findings] == [True] * 4
    assert findings[3].words.startswith(f"Last asked on {SITE}, 0\xa0minutes ago.")
    assert "secret" not in str(findings)


def test_a_new_widget_is_told_what_is_missing() -> None:
    site, asked = bad(make_widget(make_agent()))
    assert "Where it may be shown" in site.advice
    assert "console" in asked.advice


def test_a_pause_and_an_agent_in_trouble_are_named(widget: Widget) -> None:
    ask_from(widget, f"{OWN}/w/{widget.key}/")  # tried out on the service itself
    widget.paused = True
    widget.agent.problem = "The vendor refused the key."
    paused, agent = bad(widget)
    assert "paused" in paused.words
    assert "refused the key" in agent.words
    assert agent.url.endswith(f"/agent/{widget.agent_id}/change/")


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("https://old.example.com/", "https://old.example.com,"),
        ("http://[nonsense", "an unknown site,"),
        ("javascript:alert(1)", "an unknown site,"),
    ],
)
def test_a_site_that_may_no_longer_show_it_is_named(widget: Widget, url: str, words: str) -> None:
    ask_from(widget, url)
    [finding] = bad(widget)
    assert finding.words.startswith(f"Last asked on {words}")
