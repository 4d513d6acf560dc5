"""The review of votes: what asks for a look, who has it, and that nothing new is passed over."""

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from playwright.sync_api import Browser, Page, expect

from chatwidget.admin.base import ROWS
from chatwidget.models import Agent, Conversation, Message, Widget
from feedback.filters import MOST_CHOICES
from feedback.models import Delivery, Feedback, Review, State
from feedback.views import store

from ..cast import (
    add_message,
    make_conversation,
    make_feedback,
    make_operator,
    make_visitor,
    make_widget,
)
from ..server import Server
from ..widget.conftest import browser  # noqa: F401  # a fixture

LIST = "admin:feedback_feedback_changelist"


@pytest.fixture
def ines(undone: None) -> User:
    return make_operator("ines-who-reviews")


@pytest.fixture
def client(ines: User) -> Client:
    return signed_in(ines)


@pytest.fixture
def widget(undone: None) -> Widget:
    return make_widget(name="Shop")


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def answered(widget: Widget, question: str = "Are you open?", **page: str) -> Message:
    talk = make_conversation([("visitor", question), ("agent", "Yes.")], widget=widget)
    talk.messages.filter(position=1).update(page=page)
    return talk.messages.select_related("question", "conversation__visitor__widget").get(position=2)


def vote(widget: Widget, said: str | None = "down", **fields: Any) -> Feedback:
    return make_feedback(answered(widget), said, **fields)


def listed(client: Client, query: str) -> list[int]:
    response = client.get(reverse(LIST) + query)
    assert response.status_code == 200, query
    return [one.pk for one in response.context["cl"].result_list]


def act(client: Client, feedback: Feedback, what: str, query: str = "", **fields: Any) -> Any:
    """Do what the buttons of a vote's page do; returns the page that follows."""
    url = reverse("admin:feedback_feedback_review", args=[feedback.pk]) + query
    sent = {"revision": feedback.revision, "note": feedback.note, "owner": feedback.owner_id or ""}
    return client.post(url, sent | fields | {what: ""}, follow=True)


# --- what asks for a look -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "comment", "asks"),
    [
        ("down", "", True),
        ("down", "Wrong.", True),
        ("up", "Thanks, but slow.", True),
        (None, "No vote, but words.", True),
        ("up", "", False),
        (None, "", False),
    ],
)
def test_a_thumbs_down_or_a_comment_asks_for_a_look(
    widget: Widget, said: str | None, comment: str, asks: bool
) -> None:
    feedback = store(answered(widget), vote=said, comment=comment, reasons=[])
    assert feedback.review == (Review.OPEN if asks else Review.NONE)


def test_what_the_visitor_says_anew_opens_it_again(client: Client, widget: Widget) -> None:
    answer = answered(widget)
    feedback = store(answer, vote="down", comment="", reasons=[])
    act(client, feedback, "resolve", note="Told the vendor.")
    assert Feedback.objects.get(pk=feedback.pk).state == "resolved"
    store(answer, vote="down", comment="Still wrong!", reasons=[])
    again = Feedback.objects.get(pk=feedback.pk)
    assert (again.state, again.note) == ("open", "Told the vendor.")
    assert again.owner is not None
    act(client, again, "resolve")
    store(answer, vote="down", comment="Still wrong!", reasons=[])  # the same again is no news
    assert Feedback.objects.get(pk=feedback.pk).state == "resolved"
    store(answer, vote=None, comment="", reasons=[])
    assert Feedback.objects.get(pk=feedback.pk).state == "none"


def test_a_vote_knows_its_agent_widget_and_page(widget: Widget) -> None:
    answer = answered(widget, url="https://shop.example/bikes?size=L", title="Bikes")
    feedback = store(answer, vote="up", comment="", reasons=[])
    assert feedback.agent == answer.conversation.agent
    assert feedback.widget == widget
    assert feedback.page == "https://shop.example/bikes?size=L"


# --- the queue ------------------------------------------------------------------------------------


