"""What the security tests share."""

from typing import Any

from chatwidget.models import Widget

from ..cast import make_agent, make_widget


def fast_widget(**fields: Any) -> Widget:
    """A widget whose agent answers without a pause."""
    return make_widget(make_agent(options={"think_s": 0, "words_per_s": 10_000}), **fields)
