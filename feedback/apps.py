"""The votes' Django application."""

from django.apps import AppConfig


class FeedbackConfig(AppConfig):
    """Votes, comments and their delivery upstream."""

    name = "feedback"
    verbose_name = "Feedback"

    def ready(self) -> None:
        """Register the delivery job."""
        from django.conf import settings

        from chatwidget import jobs

        from . import delivery

        pace = min(1.0, settings.FEEDBACK_FIRST_RETRY_S)
        jobs.register(delivery.JOB, every_s=pace, run=delivery.drain)
