"""The admin on phones and tablets: nothing is cut off, and nothing stands in the way."""

import pytest
from django.contrib.auth.models import User
from django.urls import reverse
from playwright.sync_api import Page, expect

from tests.cast import make_feedback
from tests.server import Server

from .test_preview import operator

__all__ = ["operator"]

STICKS_OUT = """() => [
  ...document.querySelectorAll('#result_list *, .selector *')].filter((one) => {
  const {right, width} = one.getBoundingClientRect();
  return width > 1 && right > innerWidth + 0.5;
}).map((one) => one.outerHTML.slice(0, 99))"""


@pytest.mark.parametrize(
    ("address", "width"),
    [
        ("admin:feedback_feedback_changelist", 768),
        ("admin:feedback_feedback_changelist", 360),
        ("admin:auth_group_add", 360),
    ],
)
def test_nothing_is_cut_off(
    page: Page, operator: User, server: Server, address: str, width: int
) -> None:
    make_feedback(comment="Closed on Sundays, which nobody told me! " * 3)
    page.set_viewport_size({"width": width, "height": 800})
    page.goto(server.url + reverse(address))
    assert page.evaluate(STICKS_OUT) == []


def test_on_a_phone_the_save_bar_stays_at_the_foot_of_the_form(
    page: Page, operator: User, server: Server
) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(server.url + reverse("admin:chatwidget_widget_add"))
    expect(page.get_by_role("button", name="Save", exact=True)).not_to_be_in_viewport()
