"""The operator's pages, one module per subject."""

from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin, UserAdmin

from ..site import Menu
from . import agents, conversations, widgets

# Accounts come after the work in the menu.
UserAdmin.menu = Menu(order=90, icon="person", label="Operators")  # type: ignore[attr-defined]
GroupAdmin.menu = Menu(order=91, icon="people", label="Groups")  # type: ignore[attr-defined]

__all__ = ["admin", "agents", "conversations", "widgets"]
