"""Votes: the list of visitors' last words, whether each reached its vendor, and sending again."""

from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db.models import F, Q, QuerySet
from django.db.models.functions import Substr
from django.http import Http404, HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from chatwidget.admin.base import LongListAdmin, bounded_count, date_filter, recently
from chatwidget.admin.conversations import as_uuid, shown
from chatwidget.admin.text import shorten, visible
from chatwidget.site import Card, CardLine, Menu
from chatwidget.templatetags.operator_text import moment

from . import delivery
from .models import Delivery, Feedback, State, Vote


class VoteFilter(admin.SimpleListFilter):
    """The visitor's last vote."""

    title = "vote"
    parameter_name = "vote"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("down", "Thumbs down"), ("up", "Thumbs up"), ("none", "Taken back")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        vote = self.value()
        if vote in Vote.values:
            return queryset.filter(vote=vote)
        return queryset.filter(vote__isnull=True) if vote == "none" else queryset


class CommentFilter(admin.SimpleListFilter):
    """Whether the visitor wrote something."""

    title = "comment"
    parameter_name = "comment"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("yes", "With a comment"), ("no", "Without")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() == "yes":
            return queryset.exclude(comment="")
        return queryset.filter(comment="") if self.value() == "no" else queryset


class DeliveryFilter(admin.SimpleListFilter):
    """Whether the vendor knows."""

    title = "delivery"
    parameter_name = "delivery"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return list(State.choices)

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        state = self.value()
        return queryset.filter(delivery__state=state) if state in State.values else queryset


