"""What our commands have in common."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor


class DatabaseCommand(BaseCommand):
    """A command that says in a sentence what is wrong with the database, where that is the case."""

    def execute(self, *args: Any, **options: Any) -> Any:
        """Run the command. Raises CommandError if the database is away or not up to date."""
        try:
            return super().execute(*args, **options)
        except DatabaseError as error:
            raise CommandError(_wrong_with_it(error)) from error


def _wrong_with_it(error: DatabaseError) -> str:
    """Return the sentence. Raises the error itself where the database is as it should be."""
    try:
        executor = MigrationExecutor(connection)
        missing = executor.migration_plan(executor.loader.graph.leaf_nodes())
    except DatabaseError as away:
        return f"The database cannot be used: {str(away).strip()}"
    if not missing:
        raise error
    return "The database is not up to date: run `manage.py migrate` first."
