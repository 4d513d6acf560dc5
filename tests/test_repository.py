"""Promises of the repository itself: locks without addresses, a wheel that is whole."""

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from .server import ROOT

pytestmark = pytest.mark.default_stack("needs no server")

LOCKS = ("requirements*.txt", "benchmarks/requirements.txt")
PROBE = """
import django
django.setup()
from django.core.management import call_command
from django.test import Client
call_command("migrate", verbosity=0)
client = Client(headers={"host": "localhost"})
from chatwidget.models import Agent, Widget
widget = Widget.objects.create(name="W", agent=Agent.objects.create(name="A", provider="demo"))
paths = ["/widget.js", f"/w/{widget.key}/", "/static/chatwidget/panel.js", "/admin/login/", "/"]
for path in paths:
    print(path.replace(widget.key, "KEY"), client.get(path).status_code)
"""


def tracked(*patterns: str) -> list[Path]:
    """Return the files git tracks; in an exported tree, where there is no git, all that match."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", *patterns], cwd=ROOT, capture_output=True, text=True
    )
    if listed.returncode == 0:
        return [ROOT / name for name in listed.stdout.split("\0") if name]
    return [path for pattern in patterns for path in ROOT.glob(pattern) if path.is_file()]


def test_lock_files_name_no_address() -> None:
    locks = tracked(*LOCKS, "frontend/package-lock.json")
    assert len(locks) == 4
    assert [lock.name for lock in locks if "://" in lock.read_text()] == []


def test_python_locks_have_hashes_for_everything() -> None:
    for lock in tracked(*LOCKS):
        pins = re.split(r"\n(?=[a-z])", lock.read_text().strip())
        assert [pin[:40] for pin in pins if "--hash=sha256:" not in pin] == []


def test_nothing_built_is_tracked() -> None:
    assert tracked("static/chatwidget/*", "dist/*") == []


def test_the_table_of_settings_names_what_is_read_from_the_environment() -> None:
    read = set(re.findall(r'env\.\w+\(\s*"(\w+)"', (ROOT / "chatwidget/settings.py").read_text()))
    page = (ROOT / "docs/operations.md").read_text()
    table = page.split("\n## Settings\n")[1].split("\n## ")[0]
    named = re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)
    assert sorted(named) == sorted(read)


def test_the_wheel_carries_the_built_widget_and_serves_it(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--wheel", "-o", str(tmp_path)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    env = os.environ | {
        "PYTHONPATH": str(tmp_path / "site"),
        "DJANGO_SETTINGS_MODULE": "chatwidget.settings",
        "DATA_DIR": str(tmp_path / "data"),
    }
    probe = subprocess.run(
        [sys.executable, "-c", PROBE], cwd=tmp_path, env=env, capture_output=True, text=True
    )
    answers = dict(line.split() for line in probe.stdout.splitlines())
    assert set(answers.values()) == {"200"}, (answers, probe.stderr)
    assert len(answers) == 5


def test_the_widgets_weight_is_within_its_budget() -> None:
    """`widget.js` up to 3 kB, all until usable up to 27.5, what comes later 15, gzipped.

    As built; tests/widget/test_weight.py asks a browser what it loads until then.
    """
    built = ROOT / "static/chatwidget"
    weights = {path.name.split(".")[0]: path.stat().st_size for path in built.glob("*.js.gz")}
    page = len((ROOT / "templates/chatwidget/panel.html").read_bytes())
    style = (built / "panel.css.gz").stat().st_size
    assert weights["widget"] <= 3_000
    assert page + style + weights["panel"] <= 27_500, weights
    assert weights["later"] <= 15_000