@admin.register(Feedback)
class FeedbackAdmin(LongListAdmin[Feedback]):
    """Every vote with its question and answer, newest first."""

    menu = Menu(order=20, icon="up", label="Feedback")
    list_display = ("vote_", "words", "agent_", "widget_", "delivery_", "when")
    list_display_links = ("words",)
    list_filter = (
        VoteFilter,
        CommentFilter,
        DeliveryFilter,
        ("message__conversation__agent", admin.RelatedFieldListFilter),
        ("message__conversation__visitor__widget", admin.RelatedFieldListFilter),
        ("updated_at", date_filter("date")),
    )
    search_fields = ("comment",)  # shows the box; `get_search_results` searches
    search_help_text = "Words of the comment, the question or the answer; or the id of a message, "
    search_help_text += "a conversation or a visitor."
    ordering = ("-updated_at",)
    actions = ("send_again",)

    # --- the list ---

    def get_queryset(self, request: HttpRequest) -> QuerySet[Feedback]:
        return (
            super()
            .get_queryset(request)
            .select_related(
                "delivery", "message__conversation__agent", "message__conversation__visitor__widget"
            )
            .defer("message__text", "message__citations")  # answers can be long
            .annotate(
                answer=Substr("message__text", 1, 400),
                question=Substr(F("message__question__text"), 1, 400),
            )
        )

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Feedback], search_term: str
    ) -> tuple[QuerySet[Feedback], bool]:
        term = search_term.strip()
        if (wanted := as_uuid(term)) is not None:
            return queryset.filter(
                Q(message=wanted)
                | Q(message__conversation=wanted)
                | Q(message__conversation__visitor=wanted)
            ), False
        for word in term.split()[:8]:
            queryset = queryset.filter(
                Q(comment__icontains=word)
                | Q(message__text__icontains=word)
                | Q(message__question__text__icontains=word)
            )
        return queryset, False

    @admin.display(description="vote")
    def vote_(self, feedback: Feedback) -> SafeString:
        return vote_icon(feedback.vote)

    @admin.display(description="what it is about")
    def words(self, feedback: Feedback) -> SafeString:
        question = shorten(getattr(feedback, "question", "") or "(no question)", 100)
        answer = shorten(getattr(feedback, "answer", "") or "(empty answer)", 140)
        comment = shorten(feedback.comment, 200)
        said = format_html('<bdi class="row-comment">{}</bdi>', visible(comment)) if comment else ""
        return format_html(
            '<bdi class="row-title">{}</bdi><bdi class="row-preview">{}</bdi>{}',
            visible(question),
            visible(answer),
            said,
        )

    @admin.display(description="agent")
    def agent_(self, feedback: Feedback) -> SafeString:
        return visible(feedback.message.conversation.agent.name)

    @admin.display(description="widget")
    def widget_(self, feedback: Feedback) -> SafeString:
        return visible(feedback.message.conversation.visitor.widget.name)

    @admin.display(description="delivery")
    def delivery_(self, feedback: Feedback) -> SafeString:
        return delivery_in_words(getattr(feedback, "delivery", None))

    @admin.display(description="when")
    def when(self, feedback: Feedback) -> SafeString:
        link = format_html(
            '<a class="row-link" href="{}">In the conversation</a>', message_url(feedback)
        )
        return format_html("{}{}", moment(feedback.updated_at), link)

    # --- one vote ---

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        feedback = self.get_object(request, unquote(object_id))
        if not self.has_view_permission(request, feedback):
            raise PermissionDenied
        if feedback is None:
            raise Http404
        message, conversation = feedback.message, feedback.message.conversation
        context = {
            **self.admin_site.each_context(request),
            "title": "A vote taken back" if feedback.vote is None else feedback.get_vote_display(),
            "opts": self.opts,
            "feedback": feedback,
            "delivery": getattr(feedback, "delivery", None),
            "row": shown(message, conversation.visitor.widget),
            "question": message.question,
            "conversation": conversation,
            "message_url": message_url(feedback),
            "list_url": reverse("admin:feedback_feedback_changelist"),
            "can_send": self.has_send_permission(request),
        }
        return TemplateResponse(
            request, "admin/feedback/feedback/detail.html", context | (extra_context or {})
        )

    # --- sending again ---

    def has_send_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("feedback.change_delivery")

    @admin.action(description="Send again", permissions=["send"])
    def send_again(self, request: HttpRequest, queryset: QuerySet[Feedback]) -> None:
        chosen = Delivery.objects.filter(feedback__in=queryset.order_by().values("pk"))
        sent = delivery.resend(chosen)
        if not sent:
            messages.warning(request, "Nothing to send: the vendor has these votes already.")
        else:
            votes = "1 vote is" if sent == 1 else f"{sent} votes are"
            messages.success(request, f"{votes} on the way again.")

    # --- the front page ---

    def card(self, request: HttpRequest) -> Card:
        url = reverse("admin:feedback_feedback_changelist")
        recent = Feedback.objects.filter(updated_at__gte=recently())
        newest = list(self.get_queryset(request).exclude(vote=None).order_by("-updated_at")[:5])
        failed = Delivery.objects.filter(state=State.FAILED)
        some_failed = failed.exists()
        down = bounded_count(recent.filter(vote=Vote.DOWN))
        return Card(
            title="Feedback",
            url=url,
            icon="up",
            figure=bounded_count(recent.exclude(vote=None)),
            caption=f"votes in the last 7 days, {down} down",
            lines=[
                CardLine(
                    text=shorten(one.comment or getattr(one, "question", "") or "", 90),
                    note=one.message.conversation.agent.name,
                    icon=one.vote or "up",
                    url=reverse("admin:feedback_feedback_change", args=[one.pk]),
                )
                for one in newest
            ],
            empty="Thumbs up and down appear here, with what the visitor asked and was told.",
            alert=f"{bounded_count(failed, 99)} votes could not be delivered"
            if some_failed
            else "",
            alert_url=f"{url}?delivery={State.FAILED}",
        )


def vote_icon(vote: str | None) -> SafeString:
    """Return the vote as a picture with a name."""
    label = dict(Vote.choices)[vote] if vote else "Taken back"
    return format_html(
        '<span class="vote {}" role="img" aria-label="{}" title="{}"></span>',
        vote or "none",
        label,
        label,
    )


def delivery_in_words(row: Delivery | None) -> SafeString:
    """Return whether the vendor knows of a vote, in plain words."""
    return SafeString(render_to_string("admin/feedback/delivery.html", {"delivery": row}))


def message_url(feedback: Feedback) -> str:
    """Return the address of the rated message in its conversation."""
    message = feedback.message
    page = reverse("admin:chatwidget_conversation_change", args=[message.conversation_id])
    return f"{page}?at={message.pk}#m-{message.pk}"