def test_the_queue_shows_what_is_open_and_the_tabs_show_the_rest(
    client: Client, ines: User, widget: Widget
) -> None:
    mine = vote(widget, owner=ines)
    theirs = vote(widget, "up", comment="Slow")
    done = vote(widget, review=Review.RESOLVED)
    plain = vote(widget, "up")
    here = f"&widget={widget.key}"
    assert listed(client, "?" + here) == [theirs.pk, mine.pk]
    assert listed(client, "?show=mine" + here) == [mine.pk]
    assert listed(client, "?show=resolved" + here) == [done.pk]
    assert listed(client, "?show=all" + here) == [plain.pk, done.pk, theirs.pk, mine.pk]
    assert listed(client, "?show=nonsense" + here) == [theirs.pk, mine.pk]


def test_votes_are_filtered_by_everything_that_is_known_of_them(
    client: Client, ines: User, widget: Widget
) -> None:
    tom = make_operator("tom")
    one = make_feedback(
        answered(widget, url="https://shop.example/bikes/Tour"),
        comment="Closed!",
        reasons=["wrong", "unclear"],
        owner=tom,
        delivery="failed",
    )
    other = vote(make_widget(name="Help"), "up", comment="Fine")
    old = timezone.now() - timedelta(days=40)
    Feedback.objects.filter(pk=other.pk).update(updated_at=old, seen_at=old)
    Feedback.objects.exclude(pk__in=[one.pk, other.pk]).delete()
    today = timezone.localdate().isoformat()
    for query, found in (
        ("vote=down", [one.pk]),
        ("reason=unclear", [one.pk]),
        ("reason=off-topic", []),
        ("page=bikes/tour", [one.pk]),
        ("page=%00", [one.pk, other.pk]),
        (f"agent={one.agent_id}", [one.pk]),
        (f"widget={other.widget_id}", [other.pk]),
        ("delivery=failed", [one.pk]),
        ("state=seen", [other.pk]),
        ("state=open", [one.pk]),
        (f"owner={tom.pk}", [one.pk]),
        ("owner=nobody", [other.pk]),
        ("owner=me", []),
        (f"from={today}", [one.pk]),
        (f"until={old.date().isoformat()}", [other.pk]),
        (f"from={old.date()}&until={today}", [one.pk, other.pk]),
        ("vote=down&reason=wrong&page=Tour&delivery=failed", [one.pk]),
        # What no form of ours sends is passed over.
        ("vote=x&agent=x&owner=x&from=x&until=99999&reason=x&state=x", [one.pk, other.pk]),
    ):
        assert listed(client, "?" + query) == found, query


def test_a_filter_knows_agents_and_widgets_beyond_those_it_offers(
    client: Client, widget: Widget
) -> None:
    mine, other = vote(widget), vote(make_widget(name="Help"))
    assert mine.agent_id
    Agent.objects.filter(pk=mine.agent_id).update(name="Zz, the last of all")
    Widget.objects.filter(pk=widget.pk).update(name="Zz, the last of all")
    make = [Agent(name=f"Agent {number}", provider="demo") for number in range(MOST_CHOICES)]
    Widget.objects.bulk_create(
        Widget(name=f"Widget {number}", agent=agent)
        for number, agent in enumerate(Agent.objects.bulk_create(make))
    )
    assert other.agent_id != mine.agent_id
    assert listed(client, f"?agent={mine.agent_id}") == [mine.pk]
    assert listed(client, f"?widget={widget.pk}") == [mine.pk]


def test_an_empty_tab_says_what_belongs_there_and_leads_to_all(
    client: Client, widget: Widget
) -> None:
    vote(widget, "up")
    Feedback.objects.exclude(widget=widget).delete()
    shown = client.get(reverse(LIST)).content.decode()
    assert "Nothing waits here." in shown
    assert 'href="?show=all"' in shown
    shown = client.get(reverse(LIST) + "?vote=down").content.decode()
    assert "Nothing fits here." in shown
    assert 'href="?vote=down&amp;show=all"' in shown


