"""The operator's pages: each promise they make, as a test."""

import base64
import html
import re
import uuid
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from chatwidget import demo
from chatwidget.models import (
    Agent,
    Conversation,
    Erasure,
    Visitor,
    Widget,
    default_reasons_down,
    default_reasons_up,
)
from chatwidget.providers import PROVIDERS
from feedback.models import AlertSettings, Delivery, Feedback, State

from .cast import (
    add_message,
    make_agent,
    make_conversation,
    make_feedback,
    make_operator,
    make_visitor,
    make_widget,
)

pytestmark = pytest.mark.usefixtures("undone")

SECRET = "sk_live_7Jq2_never_shown"
HOSTILE = "<script>alert(1)</script> \u202eevil\u202c \x1b[31m <img src=x onerror=alert(2)>"
LISTS = (
    "admin:index",
    "admin:chatwidget_agent_changelist",
    "admin:chatwidget_widget_changelist",
    "admin:chatwidget_conversation_changelist",
    "admin:feedback_feedback_changelist",
    "admin:feedback_alertsettings_changelist",
)


@pytest.fixture
def nothing_yet(undone: None) -> None:
    """Begin without any agent, whatever other tests have left."""
    Widget.objects.all().delete()
    Agent.objects.all().delete()


@pytest.fixture
def operator() -> Client:
    return sign_in(make_operator("operator-of-these-tests"))


def sign_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def page(client: Client, address: str, *args: Any, query: str = "", status: int = 200) -> str:
    url = address if address.startswith("/") else reverse(address, args=args)
    response = client.get(url + query)
    assert response.status_code == status, (url, response.status_code)
    return response.content.decode()


def text_of(page_html: str) -> str:
    """What a person reads on a page: no tags, entities resolved, one space between words."""
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", page_html)).split())


def agent_form(agent: Agent | None = None, **fields: Any) -> dict[str, Any]:
    """What the browser sends of an agent's form."""
    usual = {
        "provider": agent.provider if agent else "raia",
        "name": agent.name if agent else "Support",
        "base_url": agent.base_url if agent else "",
        "answers_at_once": agent.answers_at_once if agent else 500,
    }
    return usual | fields


def widget_form(client: Client, widget: Widget, **fields: Any) -> dict[str, Any]:
    """What the browser sends of a widget's form when only `fields` were changed."""
    response = client.get(reverse("admin:chatwidget_widget_change", args=[widget.pk]))
    form = response.context["adminform"].form
    sent = {name: form[name].value() for name in form.fields}
    ready = {n: form.fields[n].prepare_value(v) for n, v in sent.items()}
    return {name: value for name, value in (ready | fields).items() if value not in (None, False)}


def every_page() -> list[str]:
    """An address of each kind of page, with something untrusted on it."""
    agent = make_agent(
        HOSTILE[:100],
        "raia",
        credentials={"secret_key": SECRET},
        problem=HOSTILE,
        problem_at=timezone.now(),
    )
    widget = make_widget(agent, name=HOSTILE[:100])
    talk = make_conversation([("visitor", HOSTILE)], widget=widget, title=HOSTILE[:80])
    answer = add_message(
        talk,
        HOSTILE,
        role="agent",
        question=talk.messages.get(position=1),
        problem=HOSTILE,
        upstream={"id": HOSTILE},
        citations=[{"title": HOSTILE, "url": "javascript:alert(3)"}],
    )
    add_message(talk, HOSTILE, role="human")
    vote = make_feedback(
        answer, comment=HOSTILE, reasons=[HOSTILE], delivery=State.FAILED, problem=HOSTILE
    )
    return [
        *map(reverse, LISTS),
        reverse("admin:chatwidget_agent_add"),
        reverse("admin:chatwidget_agent_add") + "?provider=raia",
        reverse("admin:chatwidget_agent_change", args=[agent.pk]),
        reverse("admin:chatwidget_agent_change", args=[agent.pk]) + "?provider=openai",
        reverse("admin:chatwidget_agent_history", args=[agent.pk]),
        reverse("admin:chatwidget_agent_delete", args=[agent.pk]),
        reverse("admin:chatwidget_widget_add"),
        reverse("admin:chatwidget_widget_change", args=[widget.pk]),
        reverse("admin:chatwidget_widget_delete", args=[widget.pk]),
        reverse("admin:chatwidget_conversation_change", args=[talk.pk]),
        reverse("admin:feedback_feedback_change", args=[vote.pk]),
    ]


# --- who may, and what is on every page -----------------------------------------------------------


def test_every_page_renders_with_nothing_in_the_database(operator: Client) -> None:
    for address in LISTS:
        page(operator, address)


def test_hostile_text_is_shown_as_text_on_every_page(operator: Client) -> None:
    for url in every_page():
        shown = page(operator, url)
        assert "<script>alert" not in shown, url
        assert "<img src=x" not in shown, url
        assert "javascript:" not in shown.lower(), url
    transcript = page(
        operator,
        "admin:chatwidget_conversation_change",
        Conversation.objects.latest("created_at").pk,
    )
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in transcript


def test_invisible_and_reordering_characters_are_made_visible(operator: Client) -> None:
    make_agent("Another one, so that lists can be filtered by agent")
    for url in every_page():
        if url.endswith(("/history/", "/delete/")):
            continue  # Django's own pages, which show names that operators gave
        shown = page(operator, url)
        for char in "\u202e\u202c\x1b":
            # A form field holds what the operator may edit, as it is.
            outside = re.sub(
                r"<(input|textarea|option)\b[^>]*>([^<]*</(textarea|option)>)?", "", shown
            )
            assert char not in outside, (url, hex(ord(char)))
    talk = Conversation.objects.latest("created_at")
    assert "U+202E" in page(operator, "admin:chatwidget_conversation_change", talk.pk)


def test_no_page_needs_an_inline_script_or_style(operator: Client) -> None:
    for url in [*every_page(), "/", "/admin/nowhere/", "/w/pk_nowhere/"]:
        response = operator.get(url)
        shown = re.sub('"[^"]*"', '""', response.content.decode())
        assert "'unsafe-inline'" not in response["Content-Security-Policy"]
        assert not re.search(r"<style|<[^>]+\sstyle=|<[a-z][^>]*\son[a-z]+=", shown), url
        assert all("src=" in tag for tag in re.findall(r"<script[^>]*>", shown)), url


