"""Conversations: the list of all of them, one as a transcript, and erasing who had it."""

from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from django.contrib import admin, messages
from django.contrib.admin.models import DELETION
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db.models import Exists, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Substr
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from ..erasure import erase_visitor
from ..models import Conversation, Message, Mode, Role, Visitor, Widget
from ..providers import PROVIDERS
from ..site import Card, CardLine, Menu
from ..templatetags.operator_text import moment
from .base import LongListAdmin, bounded_count, date_filter, newest, note, recently
from .text import shorten, visible

PAGE = 200
"""Messages on one page of a transcript."""
ERASED_AT_ONCE = 500
LOOKED_THROUGH = 2_000
"""Conversations, of which each message is looked at when words are searched."""
OLDER = {"updated_at__lt": "%Y-%m-%dT%H:%M:%S.%f%z"}


class VoteFilter(admin.SimpleListFilter):
    """Conversations in which some answer has this vote."""

    title = "vote"
    parameter_name = "vote"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("down", "Thumbs down"), ("up", "Thumbs up"), ("any", "Any vote"), ("none", "None")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        vote = self.value()
        voted = Message.objects.filter(conversation=OuterRef("pk"), feedback__vote__isnull=False)
        if vote in ("up", "down"):
            return queryset.filter(Exists(voted.filter(feedback__vote=vote)))
        if vote == "any":
            return queryset.filter(Exists(voted))
        if vote == "none":  # most have one, perhaps: then the others are far between
            return newest(request, queryset, LOOKED_THROUGH, **OLDER).filter(~Exists(voted))
        return queryset


@dataclass(frozen=True, slots=True)
class Source:
    """A citation; `url` is empty unless it is safe to follow."""

    title: str
    url: str


@dataclass(frozen=True, slots=True)
class Shown:
    """A message of the transcript with what its template needs beside it."""

    message: Message
    feedback: Any = None
    reasons: list[str] = field(default_factory=list)
    sources: list[Source] = field(default_factory=list)


