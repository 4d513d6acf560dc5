"""When a vote is tried again: soon at first, for a week at least, never all at once."""

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedback.delivery import LEAST_AGE, LEAST_ATTEMPTS, LONGEST_WAIT_S, wait_s

pytestmark = pytest.mark.default_stack("needs no server")


@pytest.fixture(autouse=True)
def five_seconds(settings: Any) -> None:
    settings.FEEDBACK_FIRST_RETRY_S = 5.0  # as in production


@given(st.integers(min_value=1, max_value=10_000))
def test_no_wait_is_longer_than_the_longest(attempts: int) -> None:
    assert 0 <= wait_s(attempts) <= LONGEST_WAIT_S


def test_the_first_retry_keeps_its_time() -> None:
    assert wait_s(1) == 5.0


def test_later_waits_double_and_spread_over_their_whole_length() -> None:
    for attempts, longest in ((2, 10.0), (5, 80.0), (30, LONGEST_WAIT_S)):
        waits = [wait_s(attempts) for _ in range(500)]
        assert max(waits) <= longest
        assert max(waits) > 0.9 * longest
        assert min(waits) < 0.1 * longest


@given(st.integers())
def test_a_week_has_far_more_than_twelve_attempts(seed: int) -> None:
    random.seed(seed)
    attempts, seconds = 0, 0.0
    while attempts < LEAST_ATTEMPTS or seconds < LEAST_AGE.total_seconds():
        attempts += 1
        seconds += wait_s(attempts)
    assert attempts > 2 * LEAST_ATTEMPTS
    assert attempts < 200, "a vendor that is down for a week is not hammered"
