"""Template filters of the dashboard: shares, their intervals, answer times."""

from django import template

from feedback.charts import percent
from feedback.figures import between, seconds, tenths

register = template.Library()
register.filter("between", between)
register.filter("seconds", seconds)
register.filter("tenths", tenths)


@register.filter
def share(value: float | None) -> str:
    """Return a share in percent; with a decimal where it is small, since failures are."""
    if value is None:
        return "–"
    return f"{100 * value:.1f}\u00a0%" if 0 < value < 0.1 else f"{100 * value:.0f}\u00a0%"


@register.filter
def place(value: float) -> str:
    """Return where a share is on a line of full width."""
    return percent(100 * value)


@register.filter
def thousands(value: int) -> str:
    return f"{value:,}"
