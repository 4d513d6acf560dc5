"""The chat's Django application."""

from django.apps import AppConfig


class ChatConfig(AppConfig):
    """Agents, widgets, visitors, conversations, messages."""

    name = "chatwidget"
    verbose_name = "Chat"

    def ready(self) -> None:
        """Register system checks and background jobs."""
        from django.conf import settings

        from . import bells, checks, erasure, jobs, people, process  # noqa: F401 (checks register)

        async def recover() -> bool:
            return await process.running().runner.recover()

        jobs.register("recover turns", every_s=1.0, run=recover)
        jobs.register(people.JOB, every_s=min(1.0, settings.HUMAN_POLL_S), run=people.follow)
        jobs.register(bells.JOB, every_s=min(5.0, settings.HUMAN_POLL_S), run=bells.listen)
        jobs.register(erasure.JOB, every_s=2.0, run=erasure.erase_upstream)
        jobs.register(erasure.LOG_JOB, every_s=3600.0, run=erasure.empty_log)
        jobs.register("apply retention", every_s=3600.0, run=erasure.apply_retention)
        jobs.register("let go of files", every_s=600.0, run=erasure.let_go_of_files)
        jobs.register("expire tokens", every_s=3600.0, run=erasure.expire_tokens)