def test_bulk_actions_resolve_take_and_open_again(
    client: Client, ines: User, widget: Widget
) -> None:
    tom = make_operator("tom")
    first, second = vote(widget), vote(widget, owner=tom)

    def choose(action: str, query: str = "?show=all") -> None:
        form = {"action": action, "_selected_action": [first.pk, second.pk], "index": "0"}
        assert client.post(reverse(LIST) + query, form).status_code == 302
        first.refresh_from_db()
        second.refresh_from_db()

    choose("resolve", "")
    assert (first.state, second.state) == ("resolved", "resolved")
    assert (first.owner, second.owner) == (ines, tom)  # who resolves owns what nobody owned
    choose("open_again")
    assert (first.state, second.state) == ("seen", "seen")
    choose("take")
    assert (first.owner, second.owner) == (ines, ines)


def test_an_action_reaches_the_whole_list_and_not_only_its_page(
    client: Client, widget: Widget
) -> None:
    agent = widget.agent
    agent.provider = "raia"  # which takes votes
    agent.save()
    count = ROWS + 5
    for _ in range(count):
        vote(widget, delivery=State.FAILED)
    other = vote(make_widget(agent, name="Help"), delivery=State.FAILED)
    one_page = client.get(f"{reverse(LIST)}?widget={other.widget_id}").content.decode()
    assert 'class="question' not in one_page
    url = f"{reverse(LIST)}?widget={widget.pk}"
    response = client.get(url)
    assert f"Select all {count}</a>" in response.content.decode()
    page = [one.pk for one in response.context["cl"].result_list]
    assert len(page) == ROWS
    form = {"action": "send_again", "_selected_action": page, "index": "0", "select_across": "1"}
    after = client.post(url, form, follow=True).content.decode()
    assert f"{count} votes are on the way again." in after
    left = Delivery.objects.filter(state=State.FAILED, feedback__agent=agent)
    assert [one.feedback for one in left] == [other]  # which the list's filter leaves out


def test_where_a_list_is_not_counted_to_its_end_selecting_all_of_it_says_so(
    client: Client, widget: Widget
) -> None:
    visitor = make_visitor(widget)
    Conversation.objects.bulk_create(
        Conversation(visitor=visitor, agent=widget.agent) for _ in range(10 * ROWS)
    )
    url = reverse("admin:chatwidget_conversation_changelist")
    shown = client.get(f"{url}?visitor__widget__key__exact={widget.key}").content.decode()
    assert "Select all 450+</a>" in shown


# --- one vote -------------------------------------------------------------------------------------


def test_opening_a_vote_is_seeing_it(client: Client, widget: Widget) -> None:
    feedback = vote(widget)
    client.get(reverse("admin:feedback_feedback_change", args=[feedback.pk]))
    feedback.refresh_from_db()
    assert feedback.state == "seen"


def test_resolving_goes_on_to_the_next_of_the_same_list(client: Client, widget: Widget) -> None:
    oldest, middle, newest = vote(widget), vote(widget), vote(widget)
    vote(make_widget(name="Another"))  # not of this list
    kept = f"?_changelist_filters=widget%3D{widget.key}"
    shown = client.get(reverse("admin:feedback_feedback_change", args=[middle.pk]) + kept)
    assert str(newest.pk) in shown.context["newer_url"]
    assert str(oldest.pk) in shown.context["older_url"]
    after = act(client, middle, "resolve", kept)
    assert after.context["feedback"].pk == oldest.pk
    after = act(client, oldest, "resolve", kept)
    assert after.request["PATH_INFO"] == reverse(LIST)  # the last one: back to the list
    assert f"widget={widget.key}" in after.request["QUERY_STRING"]


