"""`manage.py rotate_credential_keys`: bring every stored secret under the first key."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from chatwidget import vault
from chatwidget.errors import VaultError
from chatwidget.models import Agent


class Command(BaseCommand):
    """Put a new key first in CREDENTIAL_KEYS, run this, then drop the old key."""

    help = "Encrypt all stored credentials with the first of CREDENTIAL_KEYS."

    def handle(self, *args: Any, **options: Any) -> None:
        """All or nothing. Raises CommandError naming the first agent that cannot be opened."""
        count = 0
        with transaction.atomic():
            sealed = Agent.objects.select_for_update().exclude(sealed_credentials="")
            for agent in sealed:  # locked, so that what an operator enters meanwhile stays
                try:
                    agent.sealed_credentials = vault.reseal(agent.sealed_credentials)
                except VaultError as error:
                    raise CommandError(f"agent {agent.pk}: {error}") from error
                agent.save(update_fields=["sealed_credentials"])
                count += 1
        self.stdout.write(f"{count} sealed anew.")
