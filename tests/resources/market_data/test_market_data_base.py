"""The gate that all bars pass: what is market data, and the one error that says what is not."""

from __future__ import annotations

from datetime import UTC, date, datetime
from inspect import signature
from typing import Any

import polars as pl
import pytest

from resources.config import ExcludedRow
from resources.errors import BarSchemaError, ConfigError, NotOfferedError
from resources.market_data.base import (
    BAR_SCHEMA,
    INSTRUMENT_SCHEMA,
    Partial,
    Provider,
    check_bars,
    check_calendars,
    daily_actions,
    exclude_rows,
    stamp_sessions,
)
from resources.market_data.binance import Binance
from resources.market_data.ib import InteractiveBrokers
from resources.market_data.sample import Sample
from resources.market_data.synthetic import Synthetic
from resources.market_data.yahoo import Yahoo

DAYS = [date(2014, 6, 9), date(2014, 6, 10)]
NAN, INF = float("nan"), float("inf")


def good() -> pl.DataFrame:
    rows = pl.DataFrame(
        {"symbol": ["AAPL", "AAPL", "IBM"], "session": [*DAYS, DAYS[0]], "open": 10.0, "high": 12.0, "low": 9.0,
         "close": 11.0, "volume": 100.0, "provider": "test", "fetched_at": datetime(2020, 1, 1, tzinfo=UTC)}
    )  # fmt: skip
    stamped = stamp_sessions(rows.lazy(), "XNYS", DAYS[0], DAYS[1], "test")
    return stamped.select(BAR_SCHEMA.names()).cast(BAR_SCHEMA).collect()


def changed(row: int, **values: Any) -> pl.DataFrame:
    frame = good()
    here = pl.int_range(frame.height) == row
    return frame.with_columns(
        pl.when(here).then(pl.lit(value, BAR_SCHEMA[name])).otherwise(pl.col(name)).alias(name)
        for name, value in values.items()
    )


def test_good_bars_pass_unchanged() -> None:
    assert check_bars(good().lazy(), "test").collect().equals(good())


BAD_VALUES = [  # field, value, what the message says of it
    ("open", None, "open is None; prices must be positive numbers"),
    ("high", NAN, "high is nan; prices must be positive numbers"),
    ("low", 0.0, r"low is 0\.0; prices must be positive numbers"),
    ("close", -1.0, r"close is -1\.0; prices must be positive numbers"),
    ("close", INF, "close is inf; prices must be positive numbers"),
    ("volume", -1.0, r"volume is -1\.0; it must be zero or more"),
    ("volume", None, "volume is None; it must be zero or more"),
    ("high", 10.5, r"high is 10\.5; it must be the bar's highest price"),
    ("low", 10.5, r"low is 10\.5; it must be the bar's lowest price"),
    ("known_at", datetime(2014, 6, 10, 13, 30, tzinfo=UTC), "known_at is .*; it must be later than the bar's start"),
    ("fetched_at", None, "fetched_at is None"),
    ("provider", None, "provider is None"),
]


@pytest.mark.parametrize(("field", "value", "says"), BAD_VALUES)
def test_a_bad_value_is_named_with_symbol_date_and_mend(field: str, value: Any, says: str) -> None:
    with pytest.raises(
        BarSchemaError, match=rf"^AAPL 2014-06-10: {says}.*\(test\)\. Fix the source, .*cleaning.exclude"
    ):
        check_bars(changed(1, **{field: value}).lazy(), "test")


def test_zero_volume_is_market_data() -> None:
    assert check_bars(changed(1, volume=0.0).lazy(), "test").collect()["volume"][1] == 0.0


@pytest.mark.parametrize(
    ("frame", "says"),
    [
        (changed(0, ts=None), "AAPL without a date: ts is None"),
        (changed(0, symbol=None), "None 2014-06-09: symbol is None"),
        (changed(1, ts=good()["ts"][0]), "AAPL 2014-06-09: more than one row for this symbol and date"),
        (good()[[1, 0, 2]], "AAPL 2014-06-09: row out of order; sort by symbol and ts"),
        (good()[[2, 0, 1]], "AAPL 2014-06-09: row out of order"),
        (good().drop("low"), r"test: missing columns \['low'\]; bars have"),
        (good().with_columns(vwap=1.0), r"test: unknown columns \['vwap'\]"),
        (good().drop("low").with_columns(vwap=1.0), r"missing columns \['low'\] and unknown columns \['vwap'\]"),
        (good().cast({"volume": pl.Int64}), "column volume is Int64; it must be Float64"),
        (good().with_columns(pl.col("ts").dt.replace_time_zone(None)), "column ts is Datetime.*it must be .*UTC"),
    ],
)
def test_bad_frames_are_refused(frame: pl.DataFrame, says: str) -> None:
    with pytest.raises(BarSchemaError, match=says):
        check_bars(frame.lazy(), "test")


