"""Agents: a vendor's own fields, keys that are written and never read, what the vendor can do."""

import asyncio
from typing import Any

import httpx
from django import forms
from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import Count, QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from .. import breaker
from ..connection_test import Step, check_agent
from ..errors import VaultError
from ..models import Agent
from ..providers import PROVIDERS, Provider
from ..providers.base import Field
from ..site import Card, CardLine, Menu
from .base import ModelAdmin, ModelForm, counted, may_fill_in, vault_problem
from .capabilities import capabilities
from .text import shorten, visible

SECRET, CLEAR, OPTION = "credential_", "clear_", "option_"  # prefixes of field names
SHORTEST_S = 0.1
"""A shorter deadline leaves no time for any answer."""


class AgentForm(ModelForm[Agent]):
    """An agent of one provider; `form_for` adds the provider's own fields to it."""

    adapter: type[Provider]
    provider = forms.ChoiceField(
        choices=[(key, adapter.label) for key, adapter in PROVIDERS.items()],
        widget=forms.HiddenInput,
    )

    class Meta:
        model = Agent
        fields = ("provider", "name", "base_url", "answers_at_once")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"label_suffix": ""} | kwargs)
        # A sealed credential belongs to its provider: after a change of provider none is left.
        self.same_provider = not self.instance._state.adding and self.instance.provider == key_of(
            self.adapter
        )
        self.initial["provider"] = key_of(self.adapter)
        self.stored, self.vault_problem = self._open()
        self._describe_fields()

    def _open(self) -> tuple[dict[str, str], str]:
        if not self.same_provider:
            return {}, ""
        try:
            return self.instance.credentials, ""
        except VaultError as error:
            return {}, str(error)

    def _describe_fields(self) -> None:
        options = self.instance.options if isinstance(self.instance.options, dict) else {}
        for name, field in self.fields.items():
            if name.startswith(SECRET):
                field.widget.attrs["placeholder"] = (
                    "Stored. Leave empty to keep it."
                    if name.removeprefix(SECRET) in self.stored
                    else "Not set"
                )
            elif name.startswith(OPTION):
                self.initial[name] = options.get(name.removeprefix(OPTION))
            elif name.startswith(CLEAR) and name.removeprefix(CLEAR) not in self.stored:
                field.disabled, field.widget = True, forms.HiddenInput()

    def clean_base_url(self) -> str:
        url: str = self.cleaned_data["base_url"]
        if not url and self.adapter.needs_base_url and not self.adapter.default_base_url:
            raise ValidationError(f"{self.adapter.label} has no address of its own: enter yours.")
        if url and not url.lower().startswith(("http://", "https://")):
            raise ValidationError("The address starts with https:// (or http:// on your own net).")
        if any(sign in url for sign in "?#@"):
            raise ValidationError("Only scheme, host and path: no user name, query or fragment.")
        return url.rstrip("/")

    def clean(self) -> dict[str, Any] | None:
        cleaned = super().clean() or self.cleaned_data
        self.moves = self.same_provider and self._moves(cleaned.get("base_url"))
        for field in self.adapter.credential_fields:
            new = cleaned.get(SECRET + field.name)
            clear = cleaned.get(CLEAR + field.name)
            needed = self.moves if field.name in self.stored else field.required
            if new and clear:
                self.add_error(SECRET + field.name, "Enter a new one or remove the old one.")
            elif needed and not (new or clear):
                self.add_error(SECRET + field.name, self._ask_for(field))
        if not any(name.startswith(SECRET) for name in self.errors):
            self._check_sets()
        return cleaned

    def _check_sets(self) -> None:
        """Ask for what is missing of the credentials, unless they are being removed."""
        cleaned, sets = self.cleaned_data, self.adapter.credential_sets
        nouns = {field.name: field.noun for field in self.adapter.credential_fields}
        if not sets or any(cleaned.get(CLEAR + name) for name in nouns):
            return
        there = {name for name in nouns if cleaned.get(SECRET + name) or name in self.stored}
        missing = [[name for name in one if name not in there] for one in sets]
        if all(missing):
            begun = next((m for m, one in zip(missing, sets, strict=True) if len(m) < len(one)), [])
            words = ", or ".join(" and ".join(f"the {nouns[name]}" for name in one) for one in sets)
            self.add_error(SECRET + (begun or missing[0])[0], f"Enter {words}.")

    def _moves(self, url: str | None) -> bool:
        """Whether the stored keys would go to another server than they were entered for.

        Else whoever may change an agent could have its keys sent to a server of theirs.
        """
        default = self.adapter.default_base_url
        before = self.instance.base_url or default
        return url is not None and origin_of(url or default) != origin_of(before)

    def _ask_for(self, field: Field) -> str:
        if self.vault_problem:
            return f"The stored one cannot be opened. Enter the {field.noun} again."
        if self.moves:
            return f"Another address: enter the {field.noun} again, or remove it."
        if not self.same_provider and not self.instance._state.adding:
            return f"Another vendor needs its own: enter the {field.noun}."
        return f"{self.adapter.label} needs this to answer."

    def save(self, commit: bool = True) -> Agent:
        agent = self.instance
        agent.options = self._options()
        if (credentials := self._credentials()) is not None:
            agent.credentials = credentials
        if self.changed_data:
            # Whatever was wrong was wrong with the old settings; the next answer will tell.
            agent.problem, agent.problem_at = "", None
            for name, value in breaker.HEALTHY.items():
                setattr(agent, name, value)
        return super().save(commit)

    def _options(self) -> dict[str, Any]:
        known = self.instance.options if isinstance(self.instance.options, dict) else {}
        options = dict(known) if self.same_provider else {}
        for field in [*self.adapter.own_options(), *self.adapter.deadlines()]:
            value = self.cleaned_data.get(OPTION + field.name)
            if value in (None, ""):
                options.pop(field.name, None)
            else:
                options[field.name] = value
        return options

    def _credentials(self) -> dict[str, str] | None:
        """Return the credentials as they now are, or None to leave the sealed ones alone."""
        entered = {
            field.name: value
            for field in self.adapter.credential_fields
            if (value := self.cleaned_data.get(SECRET + field.name))
        }
        kept = {
            name: value
            for name, value in self.stored.items()
            if not (self.moves or self.cleaned_data.get(CLEAR + name))
        }
        if self.same_provider and not (self.moves or entered) and kept == self.stored:
            return None  # also when they cannot be opened: the key may yet come back
        return kept | entered


