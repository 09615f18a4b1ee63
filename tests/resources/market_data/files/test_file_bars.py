"""Bars of the user's files beyond plain daily ones: timeframes, stamps, quote bars, round-the-clock markets."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from resources.calendars import UTC_MICROS, sessions
from resources.config import ExcludedRow
from resources.errors import BarSchemaError, NoDataError, NotOfferedError, QuantError, UnknownSymbolError
from resources.market_data import Files
from resources.market_data.base import BAR_SCHEMA
from resources.market_data.files import stamps as file_stamps
from resources.market_data.files.steps import timeframe_of

MON, TUE, FRI = date(2014, 6, 9), date(2014, 6, 10), date(2014, 6, 13)
OPEN = datetime(2014, 6, 9, 13, 30, tzinfo=UTC)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
PRICES = {"open": 10.0, "high": 12.0, "low": 9.0, "close": 11.0, "volume": 100.0}


def rows(stamps: Sequence[datetime], symbol: str = "A", **more: Any) -> pl.DataFrame:
    frame = pl.DataFrame({"symbol": symbol, "ts": stamps}, schema_overrides={"ts": UTC_MICROS})
    given = {**PRICES, **more}
    return frame.with_columns(pl.lit(value).alias(name) for name, value in given.items())


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def put(folder: Path, frame: pl.DataFrame, name: str = "bars.parquet") -> Path:
    frame.write_parquet(folder / name) if name.endswith("parquet") else frame.write_csv(folder / name)
    return folder


# Timeframes: start, step, how many

STEPS = {
    "1m": (MINUTE, "1m"), "5m": (5 * MINUTE, "5m"), "15m": (15 * MINUTE, "15m"), "30m": (30 * MINUTE, "30m"),
    "1h": (HOUR, "1h"), "4h": (4 * HOUR, "4h"), "1d": (DAY, "1d"), "2m": (2 * MINUTE, "2m"), "10s": (MINUTE / 6, "10s"),
    "a week": (7 * DAY, "7d"), "a month": (30 * DAY, "30d"),
}  # fmt: skip


@pytest.mark.parametrize(("step", "name"), STEPS.values(), ids=STEPS)
def test_the_timeframe_is_the_commonest_step(step: timedelta, name: str) -> None:
    frame = rows([OPEN + step * at for at in range(40)])
    assert timeframe_of(frame, ["symbol"]) == name


IRREGULAR = {
    "hours whose first is half an hour": ([0, 30, 90, 150, 210, 270, 330, 1440, 1470, 1530], "1h"),
    "minutes of what is seldom traded": ([0, 2, 4, 5, 12, 14, 17, 19, 28], "1m"),
    "five minutes with gaps": ([0, 5, 10, 30, 35, 50, 55, 60], "5m"),
    "two minutes with gaps": ([0, 2, 4, 6, 10, 12, 14], "2m"),
    "days over weekends and a change of clocks": ([0, 1440, 2880, 7140, 8580, 10020], "1d"),
    "one bar": ([0], "1d"),
}


@pytest.mark.parametrize(("minutes", "name"), IRREGULAR.values(), ids=IRREGULAR)
def test_gaps_do_not_hide_the_timeframe(minutes: list[int], name: str) -> None:
    stamps = [OPEN + MINUTE * at for at in minutes]
    two = pl.concat([rows(stamps), rows(stamps, "B")])
    assert timeframe_of(two, ["symbol"]) == name


@given(st.sampled_from([1, 5, 15, 30, 60, 240]), st.lists(st.booleans(), min_size=30, max_size=60))
def test_missing_bars_never_make_the_timeframe_shorter(minutes: int, there: list[bool]) -> None:
    kept = [OPEN + MINUTE * minutes * at for at, keep in enumerate(there) if keep]
    judged = timeframe_of(rows(kept), ["symbol"])
    lengths = {"1m": 1, "5m": 5, "15m": 15, "30m": 30, "1h": 60, "4h": 240, "1d": 1440}
    assert lengths.get(judged, 1440) >= minutes  # a name that is not ours is that of a multiple


def test_contracts_of_one_bar_each_are_judged_by_their_symbol() -> None:
    minutes = rows([OPEN + MINUTE * at for at in range(5)]).with_columns(strike=pl.int_range(5))
    assert timeframe_of(minutes, ["symbol", "strike"]) == "1m"
    one_day = rows([utc("2014-06-09T04:00")] * 5).with_columns(strike=pl.int_range(5))
    assert timeframe_of(one_day, ["symbol", "strike"]) == "1d"


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
@pytest.mark.parametrize("name", ["bars.parquet", "bars.csv"])
def test_minutes_are_read_and_known_when_they_are_over(tmp_path: Path, unit: Any, name: str) -> None:
    stamps = [OPEN, OPEN + MINUTE, OPEN + 2 * MINUTE, OPEN + DAY]
    put(tmp_path, rows(stamps).cast({"ts": pl.Datetime(unit, "UTC")}), name)
    if name.endswith("csv"):
        text = (tmp_path / name).read_text()
        (tmp_path / name).write_text(text.replace("+0000", "Z"))
        assert "2014-06-09T13:30:00" in text
    frame = Files(tmp_path).bars(["A"], MON, MON, "1m").collect()
    assert frame.schema == BAR_SCHEMA
    assert frame["ts"].to_list() == stamps[:3]
    assert frame["known_at"].to_list() == [stamp + MINUTE for stamp in stamps[:3]]
    assert frame.select("open", "high", "low", "close", "volume").row(0) == (10.0, 12.0, 9.0, 11.0, 100.0)


def test_a_bar_that_is_not_over_is_left_out(tmp_path: Path) -> None:
    put(tmp_path, rows([OPEN, OPEN + HOUR, OPEN + 2 * HOUR]))
    files = Files(tmp_path, clock=lambda: OPEN + 2.5 * HOUR)
    assert files.bars(["A"], MON, MON, "1h").collect()["ts"].to_list() == [OPEN, OPEN + HOUR]
    with pytest.raises(NoDataError, match="files has no rows of A"):
        Files(tmp_path, clock=lambda: OPEN + 0.5 * HOUR).bars(["A"], MON, MON, "1h")


def test_a_folder_of_several_timeframes_answers_with_the_one_asked_for(tmp_path: Path) -> None:
    put(tmp_path, rows([OPEN + MINUTE * at for at in range(5)]), "minutes.parquet")
    put(tmp_path, rows([OPEN + HOUR * at for at in range(3)]), "hours.parquet")
    put(tmp_path, rows([OPEN, OPEN + DAY]), "days.parquet")
    files = Files(tmp_path)
    assert [files.bars(["A"], MON, TUE, name).collect().height for name in ("1m", "1h", "1d")] == [5, 3, 2]
    with pytest.raises(NotOfferedError, match="A: timeframe 5m was asked for, but the files hold its bars of 1d, 1h"):
        files.bars(["A"], MON, TUE, "5m")
    with pytest.raises(NotOfferedError, match="files has no bars of '2m'; it has 1d, 1m"):
        files.bars(["A"], MON, TUE, "2m")


def test_a_symbol_of_longer_bars_among_shorter_ones_is_refused(tmp_path: Path) -> None:
    minutes = rows([OPEN + MINUTE * at for at in range(200)])
    hours = rows([OPEN + HOUR * at for at in range(30)], "B")
    files = Files(put(tmp_path, pl.concat([minutes, hours])))
    assert files.bars(["A"], MON, FRI, "1m").collect().height == 200
    with pytest.raises(NotOfferedError, match="B: timeframe 1m was asked for, but its bars lie 5m apart or more"):
        files.bars(["B"], MON, FRI, "1m")


BAD_TIMES = {
    "naive in CSV": ("2014-06-09 13:30:00", "ts is '2014-06-09 13:30:00', which is no UTC time such as"),
    "another zone": ("2014-06-09T13:30:00-04:00", "which is no UTC time"),
    "no time": ("noon", "ts is 'noon', which is no UTC time"),
}


@pytest.mark.parametrize(("text", "says"), BAD_TIMES.values(), ids=BAD_TIMES)
def test_times_in_csv_are_utc_or_refused(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "bars.csv").write_text(f"symbol,ts,open,high,low,close,volume\nA,{text},10,12,9,11,1\n")
    with pytest.raises(BarSchemaError, match=says):
        Files(tmp_path).bars(["A"], MON, TUE, "1m")


def test_intraday_rows_must_go_up_and_have_a_time(tmp_path: Path) -> None:
    down = rows([OPEN, OPEN + 2 * MINUTE, OPEN + MINUTE, OPEN + 3 * MINUTE])
    with pytest.raises(BarSchemaError, match=r"A 2014-06-09 13:31:00.*date comes after 2014-06-09 13:32:00"):
        Files(put(tmp_path, down)).bars(["A"], MON, MON, "1m")
    none = pl.concat(
        [rows([OPEN, OPEN + MINUTE, OPEN + 2 * MINUTE]), rows([OPEN]).with_columns(ts=pl.lit(None, UTC_MICROS))]
    )
    with pytest.raises(BarSchemaError, match=r"A: a row has no date \(bars.parquet\)"):
        Files(put(tmp_path, none)).bars(["A"], MON, MON, "1m")


def test_excluded_intraday_rows_are_those_of_the_exchanges_date(tmp_path: Path) -> None:
    evening = datetime(2014, 6, 9, 23, 58, tzinfo=UTC)  # 19:58 in New York, and past midnight in UTC two bars on
    put(tmp_path, rows([evening + MINUTE * at for at in range(4)] + [OPEN + DAY]))
    files = Files(tmp_path, [ExcludedRow(symbol="A", session=MON, reason="wrong")])
    assert files.bars(["A"], MON, TUE, "1m").collect()["ts"].to_list() == [OPEN + DAY]


# Which instants are of which dates: New York's midnight, and the evening on which a session of Chicago opens.

WINDOWS = {
    "New York in winter": ("XNYS", date(2014, 1, 6), "2014-01-06T05:00", "2014-01-07T05:00"),
    "New York in summer": ("XNYS", date(2014, 6, 9), "2014-06-09T04:00", "2014-06-10T04:00"),
    "clocks go forward": ("XNYS", date(2014, 3, 9), "2014-03-09T05:00", "2014-03-10T04:00"),
    "clocks go back": ("XNYS", date(2014, 11, 2), "2014-11-02T04:00", "2014-11-03T05:00"),
    "an evening session": ("CMES", date(2014, 6, 9), "2014-06-08T22:00", "2014-06-09T22:00"),
    "an evening session in winter": ("CMES", date(2014, 1, 6), "2014-01-05T23:00", "2014-01-06T23:00"),
    "no session at all": ("CMES", date(2014, 6, 7), "2014-06-06T22:00", "2014-06-07T22:00"),
    "the week of forex, clocks go forward": ("FX", date(2014, 3, 10), "2014-03-09T21:00", "2014-03-10T21:00"),
    "the night of the change": ("FX", date(2014, 3, 9), "2014-03-08T22:00", "2014-03-09T21:00"),
    "round the clock": ("24/7", date(2014, 6, 7), "2014-06-07T00:00", "2014-06-08T00:00"),
}


@pytest.mark.parametrize(("calendar", "day", "begin", "over"), WINDOWS.values(), ids=WINDOWS)
def test_the_bars_of_a_date_begin_at_midnight_or_with_its_session(
    calendar: str, day: date, begin: str, over: str
) -> None:
    assert file_stamps.window(calendar, day, day) == (utc(begin), utc(over))


# Daily bars by a stamp: the columns beside ts, the stamp, the session it is, or what the refusal says.

STAMPS: dict[str, tuple[dict[str, str], str, date | str]] = {
    "the session's open": ({}, "2014-06-09T13:30", MON),
    "midnight in New York, summer": ({}, "2014-06-09T04:00", MON),
    "midnight in New York, winter": ({}, "2014-01-06T05:00", date(2014, 1, 6)),
    "midnight in UTC": ({}, "2014-06-09T00:00", MON),
    "an hour from midnight": ({}, "2014-06-09T05:00", "it must be the session's open, 2014-06-09 13:30"),
    "the close": ({}, "2014-06-09T20:00", "A 2014-06-09: ts is 2014-06-09 20:00"),
    "midnight of a Saturday": ({}, "2014-06-07T04:00", "A 2014-06-07: date is not a session of XNYS"),
    "noon of a Saturday": ({}, "2014-06-07T16:00", "of a daily bar it must be midnight in America/New_York or UTC"),
    "midnight of the exchange's zone": ({"exchange_tz": "Europe/Berlin"}, "2014-06-08T22:00", MON),
    "the source's zone first": (
        {"source_tz": "Asia/Tokyo", "exchange_tz": "Europe/Berlin"}, "2014-06-08T15:00", MON
    ),
    "an offset": ({"source_tz": "UTC-05"}, "2014-06-09T05:00", MON),
    "an offset to the east": ({"source_tz": "UTC+9"}, "2014-06-08T15:00", MON),
    "no zone": ({"source_tz": "New York"}, "2014-06-09T04:00", "A: 'New York' is no time zone"),
}  # fmt: skip


@pytest.mark.parametrize(("columns", "stamp", "expected"), STAMPS.values(), ids=STAMPS)
def test_a_daily_stamp_is_a_session_or_refused(
    tmp_path: Path, columns: dict[str, str], stamp: str, expected: date | str
) -> None:
    files = Files(put(tmp_path, rows([utc(stamp)], **columns)))
    ask = lambda: files.bars(["A"], date(2014, 1, 1), date(2014, 6, 30)).collect()  # noqa: E731
    if isinstance(expected, str):
        with pytest.raises(BarSchemaError, match=expected):
            ask()
        return
    session = sessions("XNYS", expected, expected).row(0, named=True)
    assert ask().select("ts", "known_at").rows() == [(session["open"], session["close"])]


def test_midnights_stay_midnights_when_the_clocks_change(tmp_path: Path) -> None:
    days = [date(2014, 3, 7), date(2014, 3, 10), date(2014, 10, 31), date(2014, 11, 3)]
    stamps = [utc("2014-03-07T05:00"), utc("2014-03-10T04:00"), utc("2014-10-31T04:00"), utc("2014-11-03T05:00")]
    frame = Files(put(tmp_path, rows(stamps))).bars(["A"], days[0], days[-1]).collect()
    assert frame["ts"].dt.convert_time_zone("America/New_York").dt.strftime("%F %R").to_list() == [
        f"{day} 09:30" for day in days
    ]


def test_only_days_in_the_range_are_judged(tmp_path: Path) -> None:
    put(tmp_path, rows([utc("2014-06-06T20:00"), utc("2014-06-09T04:00"), utc("2014-06-10T20:00")]))
    assert Files(tmp_path).bars(["A"], MON, MON).collect().height == 1


# Round-the-clock markets


def priced(stamp: str, *ohlcv: float, symbol: str = "EURUSD", kind: str = "forex") -> pl.DataFrame:
    named = dict(zip(("open", "high", "low", "close", "volume"), ohlcv, strict=True))
    return rows([utc(stamp)], symbol, asset_class=kind, **named)


def test_a_sunday_belongs_to_monday_and_a_day_is_known_when_its_24_hours_are_over(tmp_path: Path) -> None:
    put(tmp_path, pl.concat([
        priced("2014-06-06T05:00", 1.0, 1.2, 0.9, 1.1, 10), priced("2014-06-08T05:00", 2.0, 2.2, 1.9, 2.1, 1),
        priced("2014-06-09T05:00", 3.0, 3.3, 1.8, 3.1, 20), priced("2014-06-10T05:00", 4.0, 4.4, 3.9, 4.1, 30),
    ]).with_columns(source_tz=pl.lit("UTC-05")))  # fmt: skip
    files = Files(tmp_path)
    frame = files.bars(["EURUSD"], date(2014, 6, 6), TUE).collect()
    assert frame.select("ts", "open", "high", "low", "close", "volume", "known_at").rows() == [
        (utc("2014-06-05T21:00"), 1.0, 1.2, 0.9, 1.1, 10, utc("2014-06-07T05:00")),
        (utc("2014-06-08T21:00"), 2.0, 3.3, 1.8, 3.1, 21, utc("2014-06-10T05:00")),
        (utc("2014-06-09T21:00"), 4.0, 4.4, 3.9, 4.1, 30, utc("2014-06-11T05:00")),
    ]
    # The same bar whatever the range is, and none on the Sunday itself.
    assert files.bars(["EURUSD"], MON, MON).collect().drop("fetched_at").equals(frame[1:2].drop("fetched_at"))
    with pytest.raises(NoDataError):
        files.bars(["EURUSD"], date(2014, 6, 7), date(2014, 6, 8))


def test_a_sunday_twice_is_not_folded_away(tmp_path: Path) -> None:
    sunday = priced("2014-06-08T00:00", 2.0, 2.2, 1.9, 2.1, 1)
    files = Files(put(tmp_path, pl.concat([sunday, sunday])))
    with pytest.raises(BarSchemaError, match="EURUSD 2014-06-08: date is not a session of FX"):
        files.bars(["EURUSD"], date(2014, 6, 6), TUE)


def test_shares_are_not_folded(tmp_path: Path) -> None:
    files = Files(put(tmp_path, priced("2014-06-08T04:00", 2.0, 2.2, 1.9, 2.1, 1, symbol="A", kind="equity")))
    with pytest.raises(BarSchemaError, match="A 2014-06-08: date is not a session of XNYS"):
        files.bars(["A"], date(2014, 6, 6), TUE)


def test_each_class_has_its_calendar(tmp_path: Path) -> None:
    put(tmp_path, pl.concat([
        priced("2014-06-07T00:00", 1, 1, 1, 1, 1, symbol="BTCUSD", kind="crypto").with_columns(venue=pl.lit("kraken")),
        priced("2014-06-09T00:00", 1, 1, 1, 1, 1).with_columns(venue=pl.lit("oanda")),
        priced("2014-06-09T00:00", 1, 1, 1, 1, 1, symbol="ES.201406", kind="future").with_columns(venue=pl.lit("cme")),
        priced("2014-06-09T04:00", 1, 1, 1, 1, 1, symbol="SPY", kind="equity").with_columns(venue=pl.lit("usa")),
    ]))  # fmt: skip
    files = Files(tmp_path)
    assert files.bars(files.symbols(), date(2014, 6, 6), TUE).collect().select("symbol", "ts", "known_at").rows() == [
        ("BTCUSD", utc("2014-06-07"), utc("2014-06-08")),
        ("ES.201406", utc("2014-06-08T22:00"), utc("2014-06-10")),
        ("EURUSD", utc("2014-06-08T21:00"), utc("2014-06-10")),
        ("SPY", OPEN, utc("2014-06-09T20:00")),
    ]
    assert dict(files.instruments(files.symbols()).select("symbol", "calendar").rows()) == {
        "BTCUSD": "24/7", "EURUSD": "FX", "ES.201406": "CMES", "SPY": "XNYS",
    }  # fmt: skip


# Quote bars


def quoted(*bars: tuple[float | None, float | None], **more: Any) -> pl.DataFrame:
    """Quote bars of A, a minute apart, by their bid and ask; each bar spans 1 up and 1 down of both."""
    bid, ask = (pl.Series([bar[side] for bar in bars], dtype=pl.Float64) for side in (0, 1))
    frame = rows([OPEN + MINUTE * at for at in range(len(bars))], **more).drop("open", "high", "low", "close", "volume")
    return frame.with_columns(
        bid_open=bid, bid_high=bid + 1, bid_low=bid - 1, bid_close=bid, bid_size=pl.lit(1.0),
        ask_open=ask, ask_high=ask + 1, ask_low=ask - 1, ask_close=ask, ask_size=pl.lit(1.0),
    )  # fmt: skip


QUOTES: dict[str, tuple[tuple[float | None, float | None], float | None]] = {
    "bid and ask": ((10.0, 11.0), 10.5),
    "locked": ((10.0, 10.0), 10.0),
    "crossed": ((10.5, 10.0), 10.25),
    "no bid": ((None, 10.0), None),
    "no ask": ((10.0, None), None),
    "neither": ((None, None), None),
    "a bid whose low is zero": ((1.0, 3.0), None),
}


@pytest.mark.parametrize(("sides", "middle"), QUOTES.values(), ids=QUOTES)
def test_the_price_of_a_quote_bar_is_the_middle(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, sides: tuple[float | None, float | None], middle: float | None
) -> None:
    put(tmp_path, quoted((20.0, 20.0), sides, (20.0, 20.0)))
    with caplog.at_level(logging.WARNING):
        frame = Files(tmp_path).bars(["A"], MON, MON, "1m").collect()
    there = frame.filter(pl.col("ts") == OPEN + MINUTE).select("open", "high", "low", "close", "volume").rows()
    assert there == ([] if middle is None else [(middle, middle + 1, middle - 1, middle, 0.0)])
    assert ("1 of 3 quote bars of A lack a side" in caplog.text) == (middle is None)


def test_nothing_but_one_sided_bars_is_no_data(tmp_path: Path) -> None:
    with pytest.raises(NoDataError, match="files has no rows of A"):
        Files(put(tmp_path, quoted((None, 1.0), (None, 1.0)))).bars(["A"], MON, MON, "1m")


def test_bars_of_trades_come_before_those_of_quotes_and_quote_bars_may_have_a_volume(tmp_path: Path) -> None:
    other = quoted((7.0, 8.0), (7.0, 8.0)).with_columns(symbol=pl.lit("B"))
    both = pl.concat([quoted((5.0, 6.0), (5.0, 6.0)), other]).with_columns(volume=pl.lit(3.0))
    put(tmp_path, both, "quotes.parquet")
    put(tmp_path, rows([OPEN + MINUTE, OPEN + 2 * MINUTE]), "trades.parquet")
    frame = Files(tmp_path).bars(["A", "B"], MON, MON, "1m").collect()
    assert frame.select("symbol", "ts", "close", "volume").rows() == [
        ("A", OPEN + MINUTE, 11.0, 100.0), ("A", OPEN + 2 * MINUTE, 11.0, 100.0),
        ("B", OPEN, 7.5, 3.0), ("B", OPEN + MINUTE, 7.5, 3.0),
    ]  # fmt: skip


BAD: dict[str, tuple[pl.DataFrame, type[QuantError], str]] = {
    "quotes and trades": (quoted((1.0, 2.0)).with_columns(open=1.0), BarSchemaError, r"unknown columns \['open'\]"),
    "half a quote": (quoted((1.0, 2.0)).drop("ask_low"), BarSchemaError, r"missing columns \['ask_low'\]"),
    "ticks for bars": (
        rows([OPEN]).select("symbol", "ts", bid="open", ask="high"), BarSchemaError, "missing columns.*unknown columns"
    ),
    "a negative bid": (quoted((-5.0, 30.0), (1.0, 2.0)), BarSchemaError, r"A 2014-06-09 .*: bid_open is -5\.0; prices"),
    "an unknown symbol": (rows([OPEN, OPEN + MINUTE], "B"), UnknownSymbolError, "files has no A; it has B"),
    "a zone that is a number": (rows([OPEN], exchange_tz=5), BarSchemaError, "exchange_tz is Int32; it must be String"),
}  # fmt: skip


@pytest.mark.parametrize(("frame", "error", "says"), BAD.values(), ids=BAD)
def test_bad_bars_give_one_clear_error(tmp_path: Path, frame: pl.DataFrame, error: type[QuantError], says: str) -> None:
    with pytest.raises(error, match=says):
        Files(put(tmp_path, frame)).bars(["A"], MON, MON, "1m")


def test_columns_that_are_only_noted_change_nothing(tmp_path: Path) -> None:
    plain = rows([OPEN, OPEN + MINUTE])
    more = plain.with_columns(
        local_date=pl.lit(MON), price_factor=0.5, split_factor=0.1, adjusted_close=1.0, open_interest=7.0, bid_size=1,
        asset_class=pl.lit("equity"), contract=pl.lit(None), expiry=pl.lit(None), exchange_tz=pl.lit("Europe/Paris"),
    )  # fmt: skip
    (tmp_path / "plain").mkdir()
    (tmp_path / "more").mkdir()
    clock = lambda: utc("2020-01-01")  # noqa: E731
    found = [
        Files(put(tmp_path / name, frame), clock=clock).bars(["A"], MON, MON, "1m").collect()
        for name, frame in (("plain", plain), ("more", more))
    ]
    assert found[0].equals(found[1])


def test_the_row_groups_of_other_days_are_not_read(tmp_path: Path) -> None:
    """A damaged price column of the second day is not noticed by who asks for the first."""
    path = tmp_path / "bars.parquet"
    stamps = [OPEN + MINUTE * at for at in range(390)]
    two_days = rows([*stamps, *(stamp + DAY for stamp in stamps)])
    two_days.with_columns(open=10 + pl.int_range(pl.len()) / 780).write_parquet(path, row_group_size=390)
    damage(path, row_group=1, column="open")
    files = Files(path)
    assert files.bars(["A"], MON, MON, "1m").collect().height == 390
    with pytest.raises(BarSchemaError, match=r"bars\.parquet: not readable as Parquet"):
        files.bars(["A"], MON, TUE, "1m")


def damage(path: Path, row_group: int, column: str) -> None:
    """Overwrite the values of one column in one row group."""
    group = parquet.ParquetFile(path).metadata.row_group(row_group)
    chunk = next(group.column(at) for at in range(group.num_columns) if group.column(at).path_in_schema == column)
    first = chunk.dictionary_page_offset or chunk.data_page_offset
    content = bytearray(path.read_bytes())
    content[first : first + chunk.total_compressed_size] = b"\xff" * chunk.total_compressed_size
    path.write_bytes(bytes(content))


def test_futures_dated_on_a_sunday_and_options_in_csv(tmp_path: Path) -> None:
    header = "symbol,date,asset_class,contract,expiry,strike,right,bid_size,open,high,low,close,volume\n"
    (tmp_path / "bars.csv").write_text(
        header + "AAPL,2014-06-09,option,,2014-06-21,490.0,call,7,10,12,9,11,5\n"
        "ES,2014-06-08,future,201406,,,,,1,3,1,2,10\nES,2014-06-09,future,201406,,,,,2,4,0.5,3,20\n"
    )
    files = Files(tmp_path, calendar="XNYS")
    assert files.symbols() == ["AAPL140621C00490000", "ES.201406"]
    frame = files.bars(files.symbols(), MON, MON).collect()
    assert frame.select("symbol", "ts", "open", "high", "low", "close", "volume", "known_at").rows() == [
        ("AAPL140621C00490000", OPEN, 10, 12, 9, 11, 5, utc("2014-06-09T20:00")),
        ("ES.201406", OPEN, 1, 4, 0.5, 3, 30, utc("2014-06-09T20:00")),
    ]
    (tmp_path / "bars.csv").write_text(header + "AAPL,2014-06-09,option,,21 June,490.0,call,7,10,12,9,11,5\n")
    with pytest.raises(BarSchemaError, match="AAPL 2014-06-09: expiry is '21 June', which is no Date"):
        files.symbols()


def test_splits_beside_intraday_bars_are_refused_and_not_ignored(tmp_path: Path) -> None:
    put(tmp_path, rows([OPEN + MINUTE * at for at in range(5)], split=1.0, dividend=0.0))
    with pytest.raises(
        BarSchemaError, match=r"bars.parquet: dividend and split stand beside bars of 1m.*provider.actions"
    ):
        Files(tmp_path).bars(["A"], MON, MON, "1m")
