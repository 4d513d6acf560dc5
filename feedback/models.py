"""A visitor's last word on an answer, bringing it to the vendor, and what operators make of it."""

import uuid
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.core.validators import URLValidator
from django.db import models
from django.db.models import Q
from django.utils import timezone

from chatwidget import vault
from chatwidget.models import Agent, Message, Widget, copied_key


class Vote(models.TextChoices):
    UP = "up", "Thumbs up"
    DOWN = "down", "Thumbs down"


class Review(models.TextChoices):
    NONE = "none", "Nothing to do"
    OPEN = "open", "Open"
    RESOLVED = "resolved", "Resolved"


def review_state(review: str, seen_at: datetime | None) -> str:
    """Return how far a review is: `none`, `open`, `seen` or `resolved`."""
    return "seen" if review == Review.OPEN and seen_at else review


PAGE_LENGTH = 500


class Feedback(models.Model):
    """The visitor's last word on one answer. `revision` counts its changes."""

    message = models.OneToOneField(Message, on_delete=models.CASCADE, related_name="feedback")
    vote = models.CharField(max_length=4, choices=Vote, null=True, blank=True)  # noqa: DJ001
    comment = models.TextField(blank=True)
    reasons = models.JSONField(default=list, blank=True)
    revision = models.PositiveIntegerField(default=0)
    created_at = models.DateTimeField(default=timezone.now)
    updated_at = models.DateTimeField(default=timezone.now)
    # Whose answer it is on, and on which page it was asked for: copies of what never changes, so
    # that lists of votes are filtered without looking at every conversation.
    agent = copied_key(Agent)
    widget = copied_key(Widget)
    page = models.CharField(max_length=PAGE_LENGTH, blank=True, editable=False)
    # What the operators make of it.
    review = models.CharField(max_length=8, choices=Review, default=Review.NONE)
    seen_at = models.DateTimeField(null=True, blank=True)
    """When an operator first looked at it as it is now."""
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        db_index=False,
        related_name="+",
    )
    note = models.TextField(max_length=2000, blank=True)
    resolved_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        verbose_name_plural = "feedback"
        permissions = [("export_feedback", "Can export feedback")]
        indexes = [
            models.Index(fields=["-updated_at"], name="feedback_by_time"),
            models.Index(fields=["vote", "-updated_at"], name="feedback_by_vote"),
            models.Index(fields=["review", "-updated_at"], name="feedback_by_review"),
            models.Index(fields=["owner", "review", "-updated_at"], name="feedback_of_owner"),
        ]
        constraints = [
            models.CheckConstraint(
                condition=Q(vote__isnull=True) | Q(vote__in=Vote.values), name="feedback_vote"
            ),
            models.CheckConstraint(condition=Q(review__in=Review.values), name="feedback_review"),
        ]

    def __str__(self) -> str:
        return f"Feedback on {str(self.message_id)[:8]}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Store it; a new one with its copies."""
        if self._state.adding:
            conversation, question = self.message.conversation, self.message.question
            self.agent_id = conversation.agent_id
            self.widget_id = conversation.visitor.widget_id
            self.page = str(question.page.get("url") or "")[:PAGE_LENGTH] if question else ""
        super().save(*args, **kwargs)

    def reopen(self) -> None:
        """Ask for a look at what the visitor has said anew; the owner and the note stay.

        A thumbs up without a word, and a vote taken back, need nobody.
        """
        asks = self.vote == Vote.DOWN or bool(self.comment)
        self.review = Review.OPEN if asks else Review.NONE
        self.seen_at = self.resolved_at = None

    @property
    def state(self) -> str:
        """How far the review is, see `review_state`."""
        return review_state(self.review, self.seen_at)


class State(models.TextChoices):
    PENDING = "pending", "On its way"
    DELIVERED = "delivered", "Delivered"
    UNSUPPORTED = "unsupported", "Not expressible"
    FAILED = "failed", "Failed"
    LOCAL = "local", "Kept here"


class DeliveryQuerySet(models.QuerySet["Delivery"]):
    """Deliveries by how far they are."""

    def on_their_way(self) -> "DeliveryQuerySet":
        """Keep those that wait for nothing but their vendor."""
        return self.filter(state=State.PENDING, next_at__isnull=False)

    def late(self) -> "DeliveryQuerySet":
        """Keep those that have been on their way for too long, whatever the reason."""
        since = timezone.now() - timedelta(seconds=settings.ALERT_LATE_S)
        return self.on_their_way().filter(feedback__updated_at__lt=since)


