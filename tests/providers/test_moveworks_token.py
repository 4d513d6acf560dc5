"""Moveworks' tokens live as long as the vendor says, less a little."""

from typing import Any

import pytest

from chatwidget.providers import moveworks_token

pytestmark = pytest.mark.default_stack("needs no server")

NAME = moveworks_token.kept_as("https://api.example.test", "/oauth/v1/token", "id", "secret")


class Clock:
    now = 1000.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(moveworks_token, "monotonic", lambda: clock.now)
    monkeypatch.setattr(moveworks_token, "_tokens", {})
    return clock


def keep(**granted: Any) -> str:
    return moveworks_token.keep(NAME, {"access_token": "t"} | granted)


@pytest.mark.parametrize(
    ("expires_in", "good_for_s"),
    [(3600, 2880), (60, 48), (45, 35), (12, 2)],
    ids=["four fifths of an hour", "four fifths of a minute", "ten seconds less", "and less"],
)
def test_a_token_is_renewed_early(clock: Clock, expires_in: int, good_for_s: float) -> None:
    assert keep(expires_in=expires_in) == "t"
    clock.now += good_for_s - 0.1
    assert moveworks_token.held(NAME) == "t"
    clock.now += 0.2
    assert moveworks_token.held(NAME) == ""


def test_a_token_without_a_lifetime_is_trusted_for_the_shorter_documented_one(
    clock: Clock,
) -> None:
    keep()
    clock.now += 49
    assert moveworks_token.held(NAME) == ""


def test_both_documented_shapes_are_read(clock: Clock) -> None:
    granted = {"access_token": "t", "expires_in": 60}
    assert moveworks_token.keep(NAME, granted) == "t"
    assert moveworks_token.keep(NAME, {"data": granted | {"access_token": "u"}}) == "u"
    assert moveworks_token.held(NAME) == "u"


@pytest.mark.parametrize("answer", [None, [], {}, {"data": None}, {"data": {"access_token": 1}}])
def test_an_answer_without_a_token_gives_none(clock: Clock, answer: Any) -> None:
    assert moveworks_token.keep(NAME, answer) == ""
    assert moveworks_token.held(NAME) == ""


def test_a_refused_token_is_forgotten_but_not_its_successor(clock: Clock) -> None:
    keep(access_token="old", expires_in=60)
    keep(access_token="new", expires_in=60)
    moveworks_token.forget(NAME, "old")
    assert moveworks_token.held(NAME) == "new"
    moveworks_token.forget(NAME, "new")
    assert moveworks_token.held(NAME) == ""


def test_tokens_are_kept_apart_by_everything_they_were_issued_for() -> None:
    names = {
        moveworks_token.kept_as(*parts)
        for parts in (("a", "b"), ("ab", ""), ("a", "c"), ("a", "b", ""))
    }
    assert len(names) == 4
    assert "secret" not in NAME
