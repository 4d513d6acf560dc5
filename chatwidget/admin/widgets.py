"""Widgets: where one may be shown, how it looks and speaks, and the line of HTML to copy."""

import json
from copy import copy
from typing import Any

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import OneToOneRel, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import URLPattern, path, reverse
from django.utils.functional import lazy
from django.utils.html import format_html
from django.utils.safestring import SafeString

from .. import embed, languages
from ..erasure import erase_visitor
from ..errors import VaultError
from ..identity import algorithm_of
from ..models import Agent, Conversation, Widget, default_reasons_down, default_reasons_up
from ..serializers import WidgetOut
from ..site import Card, CardLine, Menu
from .base import ModelAdmin, ModelForm, counted, may_fill_in
from .doctor import examine
from .fields import ColorInput, LinesField, OriginsField, ReasonsField, TextsField, in_lines
from .text import visible

DELETABLE_VISITORS = 200
"""A widget that more visitors have used is paused instead of deleted."""

# The panel's, but for these: only our own page may frame it, and it may speak to nobody.
PREVIEW_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; base-uri 'none'; "
    "form-action 'none'; require-trusted-types-for 'script'; frame-ancestors 'self'"
)

SLOTS = ("1", "2")
"""A widget's keys: one in use, and one for the time of replacing it."""
KEY, REMOVE = "identity_key_", "remove_identity_key_"
LISTS = ("origins", "starters", "texts", "reasons_up", "reasons_down")
"""What is typed in lines."""


def key_field(label: str, help_text: str) -> forms.CharField:
    """Return a field for a key, which is never shown again."""
    attrs = {"rows": 3, "spellcheck": "false", "autocomplete": "off", "placeholder": "Not set"}
    return forms.CharField(
        label=label,
        required=False,
        max_length=5000,
        help_text=help_text,
        widget=WriteOnly(attrs=attrs),
    )


class WriteOnly(forms.Textarea):
    """What was typed is not written back into the page."""

    def format_value(self, value: Any) -> str:
        return ""


