"""What goes onto a website: the snippet, and the policy that says who may show the panel."""

import json

from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from .models import Widget

# Inside <script type="application/json">, nothing may end the element or begin a comment.
SCRIPT_ESCAPES = {ord("<"): "\\u003c", ord(">"): "\\u003e", ord("&"): "\\u0026"}


def snippet(widget: Widget, base_url: str) -> SafeString:
    """Return the script tag of a widget. It carries the looks that the launcher needs."""
    return format_html(
        '<script async src="{}/widget.js" data-widget="{}" data-color="{}" data-position="{}" '
        'data-label="{}" data-locale="{}" data-theme="{}"></script>',
        base_url,
        widget.key,
        widget.color,
        widget.position,
        widget.label,
        widget.locale,
        widget.theme,
    )


def as_json(value: object) -> SafeString:
    """Return `value` as what a `<script type="application/json">` holds."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return SafeString(text.translate(SCRIPT_ESCAPES))


def let_frame(request: HttpRequest, response: HttpResponse, origins: list[str]) -> None:
    """Say on a page of the iframe who may show it, and that nothing from elsewhere is in it."""
    response["Content-Security-Policy"] = panel_policy(request, origins)
    # Without these two, a site that isolates itself may not show it.
    response["Cross-Origin-Embedder-Policy"] = "require-corp"
    response["Cross-Origin-Resource-Policy"] = "cross-origin"


def panel_policy(request: HttpRequest, origins: list[str]) -> str:
    """Return the panel's Content-Security-Policy: nothing from anywhere but here.

    `origins` are normalised, so none of them can add a directive.
    """
    host = request.get_host()
    socket = f"{'wss' if request.is_secure() else 'ws'}://{host}"  # older Safari: not in 'self'
    framers = " ".join(["'self'", *origins])
    return (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        f"connect-src 'self' {socket}; base-uri 'none'; form-action 'none'; "
        "require-trusted-types-for 'script'; "
        f"frame-ancestors {framers}"
    )