def test_a_secret_is_on_no_page(operator: Client) -> None:
    for url in every_page():
        assert SECRET not in page(operator, url)


def test_strangers_are_sent_to_sign_in() -> None:
    staffless = sign_in(make_operator("visitor", is_staff=False, is_superuser=False))
    for url in every_page():
        for client in (Client(), staffless):
            response = client.get(url)
            assert response.status_code == 302, url
            assert response["Location"].startswith(reverse("admin:login"))


def test_an_operator_without_permissions_sees_nothing() -> None:
    client = sign_in(make_operator("new", is_superuser=False))
    first, *others = every_page()
    assert HOSTILE[:8] not in page(client, first)
    assert "Conversations" not in text_of(page(client, first))
    for url in others:
        page(client, url, status=403)


def test_the_live_preview_is_for_operators_and_framed_by_their_page_only(operator: Client) -> None:
    url = reverse("admin:chatwidget_widget_preview")
    staffless = sign_in(make_operator("visitor", is_staff=False, is_superuser=False))
    for client in (Client(), staffless):
        assert client.get(url)["Location"].startswith(reverse("admin:login"))
    reader = make_operator("reader", is_superuser=False)
    reader.user_permissions.set(Permission.objects.filter(codename="view_widget"))
    page(sign_in(reader), url, status=403)
    page(operator, url, query=f"?locale={HOSTILE}")
    policy = operator.get(url)["Content-Security-Policy"].split("; ")
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'self'" in policy
    assert "connect-src" not in " ".join(policy), "so that it can speak to nobody"


def test_who_may_only_look_is_offered_nothing_else() -> None:
    user = make_operator("reader", is_superuser=False)
    user.user_permissions.set(
        Permission.objects.filter(
            codename__in=["view_conversation", "view_feedback", "view_agent", "view_widget"]
        )
    )
    client = sign_in(user)
    every_page()
    talk, vote = Conversation.objects.latest("created_at"), Feedback.objects.latest("created_at")
    widget = Widget.objects.latest("created_at")
    assert "Erase" not in page(client, "admin:chatwidget_conversation_change", talk.pk)
    assert "Send again" not in page(client, "admin:feedback_feedback_change", vote.pk)
    assert SECRET not in page(client, "admin:chatwidget_agent_change", talk.agent_id)
    assert "Live preview" not in page(client, "admin:chatwidget_widget_change", widget.pk)
    client.post(
        reverse("admin:chatwidget_conversation_changelist"),
        {"action": "erase_visitors", "_selected_action": talk.pk, "confirmed": "1", "index": 0},
    )
    assert Conversation.objects.filter(pk=talk.pk).exists()


def test_only_what_an_operator_needs_is_in_the_menu(operator: Client) -> None:
    menu = page(operator, "admin:index").partition('id="menu"')[2].partition("</nav>")[0]
    assert text_of("<" + menu).split("> ")[-1] == (
        "Overview Dashboard Conversations Feedback Widgets Alerts Agents Operators Groups"
    )


def test_the_first_steps_are_named_until_they_are_done(nothing_yet: None, operator: Client) -> None:
    assert "First steps" in page(operator, "admin:index")
    make_conversation([("visitor", "Hello")])
    assert "First steps" not in page(operator, "admin:index")


# --- agents ---------------------------------------------------------------------------------------


def test_an_agent_is_made_with_its_vendors_own_fields(nothing_yet: None, operator: Client) -> None:
    add = reverse("admin:chatwidget_agent_add")
    assert "Which vendor" in page(operator, add)
    assert 'name="credential_secret_key"' in page(operator, add, query="?provider=raia")
    assert 'name="option_model"' in page(operator, add, query="?provider=openai")
    response = operator.post(
        add,
        agent_form(
            provider="openai",
            name="Model",
            base_url="https://llm.example.com/v1/",
            credential_api_key=SECRET,
            option_model="small",
            option_total_s="60",
        ),
    )
    assert response.status_code == 302
    agent = Agent.objects.get(name="Model")
    assert agent.credentials == {"api_key": SECRET}
    assert agent.options == {"model": "small", "total_s": 60}
    assert agent.base_url == "https://llm.example.com/v1"


def test_what_a_vendor_needs_is_asked_for_in_plain_words(operator: Client) -> None:
    add = reverse("admin:chatwidget_agent_add")
    shown = operator.post(add, agent_form(provider="raia")).content.decode()
    assert "raia needs this to answer." in shown
    assert not Agent.objects.filter(name="Support").exists()


@pytest.mark.parametrize(
    ("given", "field"),
    [({}, "api_key"), ({"client_id": "c"}, "client_secret"), ({"client_secret": "s"}, "client_id")],
)
def test_keys_that_cannot_work_are_refused_at_the_field(
    operator: Client, given: dict[str, str], field: str
) -> None:
    entered = {f"credential_{name}": value for name, value in given.items()}
    form = agent_form(provider="moveworks", option_assistant_name="Bot") | entered
    url = reverse("admin:chatwidget_agent_add")
    errors = operator.post(url, form).context["adminform"].form.errors
    assert errors == {
        f"credential_{field}": ["Enter the API key, or the client id and the client secret."]
    }


def test_all_that_is_missing_is_told_at_once(operator: Client) -> None:
    form = agent_form(provider="moveworks", option_assistant_name="")
    errors = operator.post(reverse("admin:chatwidget_agent_add"), form).context["adminform"]
    assert set(errors.form.errors) == {"credential_api_key", "option_assistant_name"}


def test_a_deadline_of_no_time_is_refused(operator: Client) -> None:
    form = agent_form(credential_secret_key=SECRET, option_total_s="0", option_poll_s="0")
    response = operator.post(reverse("admin:chatwidget_agent_add"), form)
    assert list(response.context["adminform"].form.errors) == ["option_total_s"]


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("ftp://files.example.com", "starts with https://"),
        ("https://user:pw@api.example.com", "no user name"),
        ("https://api.example.com/?key=1", "no user name, query"),
        ("not an address", "Enter a valid URL"),
    ],
)
def test_a_bad_address_is_refused_in_plain_words(operator: Client, url: str, words: str) -> None:
    form = agent_form(base_url=url, credential_secret_key=SECRET)
    shown = operator.post(reverse("admin:chatwidget_agent_add"), form).content.decode()
    assert words in shown
    assert SECRET not in shown