class Delivery(models.Model):
    """The series of attempts to bring one feedback's newest revision upstream.

    One row per feedback, so that attempts never overtake each other: whoever holds the lease
    sends, and what was changed meanwhile is sent next. Never deleted undelivered.
    """

    feedback = models.OneToOneField(Feedback, on_delete=models.CASCADE, related_name="delivery")
    agent = models.ForeignKey(Agent, on_delete=models.CASCADE, related_name="deliveries")
    """The conversation's agent, so that one dead vendor can be passed over by index."""
    state = models.CharField(max_length=11, choices=State, default=State.PENDING)
    revision = models.PositiveIntegerField(default=0)
    """The feedback revision that `state` speaks of."""
    attempts = models.PositiveIntegerField(default=0)
    """Attempts at this revision."""
    next_at = models.DateTimeField(null=True, blank=True)
    """When to try; null while something else must come first (a vote, the answer's id)."""
    lease_token = models.UUIDField(null=True, blank=True, editable=False)
    lease_until = models.DateTimeField(null=True, blank=True, editable=False)
    problem = models.CharField(max_length=500, blank=True)
    """Why it is not delivered, for the operator."""
    sent_revision = models.PositiveIntegerField(default=0)
    """The newest revision that went out, received or not; 0: the vendor cannot hold any."""
    held_vote = models.CharField(max_length=4, blank=True)
    """The vote that the vendor holds, as far as it has said."""
    first_tried_at = models.DateTimeField(null=True, blank=True)
    delivered_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(default=timezone.now)

    objects = DeliveryQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "deliveries"
        indexes = [
            models.Index(
                fields=["next_at"],
                condition=Q(state=State.PENDING, next_at__isnull=False),
                name="delivery_due",
            ),
            models.Index(fields=["state", "created_at"], name="delivery_by_state"),
            models.Index(
                fields=["agent", "next_at"],
                condition=Q(state=State.PENDING),
                name="delivery_of_agent",
            ),
        ]
        constraints = [
            models.CheckConstraint(condition=Q(state__in=State.values), name="delivery_state"),
        ]

    def __str__(self) -> str:
        return f"Delivery of feedback {self.feedback_id}"


class Tally(models.Model):
    """What one day was like for one agent on one widget, counted from what is stored.

    Days are the service's (`TIME_ZONE`); an answer, and so its vote, belongs to the day on which
    it was asked for. See `tallies.py`.
    """

    day = models.DateField()
    # What is deleted has had all its conversations erased, and so is counted out.
    agent = copied_key(Agent)
    widget = copied_key(Widget)
    conversations = models.PositiveIntegerField(default=0)
    """Those that began that day."""
    answers = models.PositiveIntegerField(default=0)
    """Those of the agent that are over, whatever became of them."""
    failed = models.PositiveIntegerField(default=0)
    up = models.PositiveIntegerField(default=0)
    down = models.PositiveIntegerField(default=0)
    times = models.JSONField(default=dict)
    """How many complete answers took how long: `{bucket: answers}`, see `statistics.py`."""

    class Meta:
        verbose_name = verbose_name_plural = "dashboard"
        constraints = [
            models.UniqueConstraint(fields=["day", "agent", "widget"], name="tally_once"),
        ]

    def __str__(self) -> str:
        return f"{self.day}"


class Recount(models.Model):
    """A day whose tallies no longer hold. Rows are only added by those who change what was counted,
    in the same transaction, so that they never wait for each other."""

    day = models.DateField()

    def __str__(self) -> str:
        return f"{self.day}"


class Census(models.Model):
    """How far the tallies reach. One row."""

    zone = models.CharField(max_length=64)
    """The time zone of their days."""
    day = models.DateField()
    """The last one counted."""
    version = models.PositiveIntegerField(default=0)
    """Counted up with each change, so that of two who counted at once one is heard."""
    counted_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"Until {self.day}"


# --- alerts ---------------------------------------------------------------------------------------


