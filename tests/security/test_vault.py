"""G2: secrets at rest. A wrong key is loud, a copied row is refused, keys rotate."""

import json
import sys
from io import StringIO
from typing import Any

import pytest
from cryptography.fernet import Fernet, MultiFernet
from django.core.management import CommandError, call_command
from django.views.debug import ExceptionReporter
from pytest_django.fixtures import Settings

from chatwidget.checks import credential_keys
from chatwidget.errors import VaultError
from chatwidget.management.commands.rotate_credential_keys import sealed_fields
from chatwidget.models import Agent
from chatwidget.runner import open_provider

from ..cast import forget_secrets, make_agent, make_widget

SECRET = "sk-very-secret-7f3a"
OLD, NEW, OTHER = (Fernet.generate_key().decode() for _ in range(3))


@pytest.fixture(autouse=True)
def old_key(settings: Settings) -> Any:
    settings.CREDENTIAL_KEYS = [OLD]
    yield
    Agent.objects.filter(name="Sealed").delete()


def sealed_agent(**fields: Any) -> Agent:
    return make_agent("Sealed", "raia", credentials={"secret_key": SECRET}, **fields)


def refusal(agent: Agent) -> str:
    """Return what opening says, having checked that it says nothing it must not."""
    with pytest.raises(VaultError) as refused:
        agent.credentials  # noqa: B018 (a property that raises)
    told = repr(refused.value)
    for secret in (SECRET, agent.sealed_credentials, OLD, NEW, OTHER):
        assert secret not in told
    return told


def test_what_is_stored_opens_again_and_does_not_show_the_secret() -> None:
    one, two = sealed_agent(), sealed_agent()
    stored = Agent.objects.get(pk=one.pk)
    assert stored.credentials == {"secret_key": SECRET}
    assert SECRET not in stored.sealed_credentials
    assert one.sealed_credentials != two.sealed_credentials
    assert sealed_agent().credentials == {"secret_key": SECRET}


def test_a_wrong_key_is_a_loud_error(settings: Settings) -> None:
    agent = sealed_agent()
    settings.CREDENTIAL_KEYS = [OTHER]
    assert "cannot be decrypted" in refusal(agent)


def test_a_copy_for_another_agent_or_provider_is_refused() -> None:
    agent, thief = sealed_agent(), make_agent("Sealed", "raia")
    thief.sealed_credentials = agent.sealed_credentials
    assert "another agent" in refusal(thief)
    agent.provider = "openai"
    assert "another agent" in refusal(agent)


@pytest.mark.parametrize("change", ["", "x", "short", "plain", "flipped", "\x00", "é"])
def test_what_was_tampered_with_is_refused(change: str) -> None:
    agent = sealed_agent()
    token = agent.sealed_credentials
    agent.sealed_credentials = {
        "short": token[:-8],
        "plain": json.dumps({"secret_key": SECRET}),
        "flipped": token[:40] + ("A" if token[40] != "A" else "B") + token[41:],
    }.get(change, change)
    if not change:
        assert agent.credentials == {}
    else:
        refusal(agent)


def test_any_key_of_the_list_opens_and_the_first_one_seals(settings: Settings) -> None:
    agent = sealed_agent()
    settings.CREDENTIAL_KEYS = [NEW, OLD]
    assert agent.credentials == {"secret_key": SECRET}
    newer = sealed_agent()
    settings.CREDENTIAL_KEYS = [NEW]
    assert newer.credentials == {"secret_key": SECRET}


def test_rotation_brings_ten_thousand_rows_under_the_first_key(settings: Settings) -> None:
    forget_secrets()
    agents = [Agent(name="Sealed", provider="raia") for _ in range(10_000)]
    for number, agent in enumerate(agents):
        agent.credentials = {"secret_key": f"{SECRET}-{number}"}
    Agent.objects.bulk_create(agents)
    settings.CREDENTIAL_KEYS = [NEW, OLD]
    out = StringIO()
    call_command("rotate_credential_keys", stdout=out)
    assert out.getvalue() == "10000 sealed anew.\n"
    settings.CREDENTIAL_KEYS = [NEW]
    anew = dict(Agent.objects.filter(name="Sealed").values_list("pk", "sealed_credentials"))
    for number, agent in enumerate(agents):
        agent.sealed_credentials = anew[agent.pk]
        assert agent.credentials == {"secret_key": f"{SECRET}-{number}"}


def test_rotation_reaches_every_sealed_column(settings: Settings) -> None:
    forget_secrets()
    settings.CREDENTIAL_KEYS = [OLD]
    widget = make_widget()
    widget.identity_keys = {"1": SECRET}
    widget.save()
    settings.CREDENTIAL_KEYS = [NEW, OLD]
    call_command("rotate_credential_keys", stdout=StringIO())
    settings.CREDENTIAL_KEYS = [NEW]
    widget.refresh_from_db()
    assert widget.identity_keys == {"1": SECRET}
    columns = {f"{model.__name__}.{name}" for model, name in sealed_fields()}
    assert columns >= {"Agent.sealed_credentials", "Widget.sealed_identity_keys"}
    widget.delete()


def test_rotation_without_the_old_key_changes_nothing(settings: Settings) -> None:
    forget_secrets()
    before = [sealed_agent().sealed_credentials for _ in range(3)]
    settings.CREDENTIAL_KEYS = [OTHER]
    with pytest.raises(CommandError, match="cannot be decrypted"):
        call_command("rotate_credential_keys")
    found = Agent.objects.filter(name="Sealed").values_list("sealed_credentials", flat=True)
    assert sorted(found) == sorted(before)


def test_no_representation_shows_a_secret() -> None:
    agent = sealed_agent()
    provider = open_provider(agent)
    for shown in (agent, provider, provider.setup, vars(provider), MultiFernet([Fernet(OLD)])):
        for text in (repr(shown), str(shown)):
            assert SECRET not in text
            assert OLD not in text
    assert SECRET in str(provider.headers())  # where it belongs


@pytest.mark.parametrize(
    "key",
    ["", "short", "x" * 44, "é" * 43, OLD[:-1]],
    ids=["empty", "short", "padding", "not ascii", "cut"],
)
def test_a_key_that_is_none_is_found_at_start_and_not_repeated(
    settings: Settings, key: str
) -> None:
    settings.CREDENTIAL_KEYS = [key]
    [error] = credential_keys()
    assert error.id == "chatwidget.E002"
    assert not key or key not in error.msg


def test_an_unexpected_error_while_opening_does_not_show_what_was_opened() -> None:
    agent = sealed_agent()
    for inside in (SECRET, [SECRET], ["agent", SECRET], ["agent", [SECRET]]):
        agent.sealed_credentials = Fernet(OLD).encrypt(json.dumps(inside).encode()).decode()
        try:
            open_provider(agent)
        except (ValueError, AttributeError, VaultError):
            report = ExceptionReporter(None, *sys.exc_info())
        frames = report.get_traceback_frames()
        shown = [str(frame["vars"]) for frame in frames if "/chatwidget/" in frame["filename"]]
        assert len(shown) >= 2
        assert SECRET not in "".join(shown)
