"""Binance's bars, through python-binance, against a venue on loopback."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from datetime import date, datetime

import pytest

from resources.calendars import sessions
from resources.config import ExcludedRow
from resources.errors import BarSchemaError, NoDataError, UnknownSymbolError
from resources.market_data.base import BAR_SCHEMA
from resources.market_data.binance import translate
from resources.market_data.binance.provider import LENGTHS
from tests.resources.market_data.binance.binance_desk import NOW, PRICES, Desk, bars_in, days, desks, minutes
from tests.venues.market import Listing, every, instant, seeded_bars


@pytest.fixture
def desk() -> Iterator[Callable[..., Desk]]:
    with desks() as open_desk:
        yield open_desk


@pytest.mark.parametrize("symbol", ["BTCUSDT", "BTCUSDT.P", "BTCUSDT.240329"])
def test_daily_bars_lie_on_the_sessions_of_the_24_7_calendar(desk: Callable[..., Desk], symbol: str) -> None:
    at = desk()
    at.market.set_bars(symbol, "1d", days(instant(2024, 2, 27), 10))
    frame = at.binance().bars([symbol], date(2024, 2, 28), date(2024, 3, 4))
    held = sessions("24/7", date(2024, 2, 28), date(2024, 3, 4))  # over a leap day and a weekend
    assert frame.collect_schema() == BAR_SCHEMA
    assert frame.collect()["ts"].to_list() == held["open"].to_list()
    assert frame.collect()["known_at"].to_list() == held["close"].to_list()
    assert bars_in(frame) == at.market.bars[symbol, "1d"][1:7]
    assert set(frame.collect()["provider"]) == {"binance"}
    assert set(frame.collect()["fetched_at"]) == {NOW}


@pytest.mark.parametrize("timeframe", [each for each in LENGTHS if each != "1d"])
def test_intraday_bars_are_known_at_their_end(desk: Callable[..., Desk], timeframe: str) -> None:
    at = desk()
    length = LENGTHS[timeframe]
    at.market.set_bars("ETHBTC", timeframe, seeded_bars(3, every(instant(2024, 3, 2), length, 30), tick=1e-05))
    frame = at.binance().bars(["ETHBTC"], date(2024, 3, 2), date(2024, 3, 2), timeframe)
    within = [bar for bar in at.market.bars["ETHBTC", timeframe] if bar.ts < instant(2024, 3, 3)]
    assert bars_in(frame) == within
    assert frame.collect()["known_at"].to_list() == [bar.ts + length for bar in within]


@pytest.mark.parametrize(("count", "requests"), [(999, 2), (1000, 2), (1001, 3), (2500, 4), (2880, 3)])
def test_pages_join_without_a_loss_or_a_double(desk: Callable[..., Desk], count: int, requests: int) -> None:
    at = desk()
    at.market.set_bars("BTCUSDT", "1m", minutes(count))
    frame = at.binance().bars(["BTCUSDT"], date(2024, 3, 1), date(2024, 3, 2), "1m")
    assert bars_in(frame) == at.market.bars["BTCUSDT", "1m"]
    assert len(at.asked("klines")) == requests  # one to see that there is no more, unless the range is full


@pytest.mark.parametrize(
    ("now", "last"),
    [
        (instant(2024, 3, 1, 0, 4, 59), instant(2024, 3, 1, 0, 3)),
        (instant(2024, 3, 1, 0, 5), instant(2024, 3, 1, 0, 4)),
    ],
)
def test_a_candle_that_is_still_built_is_left_out_by_the_venues_clock(
    desk: Callable[..., Desk], now: datetime, last: datetime
) -> None:
    at = desk()
    at.market.clock.truth = now
    at.market.set_bars("BTCUSDT", "1m", minutes(30))
    assert bars_in(at.binance().bars(["BTCUSDT"], date(2024, 3, 1), date(2024, 3, 1), "1m"))[-1].ts == last


def test_a_day_that_is_not_over_is_no_bar(desk: Callable[..., Desk]) -> None:
    at = desk()
    at.market.set_bars("BTCUSDT", "1d", days(instant(2024, 3, 8), 4))  # the last is of the 11th, today
    bars = bars_in(at.binance().bars(["BTCUSDT"], date(2024, 3, 8), date(2024, 3, 31)))
    assert [bar.ts.day for bar in bars] == [8, 9, 10]
    with pytest.raises(NoDataError, match="BTCUSDT from 2024-03-11 to 2024-03-11"):
        at.binance().bars(["BTCUSDT"], date(2024, 3, 11), date(2024, 3, 11))


def test_a_range_in_the_future_is_no_data_and_not_asked_for(desk: Callable[..., Desk]) -> None:
    at = desk()
    with pytest.raises(NoDataError):
        at.binance().bars(["BTCUSDT"], date(2024, 3, 12), date(2024, 3, 13))
    assert at.asked("klines") == []


def test_an_outage_of_the_exchange_stays_a_gap(desk: Callable[..., Desk]) -> None:
    at = desk()
    bars = minutes(2000)
    kept = bars[:500] + bars[900:]  # 400 minutes of maintenance, across a page's border
    at.market.set_bars("BTCUSDT", "1m", kept)
    assert bars_in(at.binance().bars(["BTCUSDT"], date(2024, 3, 1), date(2024, 3, 2), "1m")) == kept


def test_decimal_text_is_parsed_to_the_nearest_float() -> None:
    rng = random.Random(5)
    texts = [[f"{rng.random() * 10 ** rng.randint(-6, 7):.8f}" for _ in PRICES] for _ in range(80)]
    rows = [[60_000 * at, *row, 60_000 * at + 59_999, "0", 1, "0", "0", "0"] for at, row in enumerate(texts)]
    frame = translate.klines("X", rows, first=0, step=60_000)
    assert [list(row) for row in frame.select(PRICES).rows()] == [[float(text) for text in row] for row in texts]


def test_several_symbols_at_once_are_the_same_as_one_after_the_other(desk: Callable[..., Desk]) -> None:
    at = desk()
    symbols = [f"C{number}USDT" for number in range(12)]
    for seed, symbol in enumerate(symbols):
        at.market.add(Listing(symbol, "crypto", currency="USDT", underlying=symbol[:-4]))
        at.market.set_bars(symbol, "1m", minutes(1200, seed))
    frame = at.binance(threads=4).bars([*symbols, "BTCUSDT"], date(2024, 3, 1), date(2024, 3, 1), "1m")
    for symbol in symbols:
        assert bars_in(frame, symbol) == at.market.bars[symbol, "1m"]
    assert frame.collect()["symbol"].n_unique() == 12  # BTCUSDT has no rows, and is absent


def test_one_symbols_failure_stops_the_others(desk: Callable[..., Desk]) -> None:
    at = desk()
    at.market.set_bars("BTCUSDT", "1m", minutes(15_000))
    with pytest.raises(UnknownSymbolError, match="binance has no NOPE"):
        at.binance(threads=2).bars(["NOPE", "BTCUSDT", "ETHBTC"], date(2024, 3, 1), date(2024, 3, 11), "1m")
    asked = [query["symbol"] for query in at.asked("klines")]
    assert asked.count("BTCUSDT") < 12  # given up between two of 16 pages
    assert asked.count("ETHBTC") <= 1  # hardly begun, or not at all


def test_an_excluded_row_is_left_out_and_a_wrong_one_named(desk: Callable[..., Desk]) -> None:
    at = desk()
    good = days(instant(2024, 3, 1), 3)
    at.market.set_bars("BTCUSDT", "1d", [good[0], good[1]._replace(low=0.0), good[2]])
    with pytest.raises(BarSchemaError, match=r"BTCUSDT 2024-03-02: low is 0\.0"):
        at.binance().bars(["BTCUSDT"], date(2024, 3, 1), date(2024, 3, 3))
    exclude = [ExcludedRow(symbol="BTCUSDT", session=date(2024, 3, 2), reason="no low")]
    frame = at.binance(exclude=exclude).bars(["BTCUSDT"], date(2024, 3, 1), date(2024, 3, 3))
    assert bars_in(frame) == [good[0], good[2]]


@pytest.mark.parametrize("symbol", ["NOPE", "NOPE.P", "BTCUSDT.241231", "BTCUSDT.X", "BTCUSDT.2406"])
def test_an_unknown_symbol_is_named_and_asked_for_once(desk: Callable[..., Desk], symbol: str) -> None:
    at = desk()
    for ask in (
        lambda: at.binance().bars([symbol], date(2024, 3, 1), date(2024, 3, 1)),
        lambda: at.binance().trades([symbol], instant(2024, 3, 1), instant(2024, 3, 2)),
        lambda: at.binance().instruments([symbol]),
        lambda: at.binance().corporate_actions([symbol], date(2024, 3, 1), date(2024, 3, 1)),
    ):
        with pytest.raises(UnknownSymbolError, match=f"binance has no {symbol}"):
            ask()
    assert at.pauses == []