def test_a_stored_key_is_kept_when_its_field_is_left_empty(operator: Client) -> None:
    agent = make_agent("Support", "raia", credentials={"secret_key": SECRET}, options={"own": "x"})
    url = reverse("admin:chatwidget_agent_change", args=[agent.pk])
    assert "Stored. Leave empty to keep it." in page(operator, url)
    operator.post(url, agent_form(agent, name="Renamed"))
    agent.refresh_from_db()
    assert (agent.name, agent.credentials) == ("Renamed", {"secret_key": SECRET})
    assert agent.options == {"own": "x"}


def test_a_stored_key_is_replaced_and_removed(operator: Client) -> None:
    agent = make_agent("Support", "raia", credentials={"secret_key": SECRET})
    url = reverse("admin:chatwidget_agent_change", args=[agent.pk])
    operator.post(url, agent_form(agent, credential_secret_key="another"))
    assert Agent.objects.get(pk=agent.pk).credentials == {"secret_key": "another"}
    both = agent_form(agent, credential_secret_key="third", clear_secret_key="on")
    assert "Enter a new one or remove" in operator.post(url, both).content.decode()
    operator.post(url, agent_form(agent, clear_secret_key="on"))
    assert Agent.objects.get(pk=agent.pk).sealed_credentials == ""


def test_another_vendor_needs_its_own_key(operator: Client) -> None:
    agent = make_agent(
        "Support", "openai", base_url="https://a.example", credentials={"api_key": SECRET}
    )
    url = reverse("admin:chatwidget_agent_change", args=[agent.pk])
    assert "You are changing the vendor" in page(operator, url, query="?provider=raia")
    form = agent_form(agent, provider="raia")
    assert "Another vendor needs its own" in operator.post(url, form).content.decode()
    operator.post(url, form | {"credential_secret_key": "new"})
    agent.refresh_from_db()
    assert (agent.provider, agent.credentials) == ("raia", {"secret_key": "new"})


@pytest.mark.parametrize("provider", ["openai", "raia"])
@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("https://a.example/v1", "https://b.example/v1"),
        ("https://a.example/v1", "http://a.example/v1"),
        ("https://a.example/v1", "https://a.example:8443/v1"),
        ("https://a.example/v1", ""),
        ("", "https://a.example"),
        ("http://localhost:8000/v1", "http://localhost:8001/v1"),
        ("http://[::1", "https://a.example"),  # what no form has stored
    ],
)
def test_a_stored_key_goes_to_no_other_address_than_it_was_entered_for(
    operator: Client, provider: str, before: str, after: str
) -> None:
    (key,) = PROVIDERS[provider].credential_fields
    agent = make_agent("Support", provider, base_url=before, credentials={key.name: SECRET})
    url = reverse("admin:chatwidget_agent_change", args=[agent.pk])
    form = agent_form(agent, base_url=after, option_model="small")
    shown = operator.post(url, form).content.decode()
    assert f"Another address: enter the {key.noun} again" in text_of(shown)
    assert Agent.objects.get(pk=agent.pk).base_url == before
    operator.post(url, form | {f"credential_{key.name}": "again"})
    agent.refresh_from_db()
    assert (agent.base_url, agent.credentials) == (after, {key.name: "again"})


def test_a_stored_key_stays_where_only_the_path_changes(operator: Client) -> None:
    agent = make_agent(
        "Model", "openai", base_url="https://a.example/v1", credentials={"api_key": SECRET}
    )
    url = reverse("admin:chatwidget_agent_change", args=[agent.pk])
    operator.post(url, agent_form(agent, base_url="https://A.example:443/v2", option_model="m"))
    agent.refresh_from_db()
    assert (agent.base_url, agent.credentials) == ("https://A.example:443/v2", {"api_key": SECRET})


def test_a_key_that_cannot_be_opened_is_gone_with_its_address(
    operator: Client, settings: Any
) -> None:
    agent = make_agent("Model", "openai", credentials={"api_key": SECRET})
    url = reverse("admin:chatwidget_agent_change", args=[agent.pk])
    mine, settings.CREDENTIAL_KEYS = settings.CREDENTIAL_KEYS, [Fernet.generate_key().decode()]
    operator.post(url, agent_form(agent, base_url="https://b.example", option_model="small"))
    settings.CREDENTIAL_KEYS = mine  # it comes back
    agent.refresh_from_db()
    assert (agent.base_url, agent.credentials) == ("https://b.example", {})


def test_keys_that_cannot_be_opened_are_explained(operator: Client, settings: Any) -> None:
    agent = make_agent("Support", "raia", credentials={"secret_key": SECRET})
    sealed = agent.sealed_credentials
    url = reverse("admin:chatwidget_agent_change", args=[agent.pk])
    settings.CREDENTIAL_KEYS = [Fernet.generate_key().decode()]
    assert "The stored keys cannot be opened" in page(operator, url)
    refused = operator.post(url, agent_form(agent, name="Renamed")).content.decode()
    assert "Enter the agent secret key again" in refused
    agent.refresh_from_db()
    assert agent.sealed_credentials == sealed  # its key may yet come back
    operator.post(url, agent_form(agent, credential_secret_key="new"))
    assert Agent.objects.get(pk=agent.pk).credentials == {"secret_key": "new"}


def test_a_sealed_key_of_another_agent_is_explained(operator: Client) -> None:
    thief = make_agent("Thief", "raia")
    thief.sealed_credentials = make_agent(
        "Owner", "raia", credentials={"secret_key": SECRET}
    ).sealed_credentials
    thief.save()
    shown = page(operator, "admin:chatwidget_agent_change", thief.pk)
    assert "belong to another agent or provider" in shown


def test_a_problem_is_shown_until_the_set_up_changes(operator: Client) -> None:
    words = "raia refuses the key (HTTP 401)"
    agent = make_agent("Support", "raia", credentials={"secret_key": SECRET}, problem=words)
    url = reverse("admin:chatwidget_agent_change", args=[agent.pk])
    for address in (url, reverse("admin:chatwidget_agent_changelist"), reverse("admin:index")):
        assert words in page(operator, address)
    operator.post(url, agent_form(agent, name="Renamed", credential_secret_key="right"))
    assert Agent.objects.get(pk=agent.pk).problem == ""


