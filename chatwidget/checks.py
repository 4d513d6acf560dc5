"""System checks: a misconfigured service says so at start instead of failing later."""

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, register, run_checks
from django.core.exceptions import ImproperlyConfigured

from . import vault
from .errors import VaultError

SETTINGS = "chatwidget"
"""The tag of checks without which no process starts, however it is started."""

SQLITE = {"transaction_mode": "IMMEDIATE", "init_command": "journal_mode=WAL"}


@register(SETTINGS)
def sqlite_settings(**kwargs: Any) -> list[CheckMessage]:
    """SQLite serves several writers only in WAL mode with immediate transactions."""
    database = settings.DATABASES["default"]
    options = database.get("OPTIONS", {})
    if database["ENGINE"] != "django.db.backends.sqlite3":
        return []
    missing = [name for name, value in SQLITE.items() if value not in str(options.get(name, ""))]
    if options.get("timeout", 0) < 5:
        missing.append("timeout")
    if not missing:
        return []
    return [
        Error(
            "SQLite is configured without " + ", ".join(missing),
            hint="Use transaction_mode IMMEDIATE, WAL and a time-out of 20 s, as the default does.",
            id="chatwidget.E001",
        )
    ]


@register(SETTINGS)
def credential_keys(**kwargs: Any) -> list[CheckMessage]:
    """CREDENTIAL_KEYS must hold usable keys."""
    try:
        vault.seal({}, bound_to="check")
    except VaultError as error:
        return [Error(str(error), id="chatwidget.E002")]
    return []


def refuse_to_start() -> None:
    """Raise ImproperlyConfigured if a setting would lose or give away what we keep."""
    errors = run_checks(tags=[SETTINGS])
    if errors:
        raise ImproperlyConfigured("; ".join(f"{error.msg} ({error.id})" for error in errors))


@register(Tags.security, deploy=True)
def deployment(**kwargs: Any) -> list[CheckMessage]:
    """What may stand in development and may not in production."""
    found: list[CheckMessage] = []
    if "*" in settings.ALLOWED_HOSTS:
        found.append(Error("ALLOWED_HOSTS allows every host", id="chatwidget.E003"))
    if not settings.PUBLIC_URL:
        found.append(
            Error("PUBLIC_URL is not set", hint="https://chat.example.com", id="chatwidget.E004")
        )
    return found