@admin.register(Conversation)
class ConversationAdmin(LongListAdmin[Conversation]):
    """Every conversation, newest activity first."""

    menu = Menu(order=10, icon="chat", label="Conversations")
    list_display = (
        "title_",
        "widget_",
        "agent_",
        "mode_",
        "messages_",
        "vote_",
        "activity",
    )
    list_filter = (
        ("visitor__widget", admin.RelatedFieldListFilter),
        ("agent", admin.RelatedFieldListFilter),
        "mode",
        VoteFilter,
        ("updated_at", date_filter("last activity")),
    )
    search_fields = ("title",)  # shows the box; `get_search_results` searches
    search_help_text = "Words of the title or of the visitor; or the id of a conversation, "
    search_help_text += "a visitor or a message."
    ordering = ("-updated_at",)
    actions = ("erase_visitors",)

    # --- the list ---

    def get_queryset(self, request: HttpRequest) -> QuerySet[Conversation]:
        asked = Message.objects.filter(conversation=OuterRef("pk"), role=Role.VISITOR)
        voted = Message.objects.filter(conversation=OuterRef("pk"), feedback__vote__isnull=False)
        return (
            super()
            .get_queryset(request)
            .select_related("agent", "visitor__widget")
            .annotate(
                last_question=Subquery(
                    asked.order_by("-position").values(start=Substr("text", 1, 200))[:1]
                ),
                last_vote=Subquery(
                    voted.order_by("-feedback__updated_at").values("feedback__vote")[:1]
                ),
            )
        )

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Conversation], search_term: str
    ) -> tuple[QuerySet[Conversation], bool]:
        term = search_term.strip()
        if not term:
            return queryset, False
        if (wanted := as_uuid(term)) is not None:
            ids = Q(pk=wanted) | Q(visitor=wanted)
            message = Message.objects.filter(pk=wanted).values("conversation")
            return queryset.filter(ids | Q(pk__in=message)), False
        queryset = newest(request, queryset, LOOKED_THROUGH, **OLDER)
        for word in term.split()[:8]:
            said = Message.objects.filter(
                conversation=OuterRef("pk"), role=Role.VISITOR, text__icontains=word
            )
            queryset = queryset.filter(Q(title__icontains=word) | Exists(said))
        return queryset, False

    @admin.display(description="conversation")
    def title_(self, conversation: Conversation) -> SafeString:
        last = shorten(getattr(conversation, "last_question", "") or "", 110)
        if last == conversation.title:
            last = ""
        return format_html(
            '<bdi class="row-title">{}</bdi><bdi class="row-preview">{}</bdi>',
            visible(conversation),
            visible(last),
        )

    @admin.display(description="widget")
    def widget_(self, conversation: Conversation) -> SafeString:
        return visible(conversation.visitor.widget.name)

    @admin.display(description="agent")
    def agent_(self, conversation: Conversation) -> SafeString:
        return visible(conversation.agent.name)

    @admin.display(description="mode")
    def mode_(self, conversation: Conversation) -> SafeString:
        kind = "human" if conversation.mode == Mode.HUMAN else "quiet-badge"
        return format_html(
            '<span class="badge {}">{}</span>', kind, conversation.get_mode_display()
        )

    @admin.display(description="messages")
    def messages_(self, conversation: Conversation) -> int:
        return conversation.last_position

    @admin.display(description="last vote", empty_value="")
    def vote_(self, conversation: Conversation) -> SafeString | str:
        vote = getattr(conversation, "last_vote", None)
        if not vote:
            return ""
        label = "Thumbs up" if vote == "up" else "Thumbs down"
        return format_html('<span class="vote {}" role="img" aria-label="{}"></span>', vote, label)

    @admin.display(description="last activity")
    def activity(self, conversation: Conversation) -> SafeString | str:
        return moment(conversation.updated_at)

    # --- the transcript ---

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Show the conversation. `?at=` a message's id opens the page that it stands on."""
        conversation = self.get_object(request, unquote(object_id))
        if not self.has_view_permission(request, conversation):
            raise PermissionDenied
        if conversation is None:
            raise Http404
        first = self._first_position(request, conversation)
        rows = list(
            conversation.messages.filter(position__gte=first, position__lt=first + PAGE)
            .select_related("feedback", "feedback__delivery")
            .defer("feedback__delivery__lease_token")
            .order_by("position")
        )
        widget = conversation.visitor.widget
        context = {
            **self.admin_site.each_context(request),
            "title": visible(conversation),
            "opts": self.opts,
            "conversation": conversation,
            "widget": widget,
            "rows": [shown(message, widget) for message in rows],
            "highlighted": str(as_uuid(request.GET.get("at", "")) or ""),
            "earlier": max(1, first - PAGE) if first > 1 else None,
            "later": first + PAGE if first + PAGE <= conversation.last_position else None,
            "upstream": upstream_ids(conversation, rows),
            "can_erase": self.has_erase_permission(request),
            "list_url": reverse("admin:chatwidget_conversation_changelist"),
        }
        return TemplateResponse(
            request,
            "admin/chatwidget/conversation/transcript.html",
            context | (extra_context or {}),
        )

    def _first_position(self, request: HttpRequest, conversation: Conversation) -> int:
        """Return where the page begins: around a message, from a place, or the newest page."""
        if (wanted := as_uuid(request.GET.get("at", ""))) is not None:
            place = conversation.messages.filter(pk=wanted).values_list("position", flat=True)
            if (position := place.first()) is not None:
                return max(1, min(position - PAGE // 2, conversation.last_position - PAGE + 1))
        start = request.GET.get("from", "")
        if start.isdecimal() and len(start) < 10:
            return max(1, int(start))
        return max(1, conversation.last_position - PAGE + 1)

    # --- erasing ---

    def has_erase_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("chatwidget.delete_visitor")

    @admin.action(
        description="Erase the visitors and everything kept about them", permissions=["erase"]
    )
    def erase_visitors(
        self, request: HttpRequest, queryset: QuerySet[Conversation]
    ) -> HttpResponse | None:
        visitors = Visitor.objects.filter(pk__in=queryset.order_by().values("visitor"))
        chosen = list(visitors.select_related("widget")[:ERASED_AT_ONCE])
        if request.POST.get("confirmed"):
            who = "1 visitor was" if len(chosen) == 1 else f"{len(chosen)} visitors were"
            ids = [visitor.pk for visitor in chosen]
            for visitor in chosen:
                erase_visitor(visitor)
            note(request, Visitor, f"{who} erased", ids, flag=DELETION)
            messages.success(request, f"{who} erased. Vendors that can are asked to forget, too.")
            return None
        context = {
            **self.admin_site.each_context(request),
            "title": "Erase this visitor?" if len(chosen) == 1 else "Erase these visitors?",
            "opts": self.opts,
            "visitors": chosen,
            "more": len(chosen) == ERASED_AT_ONCE and visitors[ERASED_AT_ONCE:].exists(),
            "conversations": Conversation.objects.filter(visitor__in=chosen)
            .order_by("-updated_at")
            .select_related("agent")[:20],
            "selected": request.POST.getlist("_selected_action"),
            "select_across": request.POST.get("select_across", "0"),
        }
        return TemplateResponse(request, "admin/chatwidget/conversation/erase.html", context)

    # --- the front page ---

    def card(self, request: HttpRequest) -> Card:
        latest = list(self.get_queryset(request).order_by("-updated_at")[:5])
        return Card(
            title="Conversations",
            url=reverse("admin:chatwidget_conversation_changelist"),
            icon="chat",
            figure=bounded_count(Conversation.objects.filter(updated_at__gte=recently())),
            caption="active in the last 7 days",
            lines=[
                CardLine(
                    text=str(one),
                    note=one.agent.name,
                    icon={"up": "up", "down": "down"}.get(
                        getattr(one, "last_vote", None) or "", "chat"
                    ),
                    url=reverse("admin:chatwidget_conversation_change", args=[one.pk]),
                )
                for one in latest
            ],
            empty="They appear here as soon as somebody writes. Try your widget's preview.",
            step="Have a first conversation",
            done=bool(latest),
        )


def as_uuid(text: str) -> UUID | None:
    """Return the UUID that `text` is, or None."""
    try:
        return UUID(text) if 32 <= len(text) <= 36 else None
    except ValueError:
        return None


def shown(message: Message, widget: Widget) -> Shown:
    """Return the message with its vote's reasons in words and its sources checked."""
    feedback = getattr(message, "feedback", None)
    return Shown(
        message,
        feedback,
        widget.reasons_in_words(feedback.reasons) if feedback else [],
        [source for entry in message.citations if (source := as_source(entry))],
    )


def as_source(entry: object) -> Source | None:
    """Return a stored citation, its address only where a browser may safely follow it."""
    if not isinstance(entry, dict):
        return None
    url = str(entry.get("url") or "")
    try:
        safe = urlsplit(url).scheme in ("http", "https")
    except ValueError:
        safe = False
    return Source(str(entry.get("title") or url), url if safe else "")


def upstream_ids(conversation: Conversation, rows: list[Message]) -> list[tuple[str, str, str]]:
    """Return whose id, its name at the vendor, and the id, for support requests there."""
    visitor = conversation.visitor.upstream.get(str(conversation.agent_id)) or {}
    provider = PROVIDERS.get(conversation.agent.provider)
    secret = provider.secret_ids if provider else frozenset()
    found = [("Visitor", str(k), str(value)) for k, value in visitor.items() if k not in secret]
    found += [("Conversation", str(k), str(value)) for k, value in conversation.upstream.items()]
    for message in rows:
        whose = f"Message {message.position}"
        found += [(whose, str(name), str(value)) for name, value in message.upstream.items()]
        if message.upstream_id:
            found.append((whose, "id", message.upstream_id))
    return found