def test_an_unknown_vendor_is_explained(operator: Client) -> None:
    agent = make_agent("Old", "vanished")
    shown = page(operator, "admin:chatwidget_agent_change", agent.pk)
    assert "knows no vendor “vanished”" in shown
    page(operator, "admin:chatwidget_agent_changelist")


def test_what_a_vendor_can_do_is_on_the_agents_page(operator: Client) -> None:
    raia, model = make_agent("A", "raia"), make_agent("B", "openai")
    assert "cleared here only" in page(operator, "admin:chatwidget_agent_change", raia.pk)
    assert "word by word" in page(operator, "admin:chatwidget_agent_change", model.pk)


def test_an_agent_in_use_is_not_deleted(operator: Client) -> None:
    asked, embedded = make_agent("Asked"), make_widget(make_agent("Embedded")).agent
    owing = make_agent("Owing")
    Erasure.objects.create(agent=owing, upstream={"user": "u1"})
    talk = make_conversation([("visitor", "Hello")])
    Conversation.objects.filter(pk=talk.pk).update(agent=asked)
    for agent in (asked, embedded, owing):
        url = reverse("admin:chatwidget_agent_delete", args=[agent.pk])
        assert "cannot be deleted yet" in page(operator, url)
        operator.post(url, {"post": "yes"})
        assert Agent.objects.filter(pk=agent.pk).exists()


# --- widgets --------------------------------------------------------------------------------------


def test_a_widget_without_any_agent_leads_to_the_agents(
    nothing_yet: None, operator: Client
) -> None:
    assert "needs an agent" in page(operator, "admin:chatwidget_widget_add")
    make_agent()
    assert "needs an agent" not in page(operator, "admin:chatwidget_widget_add")


def test_a_new_widget_leads_to_its_snippet(nothing_yet: None, operator: Client) -> None:
    other = make_widget(name="Model of a form")
    form = widget_form(operator, other, name="Shop")
    response = operator.post(reverse("admin:chatwidget_widget_add"), form)
    widget = Widget.objects.get(name="Shop")
    assert response["Location"] == reverse("admin:chatwidget_widget_change", args=[widget.pk])
    shown = page(operator, response["Location"])
    tag = f'<script async src="http://testserver/widget.js" data-widget="{widget.key}"'
    assert html.escape(tag) in shown
    assert f'href="/w/{widget.key}/"' in shown


def test_the_snippet_is_shown_and_not_run(operator: Client) -> None:
    shown = page(operator, "admin:chatwidget_widget_change", make_widget().pk)
    assert "/widget.js" in shown
    assert not re.search(r"<script[^>]*widget\.js", shown)


def test_a_new_widget_offers_the_usual_reasons_for_a_vote(operator: Client) -> None:
    shown = page(operator, "admin:chatwidget_widget_add")
    for reason in [*default_reasons_up(), *default_reasons_down()]:
        assert f"\n{reason['key']}: {reason['label']}" in shown


def test_saving_a_widget_unchanged_changes_nothing(operator: Client) -> None:
    widget = make_widget(
        origins=["https://www.example.com"],
        starters=["When are you open?", "What: a colon"],
        texts={"placeholder": "Ask\nus: anything"},
    )
    before = Widget.objects.filter(pk=widget.pk).values().get()
    url = reverse("admin:chatwidget_widget_change", args=[widget.pk])
    response = operator.post(url, widget_form(operator, widget))
    assert response.status_code == 302
    assert Widget.objects.filter(pk=widget.pk).values().get() == before


def test_lists_are_typed_one_per_line(operator: Client) -> None:
    widget = make_widget()
    form = widget_form(
        operator,
        widget,
        starters="One?\r\n\r\n  Two?  \r\nOne?",
        reasons_down="wrong: It is wrong\nToo slow",
        texts=r"placeholder: Ask\nus",
    )
    operator.post(reverse("admin:chatwidget_widget_change", args=[widget.pk]), form)
    widget.refresh_from_db()
    assert widget.starters == ["One?", "Two?"]
    assert widget.reasons_down == [
        {"key": "wrong", "label": "It is wrong"},
        {"key": "too-slow", "label": "Too slow"},
    ]
    assert widget.texts == {"placeholder": "Ask\nus"}


@pytest.mark.parametrize(
    ("field", "typed", "words"),
    [
        ("starters", "\n".join(f"Question {n}" for n in range(7)), "At most six"),
        ("reasons_up", "same: A\nsame: B", "“same” is there twice"),
        ("reasons_up", ": no key", "write it as key: label"),
        ("texts", "no colon", "write it as name: text"),
        ("color", '"red; x', "Six hexadecimal digits"),
        ("retention_days", "0", "greater than or equal to 1"),
        ("agent", "", "required"),
        ("locale", "klingon", "There are: ar, de, en, es,"),
        ("locale", "fi", "There are: ar, de, en, es,"),
        ("texts", "sned: Go", "There is no text “sned”. There are: agent_misconfigured,"),
    ],
)
def test_a_bad_setting_is_refused(operator: Client, field: str, typed: str, words: str) -> None:
    widget = make_widget()
    form = widget_form(operator, widget, **{field: typed})
    url = reverse("admin:chatwidget_widget_change", args=[widget.pk])
    response = operator.post(url, form)
    assert words in " ".join(response.context["adminform"].form.errors[field])


TAKEN = {
    "https://www.example.com": "https://www.example.com",
    "https://www.example.com/": "https://www.example.com",
    "HTTPS://WWW.Example.COM": "https://www.example.com",
    "https://www.example.com:443": "https://www.example.com",
    "http://www.example.com:80": "http://www.example.com",
    "http://localhost:3000": "http://localhost:3000",
    "http://127.0.0.1:8000": "http://127.0.0.1:8000",
    "http://[::1]:8000": "http://[::1]:8000",
    "https://bücher.example": "https://xn--bcher-kva.example",
    "  https://www.example.com  ": "https://www.example.com",
    "https://a-b.example.com": "https://a-b.example.com",
    "https://example.com:8443": "https://example.com:8443",
}
REFUSED = [
    "*",
    "https://*.example.com",
    "https://*",
    "null",
    "www.example.com",
    "example.com/page",
    "//example.com",
    "https://",
    "https:///path",
    "https://www.example.com/page",
    "https://www.example.com?x=1",
    "https://www.example.com#top",
    "https://user@www.example.com",
    "https://user:pw@www.example.com",
    "https://www.example.com:0",
    "https://www.example.com:99999",
    "https://www.example.com:port",
    "https://www.example.com:",
    "https://www.example.com.",
    "https://-bad.example.com",
    "https://exa mple.com",
    "https://example.com; script-src *",
    "https://example.com' 'unsafe-inline'",
    "https://example.com,https://other.example",
    "https://example.com\\@evil.example",
    "https://exam%70le.com",
    "https://999.1.1.1",
    "https://[::1",
    "https://[not-ip]",
    "ftp://example.com",
    "javascript:alert(1)",
    "data:text/html,hi",
    "file:///etc/passwd",
    "chrome-extension://abcdef",
    "https://<script>",
    "https://example..com",
    "https://" + "a" * 300 + ".com",
    "https:www.example.com",
    "https:/www.example.com",
    "'self'",
    "https",
]


