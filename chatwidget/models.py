"""What the service keeps: agents, widgets, visitors, conversations, messages.

Everything a query of a list or a worker asks for has its index here, and everything that must
hold has its constraint: the database is the truth, whatever process wrote to it.
"""

import hashlib
import secrets
import string
import uuid
from collections.abc import Iterable
from typing import Any

from django.core.exceptions import ValidationError
from django.core.validators import (
    MaxValueValidator,
    MinValueValidator,
    RegexValidator,
    URLValidator,
)
from django.db import models
from django.db.models import Q
from django.utils import timezone

from . import vault
from .origins import normalise_origin


def new_key() -> str:
    """Return a widget's public key.

    Letters and digits only, a letter first: Django's admin reads `_3B` in an address as `;`.
    """
    rest = "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(23))
    return f"pk_{secrets.choice(string.ascii_letters)}{rest}"


class Agent(models.Model):
    """A configured upstream: whose it is, where it answers, and the key that opens it."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(max_length=100)
    provider = models.CharField(max_length=32)
    base_url = models.CharField(
        "base URL",
        max_length=500,
        blank=True,
        validators=[URLValidator(["http", "https"])],
        help_text="Empty: the vendor's own address.",
    )
    sealed_credentials = models.TextField(blank=True, editable=False)
    options = models.JSONField(default=dict, blank=True)
    problem = models.CharField(max_length=500, blank=True, editable=False)
    """What the operator must fix, in the vendor's words; empty when all is well."""
    problem_at = models.DateTimeField(null=True, blank=True, editable=False)
    answers_at_once = models.PositiveIntegerField(
        default=500,
        validators=[MinValueValidator(1), MaxValueValidator(10_000)],
        help_text="More questions wait for their turn, as many again; the next are asked to wait.",
    )
    # Its circuit breaker, see `breaker.py`.
    failures_in_row = models.PositiveIntegerField(default=0, editable=False)
    failing_since = models.DateTimeField(null=True, blank=True, editable=False)
    last_failure = models.CharField(max_length=500, blank=True, editable=False)
    rests_in_row = models.PositiveIntegerField(default=0, editable=False)
    resting_until = models.DateTimeField(null=True, blank=True, editable=False)
    """When one question may try whether it answers again; null while it is believed to."""
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name

    @property
    def _binding(self) -> str:
        return f"agent:{self.pk}:{self.provider}"

    @property
    def credentials(self) -> dict[str, str]:
        """The vendor's keys, opened. Raises VaultError when the encryption key does not fit."""
        return vault.open_sealed(self.sealed_credentials, bound_to=self._binding)

    @credentials.setter
    def credentials(self, values: dict[str, str]) -> None:
        self.sealed_credentials = vault.seal(values, bound_to=self._binding) if values else ""


class Theme(models.TextChoices):
    AUTO = "auto", "Follow the visitor's system"
    LIGHT = "light", "Light"
    DARK = "dark", "Dark"


class Position(models.TextChoices):
    RIGHT = "right", "Bottom right"
    LEFT = "left", "Bottom left"


def check_origins(origins: object) -> None:
    """Raise ValidationError unless `origins` is a list of exact web origins."""
    if not isinstance(origins, list):
        raise ValidationError("A list of origins, such as https://www.example.com")
    for origin in origins:
        if normalise_origin(origin) is None:
            raise ValidationError(
                f"{str(origin)[:80]!r} is not an origin. Write scheme and host, and a port if it "
                "is not the usual one, such as https://www.example.com: no path, no wildcard."
            )


def check_starters(starters: object) -> None:
    """Raise ValidationError unless `starters` is a short list of short texts."""
    if not (
        isinstance(starters, list)
        and len(starters) <= 6
        and all(isinstance(text, str) and 0 < len(text) <= 120 for text in starters)
    ):
        raise ValidationError("At most six texts of at most 120 characters.")


def check_texts(texts: object) -> None:
    """Raise ValidationError unless `texts` maps names to texts."""
    if not (
        isinstance(texts, dict)
        and all(isinstance(text, str) and len(text) <= 2000 for text in texts.values())
    ):
        raise ValidationError('An object of texts, such as {"placeholder": "Ask us anything"}.')


