"""What each provider declares holds together, and needs nothing of the web."""

import re
import subprocess
import sys

import pytest

from chatwidget.errors import UnknownProvider, Unsupported
from chatwidget.providers import PROVIDERS, Provider, Setup, provider_class
from chatwidget.providers.base import DEADLINES, Ask, Rating

from ..server import ROOT

pytestmark = pytest.mark.default_stack("needs no server")

EACH = pytest.mark.parametrize("provider", PROVIDERS.values(), ids=PROVIDERS)
RATING = Rating(question="?", answer="!", vote="up", answer_id="1")
ROWS = {
    "Answers stream": "streams",
    "Votes reach the vendor": "takes_votes",
    "A vote can be taken back there": "clears_votes",
    "Comments reach the vendor": "takes_comments",
    "People can step in": "has_humans",
    "Visitors can attach files": "takes_attachments",
    "Goes on after a crash of ours": "resumes",
    "Stopping also ends the work there": "stops_upstream",
    "Can be asked to erase a visitor": "erases",
}
"""The rows of the table in docs/providers/README.md, and what of a provider each tells."""


@EACH
def test_it_is_named_and_its_settings_are_explained(provider: type[Provider]) -> None:
    assert provider.label
    assert provider.default_base_url == "" or provider.default_base_url.startswith("https://")
    for fields in (provider.credential_fields, provider.option_fields):
        names = [field.name for field in fields]
        assert len(names) == len(set(names))
        for field in fields:
            assert field.label
            assert field.kind != "choice" or field.default in field.choices
            assert field.kind != "number" or float(field.default) >= 0


@EACH
def test_its_deadlines_can_be_set_and_end(provider: type[Provider]) -> None:
    asked = provider(Setup(options={field.name: "" for field in DEADLINES}))
    assert 0 < asked.number("connect_s") <= asked.number("idle_s") <= asked.number("total_s") <= 300
    for value in ("soon", "nan", "inf"):
        nonsense = provider(Setup(options={field.name: value for field in DEADLINES}))
        for field in DEADLINES:
            assert nonsense.number(field.name) == asked.number(field.name)


@EACH
def test_what_it_declares_it_can_do_it_does_and_nothing_else(provider: type[Provider]) -> None:
    made = provider(Setup())
    for can, flow in (
        (provider.has_humans, made.follow(Ask(visitor="v", conversation="c", text=""))),
        (provider.takes_votes, made.rate(RATING)),
        (provider.erases or provider.closes, made.forget({})),
    ):
        if not can:
            with pytest.raises(Unsupported, match=provider.label):
                next(flow)
    assert provider.takes_votes or not (provider.clears_votes or provider.takes_comments)
    assert provider.takes_comments or provider.comment_limit is None


def test_the_table_of_providers_says_what_they_declare() -> None:
    page = (ROOT / "docs/providers/README.md").read_text()
    lines = re.findall(r"^\|(.*)\|$", page, re.MULTILINE)
    (_, *names), _, *rows = ([cell.strip() for cell in line.split("|")] for line in lines)
    assert names == list(PROVIDERS)
    assert [name for name, *_ in rows] == list(ROWS)
    for row, *cells in rows:
        said = [cell.startswith("yes") for cell in cells]
        assert said == [getattr(one, ROWS[row]) for one in PROVIDERS.values()], row


@EACH
def test_its_settings_never_show_a_credential(provider: type[Provider]) -> None:
    secrets = {field.name: f"secret-{field.name}" for field in provider.credential_fields}
    made = provider(Setup(credentials=secrets))
    assert "secret-" not in repr(made.setup)
    for secret in secrets.values():
        assert secret not in made.vendor_words({"error": {"message": f"bad key {secret}!"}})


def test_an_unknown_provider_is_told_with_those_there_are() -> None:
    with pytest.raises(UnknownProvider, match=r"'nobody'.*raia.*demo"):
        provider_class("nobody")


def test_adapters_need_no_web_code() -> None:
    """Importing all of them loads no view, model, consumer or runner, nor the other application."""
    program = (
        "import sys, chatwidget.providers, chatwidget.providers.drive;"
        "print([m for m in sys.modules if m.startswith(('chatwidget.', 'feedback'))])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for module in ("models", "views", "consumers", "runner", "claims", "hub", "process"):
        assert f"'chatwidget.{module}'" not in done.stdout
    assert "'feedback" not in done.stdout