def origin_of(url: str) -> tuple[str, str, int | None]:
    """Return scheme, host and port that a call to this address goes to; a usual port is None."""
    try:
        parts = httpx.URL(url)
    except httpx.InvalidURL:  # no call goes there
        return "", url, None
    return parts.scheme, parts.host, parts.port


def key_of(adapter: type[Provider]) -> str:
    return next(key for key, one in PROVIDERS.items() if one is adapter)


def form_for(adapter: type[Provider]) -> type[AgentForm]:
    """Return AgentForm with the provider's credentials and options as fields."""
    fields: dict[str, Any] = {"adapter": adapter}
    if adapter.needs_base_url:
        fields["base_url"] = forms.URLField(
            label="Address",
            assume_scheme="https",
            max_length=500,
            required=False,
            widget=forms.URLInput(
                attrs={
                    "placeholder": adapter.default_base_url or "https://",
                    "class": "vURLField",
                }
            ),
            help_text="Leave empty for the vendor's own." if adapter.default_base_url else "",
        )
    else:
        fields["base_url"] = forms.CharField(required=False, widget=forms.HiddenInput)
    for field in adapter.credential_fields:
        fields[SECRET + field.name] = _secret_field(field)
        fields[CLEAR + field.name] = forms.BooleanField(
            label=f"Remove the stored {field.noun}", required=False
        )
    for field in adapter.deadlines():
        fields[OPTION + field.name] = _option_field(field, least=SHORTEST_S)
    for field in adapter.own_options():
        fields[OPTION + field.name] = _option_field(field)
    return type("AgentForm", (AgentForm,), fields)


def _secret_field(field: Field) -> forms.CharField:
    attrs = {"autocomplete": "new-password", "class": "vTextField secret", "spellcheck": "false"}
    return forms.CharField(
        label=field.label,
        help_text=field.help,
        required=False,  # an empty one keeps what is stored; `clean` asks for what is missing
        max_length=4000,
        widget=forms.PasswordInput(attrs=attrs, render_value=False),
    )


def _option_field(field: Field, least: float = 0) -> forms.Field:
    common: dict[str, Any] = {
        "label": field.label,
        "help_text": field.help,
        "required": field.required,
    }
    usual = f"{field.default:g}" if isinstance(field.default, float) else str(field.default)
    hint = {"placeholder": usual, "class": "vTextField"}
    if field.kind == "choice":
        first = ("", f"{usual} (usual)" if usual else "As usual")
        choices = [first, *((one, one) for one in field.choices if one != field.default)]
        return forms.ChoiceField(choices=choices, **common)
    if field.kind == "number":
        return forms.FloatField(
            min_value=least,
            max_value=1e9,
            widget=forms.NumberInput(hint | {"step": "any"}),
            **common,
        )
    if field.kind == "long":
        widget = forms.Textarea(hint | {"rows": 5, "class": "vLargeTextField"})
        return forms.CharField(max_length=20_000, widget=widget, **common)
    return forms.CharField(max_length=500, widget=forms.TextInput(hint), **common)