def check_reasons(reasons: object) -> None:
    """Raise ValidationError unless `reasons` is `[{"key", "label"}]` with distinct keys."""
    if not (
        isinstance(reasons, list)
        and len(reasons) <= 8
        and all(
            isinstance(reason, dict)
            and set(reason) == {"key", "label"}
            and all(isinstance(text, str) and 0 < len(text) <= 60 for text in reason.values())
            for reason in reasons
        )
        and len({reason["key"] for reason in reasons}) == len(reasons)
    ):
        raise ValidationError('At most eight of {"key": "wrong", "label": "It is wrong"}.')


def default_reasons_up() -> list[dict[str, str]]:
    return [
        {"key": "correct", "label": "Correct"},
        {"key": "clear", "label": "Easy to follow"},
        {"key": "complete", "label": "Complete"},
    ]


def default_reasons_down() -> list[dict[str, str]]:
    return [
        {"key": "wrong", "label": "Not correct"},
        {"key": "off-topic", "label": "Not what I asked"},
        {"key": "incomplete", "label": "Incomplete"},
        {"key": "unclear", "label": "Hard to follow"},
    ]


class Widget(models.Model):
    """One embed: which agent answers, where it may be shown, how it looks, what it asks."""

    key = models.CharField(primary_key=True, max_length=64, default=new_key, editable=False)
    name = models.CharField(max_length=100)
    agent = models.ForeignKey(Agent, on_delete=models.PROTECT, related_name="widgets")
    origins = models.JSONField(
        default=list,
        blank=True,
        validators=[check_origins],
        help_text="The sites that may show the widget. None: only this service itself.",
    )
    paused = models.BooleanField(default=False, help_text="Visitors are told to come back later.")
    answers_at_once = models.PositiveIntegerField(
        default=500,
        validators=[MinValueValidator(1), MaxValueValidator(10_000)],
        help_text="This widget's share, where several ask one agent.",
    )
    # Looks.
    color = models.CharField(
        max_length=7,
        default="#4f46e5",
        validators=[RegexValidator(r"^#[0-9a-fA-F]{6}$", "Six hexadecimal digits, as #4f46e5.")],
    )
    position = models.CharField(max_length=5, choices=Position, default=Position.RIGHT)
    theme = models.CharField(max_length=5, choices=Theme, default=Theme.AUTO)
    # Texts.
    locale = models.CharField(max_length=20, default="en", blank=True)
    title = models.CharField(max_length=60, default="Chat with us")
    subtitle = models.CharField(max_length=80, blank=True, default="We answer right away")
    greeting = models.TextField(max_length=1000, blank=True, default="Hello! How can we help?")
    label = models.CharField(max_length=60, default="Open chat", help_text="Names the bubble.")
    disclaimer = models.CharField(max_length=200, blank=True)
    starters = models.JSONField(default=list, blank=True, validators=[check_starters])
    texts = models.JSONField(
        default=dict, blank=True, validators=[check_texts], help_text="Other texts, by name."
    )
    # Feedback.
    feedback_enabled = models.BooleanField(default=True)
    comments_enabled = models.BooleanField(default=True)
    local_comments = models.BooleanField(
        "keep comments the vendor cannot take",
        default=True,
        help_text="Off: no comment is asked for where none could reach the agent's vendor.",
    )
    reasons_up = models.JSONField(
        default=default_reasons_up, blank=True, validators=[check_reasons]
    )
    reasons_down = models.JSONField(
        default=default_reasons_down, blank=True, validators=[check_reasons]
    )
    retention_days = models.PositiveIntegerField(
        null=True,
        blank=True,
        validators=[MinValueValidator(1), MaxValueValidator(3650)],
        help_text="Conversations untouched for this long are erased. Empty: kept.",
    )
    # Signed-in visitors.
    identity_required = models.BooleanField(
        "only for signed-in visitors",
        default=False,
        help_text="Nobody can ask anything unless your site says, by a signed token, who they are.",
    )
    sealed_identity_keys = models.TextField(blank=True, editable=False)

    # Files.
    attachments_enabled = models.BooleanField(
        "visitors may attach files",
        default=False,
        help_text="Where the agent's vendor takes files: documents and pictures, with a question.",
    )
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name

    @property
    def identity_keys(self) -> dict[str, str]:
        """The keys that identity tokens are signed with, by slot. Raises VaultError."""
        return vault.open_sealed(self.sealed_identity_keys, bound_to=f"widget:{self.key}")

    @identity_keys.setter
    def identity_keys(self, keys: dict[str, str]) -> None:
        bound_to = f"widget:{self.key}"
        self.sealed_identity_keys = vault.seal(keys, bound_to=bound_to) if keys else ""

    @property
    def allowed_origins(self) -> list[str]:
        """The origins in the form a browser sends them; anything malformed is left out."""
        return [origin for origin in map(normalise_origin, self.origins) if origin]

    @property
    def reason_labels(self) -> dict[str, str]:
        """The reasons that visitors may choose from: each key with its label."""
        return {one["key"]: one["label"] for one in [*self.reasons_up, *self.reasons_down]}

    def reasons_in_words(self, keys: Iterable[str]) -> list[str]:
        """Return the reasons as they are labelled; a key that is no longer offered stays a key."""
        labels = self.reason_labels
        return [labels.get(str(key), str(key)) for key in keys]


