"""The languages that the widget speaks, and which of them a visitor is spoken to in.

A language is a file of words in `catalogues/`. English has none: the panel knows it by itself, and
says in it whatever a catalogue lacks. Behind `=` it also holds what a new widget says until its
operator writes something else: the panel says that in the visitor's language, too.
"""

import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

CATALOGUES = Path(__file__).parent / "catalogues"
RIGHT_TO_LEFT = {"ar", "he"}
FORMER = {"iw": "he", "in": "id"}
"""What browsers of old still call some."""

# A language, perhaps a script, perhaps a region. What may follow tells nothing of the words.
TAG = re.compile(r"([a-z]{2,3})(?:-[a-z]{4})?(?:-(?:[a-z]{2}|[0-9]{3}))?(?=-|$)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Language:
    """Words by name, and the tag for a page's `lang`: `de-AT` speaks German by Austria's dates."""

    tag: str
    words: dict[str, str]

    @property
    def direction(self) -> str:
        """A page's `dir`."""
        return "rtl" if self.tag.partition("-")[0] in RIGHT_TO_LEFT else "ltr"


@cache
def catalogues() -> dict[str, dict[str, str]]:
    """Return the words of each language but English."""
    return {
        path.stem: json.loads(path.read_text(encoding="utf-8"))
        for path in sorted(CATALOGUES.glob("*.json"))
    }


def known() -> list[str]:
    """Return the languages that there are, as tags."""
    return sorted(["en", *catalogues()])


def names() -> set[str]:
    """Return the names of all words that a widget may say otherwise."""
    found = {name for words in catalogues().values() for name in words}
    return {name for name in found if not name.startswith("=")}


def find(tag: str) -> Language | None:
    """Return the language of a tag such as `pt-BR`; None where it is none of ours, or no tag."""
    match = TAG.match(tag.strip().replace("_", "-"))
    if match is None:
        return None
    full, language = match[0], match[1].lower()
    ours = FORMER.get(language, language)
    if ours == "en":
        return Language(full, {})
    words = catalogues().get(ours)
    return None if words is None else Language(ours + full[len(language) :], words)


def choose(*tags: str) -> Language:
    """Return the first of `tags` that is one of ours, else English."""
    return next(filter(None, map(find, tags)), None) or Language("en", {})


def accepted(header: str) -> list[str]:
    """Return the tags of an `Accept-Language` header, the best liked first."""
    liked: list[tuple[float, str]] = []
    for part in header[:500].split(","):
        tag, _, quality = part.partition(";")
        weight = re.fullmatch(r"\s*q\s*=\s*([01](?:\.[0-9]{0,3})?)\s*", quality)
        liking = float(weight[1]) if weight else 1.0
        if liking > 0:
            liked.append((liking, tag))
    return [tag for _, tag in sorted(liked, key=lambda one: -one[0])]
