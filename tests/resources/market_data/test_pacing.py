"""Token buckets keep the pace, and only what passes is tried again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resources.errors import BadAnswerError, ProviderTimeoutError, RateLimitedError, UnknownSymbolError
from resources.market_data.pacing import TokenBucket, retried


class Time:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now, self.slept = 0.0, []

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def bucket(time: Time, per_second: float = 2.0, burst: float = 3.0) -> TokenBucket:
    return TokenBucket(per_second, burst, time.clock, time.sleep)


def test_a_burst_goes_at_once_and_the_rest_at_the_pace() -> None:
    time = Time()
    held = bucket(time)
    for _ in range(5):
        held.take()
    assert time.slept == [0.5, 0.5]


@given(gaps=st.lists(st.floats(0, 3), max_size=40), weights=st.lists(st.floats(0.1, 3), min_size=40, max_size=40))
def test_never_more_than_the_pace_allows(gaps: list[float], weights: list[float]) -> None:
    time = Time()
    held = bucket(time)
    spent: list[tuple[float, float]] = []
    for gap, weight in zip(gaps, weights, strict=False):
        time.now += gap
        held.take(weight)
        spent.append((time.now, weight))
    for first in range(len(spent)):
        for last in range(first, len(spent)):
            total = sum(weight for _, weight in spent[first : last + 1])
            assert total <= 3.0 + 2.0 * (spent[last][0] - spent[first][0]) + spent[first][1] + 1e-6


def test_a_provider_that_asks_for_a_pause_gets_it() -> None:
    time = Time()
    held = bucket(time)
    time.now = 100.0  # the time before counts for nothing
    held.drain(10.0)
    held.take()
    assert time.now == pytest.approx(110.5)


@pytest.mark.parametrize("error", [RateLimitedError("429"), ProviderTimeoutError("slow"), BadAnswerError("<html>")])
def test_what_passes_is_tried_again_after_a_random_pause_that_doubles(error: Exception) -> None:
    time, answers = Time(), [error, error, error, "rows"]

    def ask() -> str:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert retried(ask, sleep=time.sleep, chance=lambda: 0.5) == "rows"
    assert time.slept == [0.5, 1.0, 2.0]


def test_retry_after_is_obeyed() -> None:
    time, answers = Time(), [RateLimitedError("429", retry_after=7.0), None]

    def ask() -> str:
        if (error := answers.pop(0)) is not None:
            raise error
        return "rows"

    assert retried(ask, sleep=time.sleep, chance=lambda: 0.0) == "rows"
    assert time.slept == [7.0]


def test_the_last_error_is_raised() -> None:
    time = Time()

    def ask() -> str:
        raise BadAnswerError(f"at {time.now:g}")

    with pytest.raises(BadAnswerError, match="at 3"):
        retried(ask, tries=3, sleep=time.sleep, chance=lambda: 1.0)


def test_what_will_not_pass_is_not_tried_again() -> None:
    calls = []

    def ask() -> str:
        calls.append(1)
        raise UnknownSymbolError("no XXXX")

    with pytest.raises(UnknownSymbolError):
        retried(ask)
    assert len(calls) == 1