def test_nothing_is_resolved_that_the_operator_has_not_seen(client: Client, widget: Widget) -> None:
    answer = answered(widget)
    seen = store(answer, vote="down", comment="", reasons=[])
    store(answer, vote="down", comment="And another thing", reasons=[])
    seen.refresh_from_db()
    after = act(client, seen, "resolve", revision=1, note="Done")
    assert "something else meanwhile" in after.content.decode()
    now = Feedback.objects.get(pk=seen.pk)
    assert (now.review, now.note) == (Review.OPEN, "Done")  # what was written stays


def test_owner_and_note_are_kept(client: Client, widget: Widget) -> None:
    tom = make_operator("tom")
    feedback = vote(widget)
    act(client, feedback, "save", owner=tom.pk, note="Ask <b>Priya</b>")
    feedback.refresh_from_db()
    assert (feedback.owner, feedback.note, feedback.review) == (tom, "Ask <b>Priya</b>", "open")
    shown = client.get(reverse(LIST) + f"?widget={widget.key}").content.decode()
    assert "Ask &lt;b&gt;Priya&lt;/b&gt;" in shown
    too_long = act(client, feedback, "save", note="x" * 2001)
    assert "at most 2000" in too_long.content.decode()
    stranger = make_operator("stranger", is_staff=False)
    assert (
        "Select a valid choice" in act(client, feedback, "save", owner=stranger.pk).content.decode()
    )


def test_who_may_only_look_reviews_nothing(widget: Widget) -> None:
    reader = make_operator("reader", is_superuser=False)
    reader.user_permissions.set(Permission.objects.filter(codename="view_feedback"))
    feedback, client = vote(widget), signed_in(reader)
    shown = client.get(reverse("admin:feedback_feedback_change", args=[feedback.pk]))
    assert "Resolve" not in shown.content.decode()
    assert act(client, feedback, "resolve").status_code == 403
    form = {"action": "resolve", "_selected_action": [feedback.pk], "index": "0"}
    client.post(reverse(LIST), form)
    feedback.refresh_from_db()
    assert feedback.state == "open"  # and a look of somebody who may not act is no look


KEYS_IN_ORDER = r'SELECT "feedback_feedback"\."id" AS "pk" FROM .* ORDER BY .* LIMIT 50$'


@pytest.mark.default_stack("PostgreSQL chooses by what the table holds: see benchmarks/scale.py")
def test_the_queue_is_read_by_an_index(client: Client, widget: Widget) -> None:
    """Each saved view takes its first page off an index, in order, however long the table is."""
    vote(widget)
    for query, index in (
        ("", "feedback_by_review"),
        ("?show=mine", "feedback_of_owner"),
        ("?show=resolved", "feedback_by_review"),
        ("?show=all", "feedback_by_time"),
    ):
        with CaptureQueriesContext(connection) as asked:
            client.get(reverse(LIST) + query)
        keys = [one["sql"] for one in asked if re.match(KEYS_IN_ORDER, one["sql"])]
        assert keys, query
        assert index in plan(keys[0]), (query, plan(keys[0]))


def plan(sql: str) -> str:
    """Return how the database would go about it, were the tables long."""
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute(f"EXPLAIN QUERY PLAN {sql}")
        else:
            cursor.execute("SET LOCAL enable_seqscan = off")
            cursor.execute("SET LOCAL enable_sort = off")
            cursor.execute("SET LOCAL enable_bitmapscan = off")
            cursor.execute(f"EXPLAIN {sql}")
        return "\n".join(str(row[-1]) for row in cursor.fetchall())


# --- by keyboard ----------------------------------------------------------------------------------


@pytest.fixture
def queue() -> Iterator[Widget]:
    """Three open votes that a real server knows of."""
    widget = make_widget(name="By keyboard")
    for question in ("First?", "Second?", "Third?"):
        talk = make_conversation([("visitor", question)], widget=widget)
        make_feedback(add_message(talk, "Yes.", role="agent", question=talk.messages.get()))
    yield widget
    Feedback.objects.filter(widget=widget).delete()


