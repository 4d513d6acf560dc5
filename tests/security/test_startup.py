"""What must not start does not start."""

import os
import secrets
import subprocess
import sys
from pathlib import Path

import pytest
from pytest_django.fixtures import Settings

from chatwidget.checks import sqlite_settings

from ..server import ROOT

pytestmark = pytest.mark.default_stack("SQLite")


def test_the_default_settings_pass() -> None:
    assert sqlite_settings() == []


@pytest.mark.filterwarnings("ignore:Overriding setting DATABASES")
@pytest.mark.parametrize("missing", ["transaction_mode", "timeout", "init_command"])
def test_each_of_sqlites_settings_is_missed_by_name(settings: Settings, missing: str) -> None:
    default = settings.DATABASES["default"]
    options = {name: value for name, value in default["OPTIONS"].items() if name != missing}
    settings.DATABASES = {"default": default | {"OPTIONS": options}}
    [error] = sqlite_settings()
    assert error.id == "chatwidget.E001"
    assert missing in error.msg


@pytest.mark.parametrize("command", [["manage.py", "worker"], ["-c", "import chatwidget.asgi"]])
def test_nothing_starts_on_sqlite_without_its_settings(tmp_path: Path, command: list[str]) -> None:
    module = "from chatwidget.settings import *\nDATABASE['OPTIONS'] = {}\n"
    (tmp_path / "careless.py").write_text(module)
    environment = {"PYTHONPATH": f"{tmp_path}:{ROOT}", "DJANGO_SETTINGS_MODULE": "careless"}
    refused = subprocess.run(
        [sys.executable, *command], cwd=ROOT, env=os.environ | environment,
        capture_output=True, text=True, check=False, timeout=30,
    )  # fmt: skip
    assert refused.returncode != 0
    assert "chatwidget.E001" in refused.stderr


def test_the_deploy_check_is_silent_where_the_documented_settings_are_right(tmp_path: Path) -> None:
    right = {
        "DATA_DIR": str(tmp_path),
        "PUBLIC_URL": "https://chat.example.com",
        "ALLOWED_HOSTS": "chat.example.com",
        "SECRET_KEY": secrets.token_urlsafe(48),
        "TRUSTED_PROXIES": "1",
    }
    # For the browser's tests only.
    here = {name: os.environ[name] for name in os.environ if name != "DJANGO_ALLOW_ASYNC_UNSAFE"}
    command = [sys.executable, "manage.py", "check", "--deploy", "--fail-level", "INFO"]
    checked = subprocess.run(
        command, cwd=ROOT, env=here | right, capture_output=True, text=True, timeout=30
    )
    assert checked.returncode == 0, checked.stderr
