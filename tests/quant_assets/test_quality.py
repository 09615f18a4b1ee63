"""Completeness, currency and honesty about time: each question passes on good data and names what is wrong."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl
import pytest

from quant_assets.quality import FINDING_SCHEMA, coverage, latest_session_present, no_future, point_in_time
from resources.calendars import sessions
from resources.market_data.base import INSTRUMENT_SCHEMA

CALENDAR = "XNYS"
START, END = date(2013, 2, 4), date(2013, 3, 1)
DAYS = sessions(CALENDAR, START, END)
HOLIDAY = date(2013, 2, 18)  # Presidents' Day


def bars(held: dict[str, list[date]]) -> pl.LazyFrame:
    """Bars of each symbol in these sessions, with the session's number as close."""
    rows = pl.DataFrame([{"symbol": symbol, "session": day} for symbol, days in held.items() for day in days])
    joined = rows.join(DAYS.with_row_index("number"), on="session").sort("symbol", "session")
    return joined.select(
        "symbol", "session", ts="open", known_at="close", close=pl.col("number").cast(pl.Float64) + 1
    ).lazy()


def instruments(*rows: tuple[str, date | None, date | None]) -> pl.DataFrame:
    named = [{"symbol": symbol, "listed": listed, "delisted": delisted} for symbol, listed, delisted in rows]
    return pl.DataFrame(named, schema=INSTRUMENT_SCHEMA)


ALL = DAYS["session"].to_list()
A, B = ("A", None, None), ("B", None, None)


# coverage


@pytest.mark.parametrize("column", ["session", "ts"])
def test_sessions_between_first_and_last_bar_are_counted(column: str) -> None:
    held = bars({"A": ALL[2:5] + ALL[6:10], "B": ALL}).select("symbol", column)
    verdict = coverage(held, instruments(A, B), CALENDAR, START, END, minimum=0.9)
    assert verdict.passed
    expected = 8 + len(ALL)
    facts = {
        "expected": expected,
        "missing": 1,
        "share": (expected - 1) / expected,
        "symbols": 2,
        "symbols_without_bars": 0,
    }
    assert {name: verdict.facts[name] for name in facts} == facts
    assert verdict.facts["symbol_with_most_missing"] == "A"
    assert verdict.findings.select("symbol", "session", "problem").rows() == [("A", ALL[5], "no bar in this session")]


def test_holidays_are_not_expected() -> None:
    assert HOLIDAY not in ALL
    assert coverage(bars({"A": ALL}), instruments(A), CALENDAR, START, END, minimum=1.0).passed


@pytest.mark.parametrize(("minimum", "passed"), [(0.8, True), (0.9, True), (0.91, False)])
def test_a_share_below_the_minimum_fails(minimum: float, passed: bool) -> None:
    held = bars({"A": ALL[:4] + ALL[5:10]})
    assert coverage(held, instruments(A), CALENDAR, START, END, minimum=minimum).passed is passed


def test_a_symbol_is_judged_by_its_worst_share_not_its_count() -> None:
    verdict = coverage(bars({"A": ALL[:5] + ALL[7:], "B": [ALL[0], ALL[2]]}), instruments(A, B), CALENDAR, START, END)
    assert verdict.facts["symbol_with_most_missing"] == "B"


@pytest.mark.parametrize(
    ("listed", "delisted", "passed"),
    [
        (None, None, False),
        (date(2013, 1, 2), None, False),
        (END, None, False),
        (END + timedelta(days=1), None, True),
        (None, START, False),
        (None, START - timedelta(days=1), True),
    ],
)
def test_an_instrument_without_bars_fails_while_it_was_listed(
    listed: date | None, delisted: date | None, passed: bool
) -> None:
    verdict = coverage(bars({"A": ALL}), instruments(A, ("Z", listed, delisted)), CALENDAR, START, END)
    assert verdict.passed is passed
    assert verdict.findings["symbol"].to_list() == ([] if passed else ["Z"])


def test_rows_outside_the_dates_do_not_count() -> None:
    verdict = coverage(bars({"A": ALL}), instruments(A), CALENDAR, ALL[3], ALL[5])
    assert (verdict.facts["expected"], verdict.facts["share"]) == (3, 1.0)


def test_no_bars_at_all_is_not_complete() -> None:
    verdict = coverage(bars({"A": ALL}).head(0), instruments(A), CALENDAR, START, END)
    assert not verdict.passed
    assert verdict.findings["problem"].to_list() == ["no bar at all"]


