"""Pips, and conversion rates from pairs: direct, inverse and crossed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from quant_assets.backtests.market.forex import RateError, conversion_rates, pip_size, pip_value

T = datetime(2018, 7, 9, tzinfo=UTC)


def prices(*rows: tuple[str, int, float]) -> pl.DataFrame:
    frame = pl.DataFrame(rows, schema={"symbol": pl.String, "hour": pl.Int64, "price": pl.Float64}, orient="row")
    return frame.select("symbol", ts=pl.lit(T) + pl.duration(hours="hour"), price="price")


def rates(frame: pl.DataFrame, account: str, *wanted: str) -> list[tuple[int, str, float]]:
    found = conversion_rates(frame, account, wanted)
    return [(int((ts - T) / timedelta(hours=1)), currency, round(rate, 9)) for ts, currency, rate in found.rows()]


@pytest.mark.parametrize(
    ("pair", "size", "worth"), [("EURUSD", 1e-4, 10.0), ("GBP/USD", 1e-4, 10.0), ("USDJPY", 0.01, 1000.0)]
)
def test_a_pip_and_its_worth_for_a_standard_lot_in_the_quote_currency(pair: str, size: float, worth: float) -> None:
    assert pip_size(pair) == size
    assert pip_value(pair, 100_000) == pytest.approx(worth)


def test_a_pip_of_a_yen_pair_in_dollars_and_of_a_short() -> None:
    assert pip_value("EURJPY", 100_000, rate=1 / 125.0) == pytest.approx(8.0)
    assert pip_value("EURUSD", -50_000) == pytest.approx(-5.0)


def test_a_rate_is_the_pair_itself_or_its_inverse() -> None:
    frame = prices(("GBPUSD", 1, 1.25), ("USDJPY", 1, 100.0), ("GBPUSD", 2, 1.30))
    assert rates(frame, "USD", "GBP", "JPY", "USD") == [(1, "GBP", 1.25), (1, "JPY", 0.01), (2, "GBP", 1.3)]


def test_a_cross_changes_with_each_of_its_legs_once_both_are_known() -> None:
    frame = prices(("EURUSD", 1, 1.25), ("USDJPY", 2, 100.0), ("EURUSD", 3, 1.20), ("USDJPY", 4, 110.0))
    assert rates(frame, "EUR", "JPY") == [
        (2, "JPY", round(1 / 125, 9)),
        (3, "JPY", round(1 / 120, 9)),
        (4, "JPY", round(1 / 132, 9)),
    ]


def test_a_pair_that_is_there_is_preferred_to_a_cross() -> None:
    frame = prices(("EURUSD", 1, 1.25), ("USDJPY", 1, 100.0), ("EURJPY", 1, 126.0))
    assert rates(frame, "EUR", "JPY") == [(1, "JPY", round(1 / 126, 9))]


def test_the_pair_as_quoted_is_preferred_to_an_inverse() -> None:
    assert rates(prices(("USDGBP", 1, 0.7), ("GBPUSD", 1, 1.25)), "USD", "GBP") == [(1, "GBP", 1.25)]
    assert rates(prices(("GBPUSD", 1, 1.25), ("USDGBP", 1, 0.7)), "USD", "GBP") == [(1, "GBP", 1.25)]


def test_a_currency_that_no_pair_leads_to_is_named() -> None:
    with pytest.raises(RateError, match=r"CHF: no pair leads to USD.*give CHFUSD or USDCHF"):
        rates(prices(("EURUSD", 1, 1.25)), "USD", "CHF")


@pytest.mark.parametrize("price", [0.0, -1.0, float("nan"), float("inf")])
def test_a_price_that_is_none_is_refused(price: float) -> None:
    with pytest.raises(RateError, match=r"EURUSD 2018-07-09 01:00:00.*price is"):
        rates(prices(("EURUSD", 1, price)), "USD", "EUR")