class AlertKind(models.TextChoices):
    """What operators may want to hear of."""

    COMMENT = "comment", "A thumbs down with a comment"
    FAILED = "failed", "A vote that cannot be delivered"
    REFUSED = "refused", "An agent that refuses us"
    LATE = "late", "Votes that are late at the vendor"


class Channel(models.TextChoices):
    EMAIL = "email", "E-mail"
    WEBHOOK = "webhook", "Webhook"


class AlertSettings(models.Model):
    """What is told of one widget, and to whom."""

    widget = models.OneToOneField(Widget, on_delete=models.CASCADE, related_name="+")
    emails = models.JSONField(default=list, blank=True)
    webhook_url = models.CharField(
        max_length=500, blank=True, validators=[URLValidator(["http", "https"])]
    )
    sealed_secret = models.TextField(blank=True, editable=False)
    on_comment = models.BooleanField(default=True)
    on_failed = models.BooleanField(default=True)
    on_refused = models.BooleanField(default=True)
    on_late = models.BooleanField(default=True)
    refusal_told = models.DateTimeField(null=True, blank=True, editable=False)
    """The agent's `problem_at` that was last told."""
    late_told = models.DateTimeField(null=True, blank=True, editable=False)
    """When it was told that votes are late; null while none is."""

    class Meta:
        verbose_name = verbose_name_plural = "alerts"
        ordering = ["widget__name"]

    def __str__(self) -> str:
        return f"Alerts of {self.widget.name}"

    @property
    def secret(self) -> str:
        """What webhooks are signed with; empty if there is none. Raises VaultError."""
        return vault.open_sealed(self.sealed_secret, bound_to=self._binding).get("secret", "")

    @secret.setter
    def secret(self, value: str) -> None:
        sealed = vault.seal({"secret": value}, bound_to=self._binding) if value else ""
        self.sealed_secret = sealed

    @property
    def _binding(self) -> str:
        return f"alerts:{self.widget_id}"

    @property
    def channels(self) -> list[Channel]:
        """The ways by which somebody is to be told."""
        ways = {
            Channel.EMAIL: self.emails,
            Channel.WEBHOOK: self.webhook_url and self.sealed_secret,
        }
        return [channel for channel, there in ways.items() if there]


class Notice(models.Model):
    """One message to one channel, which tells of one or more alerts of one kind.

    It holds none of their words: they are read when it is sent, so what is erased is not told.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    settings = models.ForeignKey(AlertSettings, on_delete=models.CASCADE, related_name="notices")
    channel = models.CharField(max_length=7, choices=Channel)
    kind = models.CharField(max_length=7, choices=AlertKind)
    created_at = models.DateTimeField(default=timezone.now)
    attempts = models.PositiveIntegerField(default=0)
    next_at = models.DateTimeField(null=True, blank=True)
    """When to send it; null once it is over."""
    lease_token = models.UUIDField(null=True, blank=True)
    lease_until = models.DateTimeField(null=True, blank=True)
    sent_at = models.DateTimeField(null=True, blank=True)
    problem = models.CharField(max_length=500, blank=True)

    class Meta:
        indexes = [
            models.Index(fields=["next_at"], condition=Q(next_at__isnull=False), name="notice_due"),
            models.Index(
                fields=["settings", "channel", "kind", "-created_at"], name="notice_newest"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()}, by {self.get_channel_display()}"


class Alert(models.Model):
    """Something to tell on one channel, stored with what it is about."""

    settings = models.ForeignKey(AlertSettings, on_delete=models.CASCADE, related_name="alerts")
    channel = models.CharField(max_length=7, choices=Channel)
    kind = models.CharField(max_length=7, choices=AlertKind)
    feedback = models.ForeignKey(
        Feedback, null=True, blank=True, on_delete=models.CASCADE, related_name="+"
    )
    notice = models.ForeignKey(
        Notice, null=True, blank=True, on_delete=models.CASCADE, related_name="alerts"
    )
    """The message that tells it; null while it waits for its turn."""
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        indexes = [
            models.Index(
                fields=["settings", "channel", "kind"],
                condition=Q(notice__isnull=True),
                name="alert_untold",
            ),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["settings", "channel", "kind", "feedback"],
                condition=Q(notice__isnull=True),
                name="alert_once",
            ),
        ]

    def __str__(self) -> str:
        return self.get_kind_display()