@pytest.mark.parametrize(
    ("day", "says"),
    [
        (date(2014, 6, 8), "X 2014-06-08: date is not a session of XNYS between 2014-06-02 and 2014-07-31"),
        (date(2014, 7, 4), "X 2014-07-04: date is not a session"),
        (date(2014, 8, 1), "X 2014-08-01: date is not a session of XNYS between"),
        (None, "X: a row has no date"),
    ],
)
def test_a_date_outside_the_calendar_is_refused(day: date | None, says: str) -> None:
    rows = pl.LazyFrame({"symbol": ["X"], "session": pl.Series([day], dtype=pl.Date)})
    with pytest.raises(BarSchemaError, match=says):
        stamp_sessions(rows, "XNYS", date(2014, 6, 2), date(2014, 7, 31), "test")


def test_stamps_are_the_open_and_the_close_in_utc_in_summer_winter_and_on_half_days() -> None:
    days = [date(2014, 7, 3), date(2014, 11, 28), date(2014, 12, 1)]  # two half days, and a winter day
    rows = pl.LazyFrame({"symbol": ["X"] * 3, "session": days[::-1]})
    frame = stamp_sessions(rows, "XNYS", days[0], days[-1], "test").collect()
    assert frame.rows() == [  # in the order of the rows
        ("X", datetime(2014, 12, 1, 14, 30, tzinfo=UTC), datetime(2014, 12, 1, 21, tzinfo=UTC)),
        ("X", datetime(2014, 11, 28, 14, 30, tzinfo=UTC), datetime(2014, 11, 28, 18, tzinfo=UTC)),
        ("X", datetime(2014, 7, 3, 13, 30, tzinfo=UTC), datetime(2014, 7, 3, 17, tzinfo=UTC)),
    ]


def test_exclusion_takes_the_named_row_and_no_other() -> None:
    rows = pl.DataFrame(
        {"symbol": ["A", "A", "A", "B", None], "session": [DAYS[0], DAYS[1], None, None, DAYS[0]]},
        schema={"symbol": pl.String, "session": pl.Date},
    )
    exclude = [
        ExcludedRow(symbol="A", session=DAYS[0], reason="wrong price"),
        ExcludedRow(symbol="B", reason="no date"),
    ]
    assert exclude_rows(rows.lazy(), exclude).collect().rows() == [("A", DAYS[1]), ("A", None), (None, DAYS[0])]


@pytest.mark.parametrize("value", [0.0, -2.0, NAN, INF, None])
def test_an_action_without_a_positive_value_is_refused(value: float | None) -> None:
    rows = pl.LazyFrame({"symbol": ["X"], "session": DAYS[:1], "kind": ["split"], "value": [value]})
    with pytest.raises(BarSchemaError, match=r"X 2014-06-09: split is .*; it must be a positive number"):
        daily_actions(
            rows, calendar="XNYS", start=DAYS[0], end=DAYS[1], provider="test", source="test",
            fetched_at=datetime(2020, 1, 1, tzinfo=UTC),
        )  # fmt: skip


def instruments(**calendars: str) -> pl.DataFrame:
    rows = [{"symbol": symbol, "calendar": name} for symbol, name in calendars.items()]
    return pl.DataFrame(rows, schema=INSTRUMENT_SCHEMA)


def test_instruments_of_another_venue_with_the_same_days_pass() -> None:
    frame = instruments(AAPL="XNYS", MSFT="XNAS")
    assert check_calendars(frame, "XNYS").equals(frame)
    assert check_calendars(instruments(UNTOLD=None), "XNYS").height == 1  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("own", "configured"), [("24/7", "XNYS"), ("XNYS", "24/7"), ("XLON", "XNYS"), ("24/5", "24/7")]
)
def test_an_instrument_that_trades_on_other_days_is_refused_by_name(own: str, configured: str) -> None:
    with pytest.raises(ConfigError, match=f"calendar: ODD trades by {own}, this configuration by {configured}.*{own}$"):
        check_calendars(instruments(SAME=configured, ODD=own), configured)


@pytest.mark.parametrize("provider", [Sample(), Synthetic(), Yahoo(), Binance()], ids=lambda each: each.name)
def test_a_provider_without_continuous_series_says_so_by_name(provider: Provider) -> None:
    with pytest.raises(NotOfferedError, match=f"{provider.name} has no continuous series; it has "):
        provider.continuous("ES", date(2024, 3, 4), date(2024, 3, 20))


def test_continuous_series_are_asked_for_alike_of_every_provider() -> None:
    asked_for = [signature(each.continuous) for each in (Provider, Partial, InteractiveBrokers)]
    assert asked_for == asked_for[:1] * 3
