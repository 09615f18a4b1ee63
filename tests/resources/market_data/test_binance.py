"""The Binance provider, through the real python-binance client, against a venue on loopback."""

from __future__ import annotations

import itertools
import random
import traceback
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from resources.calendars import sessions
from resources.config import ExcludedRow
from resources.errors import (
    AccessDeniedError,
    BadAnswerError,
    BarSchemaError,
    ConfigError,
    NoDataError,
    NotOfferedError,
    ProviderError,
    ProviderTimeoutError,
    RateLimitedError,
    UnknownSymbolError,
)
from resources.market_data import binance_translate as translate
from resources.market_data.base import ACTION_SCHEMA, BAR_SCHEMA, INSTRUMENT_SCHEMA
from resources.market_data.binance import LENGTHS, Binance
from resources.market_data.binance_client import PATIENCE_SECONDS, buckets
from resources.market_data.binance_translate import FUNDING_SCHEMA
from resources.market_data.pacing import TokenBucket
from resources.market_data.ticks import TRADE_SCHEMA
from tests.venues.binance import BinanceVenue, Funding
from tests.venues.market import Bar, Fault, Listing, Market, Quote, Trade, VenueClock, every, instant, seeded_bars

NOW = instant(2024, 3, 11, 12, 30, 20)  # a Monday; by this machine's clock all of it is long over
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
PRICES = ("open", "high", "low", "close", "volume")

LISTINGS = [
    Listing("BTCUSDT", "crypto", currency="USDT", underlying="BTC", tick=0.01, lot=1e-05, minimum_notional=5.0),
    Listing("ETHBTC", "crypto", currency="BTC", underlying="ETH", tick=1e-05, lot=0.0001, minimum_notional=0.0001),
    Listing(
        "BTCUSDT.P", "future", currency="USDT", underlying="BTC", tick=0.1, lot=0.001, minimum_notional=100.0,
        perpetual=True,
    ),
    Listing(
        "BTCUSDT.240329", "future", currency="USDT", underlying="BTC", tick=0.1, lot=0.001, minimum_notional=5.0,
        expiry=date(2024, 3, 29),
    ),
    Listing(
        "BTCUSDT.240628", "future", currency="USDT", underlying="BTC", tick=0.1, lot=0.001, minimum_notional=5.0,
        expiry=date(2024, 6, 28),
    ),
    Listing("SOLUSDT.P", "future", currency="USDT", underlying="SOL", perpetual=True),
]  # fmt: skip


class Desk:
    """A venue, and providers that wait by the venue's clock alone."""

    def __init__(self, **venue: Any) -> None:
        self.market = Market(clock=VenueClock(NOW))
        self.market.add(*LISTINGS)
        self.venue = BinanceVenue(self.market, **venue)
        self.pauses: list[float] = []

    def binance(self, **options: Any) -> Binance:
        options = {"timeout_seconds": 5.0, "threads": 1, "sleep": self.sleep, "paces": self.paces()} | options
        return Binance(client=self.venue.client(), **options)

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.market.clock.advance(seconds)

    def seconds(self) -> float:
        return self.market.clock.truth.timestamp()

    def paces(self) -> dict[str, TokenBucket]:
        return {
            name: TokenBucket(each.per_second, each.burst, clock=self.seconds, sleep=self.sleep)
            for name, each in buckets().items()
        }

    def asked(self, part: str) -> list[dict[str, str]]:
        """The queries of the requests whose path contains `part`."""
        return [request.query for request in list(self.venue.requests) if part in request.path]


@pytest.fixture
def desk(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Desk]]:
    monkeypatch.delenv("BINANCE_API_KEY", raising=False)
    monkeypatch.delenv("BINANCE_API_SECRET", raising=False)
    opened: list[Desk] = []

    def open_desk(**venue: Any) -> Desk:
        opened.append(Desk(**venue))
        opened[-1].venue.__enter__()
        return opened[-1]

    yield open_desk
    for each in opened:
        each.venue.__exit__()


