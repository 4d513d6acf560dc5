"""`manage.py rotate_credential_keys`: bring every stored secret under the first key."""

from typing import Any

from django.apps import apps
from django.core.management.base import CommandError
from django.db import transaction
from django.db.models import Model

from chatwidget import vault
from chatwidget.errors import VaultError
from chatwidget.management.base import DatabaseCommand


class Command(DatabaseCommand):
    """Put a new key first in CREDENTIAL_KEYS, run this, then drop the old key."""

    help = "Encrypt all stored credentials with the first of CREDENTIAL_KEYS."

    def handle(self, *args: Any, **options: Any) -> None:
        """All or nothing. Raises CommandError naming the first row that cannot be opened."""
        count = 0
        with transaction.atomic():
            for model, name in sealed_fields():
                rows = model._default_manager.select_for_update().exclude(**{name: ""})
                for row in rows:  # locked, so that what an operator enters meanwhile stays
                    try:
                        setattr(row, name, vault.reseal(getattr(row, name)))
                    except VaultError as error:
                        kind = model._meta.verbose_name
                        raise CommandError(f"{kind} {row.pk}: {error}") from error
                    row.save(update_fields=[name])
                    count += 1
        self.stdout.write(f"{count} sealed anew.")


def sealed_fields() -> list[tuple[type[Model], str]]:
    """Return every column that holds sealed text; its name says so."""
    return [
        (model, field.name)
        for model in apps.get_models()
        for field in model._meta.concrete_fields
        if field.name.startswith("sealed_")
    ]
