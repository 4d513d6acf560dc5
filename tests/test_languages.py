"""Which language a visitor is spoken to in."""

import gzip
import json
import re

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatwidget import languages
from chatwidget.models import Widget

from .cast import make_widget
from .server import Server


@pytest.mark.parametrize(
    ("tag", "spoken"),
    [
        ("de", "de"),
        ("de-AT", "de-AT"),
        ("DE_at", "de-at"),
        ("zh-Hans-CN", "zh-Hans-CN"),
        ("zh-Hant-TW-u-ca-chinese", "zh-Hant-TW"),
        ("pt-BR", "pt-BR"),
        ("es-419", "es-419"),
        ("iw", "he"),
        ("en-GB", "en-GB"),
        ("tlh", "en"),
        ("nb-NO", "en"),
        ("", "en"),
        ("de<script>", "en"),
        ("deutsch", "en"),
        ("../../etc/passwd", "en"),
    ],
)
def test_a_region_falls_back_to_its_language_and_that_to_english(tag: str, spoken: str) -> None:
    assert languages.choose(tag).tag == spoken


def test_the_first_that_is_known_is_spoken() -> None:
    assert languages.choose("tlh", "", "fr-CA", "de").tag == "fr-CA"


def test_arabic_and_hebrew_run_from_right_to_left() -> None:
    to_left = {tag for tag in languages.catalogues() if languages.choose(tag).direction == "rtl"}
    assert to_left == {"ar", "he"}
    assert languages.choose("ar-EG").direction == languages.choose("iw-IL").direction == "rtl"


@pytest.mark.parametrize(
    ("header", "tags"),
    [
        ("de-AT,de;q=0.9,en;q=0.8", ["de-AT", "de", "en"]),
        ("en;q=0.2, ja ;q=0.7,ko", ["ko", " ja ", "en"]),
        ("fr;q=0,it", ["it"]),
        ("*", ["*"]),
        ("", [""]),
        ("de;q=nonsense", ["de"]),
    ],
)
def test_what_the_browser_likes_best_comes_first(header: str, tags: list[str]) -> None:
    assert languages.accepted(header) == tags


@given(st.text(), st.text())
def test_no_tag_and_no_header_breaks_anything(tag: str, header: str) -> None:
    spoken = languages.choose(tag, *languages.accepted(header))
    assert re.fullmatch(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,4}){0,2}", spoken.tag)


def spoken(
    server: Server, widget: Widget, query: str = "", likes: str = ""
) -> tuple[str, str, str]:
    """Return `lang`, `dir` and the send button's name of a panel's page."""
    page = httpx.get(
        f"{server.url}/w/{widget.key}/{query}",
        headers={"Accept-Language": likes},
        trust_env=False,
    )
    assert page.status_code == 200
    assert "Accept-Language" in page.headers["Vary"]
    root = re.search(r'<html lang="([^"]*)" dir="([^"]*)">', page.text)
    words = re.search(r'<script id="words" type="application/json">(.*?)</script>', page.text)
    assert root
    assert words
    return root[1], root[2], json.loads(words[1]).get("send", "")


def test_the_page_brings_the_language_that_the_site_the_widget_or_the_browser_says(
    server: Server,
) -> None:
    french = make_widget(locale="fr")
    assert spoken(server, french) == ("fr", "ltr", "Envoyer le message")
    assert spoken(server, french, likes="de") == ("fr", "ltr", "Envoyer le message")
    assert spoken(server, french, "?locale=ar-EG") == ("ar-EG", "rtl", "إرسال الرسالة")
    assert spoken(server, french, "?locale=tlh") == ("fr", "ltr", "Envoyer le message")
    visitors_own = make_widget(locale="")
    assert spoken(server, visitors_own, likes="nb,he;q=0.9,en;q=0.8")[:2] == ("he", "rtl")
    assert spoken(server, visitors_own, likes="en-GB,de") == ("en-GB", "ltr", "")
    assert spoken(server, visitors_own) == ("en", "ltr", "")
    assert spoken(server, make_widget(locale="xx-strange")) == ("en", "ltr", "")


def test_another_language_can_be_had_later(server: Server) -> None:
    widget = make_widget(locale="de")
    url = f"{server.url}/w/{widget.key}/words/"
    german = httpx.get(url, trust_env=False).json()
    assert (german["tag"], german["direction"]) == ("de", "ltr")
    hebrew = httpx.get(f"{url}?locale=he-IL", trust_env=False).json()
    assert (hebrew["tag"], hebrew["direction"]) == ("he-IL", "rtl")
    assert hebrew["words"] == languages.catalogues()["he"]
    english = httpx.get(f"{url}?locale=en", trust_env=False).json()
    assert english == {"tag": "en", "direction": "ltr", "words": {}}


def test_an_unknown_widget_is_told_in_the_visitors_language(server: Server) -> None:
    page = httpx.get(
        f"{server.url}/w/pk_unknown/", headers={"Accept-Language": "ar"}, trust_env=False
    )
    assert page.status_code == 404
    assert '<html lang="ar" dir="rtl">' in page.text
    assert languages.catalogues()["ar"]["unavailable"] in page.text


@pytest.mark.parametrize("tag", sorted(languages.catalogues()))
def test_a_new_widget_says_all_that_it_says_in_each_language(tag: str) -> None:
    new = Widget()
    said = {new.title, new.subtitle, new.greeting}
    said |= {reason["label"] for reason in [*new.reasons_up, *new.reasons_down]}
    words = languages.catalogues()[tag]
    assert {name for name in words if name.startswith("=")} == {f"={phrase}" for phrase in said}
    assert all(words[f"={phrase}"] not in ("", phrase) for phrase in said)


@pytest.mark.parametrize("tag", sorted(languages.catalogues()))
def test_a_catalogue_is_small(tag: str) -> None:
    words = json.dumps(languages.catalogues()[tag], ensure_ascii=False, separators=(",", ":"))
    assert len(gzip.compress(words.encode(), 9)) <= 2_500