class WidgetForm(ModelForm[Widget]):
    """A widget, its lists as lines and its keys as fields that only take."""

    identity_key_1 = key_field(
        "Key",
        "A secret of 32 characters or more that your server shares with this service (HS256), "
        "or your server's public RSA key in PEM form (RS256).",
    )
    remove_identity_key_1 = forms.BooleanField(label="Remove this key", required=False)
    identity_key_2 = key_field("Second key", "For the time in which a new key replaces the first.")
    remove_identity_key_2 = forms.BooleanField(label="Remove this key", required=False)

    origins = OriginsField(
        label="Sites",
        rows=3,
        placeholder="https://www.example.com",
        help_text="The sites that may show this widget, one per line. "
        "None: only this service itself, for trying it out.",
    )
    starters = LinesField(
        label="Starter prompts",
        rows=4,
        placeholder="When are you open?",
        help_text="Up to six questions to start with, one per line. A click asks them.",
    )
    reasons_up = ReasonsField(
        label="Reasons for thumbs up",
        initial=default_reasons_up,
        rows=4,
        help_text="One per line, as key: label. The key is what reports and the vendor see.",
    )
    reasons_down = ReasonsField(
        label="Reasons for thumbs down",
        initial=default_reasons_down,
        rows=5,
        help_text="The same for a thumbs down.",
    )
    texts = TextsField(
        label="Other texts",
        rows=3,
        placeholder="placeholder: Ask us anything",
        help_text="Words of the panel in place of its own, one per line, as name: text.",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"label_suffix": ""} | kwargs)
        try:
            self.keys, self.vault_problem = self.instance.identity_keys, ""
        except VaultError as error:
            self.keys, self.vault_problem = {}, str(error)
        for slot in SLOTS:
            if slot in self.keys:
                kind = "A public key" if algorithm_of(self.keys[slot]) == "RS256" else "A secret"
                hint = f"{kind} is stored. Leave empty to keep it."
                self.fields[KEY + slot].widget.attrs["placeholder"] = hint
            else:
                self.fields[REMOVE + slot].disabled = True
                self.fields[REMOVE + slot].widget = forms.HiddenInput()

    def clean_locale(self) -> str:
        tag: str = self.cleaned_data["locale"].strip()
        if tag and languages.find(tag) is None:
            there = ", ".join(languages.known())
            raise ValidationError(f"The widget does not speak that. There are: {there}.")
        return tag

    def clean_texts(self) -> dict[str, str]:
        texts: dict[str, str] = self.cleaned_data["texts"]
        if unknown := next((name for name in texts if name not in text_names()), None):
            there = ", ".join(sorted(text_names()))
            raise ValidationError(f"There is no text “{unknown[:80]}”. There are: {there}.")
        return texts

    def clean(self) -> dict[str, Any] | None:
        cleaned = super().clean() or self.cleaned_data
        for slot in SLOTS:
            if key := cleaned.get(KEY + slot, "").strip():
                try:
                    algorithm_of(key)
                except ValueError as error:
                    self.add_error(KEY + slot, str(error))
        if cleaned.get("identity_required") and not (self.identity_keys() or self.vault_problem):
            self.add_error("identity_required", "Add a key first, or nobody at all could ask.")
        return cleaned

    def identity_keys(self) -> dict[str, str]:
        """Return the keys as they now are."""
        keys = {
            slot: self.cleaned_data.get(KEY + slot, "").strip() or self.keys.get(slot, "")
            for slot in SLOTS
            if not self.cleaned_data.get(REMOVE + slot)
        }
        return {slot: key for slot, key in keys.items() if key}

    def save(self, commit: bool = True) -> Widget:
        if (keys := self.identity_keys()) != self.keys:  # else they may not even be readable
            self.instance.identity_keys = keys
        return super().save(commit)

    class Meta:
        model = Widget
        fields = (
            "name",
            "agent",
            "origins",
            "paused",
            "color",
            "position",
            "theme",
            "locale",
            "title",
            "subtitle",
            "greeting",
            "label",
            "disclaimer",
            "starters",
            "texts",
            "feedback_enabled",
            "comments_enabled",
            "reasons_up",
            "reasons_down",
            "attachments_enabled",
            "identity_required",
            "retention_days",
            "answers_at_once",
        )
        widgets = {
            "color": ColorInput,
            "greeting": forms.Textarea(attrs={"rows": 3}),
        }
        labels = {
            "color": "Colour",
            "position": "Place",
            "theme": "Light or dark",
            "locale": "Language",
            "label": "Name of the bubble",
            "disclaimer": "Small print",
            "feedback_enabled": "Ask for thumbs up and down",
            "attachments_enabled": "Let visitors attach files",
            "comments_enabled": "Ask for a comment after a vote",
            "retention_days": "Keep conversations for (days)",
        }
        help_texts = {
            "name": "For you; visitors do not see it.",
            "label": "Read out by screen readers; shown on hover.",
            "disclaimer": "A line below the input, such as “Answers may be wrong.”",
            "locale": "A language tag, such as en or pt-BR. Empty: the visitor's own.",
        }


def to_read(field: Any) -> Any:
    """Return what is shown of a field to who may only look."""
    if field in LISTS:
        return f"{field}_"
    return "keys_" if field.startswith((KEY, REMOVE)) else field


def about_files() -> str:
    return (
        f"Documents and pictures of at most {settings.ATTACHMENT_MAX_BYTES // 1024**2} MB. They go "
        "to the agent's vendor and are kept here for a day, to be sent again; nobody can open them "
        "here."
    )


def text_names() -> set[str]:
    """Return the names of all texts of the panel and the bubble."""
    return languages.names() | {"title", "subtitle", "greeting", "label", "disclaimer"}


def settings_of(widget: Widget) -> list[str]:
    """Return what other applications keep about the widget itself, such as its alerts."""
    found = []
    for relation in Widget._meta.get_fields(include_hidden=True):
        if isinstance(relation, OneToOneRel):
            rows = relation.related_model._base_manager.filter(**{relation.field.name: widget})
            if rows.exists():
                found.append(str(relation.related_model._meta.verbose_name))
    return found


def panel_settings(widget: Widget) -> str:
    """Return what the panel is told of a widget, as JSON in ASCII: nothing in it can be unseen.

    Whatever its agent can take is switched on: what the operator switches off, the form says.
    """
    everything = copy(widget)
    everything.comments_enabled = everything.attachments_enabled = True
    return json.dumps(WidgetOut(everything).data)