@pytest.mark.parametrize("typed", TAKEN)
def test_an_origin_is_kept_as_a_browser_sends_it(operator: Client, typed: str) -> None:
    widget = make_widget()
    url = reverse("admin:chatwidget_widget_change", args=[widget.pk])
    operator.post(url, widget_form(operator, widget, origins=typed))
    assert Widget.objects.get(pk=widget.pk).origins == [TAKEN[typed]]


@pytest.mark.parametrize("typed", REFUSED)
def test_an_odd_origin_is_refused_with_advice(operator: Client, typed: str) -> None:
    widget = make_widget(origins=["https://kept.example"])
    url = reverse("admin:chatwidget_widget_change", args=[widget.pk])
    form = widget_form(operator, widget, origins=f"https://fine.example\n{typed}")
    errors = operator.post(url, form).context["adminform"].form.errors["origins"]
    assert errors[0].startswith("“")  # the form's own words, not the model's last resort
    assert re.search("Write|not possible|not allowed|only https", errors[0])
    assert Widget.objects.get(pk=widget.pk).origins == ["https://kept.example"]


def test_who_may_only_look_sees_lists_as_lines_and_that_there_is_a_key(settings: Any) -> None:
    settings.ATTACHMENT_MAX_BYTES = 3 * 1024**2
    user = make_operator("reader", is_superuser=False)
    user.user_permissions.set(Permission.objects.filter(codename="view_widget"))
    client = sign_in(user)
    widget = make_widget(
        origins=["https://a.example", "https://b.example"],
        starters=["One & all?"],
        texts={"send": "Go"},
    )
    assert "Keys No key is stored." in text_of(
        page(client, "admin:chatwidget_widget_change", widget.pk)
    )
    widget.identity_keys = {"1": SECRET * 3}
    widget.save()
    shown = page(client, "admin:chatwidget_widget_change", widget.pk)
    assert "https://a.example<br>https://b.example" in shown
    assert "One &amp; all?" in shown
    assert "wrong: Not correct" in shown
    assert "send: Go" in shown
    assert "{&quot;" not in shown.partition("<fieldset")[2].partition("</form>")[0]
    assert "Keys 1 key is stored." in text_of(shown)
    assert SECRET not in shown
    assert "at most 3 MB" in shown


def test_who_may_add_and_not_change_gets_forms_that_work(nothing_yet: None) -> None:
    user = make_operator("starter", is_superuser=False)
    user.user_permissions.set(
        Permission.objects.filter(codename__in=["add_agent", "add_widget", "add_alertsettings"])
    )
    client = sign_in(user)
    add = reverse("admin:chatwidget_agent_add")
    assert "Choose another" in page(client, add, query="?provider=raia")
    assert client.post(add, agent_form(credential_secret_key=SECRET)).status_code == 302
    agent = Agent.objects.get()
    assert agent.credentials == {"secret_key": SECRET}
    url = reverse("admin:chatwidget_widget_add")
    given = client.get(url).context["adminform"].form
    form = {n: given.fields[n].prepare_value(given[n].value()) for n in given.fields}
    form |= {"agent": agent.pk, "name": "Shop"}
    sent = {name: value for name, value in form.items() if value not in (None, False)}
    assert client.post(url, sent, follow=True).status_code == 200
    widget = Widget.objects.get()
    url = reverse("admin:feedback_alertsettings_add")
    assert 'name="secret"' in page(client, url)
    whsec = "whsec_" + base64.b64encode(b"x" * 32).decode()
    form = {"widget": widget.pk, "webhook_url": "https://hooks.example", "secret": whsec}
    assert client.post(url, form, follow=True).status_code == 200
    assert AlertSettings.objects.get().secret == whsec


def test_a_widgets_keys_are_taken_replaced_and_removed_and_never_shown(operator: Client) -> None:
    widget = make_widget()
    url = reverse("admin:chatwidget_widget_change", args=[widget.pk])
    first, second = "one secret of the site's" * 3, "the next secret of the site's" * 3

    def send(**fields: Any) -> str:
        response = operator.post(url, widget_form(operator, widget, **fields), follow=True)
        widget.refresh_from_db()
        return str(response.content.decode())

    send(identity_key_1=first, identity_required="on")
    assert widget.identity_keys == {"1": first}
    assert "A secret is stored" in page(operator, url)
    assert first not in page(operator, url)
    send(identity_key_2=second)
    assert widget.identity_keys == {"1": first, "2": second}
    send(remove_identity_key_1="on")
    assert widget.identity_keys == {"2": second}
    assert "Add a key first" in send(remove_identity_key_2="on")
    assert widget.identity_keys == {"2": second}
    shown = send(identity_key_1="too short, and yet secret")
    assert "at least 32 characters" in shown
    assert "too short, and yet secret" not in shown


def test_deleting_a_widget_has_vendors_forget_its_visitors(operator: Client) -> None:
    agent = make_agent("Support", "raia")
    widget = make_widget(agent)
    make_conversation(
        [("visitor", "Hello")],
        visitor=make_visitor(widget, upstream={str(agent.pk): {"user": "u1"}}),
    )
    url = reverse("admin:chatwidget_widget_delete", args=[widget.pk])
    AlertSettings.objects.create(widget=widget, emails=["ines@shop.example"])
    shown = text_of(page(operator, url))
    assert "Widgets: 1 Visitors: 1 Objects" in shown
    assert "1 visitor, with all conversations, files and votes" in shown
    assert "Its alerts" in shown
    operator.post(url, {"post": "yes"})
    assert not Widget.objects.filter(pk=widget.pk).exists()
    assert Erasure.objects.filter(agent=agent, upstream={"user": "u1"}).exists()


