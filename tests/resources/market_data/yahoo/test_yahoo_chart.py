"""Yahoo's chart, translated: splits undone to the last cent, dates where the exchange is, broken layouts refused."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resources.errors import BadAnswerError, BarSchemaError
from resources.market_data.yahoo.chart import join, parse, read
from tests.venues.market import Action, Bar, Listing, Market, every, instant, seeded_bars
from tests.venues.yahoo import chart

FOREVER = (-(10**10), 10**11)
DAY = date(2020, 9, 1)
OPENS = instant(2020, 9, 1, 13, 30)
MINUTE = timedelta(minutes=1)
ONE = [Bar(OPENS, 10.0, 11.0, 9.5, 10.5, 1000.0)]


def sent(
    bars: Sequence[Bar] = ONE, actions: Sequence[Action] = (), venue: str = "NASDAQ", timeframe: str = "1d"
) -> dict[str, Any]:
    market = Market()
    market.add(Listing("X", venue=venue))
    market.set_bars("X", timeframe, bars)
    market.set_actions("X", *actions)
    return chart(market, "X", *FOREVER, timeframe)


cents = st.integers(1, 9_999_999).map(lambda number: number / 100)
ratios = st.sampled_from([2.0, 3.0, 1.5, 7.0, 20.0, 0.1, 0.5])


@given(
    closes=st.lists(cents, min_size=2, max_size=8),
    splits=st.dictionaries(st.integers(0, 9), ratios, max_size=3),
    volume=st.integers(1, 10**9),
)
def test_what_yahoo_adjusts_is_restated_to_the_cent(closes: list[float], splits: dict[int, float], volume: int) -> None:
    bars = [Bar(OPENS + timedelta(days=at), close, close, close, close, volume) for at, close in enumerate(closes)]
    actions = [Action(DAY + timedelta(days=at), "split", ratio) for at, ratio in splits.items()]
    found = parse("X", sent(bars, actions)).bars
    assert found["session"].to_list() == [DAY + timedelta(days=at) for at in range(len(closes))]
    assert found["close"].to_list() == pytest.approx(closes, abs=0.0049)
    exact = [close for close in closes if close < 9_999]  # Yahoo's own 32 bits hold no more than 7 digits
    assert [close for close in found["close"].to_list() if close < 9_999] == exact
    factors = [math.prod(ratio for on, ratio in splits.items() if on > at) for at in range(len(closes))]
    finest = 1 / min([1.0, *factors])  # Yahoo sends whole adjusted shares
    assert found["volume"].to_list() == pytest.approx([volume] * len(closes), abs=finest)


ZONES = [  # exchange, when its days are stamped, and the day that a stamp just before midnight belongs to
    ("NASDAQ", instant(2020, 9, 1, 13, 30), DAY),
    ("JPX", instant(2020, 9, 1), DAY),
    ("ASX", instant(2020, 9, 1), DAY),
    ("LSE", instant(2020, 8, 31, 23), DAY),
    ("CCC", instant(2020, 9, 1), DAY),
    ("SAO", instant(2020, 9, 1, 2), DAY),  # an hour early, over a clock change
]


@pytest.mark.parametrize(("venue", "stamp", "day"), ZONES)
def test_a_day_is_the_exchanges_own(venue: str, stamp: datetime, day: date) -> None:
    assert parse("X", sent([ONE[0]._replace(ts=stamp)], venue=venue)).bars["session"].to_list() == [day]


def test_a_dividend_on_the_day_of_a_split_is_per_new_share() -> None:
    day_before = DAY - timedelta(days=1)
    paid = [Action(DAY, "split", 2.0), Action(DAY, "dividend", 0.5), Action(day_before, "dividend", 1.1)]
    actions = parse("X", sent(actions=paid)).actions.select("session", "kind", "value").sort("session", "kind")
    assert actions.rows() == [(day_before, "dividend", 1.1), (DAY, "dividend", 0.5), (DAY, "split", 2.0)]


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
    event = {"date": int(OPENS.timestamp()), "amount": 1.0, "currency": "VND"}
    with pytest.raises(BarSchemaError, match="X 2020-09-01: dividend is in VND, prices are in USD"):
        parse("X", broken(events={"dividends": {"1": event}}))


def test_columns_are_numbers_whatever_json_makes_of_them() -> None:
    bars = parse("X", quotes(volume=[1000], close=[10])).bars
    assert bars.select("close", "volume").schema == {"close": pl.Float64, "volume": pl.Float64}


# Intraday

MINUTES = seeded_bars(5, every(OPENS, MINUTE, 4), price=100)


@pytest.mark.parametrize(
    ("last", "traded", "kept"),
    [
        (MINUTES[-1].ts + timedelta(seconds=23), None, 4),  # the last trade, in the middle of a minute
        (MINUTES[-1].ts + MINUTE, MINUTES[-1].ts + MINUTE, 4),  # on the full minute, as at the close
        (MINUTES[-1].ts + MINUTE, None, 5),  # a bar like the others
    ],
)
def test_the_row_of_the_last_trade_is_no_bar(last: datetime, traded: datetime | None, kept: int) -> None:
    result = sent([*MINUTES, MINUTES[-1]._replace(ts=last)], timeframe="1m")
    result["meta"]["regularMarketTime"] = int((traded or instant(2020, 9, 1, 22)).timestamp())
    assert read("X", result, MINUTE).rows.height == kept


def test_a_split_told_by_a_later_part_restates_the_earlier_ones_and_counts_once() -> None:
    split = Action(DAY + timedelta(days=1), "split", 4.0)
    after = [bar._replace(ts=bar.ts + timedelta(days=1)) for bar in MINUTES]
    result = sent([*MINUTES, *after], [split], timeframe="1m")
    whole = read("X", result, MINUTE)
    parts = [whole.between(OPENS, after[0].ts), whole.between(after[0].ts, after[0].ts + timedelta(days=1))]
    bars = join("X", parts).bars
    assert bars["close"].to_list() == [bar.close for bar in (*MINUTES, *after)]
    assert join("X", parts).actions.rows() == [("X", split.ex_date, "split", 4.0)]
    assert join("X", []).bars.is_empty()
