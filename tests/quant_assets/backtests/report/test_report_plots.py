"""Geometry of the report's charts."""

from __future__ import annotations

import re
from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant_assets.backtests.report.geometry import Series, date_ticks, linear_ticks, log_ticks, number, panel

LINEAR = [
    (0.0, 1.0, [0, 0.2, 0.4, 0.6, 0.8, 1.0]),
    (-0.57, 0.0, [-0.6, -0.4, -0.2, 0.0]),
    (3.0, 98.0, [0, 20, 40, 60, 80, 100]),
    (5.0, 5.0, [5, 6, 7, 8, 9, 10]),
    (0.0, 0.0, [0, 0.2, 0.4, 0.6, 0.8, 1.0]),
]


@pytest.mark.parametrize(("low", "high", "expected"), LINEAR)
def test_linear_ticks(low: float, high: float, expected: list[float]) -> None:
    assert linear_ticks(low, high) == pytest.approx(expected)


LOG = [
    (0.95e6, 4.2e6, [1e6, 2e6, 3e6, 4e6]),
    (1, 100, [1, 2, 5, 10, 20, 50, 100]),
    (3, 5e4, [10, 100, 1000, 10000]),
]


@pytest.mark.parametrize(("low", "high", "expected"), LOG)
def test_log_ticks(low: float, high: float, expected: list[float]) -> None:
    assert log_ticks(low, high) == pytest.approx(expected)


@given(st.floats(-1e9, 1e9), st.floats(1e-6, 1e9))
def test_linear_ticks_enclose_the_range_and_are_few(low: float, width: float) -> None:
    high = low + width
    if high <= low:
        return
    ticks = linear_ticks(low, high)
    assert 2 <= len(ticks) <= 9
    assert ticks == sorted(set(ticks))
    assert ticks[0] <= low + 1e-6 * width
    assert ticks[-1] >= high - 1e-6 * width


TEXTS = [
    (0.125, True, "12.5%"),
    (-0.4, True, "-40%"),
    (12.0, True, "1,200%"),
    (0.3, False, "0.3"),
    (0.1 + 0.2, False, "0.3"),
    (1500, False, "1,500"),
    (500_000, False, "500k"),
    (2e6, False, "2M"),
    (3.5e9, False, "3.5B"),
]


@pytest.mark.parametrize(("value", "percent", "expected"), TEXTS)
def test_numbers_on_axes(value: float, percent: bool, expected: str) -> None:
    assert number(value, percent) == expected


def points(line: str) -> list[list[tuple[int, int]]]:
    """Absolute points of each piece of a path made of M and relative l."""
    pieces = []
    for piece in filter(None, line.split("M")):
        start, _, rest = piece.partition("l")
        x, y = map(int, start.split())
        found = [(x, y)]
        moves = list(map(int, re.findall(r"-?\d+", rest)))
        for dx, dy in zip(moves[::2], moves[1::2], strict=True):
            x, y = x + dx, y + dy
            found.append((x, y))
        pieces.append(found)
    return pieces


def test_a_path_goes_through_its_values_and_breaks_where_there_are_none() -> None:
    drawn = panel("", [Series("x", "a", [0.0, 1.0, None, 0.5, 1.0])], 100)
    assert [tick.text for tick in drawn.ticks] == ["0", "0.2", "0.4", "0.6", "0.8", "1"]
    assert points(drawn.paths[0].line) == [[(0, 2000), (2500, 0)], [(7500, 1000), (10000, 0)]]
    assert drawn.paths[0].area == ""


def test_a_log_axis_leaves_out_what_it_cannot_show() -> None:
    drawn = panel("", [Series("x", "a", [1.0, 10.0, 0.0, -1.0, 100.0])], 100, log=True)
    assert points(drawn.paths[0].line) == [[(0, 2000), (2500, 1000)], [(10000, 0)]]
    assert (drawn.ticks[0].at, drawn.ticks[0].text) == (100.0, "1")


def test_a_filled_line_reaches_zero() -> None:
    drawn = panel("", [Series("x", "bad", [-0.1, -0.2], percent=True, filled=True)], 100)
    assert drawn.ticks[-1].at == 0.0
    assert drawn.ticks[-1].text == "0%"
    assert drawn.paths[0].area.startswith("M0 0V")
    assert drawn.paths[0].area.endswith("V0z")


@pytest.mark.parametrize("values", [[], [None, None], [1.0], [2.0, 2.0], [float("nan"), float("inf")]])
@pytest.mark.parametrize("log", [False, True])
def test_odd_values_are_drawn_without_failing(values: list[float | None], log: bool) -> None:
    drawn = panel("", [Series("x", "a", values)], 100, log=log)
    assert "nan" not in drawn.paths[0].line
    assert all(0 <= tick.at <= 100 for tick in drawn.ticks)


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=50))
def test_lines_stay_inside_the_panel(values: list[float]) -> None:
    for piece in points(panel("", [Series("x", "a", values)], 100).paths[0].line):
        assert all(0 <= x <= 10_000 and 0 <= y <= 2_000 for x, y in piece)


def test_date_ticks_name_years_or_months() -> None:
    long = [date(2000, 1, 3) + timedelta(number) for number in range(2500)]
    assert [tick.text for tick in date_ticks(long)] == ["2001", "2002", "2003", "2004", "2005", "2006"]
    short = [date(2012, 10, 1) + timedelta(number) for number in range(150)]
    assert [tick.text for tick in date_ticks(short)] == ["Nov", "Dec", "Jan 2013", "Feb"]
    assert [tick.minor for tick in date_ticks(short)] == [False, True, False, True]
    assert date_ticks([]) == ()
    assert len(date_ticks([date(1980, 1, 1) + timedelta(30 * number) for number in range(500)])) <= 10
