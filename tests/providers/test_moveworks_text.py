"""Moveworks' dialect as Markdown: links, emoji, citations counted in characters."""

from typing import Any

import pytest

from chatwidget.events import Citation, Link
from chatwidget.providers.moveworks_text import Sources, links, markdown, plain

from ..simulators.moveworks_ledger import citation, content, reference

pytestmark = pytest.mark.default_stack("needs no server")


def shown(text: str, kind: str = "MARKDOWN_TEXT") -> str:
    return markdown({"content": content(text, kind)}, Sources())


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("See <https://example.com/a|the page>.", "See [the page](https://example.com/a)."),
        ("<mailto:help@example.com|Help>", "[Help](mailto:help@example.com)"),
        ("<https://example.com/a|>", "[https://example.com/a](https://example.com/a)"),
        ("<https://example.com/a>", "<https://example.com/a>"),
        ("<https://example.com/a_(b)|c>", "[c](https://example.com/a_%28b%29)"),
        ("<https://example.com/|a [b] \\c>", "[a \\[b\\] \\\\c](https://example.com/)"),
        ("<javascript:alert(1)|click>", "<javascript:alert(1)|click>"),
        ("1 < 2 and <b>bold</b>", "1 < 2 and <b>bold</b>"),
        (":point_right: go :+1:", "👉 go 👍"),
        (":they: said 10:30:45", ":they: said 10:30:45"),
        ("`:tada:` is :tada:", "`:tada:` is 🎉"),
        ("```\n<https://a.example|b>\n```\n:x:", "```\n<https://a.example|b>\n```\n❌"),
        ("[Plain](https://example.com) **Markdown**", "[Plain](https://example.com) **Markdown**"),
    ],
)
def test_the_vendors_dialect_becomes_markdown(said: str, expected: str) -> None:
    assert shown(said) == expected


@pytest.mark.parametrize("kind", ["COMMONMARK_TEXT", "PLAIN_TEXT"])
def test_other_text_stays_as_it_is(kind: str) -> None:
    text = "<https://example.com/a|the page> :tada:"
    assert shown(text, kind) == text


@pytest.mark.parametrize(
    "said",
    [
        None,
        "text",
        {},
        {"type": "CARD", "card": {"text": "x"}},
        {"type": ["MARKDOWN_TEXT"]},
        {"type": "MARKDOWN_TEXT"},
        {"type": "MARKDOWN_TEXT", "markdown_text": {"text": 1}},
        {"type": "CALLBACK_ACTION_CONTENT", "callback_action": {"callback_id": "x"}},
    ],
)
def test_content_that_is_no_text_we_know_is_none(said: Any) -> None:
    assert markdown({"content": said}, Sources()) == ""
    assert plain(said) == ""


# --- citations ------------------------------------------------------------------------------------


def cited(text: str, *offsets: tuple[str, int], **more: Any) -> tuple[str, tuple[Citation, ...]]:
    """What a text becomes that cites A and B, whose documents differ, and A2, which is A again."""
    message = {
        "content": content(text),
        "citations": [
            citation("a", "A", "https://example.com/a"),
            citation("b", "B", "https://example.com/b"),
            citation("a2", "A", "https://example.com/a"),
        ],
        "content_references": [reference(*one) for one in offsets],
    } | more
    sources = Sources()
    return markdown(message, sources), sources.citations


A = Citation(title="A", url="https://example.com/a")
B = Citation(title="B", url="https://example.com/b")


def test_marks_stand_where_the_references_point() -> None:
    assert cited("One. Two.", ("a", 4), ("b", 9)) == ("One.[1] Two.[2]", (A, B))


def test_offsets_count_characters_not_bytes_or_utf16_units() -> None:
    text = "It’s 😀 open ."
    assert cited(text, ("a", len(text) - 1))[0] == "It’s 😀 open [1]."


def test_several_marks_may_share_a_place() -> None:
    assert cited("Yes .", ("a", 4), ("b", 4))[0] == "Yes [1][2]."


def test_the_same_document_has_one_number_and_one_mark() -> None:
    assert cited("Yes. No.", ("a", 4), ("a2", 4), ("a2", 8)) == ("Yes.[1] No.[1]", (A, B))


def test_numbers_follow_the_text_not_the_list() -> None:
    assert cited("Yes. No.", ("b", 4), ("a", 8)) == ("Yes.[1] No.[2]", (B, A))


def test_marks_are_placed_before_the_text_is_converted() -> None:
    text = "<https://example.com/x|X> :tada: end"
    assert cited(text, ("a", len(text)))[0] == "[X](https://example.com/x) 🎉 end[1]"


@pytest.mark.parametrize("following", ["(x)", "[x]", ": x"])
def test_a_mark_never_binds_to_what_follows(following: str) -> None:
    assert cited(f"A{following}", ("a", 1))[0] == f"A[1] {following}"


@pytest.mark.parametrize("offset", [-1, 100, "4", None, 2.5])
def test_an_offset_outside_the_text_leaves_the_text_alone(offset: Any) -> None:
    assert cited("Yes.", ("a", offset)) == ("Yes.", (A, B))


@pytest.mark.parametrize("nothing", [None, [], "x", [None, "x", {}]])
def test_missing_lists_are_no_citations(nothing: Any) -> None:
    said, sources = cited("Yes.", citations=nothing, content_references=nothing)
    assert (said, sources) == ("Yes.", ())


def test_a_source_needs_a_title_or_an_address_of_the_web() -> None:
    known = [
        {"citation_id": "1", "url": "https://example.com/a"},
        {"citation_id": "2", "display": {"title": content("Handbook,\npage 2", "PLAIN_TEXT")}},
        citation("3", "Local file", "file:///etc/passwd"),
        {"citation_id": "4", "url": "javascript:alert(1)"},
        {"citation_id": "5", "url": "https://[oops"},
    ]
    assert cited("Yes.", citations=known)[1] == (
        Citation(title="https://example.com/a", url="https://example.com/a"),
        Citation(title="Handbook, page 2"),
        Citation(title="Local file"),
    )


def test_the_end_of_a_text_to_come_is_held_back_while_it_may_be_half_of_something() -> None:
    for text in ("Go <https://exam", "Go <https://example.com|he", "Go :point_ri", "Go <", "Go :"):
        message = {"content": content(text)}
        assert markdown(message, Sources(), whole=False) == "Go "
        assert markdown(message, Sources()) == text


# --- actions --------------------------------------------------------------------------------------


def test_only_web_addresses_are_offered() -> None:
    def action(url: Any, **more: Any) -> dict[str, Any]:
        return {"type": "URL_ACTION", "url_action": {"url": url}} | more

    message = {
        "actions": [
            action("https://example.com/", label="Open"),
            action("http://example.com/b"),
            action("ftp://example.com/", label="File"),
            action(None, label="None"),
            {"type": "MODAL_ACTION", "label": "Form", "modal_action": {"modal_id": "m"}},
            "nonsense",
        ]
    }
    assert [*links(message)] == [
        Link(title="Open", url="https://example.com/"),
        Link(title="http://example.com/b", url="http://example.com/b"),
    ]