MAX_IDENTITY = 200
MAX_NAME = 100


class Visitor(models.Model):
    """One browser's person on one widget, or a signed-in person of the site in any browser."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    widget = models.ForeignKey(Widget, on_delete=models.CASCADE, related_name="visitors")
    locale = models.CharField(max_length=20, blank=True)
    identity = models.CharField(max_length=MAX_IDENTITY, blank=True)
    """Who the site says it is, proven by a signed token; empty: anonymous."""
    name = models.CharField(max_length=MAX_NAME, blank=True)
    """What the site calls them, for the operator."""
    upstream = models.JSONField(default=dict, blank=True)
    """Upstream user ids: `{agent id: {the vendor's name: id}}`."""
    created_at = models.DateTimeField(auto_now_add=True)
    seen_at = models.DateTimeField(default=timezone.now)

    class Meta:
        indexes = [models.Index(fields=["widget", "seen_at"], name="visitor_by_age")]
        constraints = [
            models.UniqueConstraint(
                fields=["widget", "identity"],
                condition=~Q(identity=""),
                name="visitor_signed_in_once",
            ),
        ]

    def __str__(self) -> str:
        return f"Visitor {str(self.pk)[:8]}"

    @property
    def is_authenticated(self) -> bool:
        """What REST framework asks of whoever a request comes from."""
        return True


def token_hash(token: str) -> str:
    """Return what is stored of a token. It is random, so a plain hash is enough."""
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()


class VisitorToken(models.Model):
    """A visitor's credential, of which only the hash is kept."""

    visitor = models.ForeignKey(Visitor, on_delete=models.CASCADE, related_name="tokens")
    hash = models.CharField(max_length=64, unique=True)
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField(db_index=True)

    def __str__(self) -> str:
        return f"Token of {self.visitor_id}"


class Mode(models.TextChoices):
    AGENT = "agent", "Agent"
    HUMAN = "human", "Person"


class Conversation(models.Model):
    """A visitor's talk with an agent."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    visitor = models.ForeignKey(Visitor, on_delete=models.CASCADE, related_name="conversations")
    agent = models.ForeignKey(Agent, on_delete=models.PROTECT, related_name="conversations")
    title = models.CharField(max_length=80, blank=True)
    mode = models.CharField(max_length=5, choices=Mode, default=Mode.AGENT)
    unread = models.PositiveIntegerField(default=0)
    last_position = models.PositiveIntegerField(default=0, editable=False)
    """The `position` given to the newest message; counted up under the row's lock."""
    upstream = models.JSONField(default=dict, blank=True)
    """Upstream conversation ids by the vendor's name for them."""
    sync_at = models.DateTimeField(null=True, blank=True, editable=False)
    """When to ask the vendor for a person's replies; null where nobody can step in."""
    created_at = models.DateTimeField(default=timezone.now)
    updated_at = models.DateTimeField(default=timezone.now)
    """The last time somebody said something."""
    changed_at = models.DateTimeField(default=timezone.now, editable=False)
    """The last time anything in it changed, a vote or its delivery included."""

    class Meta:
        indexes = [
            models.Index(fields=["visitor", "-created_at"], name="conversation_of_visitor"),
            models.Index(fields=["-updated_at"], name="conversation_by_activity"),
            models.Index(
                fields=["sync_at"],
                condition=Q(sync_at__isnull=False),
                name="conversation_to_sync",
            ),
        ]
        constraints = [
            models.CheckConstraint(condition=Q(mode__in=Mode.values), name="conversation_mode"),
        ]

    def __str__(self) -> str:
        return self.title or "New conversation"


class Role(models.TextChoices):
    VISITOR = "visitor", "Visitor"
    AGENT = "agent", "Agent"
    HUMAN = "human", "Person"
    SYSTEM = "system", "Note"


