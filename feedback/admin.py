"""The review of votes: what visitors said, whether it reached the vendor, and who looks into it."""

from collections import Counter
from collections.abc import Callable
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.models import CHANGE
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.utils import unquote
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied
from django.db.models import F, Q, QuerySet, Value
from django.db.models.functions import Coalesce, Substr
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, QueryDict
from django.http.response import HttpResponseBase
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from chatwidget.admin.base import (
    NOTED_AT_MOST,
    LongList,
    LongListAdmin,
    ModelForm,
    bounded_count,
    counted,
    newest,
    note,
    recently,
)
from chatwidget.admin.conversations import as_uuid, shown
from chatwidget.admin.text import shorten, visible
from chatwidget.site import Card, CardLine, Menu
from chatwidget.templatetags.operator_text import moment

from . import (  # noqa: F401 (alert_admin and dashboard register)
    alert_admin,
    dashboard,
    delivery,
    export,
    reconciliation,
)
from .filters import (
    AgentFilter,
    CommentFilter,
    DateFilter,
    DeliveryFilter,
    OwnerFilter,
    PageFilter,
    ReasonFilter,
    StateFilter,
    TabFilter,
    VoteFilter,
    WidgetFilter,
    operators,
)
from .models import Delivery, Feedback, Review, State, Vote

COMPARED_AT_ONCE = 200
"""Votes that one action compares: an operator waits while the vendor is asked."""
LOOKED_THROUGH = 3_000
"""Votes, of which comment, question and answer are looked at when words are searched."""
FILTERS = "_changelist_filters"
"""Where Django's links from a list to its rows keep the list's filters."""
NOT_SENT = {
    State.DELIVERED: "The vendor holds nothing that could be taken back.",
    State.FAILED: "These votes have failed again.",
    State.LOCAL: "These votes stay here: their vendor takes none.",
    State.PENDING: "These votes are being sent just now.",
    State.UNSUPPORTED: "The vendor cannot take back what it holds.",
}
"""Why nothing was sent again, by where votes stand then."""
Deed = Callable[[QuerySet[Feedback]], int]
"""What an action does to votes. Returns to how many."""


class ReviewForm(ModelForm[Feedback]):
    """What an operator writes about a vote."""

    revision = forms.IntegerField(widget=forms.HiddenInput)
    """What the operator has seen: the visitor may have said something else meanwhile."""

    class Meta:
        model = Feedback
        fields = ("owner", "note")
        widgets = {"note": forms.Textarea(attrs={"rows": 4, "data-go": "note"})}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"label_suffix": ""} | kwargs)
        owner = self.fields["owner"]
        assert isinstance(owner, forms.ModelChoiceField)
        owner.queryset, owner.empty_label = operators(), "Nobody yet"
        self.initial["revision"] = self.instance.revision


class FiltersOnly(ChangeList):
    """The list as its filters make it, without asking for any page of it."""

    def get_results(self, request: HttpRequest) -> None:
        """Leave the rows alone."""
        self.result_count, self.result_list = 0, []


