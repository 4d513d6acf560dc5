"""One answer on its way, without any I/O: numbers, merging, rewriting, limits, characters."""

from collections.abc import Iterable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatwidget.events import (
    Citation,
    Cited,
    Delta,
    Ended,
    Finish,
    HumanHas,
    Learned,
    MessageChanged,
    ProviderEvent,
    Rewritten,
    Sending,
    Snapshot,
    Text,
    Working,
)
from chatwidget.turn import MAX_ANSWER_CHARS, Turn


def new_turn(**shown: Any) -> Turn:
    pending = {
        "id": "m",
        "conversation": "c",
        "seq": 0,
        "status": "pending",
        "text": "",
        "citations": [],
        "links": [],
    }
    return Turn(pending | shown, version="1")


def client(turn: Turn, batches: Iterable[Sequence[ProviderEvent]]) -> str:
    """Feed batches; return the text of a client that applies every frame by the rules."""
    text, seq = turn.text, turn.seq
    for batch in batches:
        match turn.take(batch):
            case Delta() as delta:
                assert delta.seq == seq + 1
                text, seq = text + delta.text, delta.seq
            case MessageChanged() as changed:
                assert changed.seq == seq + 1
                text, seq = str(changed.body["text"]), changed.seq
            case frame:
                assert frame is None
    return text


def test_deltas_are_numbered_from_one() -> None:
    turn = new_turn()
    frames = [turn.take([Text(text)]) for text in "abc"]
    assert [frame and frame.seq for frame in frames if isinstance(frame, Delta)] == [1, 2, 3]
    assert (turn.text, turn.seq, turn.status) == ("abc", 3, "streaming")


def test_what_comes_together_is_one_delta() -> None:
    turn = new_turn()
    frame = turn.take([Text("a"), Text(""), Text("b")])
    assert frame == Delta(conversation="c", message="m", seq=1, text="ab")


def test_what_is_not_seen_makes_no_frame() -> None:
    turn = new_turn()
    quiet: list[ProviderEvent] = [
        Sending(),
        Working(),
        Learned(answer_id="7"),
        HumanHas(False),
        Text(""),
    ]
    assert turn.take(quiet) is None
    assert (turn.status, turn.seq, turn.answer_id) == ("pending", 0, "7")


def test_a_claimed_turn_goes_on_where_it_was() -> None:
    turn = new_turn(text="so far", seq=5, status="streaming")
    assert turn.take([Text(", so good")]) == Delta(
        conversation="c", message="m", seq=6, text=", so good"
    )


def test_a_rewrite_is_the_whole_message_and_the_next_number() -> None:
    turn = new_turn()
    turn.take([Text("first idea")])
    frame = turn.take([Rewritten("better")])
    assert isinstance(frame, MessageChanged)
    assert (frame.seq, frame.body["text"], frame.body["seq"]) == (2, "better", 2)


def test_a_rewrite_of_nothing_is_a_delta() -> None:
    turn = new_turn()
    assert turn.take([Rewritten("")]) is None
    assert isinstance(turn.take([Rewritten("a")]), Delta)


def test_a_snapshot_that_goes_on_is_appended_and_one_that_differs_rewrites() -> None:
    turn = new_turn()
    frames = [turn.take([Snapshot(text)]) for text in ("He", "Hello", "Hell", "Help")]
    kinds = [type(frame) for frame in frames]
    assert kinds == [Delta, Delta, type(None), MessageChanged]
    assert turn.text == "Help"


def test_a_snapshot_holds_the_other_half_itself() -> None:
    turn = new_turn()
    assert client(turn, [[Text("a\ud83d")], [Snapshot("a\ud83d\ude00b\x00")]]) == "a😀b\ufffd"


def test_sources_are_kept_and_shown_with_the_message() -> None:
    turn = new_turn()
    turn.take([Text("a"), Cited((Citation(title="T\x00\ud800", url="https://x"),))])
    assert turn.body["citations"] == [{"title": "T\ufffd\ufffd", "url": "https://x"}]


def test_nothing_counts_after_the_end() -> None:
    turn = new_turn()
    turn.take([Text("a"), Ended(Finish.COMPLETE), Text("b")])
    assert (turn.text, turn.finish) == ("a", Finish.COMPLETE)


def test_an_answer_is_cut_at_its_limit_and_says_so() -> None:
    turn = new_turn()
    for _ in range(3):
        turn.take([Text("x" * (MAX_ANSWER_CHARS // 2 + 1))])
    assert len(turn.text) == MAX_ANSWER_CHARS
    assert turn.finish is Finish.TRUNCATED
    turn.take([Rewritten("more")])
    assert len(turn.text) == MAX_ANSWER_CHARS


@pytest.mark.parametrize(
    ("pieces", "text"),
    [
        (["\ud83d\ude00"], "😀"),
        (["hi \ud83d", "\ude00!"], "hi 😀!"),
        (["\ud83d", "", "\ude00"], "😀"),
        (["a\ud83d", "b"], "a\ufffdb"),
        (["\ude00"], "\ufffd"),
        (["a\x00b"], "a\ufffdb"),
    ],
)
def test_only_whole_characters_are_shown(pieces: list[str], text: str) -> None:
    turn = new_turn()
    assert client(turn, [[Text(piece)] for piece in pieces]) == turn.text == text


said = st.one_of(
    st.text(st.characters() | st.sampled_from("\ud83d\ude00\x00"), max_size=6).map(Text),
    st.text(max_size=6).map(Rewritten),
    st.text(max_size=6).map(Snapshot),
    st.just(Sending()),
    st.just(Working()),
)


@given(st.lists(said, max_size=20), st.data())
def test_however_events_are_batched_the_text_is_the_same(
    events: list[ProviderEvent], data: st.DataObject
) -> None:
    one_by_one, batched = new_turn(), new_turn()
    text = client(one_by_one, [[event] for event in events])
    cuts = sorted(data.draw(st.lists(st.integers(0, len(events)), max_size=6)))
    batches = [events[a:b] for a, b in zip([0, *cuts], [*cuts, len(events)], strict=True)]
    assert client(batched, batches) == batched.text == one_by_one.text == text
    text.encode()  # raises for half a character