class Status(models.TextChoices):
    PENDING = "pending", "Waiting"
    STREAMING = "streaming", "Coming"
    COMPLETED = "completed", "Complete"
    FAILED = "failed", "Failed"
    STOPPED = "stopped", "Stopped"


OPEN = (Status.PENDING, Status.STREAMING)
"""The states of an answer whose turn is not over."""
MAX_UPSTREAM_ID = 500
"""Characters of a vendor's id of a message; PostgreSQL's indexes have no room for many more."""


def copied_key(model: type[models.Model]) -> Any:
    """Return a field for the key of what a message belongs to anyway, through its conversation."""
    return models.ForeignKey(
        model,
        null=True,
        blank=True,
        editable=False,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        db_index=False,
        related_name="+",
    )


SHOWN = (
    *("conversation", "position", "role", "status", "text", "seq", "citations", "links"),
    *("attachments", "error", "takes_vote", "created_at", "changed_at", "completed_at"),
    *("conversation__visitor", "conversation__visitor__widget__feedback_enabled"),
)
"""What of a message, and of whose it is, its JSON is made of."""
SHOWN_OF_FEEDBACK = (
    *("feedback__vote", "feedback__comment", "feedback__reasons", "feedback__updated_at"),
    "feedback__delivery__state",
)
"""What of its feedback."""


class MessageQuerySet(models.QuerySet["Message"]):
    """Messages with what is needed to show them."""

    def to_show(self) -> "MessageQuerySet":
        """Join what a message's JSON holds: feedback with its delivery, the widget's settings."""
        return self.select_related("feedback__delivery", "conversation__visitor__widget")

    def only_to_show(self) -> "MessageQuerySet":
        """The same with no column more than that: for whoever shows them and no more."""
        return self.to_show().only(*SHOWN, *SHOWN_OF_FEEDBACK)

    def open(self) -> "MessageQuerySet":
        """Keep the answers whose turn is not over.

        Asked by `completed_at`, since SQLite uses no partial index for a status given as parameter.
        """
        return self.filter(completed_at=None)


