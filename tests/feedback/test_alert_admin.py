"""The page on which an operator says who is told of what."""

import base64
from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.contrib.auth.models import Permission
from django.core.management import call_command
from django.test import Client
from django.urls import reverse, reverse_lazy

from chatwidget.models import Widget
from feedback.models import AlertSettings

from ..cast import forget_secrets, make_operator, make_widget
from ..simulators.faults import Status
from .receivers import SECRET, MailServer, Receiver

pytestmark = pytest.mark.usefixtures("undone")

LIST = reverse_lazy("admin:feedback_alertsettings_changelist")
OTHER = "whsec_" + base64.b64encode(b"another secret that is long enough").decode()


@pytest.fixture
def operator() -> Client:
    client = Client()
    client.force_login(make_operator("operator-of-alerts"))
    return client


@pytest.fixture
def widget() -> Widget:
    return make_widget(name="Shop")


def form(**fields: Any) -> dict[str, Any]:
    """What the browser sends of the form."""
    usual = {"emails": "ines@shop.example", "webhook_url": "https://hooks.example/chat"}
    return usual | {"secret": SECRET, "on_comment": "on", "on_late": "on"} | fields


def made(widget: Widget, **fields: Any) -> AlertSettings:
    one = AlertSettings(widget=widget, **fields)
    one.secret = SECRET
    one.save()
    return one


def page_of(one: AlertSettings) -> str:
    return reverse("admin:feedback_alertsettings_change", args=[one.pk])


def test_alerts_are_made_for_a_widget(operator: Client, widget: Widget) -> None:
    sent = form(widget=widget.pk, emails="ines@shop.example\r\n\r\n tom@shop.example ")
    response = operator.post(reverse("admin:feedback_alertsettings_add"), sent)
    assert response.status_code == 302
    one = AlertSettings.objects.get(widget=widget)
    assert one.emails == ["ines@shop.example", "tom@shop.example"]
    assert (one.on_comment, one.on_failed, one.on_refused, one.on_late) == (
        True,
        False,
        False,
        True,
    )
    assert one.secret == SECRET
    again = operator.get(reverse("admin:feedback_alertsettings_add")).content.decode()
    assert widget.key not in again  # each widget has one


def test_the_secret_is_sealed_and_never_shown(operator: Client, widget: Widget) -> None:
    one = made(widget, webhook_url="https://hooks.example/chat")
    assert SECRET not in one.sealed_secret
    shown = operator.get(page_of(one)).content.decode()
    assert "Stored. Leave empty to keep it." in shown
    for hidden in (SECRET, one.sealed_secret):
        assert hidden not in shown
    refused = operator.post(page_of(one), form(secret=OTHER, emails="nobody")).content.decode()
    assert "not an e-mail address" in refused
    assert OTHER not in refused
    operator.post(page_of(one), form(secret=""))
    one.refresh_from_db()
    assert one.secret == SECRET  # an empty field keeps it
    operator.post(page_of(one), form(secret=OTHER))
    one.refresh_from_db()
    assert one.secret == OTHER


def test_a_secret_copied_to_another_widget_is_refused(operator: Client, widget: Widget) -> None:
    thief = AlertSettings.objects.create(
        widget=make_widget(name="Thief"), sealed_secret=made(widget).sealed_secret
    )
    assert "The stored secret cannot be opened" in operator.get(page_of(thief)).content.decode()


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"secret": "", "webhook_url": "https://hooks.example"}, "A webhook is signed"),
        ({"secret": "hunter2"}, "Write it as whsec_"),
        ({"secret": "whsec_dG9vIHNob3J0"}, "Write it as whsec_"),
        ({"emails": "", "webhook_url": ""}, "Enter who is to be told"),
        ({"emails": "a@b.example\nBcc: you@evil.example"}, "not an e-mail address"),
        ({"webhook_url": "ftp://hooks.example"}, "Enter a valid URL"),
        ({"webhook_url": "https://user:pw@hooks.example"}, "No user name"),
    ],
)
def test_a_bad_setting_is_refused_in_plain_words(
    operator: Client, widget: Widget, fields: dict[str, str], words: str
) -> None:
    sent = form(widget=widget.pk, **fields)
    shown = operator.post(reverse("admin:feedback_alertsettings_add"), sent).content.decode()
    assert words in shown
    assert not AlertSettings.objects.filter(widget=widget).exists()


def test_a_test_alert_reaches_everybody_who_would_be_told(
    operator: Client, widget: Widget, receiver: Receiver, mail: MailServer
) -> None:
    one = made(widget, emails=["ines@shop.example"], webhook_url=f"{receiver.url}/hook")
    test = reverse("admin:feedback_alertsettings_test", args=[one.pk])
    shown = operator.post(test, follow=True).content.decode()
    assert "E-mail: the test was taken." in shown
    assert "Webhook: the test was taken." in shown
    assert [told["type"] for told in receiver.told] == ["alert.test"]
    assert [letter["Subject"] for letter in mail.letters] == ["Shop: a test alert"]


def test_a_test_says_what_went_wrong(
    operator: Client, widget: Widget, receiver: Receiver, mail: MailServer
) -> None:
    one = made(widget, emails=["ines@shop.example"], webhook_url=f"{receiver.url}/hook")
    mail.busy = 1
    receiver.fail_next("hook", Status(502))
    test = reverse("admin:feedback_alertsettings_test", args=[one.pk])
    shown = operator.post(test, follow=True).content.decode()
    assert "the mail server said 451 Not now" in shown
    assert "Webhook: the webhook answered HTTP 502" in shown


def test_without_a_mail_server_the_page_says_so(operator: Client, widget: Widget) -> None:
    one = made(widget, emails=["ines@shop.example"])
    shown = operator.get(page_of(one)).content.decode()
    assert "No mail server is set yet" in shown
    assert "Reaches nobody yet." in shown
    assert "Goes out by" not in shown
    assert "Reaches nobody" in operator.get(str(LIST)).content.decode()
    test = reverse("admin:feedback_alertsettings_test", args=[one.pk])
    assert "no mail server is set" in operator.post(test, follow=True).content.decode()
    one.webhook_url = "https://hooks.example"
    one.save()
    assert (
        "Goes out by</span><strong>webhook</strong>" in operator.get(page_of(one)).content.decode()
    )


def test_who_may_only_look_sends_and_changes_nothing(widget: Widget) -> None:
    one = made(widget, emails=["ines@shop.example"])
    reader = make_operator("reader", is_superuser=False)
    reader.user_permissions.set(Permission.objects.filter(codename="view_alertsettings"))
    client = Client()
    client.force_login(reader)
    shown = client.get(page_of(one)).content.decode()
    assert "ines@shop.example" in shown
    assert "Send a test alert" not in shown
    test = reverse("admin:feedback_alertsettings_test", args=[one.pk])
    assert client.post(test).status_code == 403


def test_rotating_the_keys_seals_secrets_anew(widget: Widget, settings: Any) -> None:
    forget_secrets()
    one = made(widget)
    old, new = settings.CREDENTIAL_KEYS, [Fernet.generate_key().decode()]
    settings.CREDENTIAL_KEYS = [*new, *old]
    call_command("rotate_credential_keys", verbosity=0)
    settings.CREDENTIAL_KEYS = new
    one.refresh_from_db()
    assert one.secret == SECRET