def test_a_bar_that_does_not_start_with_its_session_is_not_its_bar() -> None:
    late = pl.when(pl.col("session") == ALL[3]).then("known_at").otherwise("ts")
    held = bars({"A": ALL}).select("symbol", ts=late)
    verdict = coverage(held, instruments(A), CALENDAR, START, END)
    assert verdict.findings["session"].to_list() == [ALL[3]]


# latest_session_present

FRIDAY, THURSDAY, WEDNESDAY = date(2013, 3, 1), date(2013, 2, 28), date(2013, 2, 27)


@pytest.mark.parametrize(
    ("latest", "now", "end", "behind"),
    [
        (FRIDAY, datetime(2013, 3, 1, 21, 0, tzinfo=UTC), None, 0),
        (FRIDAY, datetime(2013, 3, 3, 12, tzinfo=UTC), None, 0),  # a Sunday
        (THURSDAY, datetime(2013, 3, 1, 20, 59, tzinfo=UTC), None, 0),  # not closed yet
        (THURSDAY, datetime(2013, 3, 1, 21, 0, tzinfo=UTC), None, 1),
        (WEDNESDAY, datetime(2013, 3, 2, tzinfo=UTC), None, 2),
        (date(2013, 2, 15), datetime(2013, 2, 18, 23, tzinfo=UTC), None, 0),  # a holiday
        (FRIDAY, None, FRIDAY, 0),
        (FRIDAY, None, date(2013, 3, 3), 0),  # the history ends on a Sunday
        (FRIDAY, datetime(2020, 1, 1, tzinfo=UTC), FRIDAY, 0),  # a finished history stays current
        (THURSDAY, datetime(2020, 1, 1, tzinfo=UTC), FRIDAY, 1),
    ],
)
def test_the_latest_closed_session_must_be_there(
    latest: date, now: datetime | None, end: date | None, behind: int
) -> None:
    verdict = latest_session_present([date(2013, 1, 2), latest], CALENDAR, now=now, end=end)
    assert verdict.passed is (behind == 0)
    assert verdict.facts["sessions_behind"] == behind
    missing = [day for day in (THURSDAY, FRIDAY) if day > latest][:behind] if behind else []
    assert verdict.findings["session"].to_list() == missing


def test_nothing_held_is_not_current() -> None:
    verdict = latest_session_present([], CALENDAR, end=FRIDAY)
    assert not verdict.passed
    assert verdict.facts["latest"] is None
    assert verdict.findings["session"].to_list() == [FRIDAY]


def test_a_moment_is_needed() -> None:
    with pytest.raises(ValueError, match="give now, end or both"):
        latest_session_present([FRIDAY], CALENDAR)


# point_in_time

Recompute = Callable[[pl.LazyFrame], pl.LazyFrame]
HELD = bars({"A": ALL, "B": ALL[3:]})


def mean_of_three(past: pl.LazyFrame) -> pl.LazyFrame:
    """An honest feature: the mean of this close and the two before; null until there are as many."""
    return past.sort("symbol", "ts").with_columns(mean=pl.col("close").rolling_mean(3).over("symbol")).drop("close")


def share_of_session(past: pl.LazyFrame) -> pl.LazyFrame:
    """An honest feature across symbols."""
    return past.with_columns(share=pl.col("close") / pl.col("close").sum().over("session")).drop("close")


def centred_mean(past: pl.LazyFrame) -> pl.LazyFrame:
    """A feature that looks one session ahead."""
    return past.sort("symbol", "ts").with_columns(
        mean=pl.col("close").rolling_mean(3, center=True).over("symbol")
    ).drop("close")  # fmt: skip


def scaled_by_all(past: pl.LazyFrame) -> pl.LazyFrame:
    """A feature in units of the symbol's whole history."""
    return past.with_columns(mean=pl.col("close") / pl.col("close").std().over("symbol")).drop("close")


@pytest.mark.parametrize(("feature", "across"), [(mean_of_three, False), (share_of_session, True)])
def test_honest_features_pass(feature: Recompute, across: bool) -> None:
    verdict = point_in_time(feature(HELD), HELD, feature, sample=10, cross_sectional=across)
    assert verdict.passed, verdict.findings
    assert (verdict.facts["rows_recomputed"], verdict.facts["values_compared"]) == (10, 10)