@admin.register(Widget)
class WidgetAdmin(ModelAdmin[Widget]):
    """The embeds. Each page shows the snippet."""

    menu = Menu(order=30, icon="widget", label="Widgets")
    form = WidgetForm
    list_display = ("title_", "agent_", "sites", "state", "kept")
    list_select_related = ("agent",)
    list_filter = ("agent", "paused")
    search_fields = ("name", "key", "title")
    sortable_by = ()
    change_form_template = "admin/chatwidget/widget/change_form.html"
    fieldsets = (
        (None, {"fields": ("name", "agent", "paused")}),
        ("Where it may be shown", {"fields": ("origins",)}),
        ("Look", {"fields": ("color", "position", "theme")}),
        (
            "Words",
            {
                "fields": (
                    "title",
                    "subtitle",
                    "greeting",
                    "starters",
                    "disclaimer",
                    "label",
                    "locale",
                    "texts",
                )
            },
        ),
        (
            "Feedback",
            {"fields": ("feedback_enabled", "comments_enabled", "reasons_up", "reasons_down")},
        ),
        (
            "Files",
            {
                "fields": ("attachments_enabled",),
                "description": lazy(about_files, str)(),
            },
        ),
        (
            "Signed-in visitors",
            {
                "fields": (
                    "identity_required",
                    *(name + slot for slot in SLOTS for name in (KEY, REMOVE)),
                ),
                "classes": ("collapse",),
                "description": "Your server can say who a visitor is, by a token that it signs: "
                "they find their conversations on every device.",
            },
        ),
        ("Retention", {"fields": ("retention_days",)}),
        ("Load", {"fields": ("answers_at_once",), "classes": ("collapse",)}),
    )

    # What somebody sees who may only look, in place of fields that are typed.
    origins_, starters_, texts_, reasons_up_, reasons_down_ = (
        in_lines(WidgetForm, name) for name in LISTS
    )

    @admin.display(description="Keys")
    def keys_(self, widget: Widget) -> str:
        try:
            count = len(widget.identity_keys)
        except VaultError as error:
            return f"What is stored cannot be opened: {error}"
        return ["No key is stored.", "1 key is stored.", "2 keys are stored."][count]

    def get_fieldsets(self, request: HttpRequest, obj: Widget | None = None) -> Any:
        sets = super().get_fieldsets(request, obj)
        if may_fill_in(self, request, obj):
            return sets
        return [
            (title, {**options, "fields": list(dict.fromkeys(map(to_read, options["fields"])))})
            for title, options in sets
        ]

    # --- the list ---

    @admin.display(description="widget")
    def title_(self, widget: Widget) -> SafeString:
        return format_html(
            '<span class="row-title">{}</span><span class="row-preview">{}</span>',
            visible(widget.name),
            widget.key,
        )

    @admin.display(description="agent")
    def agent_(self, widget: Widget) -> SafeString:
        url = reverse("admin:chatwidget_agent_change", args=[widget.agent_id])
        warning = '<span class="badge bad">Needs you</span>' if widget.agent.problem else ""
        return format_html(
            '<a href="{}">{}</a> {}', url, visible(widget.agent.name), SafeString(warning)
        )

    @admin.display(description="sites")
    def sites(self, widget: Widget) -> SafeString | str:
        if not widget.origins:
            return "Only here, for trying out"
        first = visible(widget.origins[0])
        more = len(widget.origins) - 1
        return format_html("{} and {} more", first, more) if more else first

    @admin.display(description="state")
    def state(self, widget: Widget) -> SafeString:
        kind, words = ("warn", "Paused") if widget.paused else ("good", "Live")
        return format_html('<span class="badge {}">{}</span>', kind, words)

    @admin.display(description="kept for")
    def kept(self, widget: Widget) -> str:
        return f"{widget.retention_days} days" if widget.retention_days else "Always"

    # --- the form ---

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        field: Any = super().formfield_for_dbfield(db_field, request, **kwargs)
        if db_field.name == "agent" and field:
            field.empty_label = "Choose an agent"
            field.widget = field.widget.widget  # without the pop-ups to edit agents from here
        return field

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        context = {
            "agent_first": not Agent.objects.exists(),
            "panel_settings": panel_settings(Widget(agent=Agent())),
        } | (extra_context or {})
        return super().add_view(request, form_url, context)

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        context = dict(extra_context or {})
        if (widget := self.get_object(request, unquote(object_id))) is not None:
            base_url = settings.PUBLIC_URL or request.build_absolute_uri("/")[:-1]
            context |= {
                "snippet": embed.snippet(widget, base_url),
                "findings": examine(widget, base_url),
                "panel_settings": panel_settings(widget),
                "panel_url": f"/w/{widget.key}/",
                "demo_url": f"/?widget={widget.key}" if settings.DEMO_SITE else "",
                "conversations_url": reverse("admin:chatwidget_conversation_changelist")
                + f"?visitor__widget__key__exact={widget.key}",
            }
        return super().change_view(request, object_id, form_url, context)

    def response_add(
        self, request: HttpRequest, obj: Widget, post_url_continue: str | None = None
    ) -> HttpResponse:
        """Stay on the new widget's page: the snippet is what the operator came for."""
        stays = self.has_view_or_change_permission(request, obj)
        if "_addanother" in request.POST or "_popup" in request.POST or not stays:
            return super().response_add(request, obj, post_url_continue)
        messages.success(request, f"{obj.name} is ready. Copy its snippet into your site.")
        return HttpResponseRedirect(reverse("admin:chatwidget_widget_change", args=[obj.pk]))

    # --- the live preview ---

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.preview)
        return [path("preview/", view, name="chatwidget_widget_preview"), *super().get_urls()]

    def preview(self, request: HttpRequest) -> HttpResponse:
        """The iframe of the preview: a panel of no widget, in the language that is asked for.

        It draws what the page around it says (frontend/src/preview). Raises PermissionDenied.
        """
        if not (self.has_change_permission(request) or self.has_add_permission(request)):
            raise PermissionDenied
        liked = languages.accepted(request.headers.get("Accept-Language", ""))
        language = languages.choose(request.GET.get("locale", ""), *liked)
        context = {"language": language, "words": embed.as_json(language.words)}
        response = render(request, "admin/chatwidget/widget/preview.html", context)
        response["Content-Security-Policy"] = PREVIEW_POLICY
        return response

    # --- removal ---

    def get_deleted_objects(
        self, objs: Any, request: HttpRequest
    ) -> tuple[list[Any], dict[str, int], set[str], list[Any]]:
        """Say what goes too, without loading every conversation; refuse what is much used.

        Conversations go by erasing their visitors, so that is what takes permission.
        """
        names, found, obstacles = [], 0, []
        for widget in objs:
            visitors = widget.visitors.all()[: DELETABLE_VISITORS + 1].count()
            names.append(f"Widget: {widget.name}")
            names += [f"Its {rows}" for rows in settings_of(widget)]
            if visitors > DELETABLE_VISITORS:
                obstacles.append(
                    f"{widget.name}: more than {DELETABLE_VISITORS} visitors have used it. "
                    "Pause it, and let its retention erase the conversations first."
                )
            elif visitors:
                who = counted(str(visitors), "visitor")
                names.append(f"{who}, with all conversations, files and votes")
                found += visitors
        counts = {"widgets": len(objs)} | ({"visitors": found} if found else {})
        lacking = found and not request.user.has_perm("chatwidget.delete_visitor")
        return names, counts, {"visitor"} if lacking else set(), obstacles

    def delete_model(self, request: HttpRequest, obj: Widget) -> None:
        for visitor in obj.visitors.all():
            erase_visitor(visitor)  # so that vendors are asked to forget them, too
        super().delete_model(request, obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Widget]) -> None:
        for widget in queryset:
            self.delete_model(request, widget)

    # --- the front page ---

    def card(self, request: HttpRequest) -> Card:
        widgets = list(Widget.objects.order_by("-created_at")[:100])
        unused = bool(widgets) and not Conversation.objects.exists()
        return Card(
            title="Widgets",
            url=reverse("admin:chatwidget_widget_changelist"),
            icon="widget",
            figure=f"{len(widgets)}" if len(widgets) < 100 else "99+",
            caption="in use" if len(widgets) != 1 else "widget",
            lines=[
                CardLine(
                    text=widget.name,
                    note="Paused" if widget.paused else "Copy its snippet" if unused else "Live",
                    icon="widget",
                    url=reverse("admin:chatwidget_widget_change", args=[widget.pk]),
                )
                for widget in widgets[:4]
            ],
            empty="A widget is the bubble on a site: choose its agent, its looks and its words.",
            add_url=reverse("admin:chatwidget_widget_add"),
            add_label="Add a widget",
            step="Make a widget and copy its snippet",
            done=bool(widgets),
        )
