"""Marks of runs, and what those owe that did not end in good order: a writer after the other on one lake."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import polars as pl
import pytest

from resources.lake import Lake
from resources.streams.base import ENDED, Event, Line, Lost, Repaired
from resources.streams.clock import SECOND
from resources.streams.owed import NOT_FOLLOWED, TOO_LONG_AGO, Interval, Sessions
from resources.streams.recording import SLACK, Recorder, open_gaps, recorded
from tests.resources.streams.test_recording import NOW, A, B, trade

HOUR = 3600
DAY = 24 * HOUR
LATE = SLACK // SECOND


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "lake"))


class Run:
    """A writer of a day's session, of seven hours from NOW's time on, who comes `at` hours after its begin."""

    def __init__(self, lake: Lake, day: int, at: float = 0, *lines: Line) -> None:
        self.begin = day * DAY
        self.at = self.begin + at * HOUR
        self.writer = Recorder(lake, "test", now=lambda: micros(self.at))
        self.writer.rotate()
        self.since = self.writer.resume(lines or (A, B), micros(self.begin), self.sessions(day))
        self.writer.begin()

    @staticmethod
    def sessions(day: int) -> Sessions:
        def before(since: int) -> Sequence[Interval]:
            found = [(micros(one * DAY), micros(one * DAY + 7 * HOUR)) for one in range(day)]
            return [one for one in found if one[1] > since]

        return Sessions(micros(day * DAY + 7 * HOUR), before)

    def store(self, *hours: float) -> None:
        events = [trade(line, self.begin + hour * HOUR, int(hour)) for hour in hours for line in (A, B)]
        self.writer.store(events)

    def missed(self, line: Line = A) -> list[tuple[float, ...]]:
        """Seconds after this session's begin."""
        return [
            tuple(round((ts - NOW) / SECOND - self.begin, 3) for ts in (one.ts, one.until))
            for one in self.writer.missed
            if Line(one.symbol, one.kind) == line
        ]


def micros(seconds: float) -> int:
    return NOW + int(seconds * SECOND)


def states(lake: Lake) -> list[str]:
    return open_gaps(lake)["state"].to_list()


def test_what_a_session_lacks_is_told_at_once_with_the_marks_of_the_next(lake: Lake) -> None:
    Run(lake, 0).store(1, 2)
    after = Run(lake, 1, 0.5)
    assert after.missed() == [(2 * HOUR - LATE - DAY, 7 * HOUR - DAY)]
    assert after.since == {A: micros(DAY), B: micros(DAY)}, "and what happened since this one should have begun"
    assert states(lake) == ["open"] * 4
    assert Run(lake, 1, 0.6).missed() == after.missed(), "nobody has repaired it"


def test_who_ends_in_good_order_owes_nothing(lake: Lake) -> None:
    run = Run(lake, 0)
    run.store(1, 2)
    run.writer.end()
    for day in (1, 3):  # nor do days on which nobody came
        run = Run(lake, day)
        assert (run.missed(), run.since, states(lake)) == ([], {}, [])
        run.writer.end()


def test_a_first_start_and_a_lake_of_before_the_marks_owe_nothing(lake: Lake) -> None:
    run = Run(lake, 0)
    assert (run.missed(), run.since) == ([], {})
    other = Lake(lake.url + "-old")
    Recorder(other, "test").store([trade(A, 10, 1)])
    run = Run(other, 1)
    assert (run.missed(), run.since, states(other)) == ([], {}, [])


def test_of_a_line_without_a_row_all_is_missing_since_it_was_marked(lake: Lake) -> None:
    Run(lake, 0, 1.5)
    assert Run(lake, 1).missed() == [(1.5 * HOUR - DAY, 7 * HOUR - DAY)]


def test_one_that_never_stored_a_row_owes_what_was_since_it_was_marked_to_the_same_session(lake: Lake) -> None:
    Run(lake, 0, 1)
    assert Run(lake, 0, 2).since == dict.fromkeys((A, B), micros(HOUR) - SLACK)


def test_who_comes_again_before_the_session_goes_on_where_the_first_was(lake: Lake) -> None:
    Run(lake, 0, -2).store(-1.5)
    again = Run(lake, 0, -1)
    assert again.since == dict.fromkeys((A, B), micros(-1.5 * HOUR) - SLACK)
    again.writer.end()
    assert Run(lake, 1, -1).since == {}


def test_what_a_line_missed_that_is_dropped_in_the_same_session_is_told_and_given_up(lake: Lake) -> None:
    Run(lake, 0).store(1)
    after = Run(lake, 0, 3, B)  # by other settings
    after.writer.end()
    for day in (1, 2):
        Run(lake, day).writer.end()
        gone = open_gaps(lake).filter(pl.col("symbol") == "AAA")
        assert gone.select("state", "detail").rows() == [("given up", NOT_FOLLOWED)]
        assert gone.select(pl.col("ts", "until").to_physical()).row(0) == (micros(HOUR) - SLACK, micros(3 * HOUR))


def test_a_line_that_is_dropped_and_followed_again_in_its_session_is_asked_for_since_it_was_dropped(lake: Lake) -> None:
    Run(lake, 0).store(1)
    without = Run(lake, 0, 3, B)
    repaired = Repaired(B.symbol, without.since[B], "trade", micros(3 * HOUR), 9, None)
    without.writer.store([repaired, trade(B, 4 * HOUR, 4)])
    again = Run(lake, 0, 5)
    assert again.since[A] == micros(HOUR) - SLACK
    assert again.since[B] > micros(3 * HOUR), "and no other"
    again.writer.store(
        [Repaired(line.symbol, again.since[line], "trade", micros(5 * HOUR), 9, None) for line in (A, B)]
    )
    gaps = open_gaps(lake).filter(pl.col("symbol") == "AAA")
    assert set(gaps["state"]) == {"repaired"}
    again.writer.store([trade(line, 5 * HOUR, 5) for line in (A, B)])
    assert Run(lake, 0, 6).since[A] > micros(4 * HOUR), "that is over"