def test_deleting_a_widget_with_visitors_needs_the_permission_to_erase_them() -> None:
    user = make_operator("tidy", is_superuser=False)
    user.user_permissions.set(
        Permission.objects.filter(codename__in=["view_widget", "delete_widget"])
    )
    client, used, unused = sign_in(user), make_visitor().widget, make_widget()
    url = reverse("admin:chatwidget_widget_delete", args=[used.pk])
    assert "permission to delete the following types of objects: visitor" in text_of(
        page(client, url)
    )
    assert client.post(url, {"post": "yes"}).status_code == 403
    both = {"action": "delete_selected", "_selected_action": [used.pk, unused.pk], "post": "yes"}
    client.post(reverse("admin:chatwidget_widget_changelist"), both | {"index": "0"})
    assert Widget.objects.filter(pk__in=[used.pk, unused.pk]).count() == 2
    client.post(reverse("admin:chatwidget_widget_delete", args=[unused.pk]), {"post": "yes"})
    assert not Widget.objects.filter(pk=unused.pk).exists()


def test_a_much_used_widget_is_not_deleted(operator: Client) -> None:
    widget = make_widget()
    Visitor.objects.bulk_create(Visitor(widget=widget) for _ in range(201))
    url = reverse("admin:chatwidget_widget_delete", args=[widget.pk])
    assert "more than 200 visitors" in page(operator, url)
    operator.post(url, {"post": "yes"})
    assert Widget.objects.filter(pk=widget.pk).exists()


# --- conversations --------------------------------------------------------------------------------


def test_a_transcript_shows_everything_that_was_said(operator: Client) -> None:
    talk = make_conversation([("visitor", "Are you\nopen?"), ("agent", "Yes.")])
    answer = talk.messages.get(position=2)
    make_feedback(answer, comment="Not on Mondays!", reasons=["wrong"], delivery=State.FAILED)
    add_message(
        talk, "", role="agent", status="failed", error="agent_timeout", problem="30 s of nothing"
    )
    add_message(talk, "Priya here.", role="human")
    add_message(talk, "Priya has the conversation.", role="system")
    shown = text_of(page(operator, "admin:chatwidget_conversation_change", talk.pk))
    for words in (
        "Are you open?",
        "Thumbs down Not correct",
        "Not on Mondays!",
        "30 s of nothing The visitor was told: agent_timeout",
        "Person",
        "Priya here.",
        "Priya has the conversation.",
    ):
        assert words in shown


def test_a_source_is_a_link_only_where_that_is_safe(operator: Client) -> None:
    talk = make_conversation()
    add_message(
        talk,
        role="agent",
        citations=[
            {"title": "Good", "url": "https://good.example/a"},
            {"title": "Bad", "url": "javascript:alert(1)"},
            {"title": "Ugly", "url": "https://[broken"},
            "nonsense",
        ],
    )
    shown = page(operator, "admin:chatwidget_conversation_change", talk.pk)
    assert re.findall(r'<a href="([^"]*)"[^>]*nofollow', shown) == ["https://good.example/a"]
    assert "Bad" in shown


def test_a_link_to_a_message_opens_the_page_it_stands_on(operator: Client) -> None:
    talk = make_conversation([("visitor", f"Message {n}") for n in range(1, 451)])
    early = talk.messages.get(position=60)
    url = reverse("admin:chatwidget_conversation_change", args=[talk.pk])
    newest = page(operator, url)
    assert "Message 450" in newest
    assert f'id="m-{early.pk}"' not in newest
    linked = page(operator, f"{url}?at={early.pk}")
    assert f'id="m-{early.pk}"' in linked
    assert linked.count('class="message ') == 200
    for odd in ("?at=nonsense", "?at=", "?from=-1", "?from=99999999999999", "?from=x"):
        page(operator, url + odd)


def test_conversations_are_found_by_words_and_ids(operator: Client) -> None:
    talk = make_conversation([("visitor", "My gears are slipping")], title="Repairs")
    make_conversation([("visitor", "Opening hours?"), ("agent", "gears")], title="Hours")
    address = "admin:chatwidget_conversation_changelist"
    question = talk.messages.get()
    for term in ("GEARS slip", "repairs", str(talk.pk), str(talk.visitor_id), str(question.pk)):
        response = operator.get(reverse(address), {"q": term})
        assert [one.pk for one in response.context["cl"].result_list] == [talk.pk], term
    assert "Nothing fits" in page(operator, address, query="?q=\u202e' OR 1=1 --")
    page(operator, address, query="?q=%00")


def test_conversations_are_filtered(operator: Client) -> None:
    down = make_feedback(vote="down").message.conversation
    quiet = make_conversation([("visitor", "Hello")], mode="human")
    url = reverse("admin:chatwidget_conversation_changelist")
    Conversation.objects.exclude(pk__in=[down.pk, quiet.pk]).delete()
    for query, found in (
        ("vote=down", {down.pk}),
        ("vote=up", set()),
        ("vote=any", {down.pk}),
        ("vote=none", {quiet.pk}),
        ("mode__exact=human", {quiet.pk}),
        (f"agent__id__exact={down.agent_id}", {down.pk}),
        (f"visitor__widget__key__exact={quiet.visitor.widget_id}", {quiet.pk}),
    ):
        response = operator.get(f"{url}?{query}")
        assert {one.pk for one in response.context["cl"].result_list} == found, query


def test_a_visitor_is_erased_after_asking_once_more(operator: Client) -> None:
    talk = make_conversation([("visitor", "Forget me")])
    url = reverse("admin:chatwidget_conversation_changelist")
    form = {"action": "erase_visitors", "_selected_action": str(talk.pk), "index": "0"}
    asked = operator.post(url, form).content.decode()
    assert "Erase this visitor?" in asked
    assert Visitor.objects.filter(pk=talk.visitor_id).exists()
    operator.post(url, form | {"confirmed": "1"})
    assert not Visitor.objects.filter(pk=talk.visitor_id).exists()
    assert not Conversation.objects.filter(pk=talk.pk).exists()


