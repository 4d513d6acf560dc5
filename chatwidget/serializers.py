"""What comes in from visitors' clients, and what goes out to them. Two sets, never one for both."""

from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

from django.conf import settings
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from . import attachments
from .events import ConversationChanged, MessageChanged
from .models import Conversation, Message, Role, Visitor, Widget
from .problems import PROBLEMS
from .providers import PROVIDERS

MAX_TEXT = 4000
MAX_COMMENT = 2000

# What a visitor reads where the widget has no words of its own for a code.
ERROR_TEXTS = {
    "agent_unavailable": "The assistant cannot be reached right now.",
    "agent_timeout": "The assistant took too long to answer.",
    "agent_rejected": "The assistant could not take this message.",
    "agent_misconfigured": "The assistant is not set up correctly. Its operator has been told.",
    "interrupted": "The answer was interrupted.",
}


# --- in -------------------------------------------------------------------------------------------


class Text(serializers.CharField):
    """A JSON string; a number is none."""

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("invalid")
        return super().to_internal_value(data)


class Id(serializers.UUIDField):
    """A UUID as a string; REST framework's own takes numbers too."""

    def to_internal_value(self, data: Any) -> UUID:
        if not isinstance(data, str):
            self.fail("invalid", value=data)
        return super().to_internal_value(data)