@admin.register(Feedback)
class FeedbackAdmin(LongListAdmin[Feedback]):
    """Every vote with its question and answer, newest first; what is open unless asked for more."""

    menu = Menu(order=20, icon="up", label="Feedback")
    list_display = ("vote_", "words", "agent_", "review_", "delivery_", "when")
    list_display_links = ("words",)
    list_filter = (
        TabFilter,
        StateFilter,
        OwnerFilter,
        VoteFilter,
        CommentFilter,
        ReasonFilter,
        PageFilter,
        AgentFilter,
        WidgetFilter,
        DeliveryFilter,
        DateFilter,
    )
    search_fields = ("comment",)  # shows the box; `get_search_results` searches
    search_help_text = "Words of the comment, the question or the answer; or the id of a message, "
    search_help_text += "a conversation or a visitor."
    ordering = ("-updated_at", "-pk")
    actions = ("resolve", "take", "open_again", "send_again", "compare")

    # --- the list ---

    def get_rows(self, request: HttpRequest) -> QuerySet[Feedback]:
        """Return the votes with what a list shows of them."""
        return (
            self.get_queryset(request)
            .select_related("delivery", "message", "agent", "widget", "owner")
            .defer("message__text", "message__citations")  # answers can be long
            .annotate(
                answer=Substr("message__text", 1, 400),
                question=Substr(F("message__question__text"), 1, 400),
            )
        )

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return FiltersOnly if getattr(request, "filters_only", False) else LongList

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        aside = {"show", "q", "p", "e"}
        context = {
            "narrowed": bool(request.GET.keys() - aside),
            "everything": everything(request),
            "any_votes": Feedback.objects.exists(),
            "may_review": self.has_review_permission(request),
            "may_export": self.has_export_permission(request),
        }
        return super().changelist_view(request, context | (extra_context or {}))

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Feedback], search_term: str
    ) -> tuple[QuerySet[Feedback], bool]:
        term = search_term.strip()
        if not term:
            return queryset, False
        if (wanted := as_uuid(term)) is not None:
            # One after the other: an "or" of all three would look at every vote.
            for whose in ("message", "message__conversation"):
                if queryset.filter(**{whose: wanted}).exists():
                    return queryset.filter(**{whose: wanted}), False
            return queryset.filter(message__conversation__visitor=wanted), False
        queryset = newest(request, queryset, LOOKED_THROUGH, until="%Y-%m-%d")
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
        reasons = feedback.widget.reasons_in_words(feedback.reasons)
        return format_html(
            '<bdi class="row-title {}">{}</bdi><bdi class="row-preview">{}</bdi>{}{}',
            feedback.state,
            visible(question),
            visible(answer),
            said,
            format_html_join(
                "", '<bdi class="reason">{}</bdi>', ((visible(one),) for one in reasons)
            ),
        )

    @admin.display(description="agent")
    def agent_(self, feedback: Feedback) -> SafeString:
        page = feedback.page.partition("://")[2]
        path = page[page.find("/") :]
        return format_html(
            '{}<span class="cell-note">{}</span><bdi class="cell-note" dir="ltr">{}</bdi>',
            visible(feedback.agent.name),
            visible(feedback.widget.name),
            visible(shorten(path, 60)),
        )

    @admin.display(description="review")
    def review_(self, feedback: Feedback) -> SafeString:
        return review_in_words(feedback)

    @admin.display(description="delivery")
    def delivery_(self, feedback: Feedback) -> SafeString:
        return delivery_in_words(getattr(feedback, "delivery", None))

    @admin.display(description="when")
    def when(self, feedback: Feedback) -> SafeString:
        link = format_html(
            '<a class="row-link" data-go="conversation" href="{}">In the conversation</a>',
            message_url(feedback),
        )
        return format_html("{}{}", moment(feedback.updated_at), link)

    # --- one vote ---

    def get_urls(self) -> list[URLPattern]:
        review = path(
            "<path:object_id>/review/",
            self.admin_site.admin_view(self.review_view),
            name="feedback_feedback_review",
        )
        export_url = path(
            "export.<str:kind>",
            self.admin_site.admin_view(self.export),
            name="feedback_feedback_export",
        )
        return [review, export_url, *super().get_urls()]

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Show the vote; whoever may review has seen it then."""
        feedback = self.get_object(request, unquote(object_id))
        if not self.has_view_permission(request, feedback):
            raise PermissionDenied
        if feedback is None:
            raise Http404
        if self.has_review_permission(request) and request.method == "GET":
            see(feedback)
        return self.show_vote(request, feedback, ReviewForm(instance=feedback), extra_context)

    def show_vote(
        self,
        request: HttpRequest,
        feedback: Feedback,
        form: ReviewForm,
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Return the page of one vote, with its neighbours in the list that it was opened from."""
        message, conversation = feedback.message, feedback.message.conversation
        newer, older = self.neighbours(request, feedback)
        context = {
            **self.admin_site.each_context(request),
            "title": "A vote taken back" if feedback.vote is None else feedback.get_vote_display(),
            "opts": self.opts,
            "feedback": feedback,
            "delivery": getattr(feedback, "delivery", None),
            "row": shown(message, feedback.widget),
            "question": message.question,
            "conversation": conversation,
            "form": form,
            "message_url": message_url(feedback),
            "list_url": list_url(request),
            "review_url": self.vote_url(request, feedback.pk, "review"),
            "newer_url": self.vote_url(request, newer),
            "older_url": self.vote_url(request, older),
            "can_review": self.has_review_permission(request),
            "can_send": self.has_send_permission(request),
        }
        return TemplateResponse(
            request, "admin/feedback/feedback/detail.html", context | (extra_context or {})
        )

    def neighbours(self, request: HttpRequest, feedback: Feedback) -> tuple[int | None, int | None]:
        """Return the votes before and after this one in the list with the filters it had."""
        original = request.GET
        request.GET = QueryDict(original.get(FILTERS, ""))
        request.filters_only = True  # type: ignore[attr-defined]
        try:
            rows = self.get_changelist_instance(request).queryset.values_list("pk", flat=True)
        except IncorrectLookupParameters:
            return None, None
        finally:
            request.GET = original
        when, pk = feedback.updated_at, feedback.pk
        newer = rows.filter(updated_at__gte=when).filter(Q(updated_at__gt=when) | Q(pk__gt=pk))
        older = rows.filter(updated_at__lte=when).filter(Q(updated_at__lt=when) | Q(pk__lt=pk))
        return newer.order_by("updated_at", "pk").first(), older.first()

    def vote_url(self, request: HttpRequest, pk: int | None, what: str = "change") -> str:
        """Return the address of a vote's page that knows the list's filters; empty without one."""
        if pk is None:
            return ""
        filters = QueryDict(mutable=True)
        if kept := request.GET.get(FILTERS):
            filters[FILTERS] = kept
        query = f"?{filters.urlencode()}" if filters else ""
        return reverse(f"admin:feedback_feedback_{what}", args=[pk]) + query

    # --- exporting ---

    def has_export_permission(self, request: HttpRequest) -> bool:
        permissions = ("feedback.view_feedback", "feedback.export_feedback")
        return request.user.has_perms(permissions)

    def export(self, request: HttpRequest, kind: str) -> HttpResponseBase:
        """Return what the list holds with the same filters and search, as a file."""
        if not self.has_export_permission(request):
            raise PermissionDenied
        if kind not in export.FORMATS:
            raise Http404
        request.filters_only = request.whole = True  # type: ignore[attr-defined]
        try:
            votes = self.get_changelist_instance(request).queryset
        except IncorrectLookupParameters as error:
            raise Http404 from error
        exported = counted(bounded_count(votes), "vote")
        note(request, Feedback, f"{exported} exported as {kind.upper()}", flag=CHANGE)
        return export.response(request, votes, kind)

    # --- reviewing ---

    def has_review_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("feedback.change_feedback")

    def review_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Store owner and note (POST), and resolve the vote or open it again if that was chosen."""
        feedback = self.get_object(request, unquote(object_id))
        if not self.has_review_permission(request):
            raise PermissionDenied
        if feedback is None:
            raise Http404
        here = self.vote_url(request, feedback.pk)
        if request.method != "POST":
            return HttpResponseRedirect(here)
        form = ReviewForm(request.POST, instance=feedback)
        if not form.is_valid():
            return self.show_vote(request, feedback, form)
        wanted = {"owner": feedback.owner, "note": feedback.note}
        same = Feedback.objects.filter(pk=feedback.pk)
        same.update(**wanted)
        seen = same.filter(revision=form.cleaned_data["revision"])
        if "resolve" in request.POST:
            if not resolve(seen, request.user.pk):
                messages.warning(
                    request, "Not resolved: the visitor has said something else meanwhile."
                )
                return HttpResponseRedirect(here)
            note(request, Feedback, "1 vote is resolved", [feedback.pk], flag=CHANGE)
            _newer, older = self.neighbours(request, feedback)
            messages.success(
                request,
                format_html('Resolved. <a href="{}">Look at it again</a>', here),
            )
            return HttpResponseRedirect(self.vote_url(request, older) or list_url(request))
        if "open_again" in request.POST:
            open_again(seen)
            messages.success(request, "Open again.")
        else:
            messages.success(request, "Saved.")
        return HttpResponseRedirect(here)

    @admin.action(description="Resolve", permissions=["review"])
    def resolve(self, request: HttpRequest, queryset: QuerySet[Feedback]) -> None:
        self.tell(request, queryset, lambda rows: resolve(rows, request.user.pk), "resolved")

    @admin.action(description="Make mine", permissions=["review"])
    def take(self, request: HttpRequest, queryset: QuerySet[Feedback]) -> None:
        self.tell(request, queryset, lambda rows: rows.update(owner=request.user.pk), "made yours")

    @admin.action(description="Open again", permissions=["review"])
    def open_again(self, request: HttpRequest, queryset: QuerySet[Feedback]) -> None:
        self.tell(request, queryset, open_again, "open again")

    def tell(
        self, request: HttpRequest, queryset: QuerySet[Feedback], deed: Deed, what: str
    ) -> None:
        """Do something to the votes of a list, and say to how many."""
        count, _ids = self.act(request, queryset, deed, what)
        messages.success(request, f"{votes(count)} {what}.")

    def act(
        self, request: HttpRequest, queryset: QuerySet[Feedback], deed: Deed, what: str
    ) -> tuple[int, list[int]]:
        """Do something to the votes of a list, and note it.

        Returns to how many, and the ids of those that were to have it, as far as they are noted.
        """
        rows = chosen(queryset)
        ids = list(rows.values_list("pk", flat=True)[:NOTED_AT_MOST])
        if count := deed(rows):
            note(request, Feedback, f"{votes(count)} {what}", ids, flag=CHANGE)
        return count, ids

    # --- sending again ---

    def has_send_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("feedback.change_delivery")

    @admin.action(description="Send again", permissions=["send"])
    def send_again(self, request: HttpRequest, queryset: QuerySet[Feedback]) -> None:
        def resend(rows: QuerySet[Feedback]) -> int:
            return delivery.resend(Delivery.objects.filter(feedback__in=rows.values("pk")))

        sent, ids = self.act(request, queryset, resend, "on the way again")
        if sent:
            messages.success(request, f"{votes(sent)} on the way again.")
        else:
            states = set(Delivery.objects.filter(feedback__in=ids).values_list("state", flat=True))
            why = [NOT_SENT[State(state)] for state in sorted(states or {State.LOCAL})]
            messages.warning(request, " ".join(["Nothing to send.", *why]))

    @admin.action(description="Compare with the vendor", permissions=["send"])
    def compare(self, request: HttpRequest, queryset: QuerySet[Feedback]) -> None:
        """Note beside each vote what the vendor holds; the command compares more than a page."""
        page = queryset.order_by().values_list("pk", flat=True)[:COMPARED_AT_ONCE]
        told = reconciliation.compared(Delivery.objects.filter(feedback__in=list(page)))
        outcomes = Counter(one.outcome for one in told)
        sound = not set(outcomes) - {reconciliation.Outcome.SAME, reconciliation.Outcome.NOT_TOLD}
        tell = messages.success if sound else messages.warning
        tell(request, reconciliation.in_words(outcomes))

    # --- the front page ---

    def card(self, request: HttpRequest) -> Card:
        url = reverse("admin:feedback_feedback_changelist")
        recent = Feedback.objects.filter(updated_at__gte=recently())
        queue = Feedback.objects.filter(review=Review.OPEN)
        latest = list(self.get_rows(request).exclude(vote=None).order_by("-updated_at")[:5])
        failed = Delivery.objects.filter(state=State.FAILED)
        some_failed = failed.exists()
        down = bounded_count(recent.filter(vote=Vote.DOWN))
        given = bounded_count(recent.exclude(vote=None))
        return Card(
            title="Feedback",
            url=url,
            icon="up",
            figure=bounded_count(queue, 999),
            caption=f"open to review. In the last 7 days {counted(given, 'vote')}, {down} down",
            lines=[
                CardLine(
                    text=shorten(one.comment or getattr(one, "question", "") or "", 90),
                    note=one.agent.name,
                    icon=one.vote or "up",
                    url=reverse("admin:feedback_feedback_change", args=[one.pk]),
                )
                for one in latest
            ],
            empty="Thumbs up and down appear here, with what the visitor asked and was told.",
            alert=f"{counted(bounded_count(failed, 99), 'vote')} could not be delivered"
            if some_failed
            else "",
            alert_url=f"{url}?show=all&delivery={State.FAILED}",
        )


# --- what a review does ---------------------------------------------------------------------------


def see(feedback: Feedback) -> None:
    """Note that an operator has seen the vote as it is now."""
    if feedback.state != "open":
        return
    feedback.seen_at = timezone.now()
    same = Feedback.objects.filter(pk=feedback.pk, revision=feedback.revision, seen_at=None)
    same.update(seen_at=feedback.seen_at)


def resolve(rows: QuerySet[Feedback], operator: int | None) -> int:
    """Resolve what is not; whoever does so owns what nobody owned. Returns how many it were."""
    now = timezone.now()
    return rows.exclude(review=Review.RESOLVED).update(
        review=Review.RESOLVED,
        resolved_at=now,
        seen_at=Coalesce("seen_at", Value(now)),
        owner=Coalesce("owner", Value(operator)),
    )


def open_again(rows: QuerySet[Feedback]) -> int:
    """Put votes into the queue, also those that asked for nobody. Returns how many were not."""
    return rows.exclude(review=Review.OPEN).update(review=Review.OPEN, resolved_at=None)


def chosen(queryset: QuerySet[Feedback]) -> QuerySet[Feedback]:
    """Return the same votes without the list's joins, to be updated."""
    return Feedback.objects.filter(pk__in=queryset.order_by().values("pk"))


# --- words ----------------------------------------------------------------------------------------


def votes(count: int) -> str:
    return f"{counted(str(count), 'vote')} {'is' if count == 1 else 'are'}"


def review_in_words(feedback: Feedback) -> SafeString:
    """Return how far the review is, whose it is, and the beginning of the note."""
    return SafeString(render_to_string("admin/feedback/review.html", {"feedback": feedback}))


def everything(request: HttpRequest) -> str:
    """Return the query of the same list with the same filters, of all votes."""
    query = request.GET.copy()
    query["show"] = "all"
    query.pop("p", None)
    return f"?{query.urlencode()}"


def list_url(request: HttpRequest) -> str:
    """Return the address of the list that a vote was opened from."""
    url = reverse("admin:feedback_feedback_changelist")
    kept = QueryDict(request.GET.get(FILTERS, "")).urlencode()
    return f"{url}?{kept}" if kept else url


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
