"""Intervals: what of one that nobody followed is kept, and what is left of some without others."""

from __future__ import annotations

from resources.streams.intervals import LATE, edges, without


def test_of_a_time_that_nobody_followed_the_bar_is_kept_in_which_it_begins_and_all_up_to_half_a_day() -> None:
    assert edges(5, 34, 10) == [(5, 34)]
    assert edges(10, 19, 10) == [(10, 19)]
    assert edges(20, 19, 10) == []
    assert edges(5, 2 * LATE + 4, 10) == [(5, 9), (LATE, 2 * LATE + 4)]
    assert edges(10, 2 * LATE + 4, 10) == [(LATE, 2 * LATE + 4)]


def test_what_is_left_of_intervals_without_others() -> None:
    assert without([(0, 9)], [(3, 4), (8, 12)]) == [(0, 2), (5, 7)]
    assert without([(0, 9), (5, 20)], [(4, 6)]) == [(0, 3), (7, 9), (7, 20)]
    assert without([(3, 4)], [(0, 9)]) == []
    assert without([(3, 4)], []) == [(3, 4)]