@extend_schema_field(str)
class AnyString(serializers.Field[str, Any, str, Any]):
    """A string that is never refused; with `cut_to`, its beginning."""

    def __init__(self, *, cut_to: int | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.cut_to = cut_to

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            raise serializers.ValidationError("Not a valid string.")
        return as_stored(data[: self.cut_to])


def as_stored(text: str) -> str:
    """Return `text` as every database takes it: no lone surrogates, no NUL."""
    return text.encode("utf-8", "replace").decode().replace("\x00", "")


@extend_schema_field({"type": "object", "description": "`{url, title, referrer}`, all optional."})
class PageField(serializers.JSONField):
    """Where the visitor is: `{url, title, referrer}`.

    Untrusted, and cut rather than refused: a strange address must never cost a message.
    """

    limits: ClassVar[dict[str, int]] = {"url": 2000, "title": 300, "referrer": 2000}

    def to_internal_value(self, data: Any) -> dict[str, str]:
        page = data if isinstance(data, dict) else {}
        return {
            name: as_stored(page[name][:limit])
            for name, limit in self.limits.items()
            if isinstance(page.get(name), str)
        }


class NewSession(serializers.Serializer[Any]):
    """Body of POST sessions."""

    token = AnyString(required=False, allow_null=True)
    identity = AnyString(required=False, allow_null=True)
    locale = AnyString(required=False, allow_null=True, cut_to=20)
    page = PageField(required=False, allow_null=True)


class NewMessage(serializers.Serializer[Any]):
    """Body of POST messages. `id` is made by the client and makes the call repeatable."""

    id = Id()
    text = Text(max_length=MAX_TEXT, trim_whitespace=False)
    page = PageField(required=False, allow_null=True)
    attachments = serializers.ListField(
        child=Id(), max_length=attachments.MAX_COUNT, required=False, allow_null=True
    )

    def validate_attachments(self, wanted: list[UUID] | None) -> list[UUID]:
        return list(dict.fromkeys(wanted or []))

    def validate_text(self, text: str) -> str:
        if not text.strip():
            raise serializers.ValidationError("This field may not be blank.")
        return text


NEW_MESSAGE = NewMessage()
"""Validates one after the other, its fields made once. Safe from any thread."""


class NewFeedback(serializers.Serializer[Any]):
    """Body of PUT feedback: the whole of the visitor's last word."""

    vote = serializers.ChoiceField(choices=["up", "down"], allow_null=True)
    comment = Text(
        required=False, default="", allow_blank=True, max_length=MAX_COMMENT, trim_whitespace=False
    )
    reasons = serializers.ListField(
        child=Text(max_length=60), required=False, default=list, max_length=8
    )

    def validate_reasons(self, reasons: list[str]) -> list[str]:
        unknown = sorted(set(reasons) - self.context["reason_keys"])
        if unknown:
            raise serializers.ValidationError(f"Not among the widget's reasons: {unknown[0]}")
        return list(dict.fromkeys(reasons))


# --- out ------------------------------------------------------------------------------------------
#
# The fields are the document; what is often sent is written out by hand, fifty times cheaper.


def moment(at: datetime) -> str:
    """Return a time in UTC as RFC 3339 writes it."""
    return at.isoformat().replace("+00:00", "Z")


class CitationOut(serializers.Serializer[Any]):
    """A source: `url` is empty where it has no address."""

    title = serializers.CharField()
    url = serializers.CharField()


class LinkOut(serializers.Serializer[Any]):
    """A page to open."""

    title = serializers.CharField()
    url = serializers.CharField()


class AttachmentOut(serializers.Serializer[Any]):
    """A file that came with a question. Its size is in bytes."""

    id = serializers.UUIDField()
    name = serializers.CharField()
    content_type = serializers.CharField()
    size = serializers.IntegerField()


class ErrorOut(serializers.Serializer[Any]):
    """Why an answer failed."""

    code = serializers.ChoiceField(choices=list(ERROR_TEXTS))
    message = serializers.CharField()


class FeedbackOut(serializers.Serializer[Any]):
    """The visitor's last word, and how far it has come."""

    vote = serializers.ChoiceField(choices=["up", "down"], allow_null=True)
    comment = serializers.CharField()
    reasons = serializers.ListField(child=serializers.CharField())
    updated_at = serializers.DateTimeField()
    delivery = serializers.ChoiceField(
        choices=["pending", "delivered", "unsupported", "failed", "local"],
        source="delivery.state",
    )

    def to_representation(self, feedback: Any) -> dict[str, Any]:
        return {
            "vote": feedback.vote,
            "comment": feedback.comment,
            "reasons": feedback.reasons,
            "updated_at": moment(feedback.updated_at),
            "delivery": feedback.delivery.state,
        }


class MessageOut(serializers.ModelSerializer[Message]):
    """A message."""

    conversation = serializers.UUIDField(source="conversation_id")
    citations = CitationOut(many=True)
    links = LinkOut(many=True, help_text="Buttons under the answer.")
    attachments = AttachmentOut(many=True)
    error = ErrorOut(allow_null=True)
    feedback = FeedbackOut(allow_null=True)
    rateable = serializers.BooleanField()

    class Meta:
        model = Message
        fields = [
            "id",
            "conversation",
            "role",
            "text",
            "status",
            "seq",
            "created_at",
            "completed_at",
            "citations",
            "links",
            "attachments",
            "feedback",
            "error",
            "rateable",
        ]
        read_only_fields = fields

    def to_representation(self, message: Message) -> dict[str, Any]:
        feedback = None
        if not (message.is_open or message.role == Role.VISITOR):
            # Else nobody could have rated it. The reverse side raises AttributeError.
            feedback = getattr(message, "feedback", None)
        return {
            "id": str(message.pk),
            "conversation": str(message.conversation_id),
            "role": message.role,
            "text": message.text,
            "status": message.status,
            "seq": message.seq,
            "created_at": moment(message.created_at),
            "completed_at": moment(message.completed_at) if message.completed_at else None,
            "citations": message.citations,
            "links": message.links,
            "attachments": message.attachments,
            "feedback": FEEDBACK.to_representation(feedback) if feedback else None,
            "error": {"code": message.error, "message": ERROR_TEXTS[message.error]}
            if message.error
            else None,
            "rateable": message.rateable,
        }


class ConversationOut(serializers.ModelSerializer[Conversation]):
    """A conversation."""

    class Meta:
        model = Conversation
        fields = ["id", "title", "mode", "created_at", "updated_at", "unread"]
        read_only_fields = fields

    def to_representation(self, conversation: Conversation) -> dict[str, Any]:
        return {
            "id": str(conversation.pk),
            "title": conversation.title,
            "mode": conversation.mode,
            "created_at": moment(conversation.created_at),
            "updated_at": moment(conversation.updated_at),
            "unread": conversation.unread,
        }


MESSAGE, CONVERSATION, FEEDBACK = MessageOut(), ConversationOut(), FeedbackOut()
"""Without fields, which cost more to make than they hold; safe from any thread."""


class VisitorOut(serializers.Serializer[Visitor]):
    """A visitor."""

    id = serializers.UUIDField()


class Look(serializers.Serializer[Any]):
    color = serializers.CharField()
    position = serializers.ChoiceField(choices=["left", "right"])
    theme = serializers.ChoiceField(choices=["auto", "light", "dark"])


class Reason(serializers.Serializer[Any]):
    key = serializers.CharField()
    label = serializers.CharField()  # type: ignore[assignment]  # shadows Field.label


class Reasons(serializers.Serializer[Any]):
    up = Reason(many=True)
    down = Reason(many=True)


class FeedbackSettings(serializers.Serializer[Any]):
    enabled = serializers.BooleanField()
    comments = serializers.BooleanField()
    comment_limit = serializers.IntegerField()
    clearable = serializers.BooleanField(help_text="Whether taking a vote back reaches the agent.")
    reasons = Reasons()


class AttachmentSettings(serializers.Serializer[Any]):
    max_bytes = serializers.IntegerField()
    max_count = serializers.IntegerField()
    types = serializers.ListField(child=serializers.CharField(), help_text="Endings of names.")


class AgentSettings(serializers.Serializer[Any]):
    streams = serializers.BooleanField()
    stops = serializers.BooleanField()


class WidgetOut(serializers.Serializer[Widget]):
    """What the widget draws, and nothing else. Needs the agent joined."""

    key = serializers.CharField()
    name = serializers.CharField()
    paused = serializers.BooleanField()
    look = Look()
    locale = serializers.CharField()
    texts = serializers.DictField(child=serializers.CharField())
    starters = serializers.ListField(child=serializers.CharField())
    feedback = FeedbackSettings()
    agent = AgentSettings()
    attachments = AttachmentSettings(allow_null=True, help_text="Null: no files can be given.")
    max_length = serializers.IntegerField()

    def to_representation(self, widget: Widget) -> dict[str, Any]:
        provider = PROVIDERS.get(widget.agent.provider)
        texts = {
            "title": widget.title,
            "subtitle": widget.subtitle,
            "greeting": widget.greeting,
            "label": widget.label,
            "disclaimer": widget.disclaimer,
        }
        return {
            "key": widget.key,
            "name": widget.name,
            "paused": widget.paused,
            "look": {
                "color": widget.color,
                "position": widget.position,
                "theme": widget.theme,
            },
            "locale": widget.locale,
            "texts": {name: text for name, text in (texts | widget.texts).items() if text},
            "starters": widget.starters,
            "feedback": {
                "enabled": widget.feedback_enabled,
                "comments": widget.comments_enabled
                and (widget.local_comments or bool(provider and provider.takes_comments)),
                "comment_limit": min(
                    MAX_COMMENT, (provider and provider.comment_limit) or MAX_COMMENT
                ),
                "clearable": not (provider and provider.takes_votes and not provider.clears_votes),
                "reasons": {"up": widget.reasons_up, "down": widget.reasons_down},
            },
            "agent": {"streams": bool(provider and provider.streams), "stops": True},
            "attachments": {
                "max_bytes": settings.ATTACHMENT_MAX_BYTES,
                "max_count": attachments.MAX_COUNT,
                "types": list(attachments.TYPES),
            }
            if attachments.offered(widget)
            else None,
            "max_length": MAX_TEXT,
        }


class SessionOut(serializers.Serializer[Any]):
    """A session: keep the token, it is the visitor."""

    token = serializers.CharField()
    visitor = VisitorOut()
    widget = WidgetOut()
    conversations = ConversationOut(many=True)


class MessagePage(serializers.Serializer[Any]):
    results = MessageOut(many=True)
    next = serializers.CharField(allow_null=True)


class ConversationPage(serializers.Serializer[Any]):
    results = ConversationOut(many=True)
    next = serializers.CharField(allow_null=True)


class Asked(serializers.Serializer[Any]):
    question = MessageOut()
    answer = MessageOut()

    def to_representation(self, asked: dict[str, Message]) -> dict[str, Any]:
        return {name: MESSAGE.to_representation(message) for name, message in asked.items()}


class Retried(serializers.Serializer[Any]):
    answer = MessageOut()


class ProblemOut(serializers.Serializer[Any]):
    """An error, after RFC 9457."""

    type = serializers.CharField()
    title = serializers.CharField()
    status = serializers.IntegerField()
    detail = serializers.CharField()
    code = serializers.ChoiceField(choices=list(PROBLEMS))
    errors = serializers.DictField(  # type: ignore[assignment]  # shadows Serializer.errors
        child=serializers.ListField(child=serializers.CharField()), required=False
    )
    retry_after = serializers.IntegerField(required=False)
    reason = serializers.ChoiceField(
        choices=["busy", "identity", "identity_required"],
        required=False,
        help_text="`busy`, of `rate_limited`: others are many, not you. "
        "`identity`, of `token_invalid` and `token_expired`: the site's token is meant. "
        "`identity_required`: there was none, and this widget asks for one.",
    )


# --- frames ---------------------------------------------------------------------------------------


def message_frame(message: Message) -> MessageChanged:
    """Return the frame that shows `message` as it stands; joined as by `to_show`."""
    return MessageChanged(
        conversation=str(message.conversation_id),
        message=str(message.pk),
        seq=message.seq,
        version=message.changed_at.isoformat(),
        body=MESSAGE.to_representation(message),
    )


def conversation_frame(conversation: Conversation) -> ConversationChanged:
    """Return the frame that shows `conversation` as it stands."""
    return ConversationChanged(
        conversation=str(conversation.pk), body=CONVERSATION.to_representation(conversation)
    )
