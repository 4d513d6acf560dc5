"""The operator's site: the menu and the front page of the admin.

A ModelAdmin takes part by declaring `menu` (its place and icon) and, for the front page, `card`.
So an app that is added later needs no line in here.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from django.contrib.admin import AdminSite
from django.contrib.admin.apps import AdminConfig
from django.http import HttpRequest
from django.template.response import TemplateResponse


@dataclass(frozen=True, slots=True, kw_only=True)
class Menu:
    """Where a model stands in the menu, and under which icon of `icons.css`."""

    order: int
    icon: str
    label: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CardLine:
    """One of the newest things on a card. The texts are untrusted and plain."""

    text: str
    url: str
    note: str = ""
    icon: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """What the front page says about one model."""

    title: str
    url: str
    icon: str
    figure: str
    caption: str
    lines: list[CardLine] = field(default_factory=list)
    empty: str = ""
    """What to do while there is nothing yet."""
    more: str = ""
    """What its link says; empty: that it leads to all of them."""
    add_url: str = ""
    add_label: str = ""
    alert: str = ""
    """What needs the operator; empty when all is well."""
    alert_url: str = ""
    step: str = ""
    """A card with a step takes part in the first steps, in the order of the menu, reversed."""
    done: bool = True


class OperatorSite(AdminSite):
    """Django's admin, arranged for the job."""

    site_header = "Chatwidget"
    site_title = "Chatwidget"
    index_title = "Overview"
    enable_nav_sidebar = False  # the menu is always there and needs no filter

    def each_context(self, request: HttpRequest) -> dict[str, Any]:
        context = super().each_context(request)
        context["menu"] = self._menu(request, context["available_apps"])
        return context

    def index(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> TemplateResponse:
        cards = self._cards(request)
        steps = [card for card in reversed(cards) if card.step]
        context = {
            "cards": cards,
            "steps": steps if any(not card.done for card in steps) else [],
            "next_step": next((card for card in steps if not card.done), None),
            "alerts": [card for card in cards if card.alert],
        }
        return super().index(request, context | (extra_context or {}))

    def _cards(self, request: HttpRequest) -> list[Card]:
        found: list[tuple[int, Card]] = []
        for model_admin in self._registry.values():
            card: Callable[[HttpRequest], Card] | None = getattr(model_admin, "card", None)
            if card and model_admin.has_view_or_change_permission(request):
                menu: Menu = model_admin.menu  # type: ignore[attr-defined]  # comes with `card`
                found.append((menu.order, card(request)))
        return [card for _order, card in sorted(found, key=lambda pair: pair[0])]

    def _menu(self, request: HttpRequest, apps: list[Any]) -> list[dict[str, Any]]:
        """Return what this operator may open: our own models first, accounts after them."""
        entries = []
        for model in (model for app in apps for model in app["models"] if model["admin_url"]):
            menu: Menu | None = getattr(self._registry[model["model"]], "menu", None)
            if menu is None:
                continue
            entries.append(
                {
                    "order": menu.order,
                    "icon": menu.icon,
                    "label": menu.label or model["name"],
                    "url": model["admin_url"],
                    "current": request.path.startswith(model["admin_url"]),
                }
            )
        return sorted(entries, key=lambda entry: entry["order"])


class OperatorAdminConfig(AdminConfig):
    """Stands in INSTALLED_APPS for `django.contrib.admin`."""

    default_site = "chatwidget.site.OperatorSite"
