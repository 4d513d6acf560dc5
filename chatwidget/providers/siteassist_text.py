"""A SiteAssist message's content: Markdown with its citations, and link buttons.

The assistant cites as `[1]` or `[Label][1]` and defines `[1]: https://… "Title"` behind its text.
"""

import re
from itertools import takewhile
from uuid import UUID

from ..events import Citation, Link
from .base import JSON, Ask
from .lenient import fields, objects, string, web_address

LINK_ACTION = "action_display-link"
"""A tool's name begins so whose output is a button that opens a page."""
# A Markdown reference definition, and whatever may still become one.
DEFINITION = re.compile(
    r" {0,3}\[([^\[\]]{1,100})\]:[ \t]*<?((?:https?|mailto):[^\s<>]+)>?"
    r"""(?:[ \t]+(?:"([^"]*)"|'([^']*)'|\(([^)]*)\)))?\s*""",
    re.IGNORECASE,
)
BEGUN = re.compile(
    r""" {0,3}(?:\[(?:[^\[\]]{0,100}(?:\](?::[ \t]*(?:[^\s]+(?:[ \t]+(?:["'(].*)?)?)?)?)?)?)?\r?"""
)
REFERENCE = re.compile(r"\[([^\[\]]{1,200})\]\[([^\[\]]{0,100})\]")


class Shown:
    """An answer's Markdown as it comes, without its reference definitions.

    Lines that may turn out to be a definition, and line ends that only they may follow, are
    held back until that is decided, so that no definition is ever seen.
    """

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._gap = ""
        self._line = ""
        self._from = 0
        """How much of the unfinished line was given out already."""
        self._in_code = False
        self._defined: dict[str, tuple[str, str]] = {}
        """Address and title by label."""

    def feed(self, text: str) -> str:
        """Return what can be shown now that `text` has come."""
        *lines, self._line = (self._line + text).split("\n")
        out = "".join(self._whole_line(line) for line in lines)
        line = self._line
        if line.strip() and (self._in_code or not BEGUN.fullmatch(line)):
            out += self._gap + line[self._from :]
            self._gap, self._from = "", len(line)
        self._pieces.append(out)
        return out

    def end(self) -> str:
        """Return what was held back and is text after all."""
        out = self._whole_line(self._line)
        self._line, self._gap = "", ""
        self._pieces.append(out)
        return out

    def _whole_line(self, line: str) -> str:
        given, self._from = self._from, 0
        if line.lstrip().startswith(("```", "~~~")):
            self._in_code = not self._in_code
        elif not self._in_code and (found := DEFINITION.fullmatch(line)):
            label, url, *titles = found.groups()
            title = next(filter(None, titles), "")
            self._defined.setdefault(label.casefold(), (url, title))
            return ""
        if not line.strip():
            self._gap += line + "\n"
            return ""
        out, self._gap = self._gap + line[given:], "\n"
        return out

    @property
    def text(self) -> str:
        """What was given out so far."""
        return "".join(self._pieces)

    @property
    def linked(self) -> str:
        """The text with `[Label][1]` as a link of its own; a bare `[1]` stays a marker."""
        return REFERENCE.sub(self._link, self.text) if self._defined else self.text

    def _link(self, found: re.Match[str]) -> str:
        label, name = found[1], found[2] or found[1]
        url = self._defined.get(name.casefold(), ("",))[0]
        two_markers = found[2] and label.casefold() in self._defined  # as in: so they say [1][2]
        return f"[{label}](<{url}>)" if url and not two_markers else found[0]

    @property
    def citations(self) -> tuple[Citation, ...]:
        """The definitions with a title; the vendor's own widget lists only those, too."""
        return tuple(
            Citation(title=title, url=url)
            for url, title in self._defined.values()
            if title and web_address(url)
        )


def cleaned(text: str) -> Shown:
    """Return a whole text as it is to be shown."""
    shown = Shown()
    shown.feed(text)
    shown.end()
    return shown


# --- parts of a stored message --------------------------------------------------------------------


def text_of(parts: JSON) -> str:
    """Return the text parts, joined by a blank line."""
    texts = [one.get("text") for one in objects(parts) if one.get("type") == "text"]
    return "\n\n".join(text for text in texts if isinstance(text, str) and text)


def links_of(parts: JSON) -> list[Link]:
    """Return the link buttons whose action has come to its output."""
    found = (
        link(part.get("output"))
        for part in objects(parts)
        if str(part.get("type")).startswith(f"tool-{LINK_ACTION}")
        and part.get("state") == "output-available"
    )
    return [one for one in found if one]


def link(output: JSON) -> Link | None:
    """Return a link action's button, if it is one that a browser may safely follow."""
    button = fields(output)
    title, url = string(button.get("buttonLabel")), web_address(button.get("href"))
    return Link(title=title, url=url) if title and url else None


def uuid_of(value: JSON) -> str:
    """Return `value` if it is a proper uuid, as every id of theirs is, else ""."""
    try:
        return str(UUID(value))
    except (ValueError, TypeError, AttributeError):
        return ""


def stored(
    ask: Ask, messages: list[dict[str, JSON]], answer_id: str
) -> tuple[dict[str, JSON], dict[str, JSON]]:
    """Return the question and its answer as they are stored, {} for what is not there.

    Known ids first. Else the newest message of the visitor with this text, behind the newest answer
    that is known and not one of the conversation's other questions, and what follows it.
    """
    ids = [uuid_of(message.get("id")) for message in messages]
    if answer_id and answer_id in ids:
        return {}, messages[ids.index(answer_id)]
    newest = ask.known.conversation.get("newest_answer", "")
    first = ids.index(newest) + 1 if newest and newest in ids else 0
    for place in range(len(messages) - 1, first - 1, -1):
        question = messages[place]
        if (
            question.get("role") == "user"
            and text_of(question.get("parts")).strip() == ask.text.strip()
            and ids[place] not in ask.other_questions
        ):
            behind = takewhile(lambda one: one.get("role") != "user", messages[place + 1 :])
            return question, next((one for one in behind if one.get("role") == "assistant"), {})
    return {}, {}