def minutes(count: int, seed: int = 1) -> list[Bar]:
    return seeded_bars(seed, every(instant(2024, 3, 1), MINUTE, count), price=60_000.0, tick=0.01, lot=1e-05)


def days(first: datetime, count: int) -> list[Bar]:
    return seeded_bars(2, every(first, DAY, count), price=60_000.0, tick=0.01, lot=1e-05)


def bars_in(frame: pl.LazyFrame, symbol: str | None = None) -> list[Bar]:
    rows = frame.filter(pl.col("symbol") == symbol) if symbol else frame
    return [Bar(*row) for row in rows.select("ts", *PRICES).collect().rows()]


def trades_in(frame: pl.LazyFrame) -> list[tuple[Any, ...]]:
    return frame.select("ts", "price", "size", "trade_id", "side").collect().rows()


def as_rows(trades: list[Trade]) -> list[tuple[Any, ...]]:
    return [(each.ts, each.price, each.size, str(each.trade_id), each.side) for each in trades]


def trading(at: Desk, symbol: str, trades: list[Trade]) -> list[Trade]:
    """Put trades on the market, and the hourly candles that go with them."""
    at.market.set_trades(symbol, trades)
    hours = sorted({each.ts.replace(minute=0, second=0, microsecond=0) for each in trades})
    span = every(hours[0] - HOUR, HOUR, (hours[-1] - hours[0]) // HOUR + 3)  # quiet hours have candles as well
    at.market.set_bars(symbol, "1h", [Bar(hour, 1.0, 1.0, 1.0, 1.0, 0.0) for hour in span])
    return trades


# bars


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


# trades


def moments(first: datetime, count: int, step: timedelta, seed: int = 4) -> list[Trade]:
    """Trades of which many share a millisecond, numbered from 553287559 on."""
    rng = random.Random(seed)
    trades, ts = [], first
    for number in range(count):
        ts += step * rng.choice((0, 0, 1, 2))
        price, size = 60_000 + rng.randint(-500, 500) / 100, rng.randint(1, 10**6) / 10**5
        trades.append(Trade(ts, price, size, 553287559 + number, rng.choice(("buy", "sell"))))
    return trades


@pytest.mark.parametrize("symbol", ["BTCUSDT", "BTCUSDT.P"])
@pytest.mark.parametrize("count", [1, 999, 1000, 1001, 3456])
def test_pages_of_trades_join_without_a_loss_or_a_double(desk: Callable[..., Desk], symbol: str, count: int) -> None:
    at = desk()
    trades = trading(at, symbol, moments(instant(2024, 3, 1, 0, 59), count, timedelta(milliseconds=37)))
    frame = at.binance().trades([symbol], instant(2024, 3, 1), instant(2024, 3, 2))
    assert frame.collect_schema() == TRADE_SCHEMA
    assert trades_in(frame) == as_rows(trades)
    assert (frame.collect()["known_at"] == frame.collect()["ts"]).all()


def test_trades_are_from_start_to_before_end_however_they_lie_on_pages(desk: Callable[..., Desk]) -> None:
    at = desk()
    trades = trading(at, "BTCUSDT", moments(instant(2024, 3, 1, 7, 59, 50), 3000, timedelta(milliseconds=25)))
    stamps = [trades[at].ts for at in (0, 1, 500, 999, 1000, 1001, 2500, 2999)]
    for start, end in itertools.combinations(sorted({*stamps, stamps[0] - 2 * MINUTE, stamps[-1] + DAY}), 2):
        expected = as_rows([each for each in trades if start <= each.ts < end])
        if not expected:
            assert end == stamps[0]
            continue
        assert trades_in(at.binance().trades(["BTCUSDT"], start, end)) == expected


def test_the_first_trade_is_found_over_quiet_hours_without_asking_for_each(desk: Callable[..., Desk]) -> None:
    at = desk()
    early = Trade(instant(2024, 2, 1, 0, 10), 1.0, 1.0, 7, "buy")
    late = Trade(instant(2024, 3, 1, 23, 59, 59), 2.0, 1.0, 8, "sell")
    trading(at, "ETHBTC", [early, late])
    frame = at.binance().trades(["ETHBTC"], instant(2024, 2, 1, 0, 30), instant(2024, 3, 3))
    assert trades_in(frame) == as_rows([late])
    assert at.asked("aggTrades")[0]["startTime"] == str(int(instant(2024, 2, 1, 0, 30).timestamp() * 1000))
    assert len(at.asked("aggTrades")) == 3  # the hour whose trade was earlier, the hour with one, and after it
    with pytest.raises(NoDataError, match="ETHBTC from 2024-02-02 to 2024-02-20"):
        at.binance().trades(["ETHBTC"], instant(2024, 2, 2), instant(2024, 2, 20))


def test_the_side_is_the_takers() -> None:
    row = {"a": 1, "p": "2.00000000", "q": "3.00000000", "f": 1, "l": 1, "T": 1_700_000_000_123, "M": True}
    rows = [row | {"m": True}, row | {"a": 2, "m": False}]  # was the buyer the maker?
    frame = translate.agg_trades("X", rows)
    assert frame["side"].to_list() == ["sell", "buy"]
    assert frame["ts"][0] == datetime(2023, 11, 14, 22, 13, 20, 123_000, tzinfo=UTC)


def test_instants_without_a_zone_are_refused(desk: Callable[..., Desk]) -> None:
    with pytest.raises(ConfigError, match="need a time zone"):
        desk().binance().trades(["BTCUSDT"], datetime(2024, 3, 1), datetime(2024, 3, 2))


def test_real_trades_come_through_the_wire_as_they_are(desk: Callable[..., Desk], shared_data: Path) -> None:
    real = pl.read_parquet(shared_data / "multi_asset" / "ticks_btcusdt_trades.parquet").head(2500)
    # The file's sizes went through arithmetic (0.00031099999999999997); Binance writes eight digits.
    real = real.sort("trade_id").with_columns(pl.col("size").round(8))
    sides = {True: "sell", False: "buy"}
    columns = ("ts", "price", "size", "trade_id", "buyer_is_maker")
    at = desk()
    trades = trading(at, "BTCUSDT", [Trade(*row[:4], sides[row[4]]) for row in real.select(columns).rows()])
    frame = at.binance().trades(["BTCUSDT"], instant(2021, 1, 8), instant(2021, 1, 9))
    assert trades_in(frame) == as_rows(trades)


# instruments, futures, funding, what is not offered


def test_instruments_come_from_the_exchange_filters(desk: Callable[..., Desk]) -> None:
    frame = desk(onboard={"BTCUSDT.P": date(2019, 9, 8)}).binance().instruments(["ETHBTC", "BTCUSDT.P", "BTCUSDT"])
    assert frame.schema == INSTRUMENT_SCHEMA
    names = (
        "symbol",
        "asset_class",
        "currency",
        "underlying",
        "tick",
        "lot",
        "minimum_notional",
        "perpetual",
        "listed",
    )
    assert frame.select(names).rows() == [
        ("BTCUSDT", "crypto", "USDT", "BTC", 0.01, 1e-05, 5.0, False, None),
        ("BTCUSDT.P", "future", "USDT", "BTC", 0.1, 0.001, 100.0, True, date(2019, 9, 8)),
        ("ETHBTC", "crypto", "BTC", "ETH", 1e-05, 0.0001, 0.0001, False, None),
    ]
    assert frame.select("venue", "calendar", "multiplier").unique().rows() == [("BINANCE", "24/7", 1.0)]


def test_the_older_name_of_the_notional_filter_and_rules_that_are_off() -> None:
    filters = [
        {"filterType": "PRICE_FILTER", "tickSize": "0.00000000"},
        {"filterType": "MIN_NOTIONAL", "minNotional": "10.00000000"},
    ]
    listed = {"symbols": [{"symbol": "OLDBTC", "baseAsset": "OLD", "quoteAsset": "BTC", "filters": filters}]}
    row = translate.instruments("spot", listed).row(0, named=True)
    assert (row["tick"], row["lot"], row["minimum_notional"]) == (None, None, 10.0)


def test_futures_are_the_dated_contracts_with_their_expiry(desk: Callable[..., Desk]) -> None:
    at = desk(onboard={"BTCUSDT.240628": date(2024, 1, 5)})
    columns = ("symbol", "expiry", "perpetual", "asset_class")
    assert at.binance().futures("BTCUSDT", date(2024, 3, 11)).select(columns).rows() == [
        ("BTCUSDT.240329", date(2024, 3, 29), False, "future"),
        ("BTCUSDT.240628", date(2024, 6, 28), False, "future"),
    ]
    assert at.binance().futures("BTCUSDT", date(2024, 1, 4))["symbol"].to_list() == ["BTCUSDT.240329"]
    assert at.binance().futures("BTCUSDT", date(2024, 4, 1))["symbol"].to_list() == ["BTCUSDT.240628"]


def test_futures_of_a_day_whose_contracts_are_gone_are_not_offered(desk: Callable[..., Desk]) -> None:
    with pytest.raises(NotOfferedError, match="delivered on 2023-12-29 are no longer listed"):
        desk().binance().futures("BTCUSDT", date(2023, 12, 29))
    assert len(desk().binance().futures("BTCUSDT", date(2023, 12, 30))) == 2


def test_a_pair_without_dated_futures_and_one_that_is_unknown(desk: Callable[..., Desk]) -> None:
    with pytest.raises(NoDataError, match="no dated futures"):
        desk().binance().futures("SOLUSDT", date(2024, 3, 11))
    with pytest.raises(UnknownSymbolError, match="binance has no ES"):
        desk().binance().futures("ES", date(2024, 3, 11))


def test_funding_rates_of_perpetuals(desk: Callable[..., Desk]) -> None:
    stamps = every(instant(2023, 1, 1), 8 * HOUR, 1200)
    paid = [
        Funding(ts + timedelta(milliseconds=at % 5), (at - 600) / 1e7, None if at < 10 else 60_000.5)
        for at, ts in enumerate(stamps)
    ]
    at = desk(funding={"BTCUSDT.P": paid})
    frame = at.binance().funding_rates(["BTCUSDT.P"], date(2023, 1, 1), date(2024, 12, 31))
    assert frame.collect_schema() == FUNDING_SCHEMA
    assert frame.select("ts", "rate", "mark_price").collect().rows() == paid
    one_day = at.binance().funding_rates(["BTCUSDT.P"], date(2023, 1, 2), date(2023, 1, 2)).collect()
    assert one_day["ts"].to_list() == [each.ts for each in paid[3:6]]
    with pytest.raises(NotOfferedError, match=r"no funding rates of BTCUSDT: only perpetuals, BTCUSDT\.P"):
        at.binance().funding_rates(["BTCUSDT"], date(2023, 1, 1), date(2023, 1, 2))
    with pytest.raises(NoDataError):
        at.binance().funding_rates(["SOLUSDT.P"], date(2023, 1, 1), date(2023, 1, 2))


def test_what_binance_does_not_have_it_says_by_name(desk: Callable[..., Desk]) -> None:
    binance = desk().binance()
    with pytest.raises(NotOfferedError, match="binance has no history of quotes; it has bars of 1m, 5m"):
        binance.quotes(["BTCUSDT"], instant(2024, 3, 1), instant(2024, 3, 2))
    with pytest.raises(NotOfferedError, match="binance has no option chains"):
        binance.option_chain("BTC", date(2024, 3, 1))
    with pytest.raises(NotOfferedError, match="binance has no bars of '2h'; it has 1m, 5m, 15m, 30m, 1h, 4h, 1d"):
        binance.bars(["BTCUSDT"], date(2024, 3, 1), date(2024, 3, 1), "2h")


def test_corporate_actions_of_a_listed_symbol_are_none(desk: Callable[..., Desk]) -> None:
    actions = desk().binance().corporate_actions(["BTCUSDT", "BTCUSDT.P"], date(2020, 1, 1), date(2024, 1, 1))
    assert actions.collect_schema() == ACTION_SCHEMA
    assert actions.collect().is_empty()


# faults

CLOCK_APART = '{"code": -1021, "msg": "Timestamp for this request is outside of the recvWindow."}'
STALE = '[[1709164800000, "1", "1", "1", "1", "1", 1709164859999, "1", 1, "1", "1", "0"]]'  # of the day before
FRESH = STALE.replace("17091648", "17092512")
TWICE = FRESH[:-1] + "," + FRESH[1:]
NO_NUMBER = FRESH.replace('"1"', '"x"')
ASKEW = FRESH.replace("1709251200000", "1709251200001")
FAULTS = [  # what the venue does, the error that it is in the end, what the message says
    ("429", Fault("status", 429), RateLimitedError, r"BTCUSDT: Binance refuses more requests \(429\)"),
    ("418", Fault("status", 418), RateLimitedError, r"refuses more requests \(418\)"),
    ("-1003", Fault("status", 400, body='{"code": -1003, "msg": "Too many."}'), RateLimitedError, "refuses more"),
    ("500", Fault("status", 500), BadAnswerError, "BTCUSDT: Binance answered 500: An unknown error"),
    ("504 after the read", Fault("applied", 504), BadAnswerError, "answered 504: Timeout waiting"),
    ("-1001", Fault("status", 400, body='{"code": -1001, "msg": "Inside."}'), BadAnswerError, "answered 400: Inside"),
    ("500 null", Fault("status", 500, body="null"), BadAnswerError, "a refusal that says nothing"),
    ("503 html", Fault("html", 503), BadAnswerError, "answered 503.*DOCTYPE"),
    ("html", Fault("html"), BadAnswerError, "no JSON.*DOCTYPE"),
    ("truncated", Fault("truncated"), BadAnswerError, "BTCUSDT: Binance sent no JSON"),
    ("cut off", Fault("cut off"), BadAnswerError, "BTCUSDT: Binance's answer broke off"),
    ("empty", Fault("empty"), BadAnswerError, "candles are not laid out as expected"),
    ("null", Fault("status", 200, body="null"), BadAnswerError, "candles are not laid out as expected"),
    ("an object", Fault("status", 200, body='{"code": 0}'), BadAnswerError, "candles are not laid out"),
    ("half a row", Fault("status", 200, body="[[1709251200000]]"), BadAnswerError, "candles are not laid out"),
    ("no number", Fault("status", 200, body=NO_NUMBER), BadAnswerError, "candles are not laid out"),
    ("a stale page", Fault("status", 200, body=STALE), BadAnswerError, "from before the page"),
    ("rows twice", Fault("status", 200, body=TWICE), BadAnswerError, "rows twice"),
    ("off the timeframe", Fault("status", 200, body=ASKEW), BadAnswerError, "does not begin on its timeframe"),
    ("dropped", Fault("drop"), BadAnswerError, "BTCUSDT: Binance's answer broke off"),
]  # fmt: skip
IDS = [fault[0] for fault in FAULTS]


@pytest.mark.parametrize(("fault", "error", "says"), [case[1:] for case in FAULTS], ids=IDS)
def test_a_lasting_fault_is_an_error_of_its_kind_after_a_bounded_number_of_tries(
    desk: Callable[..., Desk], fault: Fault, error: type[ProviderError], says: str
) -> None:
    at = desk()
    at.market.faults.add("klines", fault, times=None)
    with pytest.raises(error, match=says):
        at.binance().bars(["BTCUSDT"], date(2024, 3, 1), date(2024, 3, 1), "1m")
    assert len(at.asked("klines")) == 5
    assert len(at.pauses) == 4


@pytest.mark.parametrize("fault", [case[1] for case in FAULTS], ids=IDS)
def test_a_passing_fault_on_any_page_loses_and_doubles_nothing(desk: Callable[..., Desk], fault: Fault) -> None:
    at = desk()
    at.market.set_bars("BTCUSDT", "1m", minutes(2500))
    trades = trading(at, "ETHBTC", moments(instant(2024, 3, 1, 0, 59), 2500, timedelta(milliseconds=37)))
    for page in range(3):
        at.market.faults.add("klines", fault, times=2, skip=0 if page == 0 else 1)
        at.market.faults.add("aggTrades", fault, times=1, skip=0 if page == 0 else 1)
    frame = at.binance().bars(["BTCUSDT"], date(2024, 3, 1), date(2024, 3, 2), "1m")
    assert bars_in(frame) == at.market.bars["BTCUSDT", "1m"]
    assert trades_in(at.binance().trades(["ETHBTC"], instant(2024, 3, 1), instant(2024, 3, 2))) == as_rows(trades)
    assert len(at.market.faults.fired) == 9


def test_the_client_itself_never_asks_again(desk: Callable[..., Desk]) -> None:
    from binance.exceptions import BinanceAPIException

    at = desk()
    at.market.faults.add("klines", Fault("status", 429, retry_after=1.0))
    with pytest.raises(BinanceAPIException):
        at.venue.client()().get_klines(symbol="BTCUSDT", interval="1m")
    assert len(at.asked("klines")) == 1


@pytest.mark.parametrize("status", [429, 418])
def test_retry_after_is_waited_for_before_anything_else_is_sent(desk: Callable[..., Desk], status: int) -> None:
    at = desk()
    at.market.set_bars("BTCUSDT", "1m", minutes(5))
    at.market.faults.add("klines", Fault("status", status, retry_after=30.0))
    before = at.market.clock.now()
    bars = bars_in(at.binance().bars(["BTCUSDT"], date(2024, 3, 1), date(2024, 3, 1), "1m"))
    assert len(bars) == 5
    assert timedelta(seconds=30) <= at.market.clock.now() - before < timedelta(seconds=31)


def test_a_refusal_holds_up_every_thread_and_not_only_its_own(desk: Callable[..., Desk]) -> None:
    at = desk()
    at.market.set_bars("BTCUSDT", "1m", minutes(5))
    at.market.faults.add("klines", Fault("status", 429, retry_after=30.0))
    binance = at.binance(sleep=lambda _: None)  # whoever was refused does not wait itself: the bucket makes it
    assert len(bars_in(binance.bars(["BTCUSDT"], date(2024, 3, 1), date(2024, 3, 1), "1m"))) == 5
    assert sum(at.pauses) == pytest.approx(30.0, abs=1.0)


def test_a_ban_longer_than_our_patience_is_told_at_once(desk: Callable[..., Desk]) -> None:
    at = desk()
    at.market.faults.add("klines", Fault("status", 418, retry_after=PATIENCE_SECONDS + 1))
    with pytest.raises(RateLimitedError, match="it asks to wait 121 s") as caught:
        at.binance().bars(["BTCUSDT"], date(2024, 3, 1), date(2024, 3, 1), "1m")
    assert caught.value.retry_after == 121.0
    assert at.pauses == []


def test_the_weights_of_a_long_download_keep_within_the_limit(desk: Callable[..., Desk]) -> None:
    at = desk(limits=(60, 60))
    at.market.set_bars("BTCUSDT", "1m", minutes(14_400))
    at.market.set_bars("BTCUSDT.P", "1m", minutes(14_400))
    paces = {name: TokenBucket(0.9, 6, clock=at.seconds, sleep=at.sleep) for name in ("spot", "futures")}
    frame = at.binance(paces=paces).bars(["BTCUSDT", "BTCUSDT.P"], date(2024, 3, 1), date(2024, 3, 10), "1m")
    assert frame.collect().height == 28_800
    assert max(at.venue.used.values()) <= 60
    assert sum(at.pauses) > 60  # or nothing of it would have been seen


def test_weights_used_up_by_others_make_it_pause_until_they_are_free(desk: Callable[..., Desk]) -> None:
    at = desk()
    at.market.set_bars("BTCUSDT", "1m", minutes(14_400))
    minute = at.market.clock.now().replace(second=0, microsecond=0)
    at.venue.used["/api/v3/", minute] = 5750  # another program on this address
    frame = at.binance().bars(["BTCUSDT"], date(2024, 3, 1), date(2024, 3, 10), "1m")
    assert bars_in(frame) == at.market.bars["BTCUSDT", "1m"]
    assert minute + MINUTE <= at.market.clock.now() < minute + MINUTE + timedelta(seconds=2)
    assert at.venue.used["/api/v3/", minute] < 5770


def test_a_stamp_refused_for_the_clock_is_set_right_once(desk: Callable[..., Desk]) -> None:
    at = desk()
    at.market.set_bars("BTCUSDT", "1m", minutes(5))
    at.market.faults.add("klines", Fault("status", 400, body=CLOCK_APART))
    binance = at.binance()
    assert len(bars_in(binance.bars(["BTCUSDT"], date(2024, 3, 1), date(2024, 3, 1), "1m"))) == 5
    assert len(at.asked("time")) == 2  # for the bars' own now, and to set the clock
    ahead = binance._venue._client.timestamp_offset / 1000
    assert abs(datetime.now(UTC).timestamp() + ahead - NOW.timestamp()) < 5
    assert at.pauses == []


def test_clocks_that_stay_apart_are_an_error(desk: Callable[..., Desk]) -> None:
    at = desk()
    at.market.faults.add("klines", Fault("status", 400, body=CLOCK_APART), times=None)
    with pytest.raises(ProviderError, match="BTCUSDT: this machine's clock and Binance's are apart"):
        at.binance().bars(["BTCUSDT"], date(2024, 3, 1), date(2024, 3, 1), "1m")
    assert len(at.asked("klines")) == 2


DENIED = [
    (Fault("status", 401, body='{"code": -2015, "msg": "Invalid API-key, IP, or permissions."}'), "denies access"),
    (Fault("status", 400, body='{"code": -2014, "msg": "API-key format invalid."}'), "API-key format invalid"),
    (Fault("html", 403), r"denies access \(403"),
    (Fault("status", 451, body='{"code": 0, "msg": "restricted location"}'), "does not serve this location"),
]


@pytest.mark.parametrize(("fault", "says"), DENIED)
def test_a_denied_access_is_told_at_once(desk: Callable[..., Desk], fault: Fault, says: str) -> None:
    at = desk()
    at.market.faults.add("klines", fault, times=None)
    with pytest.raises(AccessDeniedError, match=says):
        at.binance().bars(["BTCUSDT"], date(2024, 3, 1), date(2024, 3, 1), "1m")
    assert at.pauses == []


def test_a_slow_answer_times_out(desk: Callable[..., Desk]) -> None:
    at = desk()
    at.market.faults.add("klines", Fault("slow"), times=None)
    with pytest.raises(ProviderTimeoutError, match=r"BTCUSDT: Binance did not answer within 0\.5 s"):
        at.binance(timeout_seconds=0.5).bars(["BTCUSDT"], date(2024, 3, 1), date(2024, 3, 1), "1m")
    assert len(at.pauses) == 4


def test_a_venue_that_is_gone_is_one_clear_error() -> None:
    at = Desk()
    client = at.venue.client()
    with at.venue:
        pass
    with pytest.raises(ProviderError, match=r"Binance cannot be reached \(.*refused.*Check the network") as caught:
        Binance(client=client, sleep=at.sleep).bars(["BTCUSDT"], date(2024, 3, 1), date(2024, 3, 1))
    assert type(caught.value) is ProviderError
    assert at.pauses == []


@pytest.mark.parametrize("fault", [Fault("status", 503), Fault("html"), Fault("drop"), Fault("status", 429)])
def test_a_fault_while_connecting_is_overcome(desk: Callable[..., Desk], fault: Fault) -> None:
    at = desk()
    at.market.set_bars("BTCUSDT", "1m", minutes(5))
    at.market.faults.add("ping", fault, times=2)
    assert len(bars_in(at.binance().bars(["BTCUSDT"], date(2024, 3, 1), date(2024, 3, 1), "1m"))) == 5


ECHOES = [
    Fault("status", 400, body='{"code": -1102, "msg": "key SECRET-KEY secret SECRET-SECRET"}'),
    Fault("status", 500, body="<html>X-MBX-APIKEY: SECRET-KEY SECRET-SECRET</html>"),
    Fault("status", 200, body="<html>X-MBX-APIKEY: SECRET-KEY SECRET-SECRET</html>"),
]


@pytest.mark.parametrize("fault", ECHOES)
def test_keys_are_sent_and_never_shown(
    desk: Callable[..., Desk], fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = desk()
    monkeypatch.setenv("BINANCE_API_KEY", "SECRET-KEY\n")
    monkeypatch.setenv("BINANCE_API_SECRET", "SECRET-SECRET")
    at.market.faults.add("klines", fault, times=None)
    binance = at.binance()
    with pytest.raises(ProviderError, match=r"\*\*\*") as caught:
        binance.bars(["BTCUSDT"], date(2024, 3, 1), date(2024, 3, 1), "1m")
    assert at.venue.requests[-1].headers["x-mbx-apikey"] == "SECRET-KEY"
    shown = "".join(traceback.format_exception(caught.value)) + repr(binance) + repr(vars(binance))
    assert "SECRET" not in shown


# the venue itself, as the real client sees it


def test_the_venue_is_binance_to_the_client(desk: Callable[..., Desk]) -> None:
    at = desk()
    at.market.set_bars("BTCUSDT", "1m", minutes(1500))
    at.market.set_quotes("BTCUSDT", [Quote(instant(2024, 3, 1), 59_999.5, 1.5, 60_000.5, 2.5)])
    at.market.set_bars("BTCUSDT.P", "1m", minutes(3))
    trades = trading(at, "BTCUSDT", moments(instant(2024, 3, 11, 12, 20), 1200, timedelta(milliseconds=10)))
    client = at.venue.client()()
    first = int(instant(2024, 3, 1).timestamp() * 1000)
    assert client.get_server_time() == {"serverTime": int(NOW.timestamp() * 1000)}
    assert client.get_symbol_info("ETHBTC")["quoteAsset"] == "BTC"
    assert len(client.get_historical_klines("BTCUSDT", "1m", first)) == 1500
    assert len(client.get_klines(symbol="BTCUSDT", interval="1m")) == 500
    last = int(instant(2024, 3, 11, 12, 15).timestamp() * 1000)
    assert [each["a"] for each in client.aggregate_trade_iter("BTCUSDT", last)] == [each.trade_id for each in trades]
    assert client.get_orderbook_ticker(symbol="BTCUSDT")["bidPrice"] == "59999.50000000"
    assert client.get_order_book(symbol="BTCUSDT")["asks"] == [["60000.50000000", "2.50000000"]]
    assert client.futures_time() == client.get_server_time()
    assert len(client.futures_klines(symbol="BTCUSDT", interval="1m", startTime=first)) == 3
    assert int(client.response.headers["X-MBX-USED-WEIGHT-1M"]) == 1 + 5


def test_old_trades_need_a_key(desk: Callable[..., Desk]) -> None:
    from binance.exceptions import BinanceAPIException

    at = desk()
    trades = trading(at, "BTCUSDT", moments(instant(2024, 3, 1), 20, MINUTE))
    with pytest.raises(BinanceAPIException, match="-2014"):
        at.venue.client()().get_historical_trades(symbol="BTCUSDT")
    old = at.venue.client()("key", "secret").get_historical_trades(symbol="BTCUSDT", fromId=trades[5].trade_id, limit=2)
    assert [each["id"] for each in old] == [trades[5].trade_id, trades[6].trade_id]


def test_the_venue_refuses_an_hour_between_times_and_a_number_beside_them(desk: Callable[..., Desk]) -> None:
    from binance.exceptions import BinanceAPIException

    client = desk().venue.client()()
    for code, query in [
        (-1127, {"startTime": 0, "endTime": 3_600_001}),
        (-1128, {"startTime": 0, "fromId": 1}),
    ]:
        with pytest.raises(BinanceAPIException) as caught:
            client.get_aggregate_trades(symbol="BTCUSDT", **query)
        assert caught.value.code == code


def test_the_clients_other_addresses_lead_nowhere(desk: Callable[..., Desk]) -> None:
    from binance.exceptions import BinanceAPIException

    with pytest.raises(BinanceAPIException, match="404"):
        desk().venue.client()().get_products()
