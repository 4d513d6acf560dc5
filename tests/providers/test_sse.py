"""Server-sent events, by the examples of the specification: whole, in pieces, and spoilt."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatwidget.errors import Broken
from chatwidget.providers.base import ServerEvent
from chatwidget.providers.sse import MAX_EVENT_BYTES, EventReader

pytestmark = pytest.mark.default_stack("needs no server")

EXAMPLES: dict[str, tuple[bytes, list[tuple[str, str]]]] = {
    # HTML Living Standard, 9.2.6, in its order.
    "three lines are one event": (
        b"data: YHOO\ndata: +2\ndata: 10\n\n",
        [("message", "YHOO\n+2\n10")],
    ),
    "comments, ids, and a space that stays": (
        b": test stream\n\ndata: first event\nid: 1\n\n"
        b"data:second event\nid\n\ndata:  third event\n\n",
        [("message", "first event"), ("message", "second event"), ("message", " third event")],
    ),
    "two empty lines are a line feed; the last block is cut": (
        b"data\n\ndata\ndata\n\ndata:",
        [("message", "\n")],  # the first block is an event without data: none for us
    ),
    "a space after the colon does not count": (
        b"data:test\n\ndata: test\n\n",
        [("message", "test"), ("message", "test")],
    ),
    "named events": (
        b"event: add\ndata: 73857293\n\nevent: remove\ndata: 2153\n\n",
        [("add", "73857293"), ("remove", "2153")],
    ),
    # And what vendors send beside that.
    "heartbeats and unknown fields": (
        b": ping\n\n\n\nretry: 10\n\nmood: fine\ndata: x\n\n",
        [("message", "x")],
    ),
    "a mark in front": (b"\xef\xbb\xbfdata: x\n\n", [("message", "x")]),
    "a mark further in is text": (b"data: \xef\xbb\xbfx\n\n", [("message", "\ufeffx")]),
    "bytes that are no text": (b"data: a\xff\xfeb\n\n", [("message", "a\ufffd\ufffdb")]),
    "characters of four bytes": ("data: 👋🏽é\n\n".encode(), [("message", "👋🏽é")]),
}


def read(*chunks: bytes) -> list[tuple[str, str]]:
    reader = EventReader()
    return [(one.event, one.data) for chunk in chunks for one in reader.feed(chunk)]


def bytewise(stream: bytes) -> list[bytes]:
    return [bytes([value]) for value in stream]


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"], ids=["LF", "CRLF", "CR"])
@pytest.mark.parametrize("name", EXAMPLES)
def test_the_examples_whole_and_byte_by_byte(name: str, end: bytes) -> None:
    stream, expected = EXAMPLES[name]
    stream = stream.replace(b"\n", end)
    assert read(stream) == expected
    assert read(*bytewise(stream)) == expected


@given(st.data())
def test_however_a_stream_is_cut_into_pieces_it_says_the_same(data: st.DataObject) -> None:
    stream, expected = data.draw(st.sampled_from(list(EXAMPLES.values())))
    ends = data.draw(st.sampled_from([b"\n", b"\r\n", b"\r"]))
    stream = stream.replace(b"\n", ends)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert read(*pieces) == expected


def test_an_event_that_is_cut_short_is_none() -> None:
    whole = b"data: one\n\ndata: two\n\n"
    for end in range(len(whole)):
        expected = [ServerEvent("message", "one")] if end >= len(b"data: one\n\n") else []
        assert EventReader().feed(whole[:end]) == expected


def test_an_event_just_below_the_limit_is_read() -> None:
    text = "x" * (MAX_EVENT_BYTES - len("data: "))
    stream = f"data: {text}\n\n".encode()
    chunks = [stream[start : start + 16_384] for start in range(0, len(stream), 16_384)]
    assert read(*chunks, *chunks) == [("message", text)] * 2


@pytest.mark.parametrize("line_bytes", [10, 1_000, 2 << 20], ids=["short", "long", "endless"])
def test_an_event_above_the_limit_is_refused(line_bytes: int) -> None:
    line = b"data: " + b"x" * line_bytes + b"\n"
    stream = line * (2 * MAX_EVENT_BYTES // len(line) + 1)
    chunks = [stream[start : start + 16_384] for start in range(0, len(stream), 16_384)]
    with pytest.raises(Broken, match="1048576 bytes"):
        read(*chunks)


def test_the_limit_is_in_bytes() -> None:
    with pytest.raises(Broken):
        EventReader().feed(b"data: " + "é".encode() * (MAX_EVENT_BYTES // 2))


def test_heartbeats_may_go_on_for_ever() -> None:
    reader = EventReader()
    for _ in range(100):
        assert reader.feed(b": keep-alive\n\n" * 1_000) == []
    assert reader.feed(b"data: x\n\n") == [ServerEvent("message", "x")]