@pytest.fixture
def page(browser: Browser, server: Server, queue: Widget) -> Iterator[Page]:  # noqa: F811
    """The queue in a browser that an operator has signed in with."""
    user, _ = User.objects.get_or_create(
        username="keys", defaults={"is_staff": True, "is_superuser": True}
    )
    cookie = signed_in(user).cookies[settings.SESSION_COOKIE_NAME].value
    context = browser.new_context()
    context.set_default_timeout(15_000)
    context.add_cookies(
        [{"name": settings.SESSION_COOKIE_NAME, "value": cookie, "url": server.url}]
    )
    page = context.new_page()
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
    page.goto(f"{server.url}{reverse(LIST)}?widget={queue.key}")
    yield page
    context.close()
    assert complaints == []


def focused(page: Page) -> str:
    return str(page.evaluate("document.activeElement.innerText")).partition("\n")[0]


def test_the_queue_is_worked_through_by_keyboard(page: Page, queue: Widget) -> None:
    page.keyboard.press("j")
    assert focused(page) == "Third?"
    page.keyboard.press("j")
    page.keyboard.press("j")
    assert focused(page) == "First?"
    page.keyboard.press("k")
    assert focused(page) == "Second?"
    page.keyboard.press("x")
    expect(page.locator(".action-select:checked")).to_have_count(1)
    page.keyboard.press("x")
    expect(page.locator(".action-select:checked")).to_have_count(0)
    page.keyboard.press("r")
    expect(page.locator(".messagelist")).to_contain_text("1 vote is resolved.")
    resolved = Feedback.objects.get(widget=queue, review=Review.RESOLVED)
    assert resolved.message.question
    assert resolved.message.question.text == "Second?"
    assert focused(page) == "First?"  # the one that has moved up to its place
    page.keyboard.press("Enter")
    page.wait_for_url("**/change/**")
    page.keyboard.press("k")
    expect(page.locator(".visitor .bubble")).to_have_text("Third?")
    page.keyboard.press("n")
    page.keyboard.type("just rejoicing")  # letters that do things elsewhere
    expect(page.locator("textarea")).to_have_value("just rejoicing")
    page.keyboard.press("Escape")
    page.locator("h1").click()
    page.keyboard.press("u")
    page.wait_for_url("**/feedback/feedback/?widget=*")


def test_the_help_shows_every_key_and_keys_rest_meanwhile(page: Page) -> None:
    page.keyboard.press("?")
    expect(page.locator("#keys")).to_be_visible()
    shown = page.locator("#keys kbd").all_inner_texts()
    known = page.locator("#keys [data-key]").evaluate_all("rows => rows.map(r => r.dataset.key)")
    assert sorted(shown) == sorted([*known, "Enter"])
    page.keyboard.press("r")
    page.keyboard.press("Escape")
    expect(page.locator("#keys")).to_be_hidden()
    expect(page.locator("#result_list tbody tr")).to_have_count(3)


def test_the_whole_list_is_selected_by_two_clicks(page: Page, queue: Widget) -> None:
    for number in range(ROWS):
        talk = make_conversation([("visitor", f"Question {number}")], widget=queue)
        make_feedback(add_message(talk, "Yes.", role="agent", question=talk.messages.get()))
    page.reload()
    page.click("#action-toggle")
    page.click(f"text=Select all {ROWS + 3}")
    expect(page.locator(".actions")).to_contain_text(f"All {ROWS + 3} selected")
    page.click("text=Clear selection")
    expect(page.locator(".action-select:checked")).to_have_count(0)
    page.click("#action-toggle")
    page.click(f"text=Select all {ROWS + 3}")
    page.click(".actions [data-action=resolve]")
    expect(page.locator(".messagelist")).to_contain_text(f"{ROWS + 3} votes are resolved.")


def test_no_key_acts_while_something_is_typed(page: Page) -> None:
    page.keyboard.press("/")
    page.keyboard.type("jrx?")
    expect(page.locator("#searchbar")).to_have_value("jrx?")
    expect(page.locator("#keys")).to_be_hidden()
    expect(page.locator(".action-select:checked")).to_have_count(0)