def test_an_open_gap_of_a_line_that_is_dropped_in_the_same_session_is_given_up(lake: Lake) -> None:
    run = Run(lake, 0)
    run.store(1)
    run.writer.store([Lost("AAA", micros(100), "trade", micros(150), 1, "sequence")])
    Run(lake, 0, 3, B).writer.end()
    assert open_gaps(lake).filter(pl.col("symbol") == "AAA")["state"].to_list() == ["given up"] * 2


def test_one_that_comes_back_in_the_same_session_is_asked_for_from_its_last_row(lake: Lake) -> None:
    Run(lake, 0).store(1)
    Run(lake, 0, 3, B)
    assert Run(lake, 0, 4).since[A] == micros(HOUR) - SLACK


@pytest.mark.parametrize("repaired", [False, True])
def test_what_nobody_repaired_for_seven_days_is_given_up(lake: Lake, repaired: bool) -> None:
    Run(lake, 0).store(1)
    told = Run(lake, 6)
    if repaired:
        told.writer.store([Repaired(*lost[:3], lost.until, 1, None) for lost in told.writer.missed])
    for at in (0, 0.1):
        Run(lake, 9, at)
        old = open_gaps(lake).filter(pl.col("until").to_physical() < micros(2 * DAY))
        assert set(old["state"]) == ({"repaired"} if repaired else {"given up"})
        assert repaired or set(old["detail"]) == {TOO_LONG_AGO}
        assert old.height == 4


def test_lines_that_came_later_owe_what_was_since_then_and_those_that_went_nothing_more(lake: Lake) -> None:
    Run(lake, 0, 0, A).store(1)
    Run(lake, 0, 2, B)  # by other settings
    after = Run(lake, 1)
    assert after.missed(A) == []
    (missed,) = after.missed(B)
    assert missed[1] == 7 * HOUR - DAY


def test_of_a_line_that_is_not_followed_any_more_it_is_told_and_given_up(lake: Lake) -> None:
    Run(lake, 0).store(1)
    for _ in range(2):  # once for all
        after = Run(lake, 2, 0, B)
        assert after.missed(A) == []
    gone = open_gaps(lake).filter(pl.col("symbol") == "AAA")
    assert gone.select("state", "detail").rows() == [("given up", NOT_FOLLOWED)]
    assert gone["ts"].to_physical().item() == micros(HOUR) - SLACK
    assert gone["until"].to_physical().item() == micros(DAY + 7 * HOUR) - 1


def test_sessions_of_long_ago_are_told_as_one_interval_and_not_asked_for(lake: Lake) -> None:
    Run(lake, 0).store(1)
    after = Run(lake, 20)
    assert after.missed() == [(at * DAY, at * DAY + 7 * HOUR) for at in range(-7, 0)]
    gone = open_gaps(lake).filter(pl.col("state") == "given up", pl.col("symbol") == "AAA")
    assert gone.select(pl.col("ts", "until").to_physical(), "detail").rows() == [
        (micros(HOUR) - SLACK, micros(12 * DAY + 7 * HOUR) - 1, TOO_LONG_AGO)
    ]


def test_a_mark_of_long_ago_is_found_by_days_that_are_held(lake: Lake) -> None:
    Run(lake, 0).store(1)
    assert len(Run(lake, 400).missed()) == 7


def test_a_gap_that_its_session_did_not_close_is_asked_for_by_the_next(lake: Lake) -> None:
    run = Run(lake, 0)
    gaps = [Lost("AAA", micros(at), "trade", micros(at + 50), 1, "sequence") for at in (100, 120, 300, 400)]
    over: list[Event] = [
        Repaired("AAA", gaps[2].ts, "trade", gaps[2].until, 0, 1, ENDED),
        Repaired("AAA", gaps[3].ts, "trade", gaps[3].until, 0, 1, "REST refused"),
    ]
    run.writer.store([trade(A, 500, 1), *gaps, *over])
    run.writer.end()
    after = Run(lake, 1)
    assert after.missed() == [(100 - DAY, 170 - DAY), (300 - DAY, 350 - DAY)], "those that meet as one"
    done = [Repaired(*lost[:3], lost.until, 1, None) for lost in after.writer.missed]
    after.writer.store(done)
    assert sorted(states(lake)) == ["given up", *["repaired"] * 5]
    after.writer.end()
    assert Run(lake, 2).missed() == []


def test_of_one_instant_it_is_asked_for_from_before_it(lake: Lake) -> None:
    run = Run(lake, 0)
    run.writer.store([trade(A, 500, 1), Lost("AAA", micros(100), "trade", micros(100), 1, "sequence")])
    run.writer.end()
    after = Run(lake, 1)
    (lost,) = after.writer.missed
    after.writer.store([Repaired(*lost[:3], lost.until, 1, None)])
    assert set(states(lake)) == {"repaired"}


def test_marks_are_written_once_a_session(lake: Lake) -> None:
    def marked() -> int:
        return recorded(lake, "findings").filter(pl.col("what") == "following").collect().height

    run = Run(lake, 0)
    assert marked() == 2
    run.writer.begin()
    assert marked() == 2