@admin.register(Agent)
class AgentAdmin(ModelAdmin[Agent]):
    """The upstreams, each with what the operator must fix."""

    menu = Menu(order=40, icon="agent", label="Agents")
    list_display = ("title", "vendor", "address", "health", "widgets_using")
    list_display_links = ("title",)
    search_fields = ("name", "base_url")
    sortable_by = ()
    change_form_template = "admin/chatwidget/agent/change_form.html"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Agent]:
        return super().get_queryset(request).annotate(uses=Count("widgets"))

    # --- the list ---

    @admin.display(description="agent")
    def title(self, agent: Agent) -> SafeString:
        return visible(agent.name)

    @admin.display(description="vendor")
    def vendor(self, agent: Agent) -> str:
        adapter = PROVIDERS.get(agent.provider)
        return adapter.label if adapter else f"{agent.provider} (unknown)"

    @admin.display(description="address")
    def address(self, agent: Agent) -> SafeString | str:
        if agent.base_url:
            return visible(agent.base_url)
        adapter = PROVIDERS.get(agent.provider)
        if adapter is None or not adapter.needs_base_url:
            return "Built in" if adapter else "–"
        return format_html('<span class="quiet">{}</span>', adapter.default_base_url)

    @admin.display(description="state")
    def health(self, agent: Agent) -> SafeString:
        if words := trouble(agent):
            kind = "bad" if agent.problem else "warn"
            return format_html(
                '<span class="badge {}">{}</span> <span class="cell-note">{}</span>',
                kind,
                words,
                visible(shorten(agent.problem or agent.last_failure, 120)),
            )
        return format_html('<span class="badge {}">{}</span>', "good", "Ready")

    @admin.display(description="used by")
    def widgets_using(self, agent: Agent) -> SafeString | str:
        uses: int = getattr(agent, "uses", 0)
        if not uses:
            return "No widget yet"
        url = reverse("admin:chatwidget_widget_changelist")
        return format_html(
            '<a href="{}?agent__id__exact={}">{}</a>', url, agent.pk, counted(str(uses), "widget")
        )

    # --- the connection test ---

    def get_urls(self) -> list[URLPattern]:
        test = path(
            "<path:object_id>/test/",
            self.admin_site.admin_view(self.test_connection),
            name="chatwidget_agent_test",
        )
        return [test, *super().get_urls()]

    def test_connection(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Run the connection test (POST) and show its steps, or what it will do (GET)."""
        agent = self.get_object(request, unquote(object_id))
        if agent is None:
            raise Http404
        if not self.has_change_permission(request, agent):
            raise PermissionDenied
        adapter = PROVIDERS.get(agent.provider)
        steps: list[Step] = []
        if request.method == "POST":
            steps = asyncio.run(check_agent(agent, rate="rate" in request.POST))
        context = {
            **self.admin_site.each_context(request),
            "title": "Test connection",
            "opts": self.opts,
            "original": agent,
            "vendor": adapter.label if adapter else agent.provider,
            "can_rate": bool(adapter and adapter.takes_votes),
            "rated": "rate" in request.POST,
            "steps": steps,
            "passed": bool(steps) and all(step.outcome != "failed" for step in steps),
        }
        return TemplateResponse(request, "admin/chatwidget/agent/connection_test.html", context)

    # --- the form ---

    def adapter(self, request: HttpRequest, agent: Agent | None) -> type[Provider] | None:
        """Return the provider that the form is for: asked for, or the agent's; None: to choose."""
        asked = request.POST.get("provider") or request.GET.get("provider")
        return PROVIDERS.get(asked or (agent.provider if agent else ""))

    def get_form(
        self, request: HttpRequest, obj: Agent | None = None, change: bool = False, **kwargs: Any
    ) -> Any:
        adapter = self.adapter(request, obj)
        if adapter and may_fill_in(self, request, obj):
            kwargs["form"] = form_for(adapter)
        return super().get_form(request, obj, change, **kwargs)

    def get_fieldsets(self, request: HttpRequest, obj: Agent | None = None) -> Any:
        adapter = self.adapter(request, obj)
        if adapter is None or not may_fill_in(self, request, obj):
            return [(None, {"fields": ["name", "provider", "base_url"]})]
        secrets = [
            name
            for field in adapter.credential_fields
            for name in (SECRET + field.name, CLEAR + field.name)
        ]
        options = [OPTION + field.name for field in adapter.own_options()]
        waits = [OPTION + field.name for field in adapter.deadlines()]
        sets: list[Any] = [(None, {"fields": ["provider", "name", "base_url"]})]
        if secrets:
            words = "Kept encrypted. Once saved they are never shown again, not even to you."
            sets.append(("Keys", {"fields": secrets, "description": words}))
        if options:
            sets.append((f"{adapter.label} options", {"fields": options}))
        sets.append(("Load", {"fields": ["answers_at_once"], "classes": ["collapse"]}))
        if adapter.needs_base_url:
            sets.append(("Patience", {"fields": waits, "classes": ["collapse"]}))
        return sets

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> Any:
        agent = self.get_object(request, unquote(object_id)) if object_id else None
        adapter = self.adapter(request, agent)
        if "choose" in request.GET or (adapter is None and (agent or not object_id)):
            return self.choose_provider(request, agent)
        context = dict(extra_context or {})
        if adapter:
            context |= {"vendor": adapter.label, "capabilities": capabilities(adapter)}
        if agent and adapter:
            context["other_vendor"] = adapter is not PROVIDERS.get(agent.provider)
            context["vault_problem"] = vault_problem(lambda: agent.credentials)
        return super().changeform_view(request, object_id, form_url, context)

    def choose_provider(self, request: HttpRequest, agent: Agent | None) -> HttpResponse:
        """Show the vendors to choose from; each leads to its own form."""
        if not may_fill_in(self, request, agent):
            raise PermissionDenied
        context = {
            **self.admin_site.each_context(request),
            "title": "Which vendor runs your agent?",
            "opts": self.opts,
            "original": agent,
            "unknown": agent is not None and agent.provider not in PROVIDERS,
            "vendors": [
                {"key": key, "label": adapter.label, "can": capabilities(adapter)}
                for key, adapter in PROVIDERS.items()
            ],
        }
        return TemplateResponse(request, "admin/chatwidget/agent/choose_provider.html", context)

    def save_model(self, request: HttpRequest, obj: Agent, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        if not change:
            url = reverse("admin:chatwidget_widget_add")
            messages.info(
                request,
                format_html(
                    '<a href="{}?agent={}">Next: make a widget that asks {}</a>',
                    url,
                    obj.pk,
                    obj.name,
                ),
            )

    # --- removal ---

    def get_deleted_objects(
        self, objs: Any, request: HttpRequest
    ) -> tuple[list[Any], dict[str, int], set[str], list[Any]]:
        """Say what stands in the way, without loading every conversation to find out."""
        names, obstacles = [], []
        for agent in objs:
            names.append(f"Agent: {agent.name}")
            obstacles += [f"{widget.name}: a widget that asks it" for widget in agent.widgets.all()]
            if agent.conversations.exists():
                obstacles.append(f"{agent.name}: conversations that visitors had with it")
            if agent.erasures.exists():
                obstacles.append(f"{agent.name}: visitors that the vendor has yet to erase")
        return names, {"agents": len(names)}, set(), obstacles

    # --- the front page ---

    def card(self, request: HttpRequest) -> Card:
        agents = list(Agent.objects.order_by("-created_at")[:100])
        agents.sort(key=lambda agent: (not agent.problem, not agent.resting_until))
        troubled = [agent for agent in agents if agent.problem]
        return Card(
            title="Agents",
            url=reverse("admin:chatwidget_agent_changelist"),
            icon="agent",
            figure=f"{len(agents)}" if len(agents) < 100 else "99+",
            caption="connected" if len(agents) != 1 else "agent connected",
            lines=[
                CardLine(
                    text=agent.name,
                    note=trouble(agent) or self.vendor(agent),
                    icon="alert" if trouble(agent) else "agent",
                    url=reverse("admin:chatwidget_agent_change", args=[agent.pk]),
                )
                for agent in agents[:4]
            ],
            empty="Connect the agent that will answer: choose its vendor and enter its key.",
            add_url=reverse("admin:chatwidget_agent_add"),
            add_label="Add an agent",
            alert=f"{troubled[0].name}: {troubled[0].problem}" if troubled else "",
            alert_url=reverse("admin:chatwidget_agent_change", args=[troubled[0].pk])
            if troubled
            else "",
            step="Connect an agent",
            done=bool(agents),
        )


def trouble(agent: Agent) -> str:
    """Return what is wrong with the agent in two words; empty when nothing is."""
    return "Needs you" if agent.problem else "Not answering" if agent.resting_until else ""
