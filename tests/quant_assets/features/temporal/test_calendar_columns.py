"""The calendar's features against known days of exchanges, a plain loop over the sessions, and twenty real years."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from quant_assets.features.columns.calendar import CLOCK, SESSION, BarCalendar, days
from quant_assets.features.context import Context
from quant_assets.features.definition import FeatureSet
from quant_assets.features.engine import evaluate
from quant_assets.features.temporal import TEMPORAL
from resources.calendars import sessions
from resources.errors import ConfigError


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[misc,arg-type]


def found(rows: list[dict], names: list[str], instruments: pl.DataFrame | None = None, calendar: str = "XNYS"):
    bars = pl.DataFrame([{"symbol": "A", "close": 1.0, **row} for row in rows])
    return evaluate(TEMPORAL.pick(names), bars.lazy(), Context(instruments, calendar)).collect()


def on(calendar: str, day: date, *names: str) -> tuple:
    """The named features of one daily bar."""
    return found([{"ts": utc(day.year, day.month, day.day), "session": day}], list(names), calendar=calendar).row(-1)[
        -len(names) :
    ]


HOLIDAYS = [  # calendar, session, since and to the holiday in sessions, since and to a session in days
    ("XNYS", date(2023, 11, 22), (56, 0, 1, 2)),  # the day before Thanksgiving; Labor Day was 4 September
    ("XNYS", date(2023, 11, 24), (0, 20, 2, 3)),  # the half day after it; then Christmas
    ("XNYS", date(2023, 4, 6), (32, 0, 1, 4)),  # Maundy Thursday, before Good Friday
    ("XNYS", date(2023, 4, 10), (0, 34, 4, 1)),
    ("XNYS", date(2023, 12, 29), (3, 0, 1, 4)),
    ("XLON", date(2023, 5, 5), (3, 0, 1, 4)),  # between the bank holidays of 1 and 8 May
    ("24/7", date(2023, 12, 31), (None, None, 1, 1)),
    ("FX", date(2023, 11, 24), (None, None, 1, 3)),
]


@pytest.mark.parametrize(("calendar", "day", "expected"), HOLIDAYS, ids=str)
def test_distances_to_holidays_and_sessions(calendar, day, expected):
    names = ("sessions_since_holiday", "sessions_to_holiday", "days_since_session", "days_to_session")
    assert on(calendar, day, *names) == expected


@pytest.mark.parametrize(
    ("calendar", "day", "short", "minutes"),
    [
        ("XNYS", date(2023, 11, 24), 1, 210),
        ("XNYS", date(2023, 11, 22), 0, 390),
        ("XLON", date(2023, 12, 22), 1, 270),
        ("24/7", date(2023, 11, 25), 0, 1440),
        ("FX", date(2024, 3, 11), 0, 1440),  # New York puts its clocks forward on the Sunday before
        ("XNYS", date(2023, 11, 23), None, None),  # no session
    ],
)
def test_half_days_and_length_of_sessions(calendar, day, short, minutes):
    assert on(calendar, day, "half_day", "session_minutes") == (short, minutes)


def test_ends_of_month_quarter_and_year():
    names = ("sessions_to_month_end", "sessions_to_quarter_end", "sessions_to_year_end", "session_of_year")
    assert on("XNYS", date(2023, 12, 29), *names) == (0, 0, 0, 250)  # 2023 had 250 sessions
    assert on("XNYS", date(2024, 1, 2), *names) == (20, 60, 251, 1)
    assert on("XNYS", date(2024, 3, 28), *names) == (0, 0, 191, 61)  # 29 March was Good Friday
    assert on("24/7", date(2024, 2, 28), *names) == (1, 32, 307, 59)


def test_turn_of_the_month_is_the_last_session_and_the_first_three():
    march = [date(2023, 2, 27), date(2023, 2, 28), date(2023, 3, 1), date(2023, 3, 3), date(2023, 3, 6)]
    assert [on("XNYS", day, "turn_of_month")[0] for day in march] == [0, 1, 1, 1, 0]


def test_parts_of_the_date():
    names = ("day_of_week", "day_of_month", "month", "week_of_year", "day_of_week_sin", "day_of_week_cos")
    *plain, sine, cosine = on("XNYS", date(2023, 11, 24), *names)
    assert plain == [4, 24, 11, 47]
    assert (sine, cosine) == pytest.approx((np.sin(8 * np.pi / 7), np.cos(8 * np.pi / 7)))
    assert on("XNYS", date(2024, 12, 31), "day_of_year_sin")[0] == pytest.approx(np.sin(2 * np.pi * 365 / 366))


@pytest.mark.parametrize("calendar", ["XNYS", "XTKS", "24/7"])
def test_counts_are_those_of_a_plain_loop(calendar):
    every = sessions(calendar, date(2021, 1, 1), date(2025, 12, 31))["session"].to_list()
    rows = [{"ts": utc(day.year, day.month, day.day), "session": day} for day in every if day.year == 2023]
    names = ["sessions_since_month_start", "sessions_to_month_end", "sessions_to_quarter_end", "session_of_year",
             "days_since_session", "days_to_session", "sessions_since_holiday"]  # fmt: skip
    table = found(rows, names, calendar=calendar)
    for day, *values in table.select("session", *names).iter_rows():
        at = every.index(day)
        month = [each for each in every if (each.year, each.month) == (day.year, day.month)]
        quarter = [each for each in every if (each.year, (each.month - 1) // 3) == (day.year, (day.month - 1) // 3)]
        back = at
        while calendar != "24/7" and not any(each.weekday() < 5 for each in _between(every[back - 1], every[back])):
            back -= 1
        assert values == [
            month.index(day), len(month) - month.index(day) - 1, len(quarter) - quarter.index(day) - 1,
            [each for each in every if each.year == 2023].index(day) + 1,
            (day - every[at - 1]).days, (every[at + 1] - day).days, None if calendar == "24/7" else at - back,
        ], day  # fmt: skip


def _between(first: date, last: date) -> list[date]:
    return [first + timedelta(days=ahead) for ahead in range(1, (last - first).days)]


def test_closures_that_nobody_planned_are_not_seen_before():
    names = ("sessions_to_holiday", "days_to_session", "sessions_to_month_end")
    # From 11 to 14 September 2001 New York was closed; the day before it still counted on these four sessions.
    assert on("XNYS", date(2001, 9, 10), *names) == (52, 1, 14)
    assert on("XNYS", date(2001, 9, 17), *names) == (47, 1, 9)
    assert on("XNYS", date(2001, 9, 17), "sessions_since_holiday", "days_since_session") == (0, 7)
    assert on("NYSE", date(2012, 10, 26), *names) == (18, 3, 3)  # Hurricane Sandy


def test_values_do_not_depend_on_the_years_asked_for():
    alone, among = days("XNYS", 2011, 2011), days("XNYS", 2008, 2014)
    at = alone.first - among.first
    for name in SESSION:
        np.testing.assert_array_equal(alone.columns[name], among.columns[name][at : at + 365], err_msg=name)


def test_each_symbol_has_the_calendar_of_its_instrument():
    instruments = pl.DataFrame({"symbol": ["BTC", "IBM"], "calendar": ["24/7", None]})
    rows = [{"symbol": name, "ts": utc(2023, 11, 22), "session": date(2023, 11, 22)} for name in ("BTC", "IBM", "VOD")]
    table = found(rows, ["days_to_session", "session_minutes"], instruments)
    assert table["days_to_session"].to_list() == [1, 2, 2]
    assert table["session_minutes"].to_list() == [1440, 390, 390]


def test_unknown_calendar_is_named():
    with pytest.raises(ConfigError, match="MOON"):
        on("MOON", date(2023, 1, 3), "half_day")


def test_bars_without_session_are_of_the_utc_date():
    table = found([{"ts": utc(2023, 11, 24, 23, 59)}, {"ts": utc(2023, 11, 25)}], ["day_of_week"], calendar="24/7")
    assert table["day_of_week"].to_list() == [4, 5]


def test_days_to_expiry_end_with_it():
    instruments = pl.DataFrame({"symbol": ["ESZ3", "SPY"], "expiry": [date(2023, 12, 15), None]})
    rows = [
        {"symbol": name, "ts": utc(2023, 12, day), "session": date(2023, 12, day)}
        for name in ("ESZ3", "SPY")
        for day in (1, 15, 18)
    ]
    assert found(rows, ["days_to_expiry"], instruments)["days_to_expiry"].to_list() == [14, 0, None, None, None, None]


def _five_minutes(session: date, first: datetime, count: int) -> list[dict]:
    starts = [first + timedelta(minutes=5 * i) for i in range(count)]
    return [{"ts": ts, "known_at": ts + timedelta(minutes=5), "session": session} for ts in starts]


def test_time_within_a_half_day():
    rows = _five_minutes(date(2023, 11, 24), utc(2023, 11, 24, 14, 25), 44)  # a bar before the opening, one after
    table = found(rows, list(CLOCK))
    assert table["minutes_since_open"].to_list() == [5.0 * i - 5 for i in range(44)]
    assert table["minutes_to_close"].to_list() == [215 - 5.0 * i for i in range(44)]
    assert table["session_fraction"][0] is None
    assert table["session_fraction"][1:].to_list() == pytest.approx([i / 42 for i in range(43)])
    assert table["first_bar"].to_list() == [0, 1] + [0] * 42
    assert table["last_bar"].to_list() == [0] * 42 + [1, 0]


def test_the_bars_that_are_there_do_not_make_a_last_one():
    rows = _five_minutes(date(2023, 11, 24), utc(2023, 11, 24, 14, 30), 42)
    whole, cut = found(rows, list(CLOCK)), found(rows[:20], list(CLOCK))
    assert whole.head(20).equals(cut)
    assert cut["last_bar"].sum() == 0


@pytest.mark.parametrize(
    ("calendar", "session", "opening"),
    [
        ("XNYS", date(2023, 3, 10), utc(2023, 3, 10, 14, 30)),  # winter time
        ("XNYS", date(2023, 3, 13), utc(2023, 3, 13, 13, 30)),  # summer time from 12 March
        ("XNYS", date(2023, 11, 6), utc(2023, 11, 6, 14, 30)),
        ("XLON", date(2023, 3, 24), utc(2023, 3, 24, 8)),
        ("XLON", date(2023, 3, 27), utc(2023, 3, 27, 7)),
        ("FX", date(2023, 1, 9), utc(2023, 1, 8, 22)),  # Monday's session opens on Sunday evening
        ("FX", date(2023, 7, 10), utc(2023, 7, 9, 21)),
        ("24/7", date(2023, 1, 7), utc(2023, 1, 7)),
    ],
)
def test_clock_follows_daylight_saving(calendar, session, opening):
    row = {"ts": opening, "known_at": opening + timedelta(minutes=1), "session": session}
    table = found([row], ["minutes_since_open", "first_bar", "last_bar"], calendar=calendar)
    assert table.row(0)[-3:] == (0, 1, 0)


def test_daily_bars_are_first_and_last():
    row = {"ts": utc(2023, 11, 24, 14, 30), "known_at": utc(2023, 11, 24, 18), "session": date(2023, 11, 24)}
    assert found([row], ["first_bar", "last_bar"]).row(0)[-2:] == (1, 1)


def test_without_the_bars_end_no_bar_is_the_last():
    assert found([{"ts": utc(2023, 11, 24, 17, 55)}], ["last_bar", "first_bar"]).row(0)[-2:] == (None, 0)


def test_a_bar_without_a_close_is_a_gap():
    rows = [{"ts": utc(2023, 11, 22)}, {"ts": utc(2023, 11, 24), "close": None}]
    assert found(rows, ["day_of_week"])["day_of_week"].to_list() == [2, None]


def test_one_bar_alone_has_the_same_columns():
    instruments = pl.DataFrame(
        {"symbol": ["A", "B"], "calendar": ["XNYS", "24/7"], "expiry": [date(2023, 12, 1), None]}
    )
    start = utc(2023, 11, 20, 13)
    rows = [
        {"symbol": name, "ts": ts, "known_at": ts + timedelta(minutes=30), "session": ts.date(), "close": 1.0}
        for name in ("A", "B")
        for ts in (start + timedelta(minutes=30 * i) for i in range(0, 800, 3))
    ]
    names = [*SESSION, *CLOCK, "days_to_expiry"]
    context = Context(instruments)
    whole = evaluate(FeatureSet("calendar", TEMPORAL.pick(names).features), pl.DataFrame(rows).lazy(), context)
    alone = BarCalendar(context)
    made = np.array([alone.values(row, names) for row in rows])
    np.testing.assert_array_equal(made, whole.collect().select(names).to_numpy())


def test_two_decades_of_real_sessions(shared_data):
    dates = (
        pl.scan_parquet(shared_data / "sp500_daily.parquet")
        .filter(pl.col("symbol") == "AAPL")
        .select(session="date")
        .collect()["session"]
    )
    rows = [{"ts": utc(day.year, day.month, day.day), "session": day} for day in dates]
    table = found(rows, ["session_of_year", "sessions_to_month_end", "days_since_session"])
    own = table.with_columns(
        number=pl.int_range(1, pl.len() + 1).over(pl.col("session").dt.year()),
        last=(pl.col("session").dt.month() != pl.col("session").shift(-1).dt.month()).cast(pl.Float64),
        step=pl.col("session").diff().dt.total_days(),
    ).filter(pl.col("session").dt.year() > dates[0].year)[:-1]
    assert own.filter(pl.col("session_of_year") != pl.col("number")).height == 0
    assert own.filter((pl.col("sessions_to_month_end") == 0) != (pl.col("last") == 1)).height == 0
    assert own.filter(pl.col("days_since_session") != pl.col("step")).height == 0