@pytest.mark.parametrize("feature", [centred_mean, scaled_by_all])
def test_features_that_see_the_future_fail(feature: Recompute) -> None:
    verdict = point_in_time(feature(HELD), HELD, feature, sample=10)
    assert not verdict.passed
    assert set(verdict.findings["field"]) == {"mean"}
    assert verdict.findings["value"].str.contains("from the past alone").all()


def test_a_sample_larger_than_the_frame_takes_every_row() -> None:
    verdict = point_in_time(mean_of_three(HELD), HELD, mean_of_three, sample=10_000)
    assert verdict.passed
    assert verdict.facts["rows_recomputed"] == HELD.collect().height


ROW = (pl.col("symbol") == "A") & (pl.col("session") == ALL[4])
OUT_OF_TIME = [
    (
        "known before its start",
        {"known_at": pl.col("ts") - pl.duration(seconds=1)},
        "known before its own start, or never",
    ),
    ("known before its bar", {"known_at": pl.col("ts")}, "known before the bar of its session"),
    ("never known", {"known_at": pl.lit(None)}, "known before its own start, or never"),
    ("without a bar", {"ts": pl.col("ts") + pl.duration(seconds=1)}, "there is no bar of its session"),
]


@pytest.mark.parametrize(("change", "problem"), [row[1:] for row in OUT_OF_TIME], ids=[row[0] for row in OUT_OF_TIME])
def test_rows_known_too_early_are_named(change: dict[str, pl.Expr], problem: str) -> None:
    spoilt = {name: pl.when(ROW).then(value).otherwise(pl.col(name)) for name, value in change.items()}
    verdict = point_in_time(mean_of_three(HELD).with_columns(**spoilt), HELD, mean_of_three, sample=0)
    assert not verdict.passed
    assert (problem, "A", ALL[4]) in verdict.findings.select("problem", "symbol", "session").rows()
    assert set(verdict.findings["session"]) == {ALL[4]}


def test_values_agree_to_the_tolerance() -> None:
    stored = mean_of_three(HELD).with_columns(pl.col("mean") * (1 + 1e-7))
    assert point_in_time(stored, HELD, mean_of_three, tolerance=1e-6).passed
    assert not point_in_time(stored, HELD, mean_of_three, tolerance=1e-9).passed


def test_a_null_and_a_number_differ() -> None:
    stored = mean_of_three(HELD).with_columns(pl.col("mean").fill_null(0.0))
    verdict = point_in_time(stored, HELD, mean_of_three, sample=10_000)
    assert set(verdict.findings["value"]) == {"stored 0.0, from the past alone null"}
    assert verdict.findings.height == 4  # two sessions of warm-up a symbol


def test_recomputing_to_nothing_is_a_finding() -> None:
    verdict = point_in_time(mean_of_three(HELD), HELD, lambda past: past.head(0), sample=3)
    assert not verdict.passed
    assert verdict.findings.height == 3


# no_future


def predictions(**changes: Any) -> pl.LazyFrame:
    frame = bars({"A": ALL[:3]}).with_columns(cutoff=pl.lit(ALL[0]), score=pl.lit(0.1))
    row = pl.col("session") == ALL[1]
    return frame.with_columns(
        **{name: pl.when(row).then(pl.lit(value)).otherwise(pl.col(name)) for name, value in changes.items()}
    )


@pytest.mark.parametrize(
    ("changes", "fields"),
    [
        ({}, []),
        ({"cutoff": ALL[1]}, []),
        ({"cutoff": ALL[2]}, ["cutoff"]),
        ({"cutoff": None}, ["cutoff"]),
        ({"known_at": datetime(2013, 1, 1, tzinfo=UTC)}, ["known_at"]),
        ({"known_at": None}, ["known_at"]),
    ],
)
def test_models_know_the_past_only(changes: dict[str, Any], fields: list[str]) -> None:
    verdict = no_future(predictions(**changes))
    assert verdict.passed is (not fields)
    assert verdict.findings.select("session", "field").rows() == [(ALL[1], field) for field in fields]


def test_every_verdict_speaks_the_same_language() -> None:
    verdicts = [
        coverage(bars({"A": ALL[::2]}), instruments(A, B), CALENDAR, START, END),
        latest_session_present([ALL[0]], CALENDAR, end=END),
        point_in_time(centred_mean(HELD), HELD, centred_mean),
        no_future(predictions(cutoff=ALL[2])),
    ]
    assert all(verdict.findings.schema == FINDING_SCHEMA and verdict.findings.height for verdict in verdicts)
