"""What Moveworks says in a message, as the Markdown that a visitor sees.

Source: the vendor's API definitions (`Content`, `Citation`, `CitationContentReference`) and, for
the dialect of `MARKDOWN_TEXT`, its public demo application: links come as `<https://…|label>`,
emoji as `:point_right:`, and the marks of citations have been lifted out of the text.
"""

import re
from collections.abc import Iterator, Mapping

from ..events import Citation, Link
from .base import JSON
from .lenient import fields, objects, string, web_address

TEXTS = ("MARKDOWN_TEXT", "COMMONMARK_TEXT", "PLAIN_TEXT")
"""Content types that are text. Its place is the type in small letters."""

EMOJI = {
    "+1": "👍",
    "-1": "👎",
    "arrow_right": "➡️",
    "bell": "🔔",
    "blush": "😊",
    "book": "📖",
    "bulb": "💡",
    "calendar": "📅",
    "clap": "👏",
    "clipboard": "📋",
    "email": "📧",
    "eyes": "👀",
    "fire": "🔥",
    "gear": "⚙️",
    "grinning": "😀",
    "heart": "❤️",
    "heavy_check_mark": "✔️",
    "hourglass": "⌛",
    "information_source": "ℹ️",
    "key": "🔑",
    "link": "🔗",
    "lock": "🔒",
    "mag": "🔍",
    "memo": "📝",
    "mega": "📣",
    "no_entry": "⛔",
    "ok_hand": "👌",
    "page_facing_up": "📄",
    "phone": "☎️",
    "point_down": "👇",
    "point_left": "👈",
    "point_right": "👉",
    "point_up": "☝️",
    "pray": "🙏",
    "pushpin": "📌",
    "question": "❓",
    "raised_hands": "🙌",
    "robot_face": "🤖",
    "rocket": "🚀",
    "slightly_smiling_face": "🙂",
    "smile": "😄",
    "sparkles": "✨",
    "star": "⭐",
    "tada": "🎉",
    "thinking_face": "🤔",
    "thumbsdown": "👎",
    "thumbsup": "👍",
    "ticket": "🎫",
    "warning": "⚠️",
    "wave": "👋",
    "white_check_mark": "✅",
    "wrench": "🔧",
    "x": "❌",
}
"""The commonest codes; others stay as they are, since `:they:` may as well be somebody's text."""

CODE = re.compile(r"(```.*?(?:```|\Z)|`[^`\n]*`)", re.DOTALL)
LINK = re.compile(r"<((?:https?://|mailto:)[^\s<>|]+)\|([^<>\n]*)>")
EMOJI_CODE = re.compile(r":([a-z0-9_+-]+):")
UNFINISHED = re.compile(r"(?:<[^<>\n]*|(?<![a-z0-9_+-]):[a-z0-9_+-]*)\Z")
"""The beginning of what may become a link or an emoji when the text goes on."""
BINDS = ("(", "[", ":")
"""Right behind a mark these would make a link or a definition of it."""


class Sources:
    """The sources of one answer, numbered as they are first named; the same one once."""

    def __init__(self) -> None:
        self._numbers: dict[Citation, int] = {}

    def number(self, citation: Citation) -> int:
        return self._numbers.setdefault(citation, len(self._numbers) + 1)

    @property
    def citations(self) -> tuple[Citation, ...]:
        return tuple(self._numbers)


def markdown(message: Mapping[str, JSON], sources: Sources, *, whole: bool = True) -> str:
    """Return a message's text with `[n]` where it cites; "" if its content is no text we know.

    Of a text that is not `whole` the end is held back while it may be half a link or emoji.
    """
    kind, text = _content(message.get("content"))
    if not whole and kind == "MARKDOWN_TEXT":
        text = UNFINISHED.sub("", text)
    text = _marked(text, message, sources)
    return _converted(text) if kind == "MARKDOWN_TEXT" else text


def plain(content: JSON) -> str:
    """Return the text of a content object in one line, "" if there is none."""
    return " ".join(_content(content)[1].split())


def links(message: Mapping[str, JSON]) -> Iterator[Link]:
    """Return the pages a message offers to open. Other actions need the vendor's own client."""
    for action in objects(message.get("actions")):
        if url := web_address(fields(action.get("url_action")).get("url")):
            yield Link(title=str(action.get("label") or url), url=url)


def _content(content: JSON) -> tuple[str, str]:
    kind = string(fields(content).get("type"))
    if kind not in TEXTS:
        return "", ""
    return kind, string(fields(fields(content).get(kind.lower())).get("text"))


def _marked(text: str, message: Mapping[str, JSON], sources: Sources) -> str:
    """Put `[n]` at each reference's offset, which counts code points, as Python does."""
    cited = {
        str(one.get("citation_id")): citation
        for one in objects(message.get("citations"))
        if (citation := _citation(one)) is not None
    }
    marks: dict[int, list[str]] = {}
    for reference in objects(message.get("content_references")):
        citation, offset = cited.get(str(reference.get("citation_id"))), reference.get("offset")
        if citation is None or not isinstance(offset, int) or not 0 <= offset <= len(text):
            continue
        mark = f"[{sources.number(citation)}]"
        if mark not in marks.setdefault(offset, []):
            marks[offset].append(mark)
    for citation in cited.values():
        sources.number(citation)  # those that no place in the text refers to come last
    for offset in sorted(marks, reverse=True):
        rest = text[offset:]
        gap = " " if rest.startswith(BINDS) else ""
        text = text[:offset] + "".join(marks[offset]) + gap + rest
    return text


def _citation(citation: Mapping[str, JSON]) -> Citation | None:
    """Every part is optional; one with neither title nor address tells nobody anything."""
    title = plain(fields(citation.get("display")).get("title"))
    url = web_address(citation.get("url"))
    return Citation(title=title or url, url=url) if title or url else None


def _converted(text: str) -> str:
    """The vendor's dialect as Markdown; what stands in code stays as it is."""
    parts = CODE.split(text)
    parts[::2] = [EMOJI_CODE.sub(_emoji, LINK.sub(_link, part)) for part in parts[::2]]
    return "".join(parts)


def _link(found: re.Match[str]) -> str:
    url, label = found[1].replace("(", "%28").replace(")", "%29"), found[2].strip()
    label = re.sub(r"([\\\[\]])", r"\\\1", label or url)
    return f"[{label}]({url})"


def _emoji(found: re.Match[str]) -> str:
    return EMOJI.get(found[1], found[0])
