"""The commands that people and scripts start with."""

import json
import os
import signal
import subprocess
import sys
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from chatwidget.models import Agent, Widget

from .cast import make_agent
from .server import ROOT, Server

MANAGE = [sys.executable, "manage.py"]
RAIA = ["--base-url", "https://raia.example/", "--credential", "secret_key=k=1"]
RAIA_KEY = ["--provider", "raia", "--credential", "secret_key=s3cr3t"]
NAMED = ["--option", "assistant_name=Bot"]


def run(*arguments: str) -> Any:
    """Run a command in this process and return what it printed, which must be one JSON object."""
    out = StringIO()
    call_command(*arguments, stdout=out)
    assert out.getvalue().count("\n") == 1
    return json.loads(out.getvalue())


def test_an_agent_and_its_widget_are_made_by_two_commands() -> None:
    """As a script does it: processes of their own, standard output read as JSON."""
    agent = subprocess.run(
        [*MANAGE, "create_agent", "--name", "Sam", "--provider", "raia", *RAIA],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    made = json.loads(agent.stdout)
    assert list(made) == ["id"]
    stored = Agent.objects.get(pk=made["id"])
    assert (stored.name, stored.provider) == ("Sam", "raia")
    assert stored.base_url == "https://raia.example"
    assert stored.credentials == {"secret_key": "k=1"}
    assert agent.stderr == ""

    site = "https://shop.example"
    widget = run("create_widget", "--name", "Shop", "--agent", made["id"], "--origin", site)
    assert set(widget) == {"key", "snippet"}
    assert widget["key"].startswith("pk_")
    assert Widget.objects.get(pk=widget["key"]).origins == [site]
    assert widget["snippet"].startswith("<script async src=")
    assert f'data-widget="{widget["key"]}"' in widget["snippet"]


def test_options_are_kept_and_defaults_need_none() -> None:
    made = run("create_agent", "--name", "Demo", "--provider", "demo", "--option", "think_s=0")
    assert Agent.objects.get(pk=made["id"]).options == {"think_s": 0}
    assert run("create_widget", "--name", "W", "--agent", made["id"])["key"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--provider", "nobody"], "nobody"),
        (["--provider", "raia"], "secret_key"),
        (["--provider", "raia", "--credential", "secret_key="], "secret_key"),
        (["--provider", "raia", "--credential", "key=s3cr3t"], "secret_key"),
        (["--provider", "raia", "--credential", "s3cr3t"], "NAME=VALUE"),
        (["--provider", "demo", "--credential", "api_key=s3cr3t"], "none"),
        (["--provider", "demo", "--option", "speed=1"], "think_s"),
        (["--provider", "raia", "--base-url", "ftp://x.example"], "--base-url"),
        (["--provider", "raia", "--base-url", "https://user:s3cr3t@x.example"], "--base-url"),
        ([*RAIA_KEY, "--base-url", "https://x.example/?a=1"], "--base-url: Only scheme, host"),
        ([*RAIA_KEY, "--base-url", "https://x.example/#a"], "--base-url: Only scheme, host"),
        ([*RAIA_KEY, "--option", "total_s=abc"], "--option total_s: Enter a number."),
        ([*RAIA_KEY, "--option", "total_s=0"], "--option total_s: "),
        ([*RAIA_KEY, "--option", "feedback_message=x"], "--option feedback_message: Select"),
        ([*RAIA_KEY, "--answers-at-once", "0"], "--answers-at-once: "),
        (["--provider", "moveworks", *NAMED], "Enter the API key, or the client id and the client"),
    ],
)
def test_a_wrong_agent_is_refused_in_plain_words(arguments: list[str], told: str) -> None:
    before = Agent.objects.count()
    with pytest.raises(CommandError) as refused:
        run("create_agent", "--name", "Sam", *arguments)
    assert told in str(refused.value)
    assert "s3cr3t" not in str(refused.value)
    assert Agent.objects.count() == before


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--agent", "x"], "x"),
        (["--agent", "00000000-0000-0000-0000-000000000000"], "00000000"),
        (["--agent", "", "--origin", "shop.example"], "shop.example"),
        (["--agent", "", "--origin", "https://shop.example/path"], "path"),
        (["--agent", "", "--origin", "*"], "*"),
    ],
)
def test_a_wrong_widget_is_refused_in_plain_words(arguments: list[str], told: str) -> None:
    agent = make_agent()
    with pytest.raises(CommandError) as refused:
        run("create_widget", "--name", "W", *[one or str(agent.pk) for one in arguments])
    assert told in str(refused.value)
    assert not Widget.objects.filter(agent=agent).exists()


def test_a_refusal_on_the_command_line_is_one_line_without_the_secret() -> None:
    refused = subprocess.run(
        [*MANAGE, "create_agent", "--name", "S", "--provider", "raia", "--credential", "s3cr3t"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert refused.returncode != 0
    assert refused.stdout == ""
    assert refused.stderr.count("\n") == 1
    assert "s3cr3t" not in refused.stderr


def test_a_port_in_use_is_said_in_one_line(server: Server) -> None:
    refused = subprocess.run(
        [*MANAGE, "serve", "--port", str(server.port)],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=30,
    )  # fmt: skip
    assert refused.returncode == 1
    assert refused.stderr.count("\n") == 1
    assert "Address already in use" in refused.stderr


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_the_worker_runs_until_it_is_told_to_stop(how: signal.Signals) -> None:
    worker = subprocess.Popen(
        [*MANAGE, "worker"], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert worker.stdout is not None
    assert worker.stdout.readline() == "The worker is running.\n"
    worker.send_signal(how)
    out, err = worker.communicate(timeout=15)
    assert (worker.returncode, out, err) == (0, "", "")


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_the_server_ends_cleanly(how: signal.Signals) -> None:
    server = Server().start()
    assert server._end(how) == 0
    assert server.log() == ""


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("sqlite:///{folder}/new.sqlite3", "run `manage.py migrate` first"),
        ("sqlite:///{folder}/no/such/place.sqlite3", "The database cannot be used: unable to open"),
    ],
    ids=["empty", "away"],
)
def test_a_database_that_is_not_ready_is_said_in_a_sentence(
    tmp_path: Path, address: str, told: str
) -> None:
    done = subprocess.run(
        [*MANAGE, "create_agent", "--name", "Sam", "--provider", "demo"],
        cwd=ROOT,
        env=os.environ | {"DATABASE_URL": address.format(folder=tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert told in done.stderr
    assert "Traceback" not in done.stderr
