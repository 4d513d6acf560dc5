"""Untrusted text on the operator's pages: always text, with nothing hidden in it."""

import re
import unicodedata

from django.utils.html import escape, format_html
from django.utils.safestring import SafeString, mark_safe

# C0 and C1 controls but tab and newline; marks that reorder or hide text; the tag block and the
# line separators. Joiners (U+200C, U+200D) stay: languages and emoji need them.
INVISIBLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u115f\u1160\u180e\u200b\u200e\u200f\u2028-\u202e"
    "\u2060-\u206f\u3164\ufeff\uffa0\ufff9-\ufffb\U000e0000-\U000e007f]"
)


def visible(text: object) -> SafeString:
    """Return `text` escaped for HTML, each invisible or reordering character as a named mark."""
    plain = str(text).replace("\r\n", "\n")
    return mark_safe(INVISIBLE.sub(_mark, str(escape(plain))))  # noqa: S308  # escaped just here


def _mark(found: re.Match[str]) -> str:
    char = found.group()
    name = unicodedata.name(char, "control character").lower()
    return format_html('<span class="unseen" title="{}">{}</span>', name, f"U+{ord(char):04X}")


def shorten(text: str, length: int) -> str:
    """Return `text` on one line and at most `length` characters long."""
    line = " ".join(text.split())
    return line if len(line) <= length else line[: length - 1].rstrip() + "…"
