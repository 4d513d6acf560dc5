"""Who is told of what: one page for each widget's alerts, with a test and what was sent lately."""

import base64
import binascii
from typing import Any

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied, ValidationError
from django.core.validators import validate_email
from django.db.models import Exists, OuterRef, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from chatwidget.admin.base import ModelAdmin, ModelForm, may_fill_in, vault_problem
from chatwidget.admin.fields import LinesField, in_lines
from chatwidget.admin.text import visible
from chatwidget.models import Widget
from chatwidget.site import Menu

from . import alerts
from .models import AlertKind, AlertSettings, Channel, Notice

LATELY = 10
SWITCHES = tuple(f"on_{kind}" for kind in AlertKind)


class EmailsField(LinesField):
    """E-mail addresses, one per line."""

    def of_lines(self, lines: list[str]) -> Any:
        for line in lines:
            try:
                validate_email(line)
            except ValidationError:
                raise ValidationError(f"“{line[:80]}” is not an e-mail address.") from None
        if len(lines) > 20:
            raise ValidationError("Twenty addresses at most; a mailing list takes more.")
        return lines


class AlertForm(ModelForm[AlertSettings]):
    """The alerts of one widget. The secret is written and never read."""

    emails = EmailsField(label="E-mail to", rows=3, placeholder="you@example.com")
    secret = forms.CharField(
        label="Signing secret",
        required=False,
        max_length=200,
        widget=forms.PasswordInput(
            attrs={"autocomplete": "new-password", "class": "vTextField", "spellcheck": "false"}
        ),
        help_text="Your receiver checks with it that a message is ours. It begins with whsec_.",
    )

    class Meta:
        model = AlertSettings
        fields = (
            "widget",
            "emails",
            "webhook_url",
            "on_comment",
            "on_failed",
            "on_refused",
            "on_late",
        )
        labels = {
            "webhook_url": "Webhook",
            "on_comment": "A thumbs down with a comment",
            "on_failed": "A vote that cannot be delivered",
            "on_refused": "The agent refuses us",
            "on_late": "Votes that are late at the vendor",
        }
        help_texts = {
            "webhook_url": "An address that takes a signed POST (Standard Webhooks).",
            "on_failed": "It is parked until somebody sends it again.",
            "on_refused": "Its key or address no longer works: nobody is answered.",
        }
        widgets = {"webhook_url": forms.URLInput(attrs={"class": "vURLField"})}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"label_suffix": ""} | kwargs)
        minutes = settings.ALERT_LATE_S / 60
        if "on_late" in self.fields:
            self.fields["on_late"].help_text = f"On their way for more than {minutes:g} minutes."
        if "emails" in self.fields:
            self.fields["emails"].help_text = (
                "One per line."
                if settings.EMAIL_URL
                else "No mail server is set yet (EMAIL_URL): nothing goes out by e-mail."
            )
        if "secret" in self.fields:
            stored = bool(self.instance.sealed_secret)
            hint = "Stored. Leave empty to keep it." if stored else "whsec_…"
            self.fields["secret"].widget.attrs["placeholder"] = hint
        if isinstance(chosen := self.fields.get("widget"), forms.ModelChoiceField):
            chosen.queryset = Widget.objects.exclude(pk__in=AlertSettings.objects.values("widget"))
            chosen.empty_label = "Choose a widget"

    def clean_webhook_url(self) -> str:
        url: str = self.cleaned_data["webhook_url"]
        if "@" in url.partition("?")[0] or "#" in url:
            raise ValidationError("No user name and no fragment: the signature proves it is us.")
        return url

    def clean_secret(self) -> str:
        secret: str = self.cleaned_data["secret"].strip()
        if not secret:
            return ""
        try:
            length = len(base64.b64decode(secret.removeprefix("whsec_"), validate=True))
        except binascii.Error:
            length = 0
        if not secret.startswith("whsec_") or not 24 <= length <= 64:
            raise ValidationError("Write it as whsec_ and 24 to 64 random bytes in base64.")
        return secret

    def clean(self) -> dict[str, Any] | None:
        cleaned = super().clean() or self.cleaned_data
        if self.errors:
            return cleaned
        if cleaned["webhook_url"] and not (cleaned["secret"] or self.instance.sealed_secret):
            self.add_error("secret", "A webhook is signed: enter the secret of your receiver.")
        if not cleaned["webhook_url"] and not cleaned["emails"]:
            self.add_error("emails", "Enter who is to be told, here or by webhook.")
        return cleaned

    def save(self, commit: bool = True) -> AlertSettings:
        if secret := self.cleaned_data["secret"]:
            self.instance.secret = secret
        return super().save(commit)