def test_conversations_and_votes_cannot_be_changed_by_hand(operator: Client) -> None:
    vote = make_feedback()
    talk = vote.message.conversation
    for name, pk in (("chatwidget_conversation", talk.pk), ("feedback_feedback", vote.pk)):
        assert operator.get(reverse(f"admin:{name}_add")).status_code == 403
        assert operator.get(reverse(f"admin:{name}_delete", args=[pk])).status_code == 403
        operator.post(reverse(f"admin:{name}_change", args=[pk]), {"title": "x", "comment": "x"})
    talk.refresh_from_db()
    vote.refresh_from_db()
    assert (talk.title, vote.comment) == ("", "")


def test_what_does_not_exist_is_not_found(operator: Client) -> None:
    for name in ("chatwidget_conversation", "feedback_feedback"):
        page(operator, f"admin:{name}_change", "nonsense", status=404)


# --- feedback -------------------------------------------------------------------------------------


def test_a_vote_is_listed_with_question_answer_and_comment(operator: Client) -> None:
    vote = make_feedback(comment="Closed on Sundays!")
    shown = page(operator, "admin:feedback_feedback_changelist")
    for words in ("Are you open?", "Yes.", "Closed on Sundays!", "Demo agent", "Site"):
        assert words in text_of(shown)
    assert f"?at={vote.message_id}#m-{vote.message_id}" in shown


@pytest.mark.parametrize(
    ("state", "fields", "words"),
    [
        (State.DELIVERED, {"delivered_at": timezone.now()}, "Delivered just now"),
        (State.FAILED, {"problem": "raia said no"}, "Failed raia said no"),
        (State.UNSUPPORTED, {}, "Not expressible This vendor cannot say it."),
        (State.LOCAL, {}, "Kept here This vendor takes no votes."),
        (State.PENDING, {"problem": "waits for a vote"}, "On its way waits for a vote."),
        (
            State.PENDING,
            {"attempts": 2, "problem": "HTTP 503", "next_at": timedelta(minutes=5, seconds=30)},
            "On its way HTTP 503. Next attempt in 5 minutes.",
        ),
    ],
)
def test_delivery_is_told_in_plain_words(
    operator: Client, state: State, fields: dict[str, Any], words: str
) -> None:
    vote = make_feedback(delivery=state)
    if isinstance(wait := fields.get("next_at"), timedelta):
        fields = fields | {"next_at": timezone.now() + wait}
    if "delivered_at" in fields:
        fields = fields | {"delivered_at": timezone.now()}
    Delivery.objects.filter(feedback=vote).update(**fields)
    for address, *args in (
        ("admin:feedback_feedback_changelist",),
        ("admin:feedback_feedback_change", vote.pk),
        ("admin:chatwidget_conversation_change", vote.message.conversation_id),
    ):
        assert words in text_of(page(operator, str(address), *args)).replace(" .", ".")


def test_a_failed_vote_is_sent_again(operator: Client) -> None:
    agent = make_agent("Support", "raia", credentials={"secret_key": SECRET})
    talk = make_conversation([("visitor", "Open?")], widget=make_widget(agent))
    answer = add_message(talk, "Yes.", role="agent", upstream_id="m1")
    vote = make_feedback(answer, delivery=State.FAILED, problem="raia said no")
    assert "Send again" in page(operator, "admin:feedback_feedback_change", vote.pk)
    form = {"action": "send_again", "_selected_action": str(vote.pk), "index": "0"}
    response = operator.post(reverse("admin:feedback_feedback_changelist"), form, follow=True)
    assert "1 vote is on the way again." in response.content.decode()
    delivery = Delivery.objects.get(feedback=vote)
    assert (delivery.state, delivery.problem) == (State.PENDING, "")
    assert delivery.next_at is not None


@pytest.mark.parametrize(
    ("provider", "said", "held", "words"),
    [
        ("openai", "down", {}, "These votes stay here: their vendor takes none."),
        ("raia", None, {}, "The vendor holds nothing that could be taken back."),
        ("raia", None, {"sent_revision": 1}, "The vendor cannot take back what it holds."),
        ("raia", "up", {"lease_token": uuid.uuid4()}, "These votes are being sent just now."),
    ],
)
def test_why_a_vote_is_not_sent_again_is_said(
    operator: Client, provider: str, said: str | None, held: dict[str, Any], words: str
) -> None:
    talk = make_conversation(widget=make_widget(make_agent("Support", provider)))
    answer = add_message(talk, "Yes.", role="agent", upstream_id="m1")
    vote = make_feedback(answer, said, delivery=State.PENDING)
    Delivery.objects.filter(feedback=vote).update(**held)
    form = {"action": "send_again", "_selected_action": str(vote.pk), "index": "0"}
    url = reverse("admin:feedback_feedback_changelist") + "?show=all&delivery=pending"
    assert f"Nothing to send. {words}" in operator.post(url, form, follow=True).content.decode()


def test_what_operators_do_to_visitors_and_votes_is_logged_without_their_words(
    operator: Client,
) -> None:
    agent = make_agent("Support", "raia", credentials={"secret_key": SECRET})
    talk = make_conversation([("visitor", "Open?")], widget=make_widget(agent), title="Open?")
    answer = add_message(talk, "Yes.", role="agent", upstream_id="m1")
    vote = make_feedback(answer, comment="Closed!", delivery=State.FAILED)
    votes, here = reverse("admin:feedback_feedback_changelist"), f"?widget={vote.widget_id}"
    chosen = {"_selected_action": str(vote.pk), "index": "0"}
    operator.get(reverse("admin:feedback_feedback_export", args=["csv"]) + here)
    operator.post(votes, chosen | {"action": "send_again"})
    operator.post(votes, chosen | {"action": "resolve"})
    operator.post(votes + "?show=all", chosen | {"action": "open_again"})
    operator.post(
        reverse("admin:feedback_feedback_review", args=[vote.pk]), {"revision": 1, "resolve": ""}
    )
    operator.post(
        reverse("admin:chatwidget_conversation_changelist"),
        {"action": "erase_visitors", "_selected_action": talk.pk, "confirmed": "1", "index": "0"},
    )
    logged = LogEntry.objects.filter(user__username="operator-of-these-tests")
    assert [one.change_message for one in logged.order_by("pk")] == [
        "1 vote exported as CSV",
        f"1 vote is on the way again: {vote.pk}",
        f"1 vote is resolved: {vote.pk}",
        f"1 vote is open again: {vote.pk}",
        f"1 vote is resolved: {vote.pk}",
        f"1 visitor was erased: {talk.visitor_id}",
    ]
    kept = str(list(logged.values()))
    assert "Open?" not in kept
    assert "Closed" not in kept


