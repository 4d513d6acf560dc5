"""The votes' Django application."""

from django.apps import AppConfig


class FeedbackConfig(AppConfig):
    """Votes, comments and their delivery upstream."""

    name = "feedback"
    verbose_name = "Feedback"

    def ready(self) -> None:
        """Register the delivery job."""
        from chatwidget import jobs

        from . import delivery

        jobs.register(delivery.JOB, every_s=1.0, run=delivery.drain)
