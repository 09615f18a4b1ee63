"""Funding of perpetuals and carry of currencies: what is due, and on which bar."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from quant_assets.backtests.market.carry import CarryError, currencies, with_carry, with_funding

DATA = Path(__file__).resolve().parents[5] / "shared" / "data" / "multi_asset"
MONDAY = datetime(2018, 7, 9, tzinfo=UTC)  # in summer 17:00 in New York is 21:00 UTC


def bars(start: datetime, hours: list[float], symbol: str = "EURUSD") -> pl.DataFrame:
    return pl.DataFrame(
        {"symbol": [symbol] * len(hours), "ts": [start + timedelta(hours=each) for each in hours]},
        schema={"symbol": pl.String, "ts": pl.Datetime("us", "UTC")},
    )


RATES = pl.DataFrame(
    {"ts": [datetime(2018, 1, 1, tzinfo=UTC)] * 3, "currency": ["EUR", "USD", "JPY"], "rate": [-0.004, 0.02, 0.0]}
)
DAILY = (0.02 + 0.004) / 360


def funding(frame: pl.DataFrame) -> list[float]:
    return [round(value, 12) for value in frame["funding"].to_list()]


def days(*counts: float, unit: float = DAILY) -> list[float]:
    return [round(count * unit, 12) for count in counts]


def test_a_week_of_daily_bars_pays_seven_days_three_of_them_for_wednesday() -> None:
    week = bars(MONDAY, [24.0 * day for day in (0, 1, 2, 3, 4, 7)])
    assert funding(with_carry(week, RATES)) == days(0, 1, 1, 3, 1, 1)


def test_the_weekend_itself_pays_nothing_more() -> None:
    friday = MONDAY + timedelta(days=4)
    hours = bars(friday, [20, 69, 70, 92, 93])  # Friday 20:00, Sunday 21:00 and 22:00, Monday 20:00 and 21:00 UTC
    assert funding(with_carry(hours, RATES)) == days(0, 1, 0, 0, 1)


def test_the_hour_is_five_in_new_york_summer_and_winter() -> None:
    assert funding(with_carry(bars(MONDAY, [20, 21, 22]), RATES)) == days(0, 1, 0)
    winter = bars(datetime(2018, 12, 3, tzinfo=UTC), [20, 21, 22, 23])
    assert funding(with_carry(winter, RATES)) == days(0, 0, 1, 0)


def test_whoever_is_long_the_higher_rate_receives() -> None:
    pair = bars(MONDAY, [0, 24], "USD/JPY")
    assert funding(with_carry(pair, RATES)) == days(0, -1, unit=0.02 / 360)


def test_the_rate_is_the_latest_one_known_at_the_roll() -> None:
    later = pl.concat(
        [RATES, pl.DataFrame({"ts": [MONDAY + timedelta(hours=36)], "currency": ["USD"], "rate": [0.03]})]
    )
    assert funding(with_carry(bars(MONDAY, [0, 24, 48]), later)) == [*days(0, 1), round(0.034 / 360, 12)]


def test_the_day_count_and_the_day_of_three_are_the_pairs_own() -> None:
    week = bars(MONDAY, [24.0 * day for day in (0, 1, 2, 3, 4)])
    found = with_carry(week, RATES, triple=4, day_count=365)
    assert funding(found) == days(0, 1, 1, 1, 3, unit=0.024 / 365)


def test_a_currency_without_a_rate_is_named_with_the_instant() -> None:
    with pytest.raises(CarryError, match=r"GBPUSD 2018-07-09 21:00:00.*no interest rate of GBP"):
        with_carry(bars(MONDAY, [0, 24], "GBPUSD"), RATES)


@pytest.mark.parametrize("symbol", ["AAPL", "EURUSDX", "BTCUSDT"])
def test_what_is_no_pair_is_refused(symbol: str) -> None:
    with pytest.raises(CarryError, match=f"{symbol}: not a currency pair"):
        currencies(symbol)


def test_funding_meets_the_first_bar_that_opens_at_or_after_it() -> None:
    frame = pl.concat([bars(MONDAY, [0, 6, 12, 18], "X"), bars(MONDAY, [0, 12], "Y")])
    rates = pl.DataFrame(
        {
            "symbol": ["X", "X", "X", "X", "Y", "Z"],
            "ts": [MONDAY + timedelta(hours=each) for each in (-1, 0, 7, 12, 1, 1)],
            "funding_rate": [0.5, 0.0001, 0.0002, 0.0003, -0.0001, 0.9],
        }
    )
    # What was paid an hour before the first bar meets nobody; two payments between two bars are one.
    assert funding(with_funding(frame, rates)) == [0.0001, 0.0, 0.0005, 0.0, 0.0, -0.0001]
    both = with_funding(with_funding(frame, rates), rates)
    assert funding(both) == [0.0002, 0.0, 0.001, 0.0, 0.0, -0.0002]


def test_bars_keep_their_order_and_columns() -> None:
    frame = pl.concat([bars(MONDAY, [24, 0], "X"), bars(MONDAY, [12], "A")]).with_columns(open=1.0)
    rates = pl.DataFrame({"symbol": ["X"], "ts": [MONDAY + timedelta(hours=1)], "funding_rate": [0.01]})
    found = with_funding(frame, rates)
    assert found.drop("funding").equals(frame)
    assert funding(found) == [0.01, 0.0, 0.0]


@pytest.mark.skipif(not DATA.is_dir(), reason="the shared real data is not there")
def test_the_real_funding_of_bitcoin_falls_on_its_three_minutes() -> None:
    rates = pl.read_parquet(DATA / "crypto_funding_rates.parquet").filter(symbol="BTCUSDT", venue="bybit")
    minutes = pl.read_parquet(DATA / "crypto_index_minute_trades.parquet").filter(
        (pl.col("symbol") == "BTCUSDT") & (pl.col("venue") == "bybit") & (pl.col("ts").dt.year() == 2022)
    )
    minutes = minutes.filter(pl.col("ts").dt.date() == rates["ts"][0].date(), asset_class=minutes["asset_class"][0])
    found = with_funding(minutes, rates).filter(pl.col("funding") != 0)
    assert found.select("ts", "funding").rows() == rates.sort("ts").select("ts", "funding_rate").rows()


def test_no_rate_is_needed_for_rolls_before_the_first_bar() -> None:
    from_monday = RATES.with_columns(ts=pl.lit(MONDAY))
    assert funding(with_carry(bars(MONDAY, [0, 24]), from_monday)) == days(0, 1)
