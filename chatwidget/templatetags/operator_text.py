"""Template filters of the operator's pages."""

from datetime import datetime, timedelta

from django import template
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.timesince import timesince, timeuntil

from chatwidget.admin.text import shorten, visible

register = template.Library()
register.filter("visible", visible)
register.filter("shorten", shorten)


@register.filter
def moment(when: datetime | None) -> SafeString | str:
    """Return a time as people say it, with the exact one on hover."""
    if when is None:
        return "–"
    local = timezone.localtime(when)
    age = timezone.now() - when
    if age < timedelta(minutes=1):
        words = "just now" if age > -timedelta(minutes=1) else f"{local:%-d %b %Y, %H:%M}"
    elif age < timedelta(days=1):
        words = f"{timesince(when, depth=1)} ago"
    elif local.year == timezone.localtime().year:
        words = f"{local:%-d %b, %H:%M}"
    else:
        words = f"{local:%-d %b %Y}"
    return format_html(
        '<time datetime="{}" title="{}">{}</time>',
        when.isoformat(timespec="seconds"),
        f"{local:%-d %B %Y, %H:%M:%S %Z}",
        words,
    )


@register.filter
def until(when: datetime) -> str:
    """Return how long until `when`, or that it is due."""
    if when <= timezone.now():
        return "due now"
    seconds = (when - timezone.now()).total_seconds()
    return f"in {seconds:.0f} s" if seconds < 60 else f"in {timeuntil(when, depth=1)}"
