"""Yahoo's chart, translated: splits undone to the last cent, dates where the exchange is, broken layouts refused."""

from __future__ import annotations

from datetime import date, time, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resources.errors import BadAnswerError, BarSchemaError
from resources.market_data.yahoo_chart import parse
from tests.venues.yahoo import Listing

FOREVER = (-(10**10), 10**11)
DAY = date(2020, 9, 1)
ONE = Listing({DAY: (10.0, 11.0, 9.5, 10.5, 1000.0)})


def sent(listing: Listing = ONE) -> dict[str, Any]:
    return listing.chart("X", *FOREVER)


cents = st.integers(1, 9_999_999).map(lambda number: number / 100)
ratios = st.sampled_from([(2, 1), (3, 1), (3, 2), (7, 1), (20, 1), (1, 10), (1, 2)])


@given(
    closes=st.lists(cents, min_size=2, max_size=8),
    splits=st.dictionaries(st.integers(0, 9), ratios, max_size=3),
    volume=st.integers(1, 10**9),
)
def test_what_yahoo_adjusts_is_restated_to_the_cent(
    closes: list[float], splits: dict[int, tuple[int, int]], volume: int
) -> None:
    days = [DAY + timedelta(days=at) for at in range(len(closes))]
    listing = Listing(
        {day: (close, close, close, close, volume) for day, close in zip(days, closes, strict=True)},
        {DAY + timedelta(days=at): ratio for at, ratio in splits.items()},
    )
    bars = parse("X", sent(listing)).bars
    assert bars["session"].to_list() == days
    assert bars["close"].to_list() == pytest.approx(closes, abs=0.0049)
    exact = [close for close in closes if close < 9_999]  # Yahoo's own 32 bits hold no more than 7 digits
    assert [close for close in bars["close"].to_list() if close < 9_999] == exact
    finest = 1 / min([1.0, *map(listing.factor, days)])  # Yahoo sends whole adjusted shares
    assert bars["volume"].to_list() == pytest.approx([volume] * len(days), abs=finest)


ZONES = [  # exchange, when its days are stamped, and the day that a stamp just before midnight belongs to
    ("America/New_York", time(9, 30), DAY),
    ("Asia/Tokyo", time(9, 0), DAY),
    ("Australia/Sydney", time(10, 0), DAY),
    ("Europe/London", time(0, 0), DAY),
    ("America/Sao_Paulo", time(23, 0), DAY + timedelta(days=1)),  # an hour early, over a clock change
]


@pytest.mark.parametrize(("zone", "opens", "day"), ZONES)
def test_a_day_is_the_exchanges_own(zone: str, opens: time, day: date) -> None:
    assert parse("X", sent(Listing(ONE.bars, zone=zone, opens=opens))).bars["session"].to_list() == [day]


def test_a_dividend_on_the_day_of_a_split_is_per_new_share() -> None:
    listing = Listing(ONE.bars, splits={DAY: (2, 1)}, dividends={DAY: 0.5, DAY - timedelta(days=1): 1.1})
    actions = parse("X", sent(listing)).actions.select("session", "kind", "value").sort("session", "kind")
    assert actions.rows() == [(DAY - timedelta(days=1), "dividend", 1.1), (DAY, "dividend", 0.5), (DAY, "split", 2.0)]


def test_no_stamps_are_no_rows() -> None:
    assert parse("X", sent() | {"timestamp": None}).bars.is_empty()


def test_a_symbol_is_found_in_any_case() -> None:
    assert parse("x", sent()).bars["symbol"].to_list() == ["x"]


def broken(**changes: Any) -> dict[str, Any]:
    return sent() | changes


def quotes(**changes: Any) -> dict[str, Any]:
    quote = sent()["indicators"]["quote"][0] | changes
    return broken(indicators={"quote": [quote]})


BROKEN = {
    "no meta": broken(meta=None),
    "no time zone": broken(meta={"symbol": "X"}),
    "unknown time zone": broken(meta={"symbol": "X", "exchangeTimezoneName": "Mars/Olympus"}),
    "another symbol": broken(meta=sent()["meta"] | {"symbol": "Y"}),
    "no quotes": broken(indicators={"quote": [{}]}),
    "no indicators": broken(indicators={}),
    "text for a price": quotes(close=["10.5"]),
    "too few prices": quotes(close=[]),
    "too many prices": quotes(close=[1.0, 2.0]),
    "split by nothing": broken(events={"splits": {"1": {"date": 1, "numerator": 1, "denominator": 0}}}),
    "dividend without amount": broken(events={"dividends": {"1": {"date": 1}}}),
    "stamp that is no time": broken(timestamp=["soon"]),
    "stamp out of the world": broken(timestamp=[10**15]),
}


@pytest.mark.parametrize("result", BROKEN.values(), ids=BROKEN)
def test_a_chart_of_another_layout_is_a_bad_answer(result: dict[str, Any]) -> None:
    with pytest.raises(BadAnswerError, match=r"^X: Yahoo"):
        parse("X", result)


def test_a_dividend_in_another_currency_is_refused() -> None:
    event = {"date": ONE.stamp(DAY), "amount": 1.0, "currency": "VND"}
    with pytest.raises(BarSchemaError, match="X 2020-09-01: dividend is in VND, prices are in USD"):
        parse("X", broken(events={"dividends": {"1": event}}))


def test_columns_are_numbers_whatever_json_makes_of_them() -> None:
    bars = parse("X", quotes(volume=[1000], close=[10])).bars
    assert bars.select("close", "volume").schema == {"close": pl.Float64, "volume": pl.Float64}