@admin.register(AlertSettings)
class AlertSettingsAdmin(ModelAdmin[AlertSettings]):
    """The alerts of each widget."""

    menu = Menu(order=35, icon="bell", label="Alerts")
    form = AlertForm
    list_display = ("widget_", "tells", "whom", "state")
    list_display_links = ("widget_",)
    list_select_related = ("widget",)
    sortable_by = ()
    change_form_template = "admin/feedback/alertsettings/change_form.html"

    def get_queryset(self, request: HttpRequest) -> QuerySet[AlertSettings]:
        of_it = Notice.objects.filter(settings=OuterRef("pk"))
        waiting = of_it.filter(next_at__isnull=False).exclude(problem="")
        return super().get_queryset(request).annotate(stuck=Exists(waiting))

    def get_fieldsets(self, request: HttpRequest, obj: AlertSettings | None = None) -> Any:
        fills_in = may_fill_in(self, request, obj)
        secret = ("secret",) if fills_in else ()
        sets: list[Any] = [] if obj else [(None, {"fields": ("widget",)})]
        sets.append(("Tell of", {"fields": SWITCHES}))
        sets.append(("By e-mail", {"fields": ("emails" if fills_in else "emails_",)}))
        sets.append(("By webhook", {"fields": ("webhook_url", *secret)}))
        return sets

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        field: Any = super().formfield_for_dbfield(db_field, request, **kwargs)
        if db_field.name == "widget" and field:
            field.widget = field.widget.widget  # without the pop-ups to edit widgets from here
        return field

    emails_ = in_lines(AlertForm, "emails")

    # --- the list ---

    @admin.display(description="widget")
    def widget_(self, one: AlertSettings) -> SafeString:
        return visible(one.widget.name)

    @admin.display(description="tells of")
    def tells(self, one: AlertSettings) -> str:
        told = [kind.label.lower() for kind in AlertKind if getattr(one, f"on_{kind}")]
        words = "everything" if len(told) == len(AlertKind) else ", ".join(told) or "nothing"
        return words[0].upper() + words[1:]

    @admin.display(description="to")
    def whom(self, one: AlertSettings) -> SafeString:
        lines = [*one.emails[:3], *(["…"] if len(one.emails) > 3 else [])]
        if one.webhook_url:
            lines.append("a webhook")
        return visible(", ".join(lines))

    @admin.display(description="state")
    def state(self, one: AlertSettings) -> SafeString:
        kind, words = ("good", "Ready")
        if getattr(one, "stuck", False):
            kind, words = "bad", "Does not get through"
        elif not working(one):
            kind, words = "warn", "Reaches nobody"
        return format_html('<span class="badge {}">{}</span>', kind, words)

    # --- one widget's ---

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        context = dict(extra_context or {})
        if (one := self.get_object(request, unquote(object_id))) is not None:
            context |= {
                "channels": [channel.label.lower() for channel in working(one)],
                "notices": one.notices.order_by("-created_at")[:LATELY],
                "vault_problem": vault_problem(lambda: one.secret),
                "test_url": reverse("admin:feedback_alertsettings_test", args=[one.pk]),
            }
        return super().change_view(request, object_id, form_url, context)

    def get_urls(self) -> list[URLPattern]:
        test = path(
            "<path:object_id>/test/",
            self.admin_site.admin_view(self.test_view),
            name="feedback_alertsettings_test",
        )
        return [test, *super().get_urls()]

    def test_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Send a test (POST) to everybody who would be told, and say what came of it."""
        one = self.get_object(request, unquote(object_id))
        if one is None:
            raise Http404
        if not self.has_change_permission(request, one):
            raise PermissionDenied
        if request.method == "POST":
            outcome = alerts.try_now(one)
            for channel, problem in outcome.items():
                label = Channel(channel).label
                if problem:
                    messages.error(request, f"{label}: {problem}")
                else:
                    messages.success(request, f"{label}: the test was taken.")
            if not outcome:
                messages.warning(request, "Nobody to tell: nothing is set that works.")
        return HttpResponseRedirect(reverse("admin:feedback_alertsettings_change", args=[one.pk]))


def working(one: AlertSettings) -> list[Channel]:
    """Return the ways by which somebody is told, as far as this service is set up for them."""
    return [way for way in one.channels if way != Channel.EMAIL or settings.EMAIL_URL]
