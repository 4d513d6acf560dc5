"""The votes' Django application."""

from django.apps import AppConfig


class FeedbackConfig(AppConfig):
    """Votes, comments, their delivery upstream, and what they come to."""

    name = "feedback"
    verbose_name = "Feedback"

    def ready(self) -> None:
        """Register the jobs."""
        from django.conf import settings
        from django.db.models.signals import pre_delete

        from chatwidget import jobs
        from chatwidget.models import Conversation

        from . import alerts, delivery, tallies

        pace = min(1.0, settings.FEEDBACK_FIRST_RETRY_S)
        jobs.register(delivery.JOB, every_s=pace, run=delivery.drain)
        ids_s = min(delivery.IDS_EVERY_S, 10 * pace)
        jobs.register(delivery.IDS_JOB, every_s=ids_s, run=delivery.look_for_ids)
        look_s = min(alerts.LOOK_S, settings.ALERT_RETRY_S)
        jobs.register(alerts.JOB, every_s=look_s, run=alerts.tell)
        jobs.register(alerts.FORGET_JOB, every_s=3600.0, run=alerts.forget)
        jobs.register(tallies.JOB, every_s=tallies.EVERY_S, run=tallies.count)
        pre_delete.connect(tallies.conversation_goes, sender=Conversation)