class Message(models.Model):
    """A question, an answer, a person's reply or a note. An open answer is also its turn.

    The client makes a question's id, so that the database itself refuses to store it twice.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    conversation = models.ForeignKey(
        Conversation, on_delete=models.CASCADE, related_name="messages"
    )
    position = models.PositiveIntegerField(editable=False)
    """The message's place in its conversation, from 1."""
    role = models.CharField(max_length=7, choices=Role)
    status = models.CharField(max_length=9, choices=Status, default=Status.COMPLETED)
    text = models.TextField(blank=True)
    seq = models.PositiveIntegerField(default=0)
    """How many deltas `text` holds."""
    citations = models.JSONField(default=list, blank=True)
    links = models.JSONField(default=list, blank=True)
    """Buttons under the answer: `[{title, url}]`."""
    attachments = models.JSONField(default=list, blank=True)
    """What is told of the question's files: `[{id, name, content_type, size}]`."""
    page = models.JSONField(default=dict, blank=True)
    """Where the question was asked: `{url, title, referrer}`, untrusted."""
    error = models.CharField(max_length=32, blank=True)
    """The code a visitor is told when the answer failed."""
    problem = models.CharField(max_length=500, blank=True)
    """Why it failed, for the operator."""
    question = models.ForeignKey(
        "self", null=True, blank=True, on_delete=models.CASCADE, related_name="answers"
    )
    retry_of = models.OneToOneField(
        "self", null=True, blank=True, on_delete=models.CASCADE, related_name="retried_as"
    )
    upstream = models.JSONField(default=dict, blank=True)
    """Upstream ids of an answer's turn, by the vendor's name for them."""
    upstream_id = models.CharField(max_length=MAX_UPSTREAM_ID, blank=True)
    """The vendor's id of this very message: what a vote is bound to."""
    takes_vote = models.BooleanField(default=True, editable=False)
    """Whether the vendor takes a vote on it, where it takes votes at all."""
    created_at = models.DateTimeField(default=timezone.now)
    changed_at = models.DateTimeField(default=timezone.now)
    completed_at = models.DateTimeField(null=True, blank=True)
    # The turn: whose it is (copies, so that one index tells how busy each of them is), who runs it,
    # since when it may have been sent, and who wants it stopped.
    agent = copied_key(Agent)
    widget = copied_key(Widget)
    visitor = copied_key(Visitor)
    lease_token = models.UUIDField(null=True, blank=True, editable=False)
    lease_until = models.DateTimeField(null=True, blank=True, editable=False)
    sent_at = models.DateTimeField(null=True, blank=True, editable=False)
    stop_requested = models.BooleanField(default=False, editable=False)
    request_id = models.CharField(max_length=64, blank=True, editable=False)
    """The request that asked, for the log, wherever the turn goes on."""

    objects = MessageQuerySet.as_manager()

    class Meta:
        ordering = ["conversation", "position"]
        indexes = [
            models.Index(
                fields=["agent", "widget", "visitor", "lease_until", "created_at"],
                condition=Q(completed_at=None),
                name="message_open_turns",
            ),
            models.Index(fields=["created_at"], name="message_by_age"),
        ]
        constraints = [
            models.UniqueConstraint(fields=["conversation", "position"], name="message_place"),
            models.UniqueConstraint(
                fields=["conversation"],
                condition=Q(status__in=OPEN),
                name="message_one_open_answer",
            ),
            models.UniqueConstraint(
                fields=["conversation", "upstream_id"],
                condition=~Q(upstream_id=""),
                name="message_upstream_once",
            ),
            models.CheckConstraint(condition=Q(role__in=Role.values), name="message_role"),
            models.CheckConstraint(condition=Q(status__in=Status.values), name="message_status"),
            models.CheckConstraint(
                condition=Q(status__in=OPEN, completed_at=None)
                | (~Q(status__in=OPEN) & Q(completed_at__isnull=False)),
                name="message_over_at",
            ),
            models.CheckConstraint(condition=Q(seq__gte=0), name="message_seq"),
            models.CheckConstraint(
                condition=Q(role=Role.AGENT) | Q(status=Status.COMPLETED, seq=0),
                name="message_only_answers_come",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.get_role_display()} {str(self.pk)[:8]}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Store it; what is over from the beginning, as a question is, is so since now."""
        if not self.is_open and self.completed_at is None:
            self.completed_at = timezone.now()
        super().save(*args, **kwargs)

    @property
    def is_open(self) -> bool:
        """Whether the answer is still to come or coming."""
        return self.status in OPEN

    @property
    def rateable(self) -> bool:
        """Whether the visitor may vote on it: a finished answer with something in it."""
        return (
            self.role in (Role.AGENT, Role.HUMAN)
            and self.status == Status.COMPLETED
            and bool(self.text)
            and self.takes_vote
            and self.conversation.visitor.widget.feedback_enabled
        )


class Attachment(models.Model):
    """A file that a visitor gave. Only what may have to be sent again has its bytes."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    visitor = models.ForeignKey(Visitor, on_delete=models.CASCADE, related_name="attachments")
    question = models.ForeignKey(
        Message, null=True, blank=True, on_delete=models.CASCADE, related_name="files"
    )
    """The question it came with; null while it is not sent."""
    name = models.CharField(max_length=200)
    content_type = models.CharField(max_length=100)
    size = models.PositiveIntegerField()
    """In bytes."""
    content = models.BinaryField(null=True)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        indexes = [
            models.Index(
                fields=["created_at", "size"],
                condition=Q(content__isnull=False),
                name="attachment_kept",
            ),
        ]

    def __str__(self) -> str:
        return self.name


class RateLimit(models.Model):
    """How far one visitor or address has used up one limit. See `limits.py`."""

    key = models.CharField(primary_key=True, max_length=80)
    free_at = models.FloatField(db_index=True)
    """The time (seconds since 1970) at which the whole burst is available again."""

    def __str__(self) -> str:
        return self.key


class AnswerTime(models.Model):
    """When one answer of a polled agent came; the newest are kept. See `polling.py`.

    Rows are only added, so that processes that store at once lose and lock nothing.
    """

    agent = models.ForeignKey(Agent, on_delete=models.CASCADE, related_name="answer_times")
    after_s = models.FloatField()
    """Seconds from the question's sending to the last look that found no answer."""
    by_s = models.FloatField()
    """Seconds to the look that found it."""

    def __str__(self) -> str:
        return f"{self.after_s:.1f} to {self.by_s:.1f} s"


class Erasure(models.Model):
    """A vendor still to be asked to forget what is already erased here."""

    agent = models.ForeignKey(Agent, on_delete=models.CASCADE, related_name="erasures")
    upstream = models.JSONField()
    """The upstream ids: the visitor's, with the conversation's where only that one is gone."""
    attempts = models.PositiveIntegerField(default=0)
    next_at = models.DateTimeField(default=timezone.now, db_index=True)
    problem = models.CharField(max_length=500, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"Erasure {self.pk}"