def test_votes_are_filtered_and_found(operator: Client) -> None:
    down = make_feedback(vote="down", comment="Closed on Sundays", delivery=State.FAILED)
    cleared = make_feedback(vote=None, delivery=State.UNSUPPORTED)
    Feedback.objects.exclude(pk__in=[down.pk, cleared.pk]).delete()
    url = reverse("admin:feedback_feedback_changelist")
    talk = down.message.conversation
    for query, found in (
        ("vote=down", {down.pk}),
        ("show=all&vote=none", {cleared.pk}),
        ("comment=yes", {down.pk}),
        ("show=all&comment=no", {cleared.pk}),
        ("delivery=failed", {down.pk}),
        (f"agent={talk.agent_id}", {down.pk}),
        ("q=sundays", {down.pk}),
        (f"q={down.message_id}", {down.pk}),
        (f"q={talk.pk}", {down.pk}),
    ):
        response = operator.get(f"{url}?{query}")
        assert {one.pk for one in response.context["cl"].result_list} == found, query


# --- scale ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("address", LISTS)
def test_a_list_asks_as_much_for_many_rows_as_for_few(operator: Client, address: str) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as asked:
            page(operator, address)
        return len(asked)

    for _ in range(3):
        make_feedback()
    few = queries()
    for _ in range(12):
        make_feedback()
    assert queries() == few <= 20


def test_a_transcript_asks_as_much_for_many_messages_as_for_few(operator: Client) -> None:
    def queries(answers: int) -> int:
        talk = make_conversation()
        for _ in range(answers):
            make_feedback(add_message(talk, "Yes.", role="agent"))
        with CaptureQueriesContext(connection) as asked:
            page(operator, "admin:chatwidget_conversation_change", talk.pk)
        return len(asked)

    assert queries(2) == queries(20) <= 10


def test_no_list_counts_a_whole_table(operator: Client) -> None:
    make_feedback()
    for address in LISTS:
        with CaptureQueriesContext(connection) as asked:
            page(operator, address)
        for query in asked.captured_queries:
            sql = query["sql"]
            if "COUNT(" in sql and re.search(
                'FROM "(chatwidget_(conversation|message)|feedback_(feedback|delivery))', sql
            ):
                assert "LIMIT" in sql, sql


def test_a_long_list_is_paged_without_its_length(operator: Client) -> None:
    widget = make_widget()
    visitor = make_visitor(widget)
    Conversation.objects.bulk_create(
        Conversation(visitor=visitor, agent=widget.agent) for _ in range(620)
    )
    address = "admin:chatwidget_conversation_changelist"
    query = f"?visitor__widget__key__exact={widget.key}"
    assert "450+ conversations" in text_of(page(operator, address, query=query))
    assert "620 conversations" in text_of(page(operator, address, query=f"{query}&p=9"))
    for odd in ("&p=0", "&p=-1", "&p=x", "&p=99999999999"):
        assert operator.get(reverse(address) + query + odd, follow=True).status_code == 200


# --- the demo, and pages with one thing to say ----------------------------------------------------


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of its own for the demo's password, in a database without operators."""
    monkeypatch.setattr("chatwidget.settings.DATA_DIR", tmp_path)
    User.objects.all().delete()
    return tmp_path


def test_the_demo_is_made_once(kept: Path) -> None:
    first = demo.prepare()
    Widget.objects.filter(pk=first.widget.pk).update(name="Renamed")
    again = demo.prepare()
    assert (again.username, again.password) == (first.username, first.password)
    assert again.widget.name == "Renamed"
    assert Widget.objects.filter(agent__pk=demo.AGENT_ID).count() == 1
    assert Client().login(username=first.username, password=first.password)
    assert (kept / "demo-password").stat().st_mode & 0o777 == 0o600


def test_a_changed_demo_password_stays_changed(kept: Path) -> None:
    user = User.objects.get(username=demo.prepare().username)
    user.set_password("my own")
    user.save()
    assert demo.prepare().password == "(changed by you)"
    assert Client().login(username=user.username, password="my own")


def test_a_real_service_gets_no_demo_operator(kept: Path) -> None:
    make_operator("ines")
    assert (demo.prepare().username, demo.prepare().password) == ("ines", "(yours)")
    assert not User.objects.filter(username=demo.USERNAME).exists()
    assert not (kept / "demo-password").exists()


def test_the_demo_site_carries_the_script_tag_and_nothing_else_of_ours(settings: Any) -> None:
    settings.DEMO_SITE = True
    make_widget(key=demo.WIDGET_KEY)
    shown = page(Client(), "/")
    assert len(re.findall(r"<script", shown)) == 1
    assert re.search(r'<script async src="[^"]+/widget\.js" data-widget="pk_', shown)
    assert "/admin" not in shown


def test_the_front_door_says_what_this_is() -> None:
    assert "This is a chat service" in page(Client(), "/")


def test_a_page_that_names_no_icon_has_one() -> None:
    """The panel, where it is a page of its own: a line in it would weigh in every visit."""
    found = Client().get("/favicon.ico")
    assert found.headers["Location"].startswith("/static/admin_look/logo.")


def test_who_signs_in_is_led_on_and_a_refusal_is_told() -> None:
    user = make_operator("newcomer")
    user.set_password("the right one")
    user.save()
    goal, browser = reverse("admin:chatwidget_agent_changelist"), Client()
    asked = browser.get(goal, follow=True).content.decode()
    assert f'name="next" value="{goal}"' in asked
    form = {"username": "newcomer", "password": "a wrong one", "next": goal}
    refused = browser.post(reverse("admin:login"), form).content.decode()
    assert "Please enter the correct username" in refused
    entered = browser.post(reverse("admin:login"), form | {"password": "the right one"})
    assert entered.headers["Location"] == goal


def test_errors_have_a_page(operator: Client) -> None:
    assert "There is nothing here" in page(Client(), "/nowhere/", status=404)
    stranger = sign_in(make_operator("new", is_superuser=False))
    address = "admin:chatwidget_agent_changelist"
    assert "not for your account" in page(stranger, address, status=403)
    strict = Client(enforce_csrf_checks=True)
    refused = strict.post(reverse("admin:login"), {"username": "x", "password": "y"})
    assert "open too long" in refused.content.decode()
