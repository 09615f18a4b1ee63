"""The Interactive Brokers provider: the real client library against a gateway on loopback, fault by fault."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest

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
from resources.market_data import ib_translate
from resources.market_data.base import BAR_SCHEMA, INSTRUMENT_SCHEMA
from resources.market_data.continuous import Held, back_adjusted
from resources.market_data.ib import InteractiveBrokers
from resources.market_data.pacing import TokenBucket
from resources.market_data.ticks import QUOTE_SCHEMA, TRADE_SCHEMA
from tests.venues.ib import IBGateway
from tests.venues.market import (
    Bar,
    Fault,
    Listing,
    Market,
    Quote,
    Trade,
    VenueClock,
    every,
    instant,
    seeded_bars,
    seeded_trades,
)

EVENING = instant(2024, 3, 13, 22)
MONDAY, TUESDAY, WEDNESDAY = date(2024, 3, 11), date(2024, 3, 12), date(2024, 3, 13)
MINUTE = timedelta(minutes=1)
OPENS = [
    instant(2024, 3, 8, 14, 30),
    *(instant(2024, 3, day, 13, 30) for day in (11, 12, 13)),
]  # New York's clock moved


def a_market() -> Market:
    market = Market(VenueClock(EVENING))
    market.add(
        Listing("AAPL", name="Apple Inc"),
        Listing("BRK.B", venue="NYSE"),
        Listing("VOD.LSE", venue="LSE", currency="GBP"),
        Listing("EUR.USD", "forex", venue="IDEALPRO", tick=0.00005, lot=0.01),
        Listing("USD.JPY", "forex", venue="IDEALPRO", currency="JPY", tick=0.005),
        *(
            Listing(f"ES.{day:%Y%m}", "future", venue="CME", tick=0.25, multiplier=50, expiry=day, underlying="ES")
            for day in (date(2023, 12, 15), date(2024, 3, 15), date(2024, 6, 21))
        ),
        *(option(day, strike, right) for day, strike, right in CHAIN),
    )
    market.set_bars("AAPL", "1d", seeded_bars(1, OPENS, price=170))
    market.set_bars("BRK.B", "1d", seeded_bars(2, OPENS, price=400))
    market.set_bars("AAPL", "1m", [bar for opens in OPENS for bar in seeded_bars(3, every(opens, MINUTE, 390))])
    market.set_bars("EUR.USD", "1h", seeded_bars(4, every(instant(2024, 3, 10, 22), timedelta(hours=1), 72), tick=1e-4))
    market.set_bars("ES.202403", "1d", seeded_bars(5, [instant(2024, 3, day, 22) for day in (10, 11, 12)], tick=0.25))
    return market


CHAIN = [  # not every strike at every expiry
    (date(2024, 3, 8), 170.0, "call"),
    (date(2024, 3, 15), 170.0, "call"),
    (date(2024, 3, 15), 170.0, "put"),
    (date(2024, 4, 19), 172.5, "call"),
]


def option(expiry: date, strike: float, right: str) -> Listing:
    name = f"AAPL{expiry:%y%m%d}{right[0].upper()}{round(strike * 1000):08d}"
    return Listing(
        name, "option", venue="CBOE", multiplier=100, expiry=expiry, strike=strike, right=right, underlying="AAPL"
    )


class Desk:
    """A gateway, and providers that talk to it by a clock of the test's and with hardly any waiting."""

    def __init__(self, **gateway: bool) -> None:
        self.market = a_market()
        self.gateway = IBGateway(self.market, **gateway)
        self.pauses: list[float] = []
        self.meanwhile: Callable[[], None] = lambda: None

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.meanwhile()
        time.sleep(0.005)  # what the gateway says meanwhile arrives

    def ib(self, now: datetime = EVENING, timeout: float = 5.0, **options: Any) -> InteractiveBrokers:
        self.market.clock.truth = now
        settings: dict[str, Any] = {
            "timeout_seconds": timeout, "connect_seconds": 2.0, "clock": self.market.clock.now, "sleep": self.sleep,
            "bucket": TokenBucket(1e6, 1e6, sleep=lambda seconds: None), **options,
        }  # fmt: skip
        return InteractiveBrokers(port=self.gateway.port, **settings)

    def minutes(self, ib: InteractiveBrokers | None = None) -> pl.DataFrame:
        """Two sessions of AAPL's minutes: two requests."""
        return (ib or self.ib()).bars(["AAPL"], MONDAY, TUESDAY, "1m").collect()

    def count(self, name: str) -> int:
        return self.gateway.requests.count(name)


@pytest.fixture
def desk() -> Iterator[Callable[..., Desk]]:
    opened: list[Desk] = []

    def open_desk(**gateway: bool) -> Desk:
        opened.append(Desk(**gateway))
        return opened[-1]

    yield open_desk
    for each in opened:
        each.gateway.stop()


def bars_of(frame: pl.DataFrame) -> list[Bar]:
    return [Bar(*row) for row in frame.select("ts", "open", "high", "low", "close", "volume").rows()]


def held(desk: Desk, symbol: str, timeframe: str, first: datetime, last: datetime) -> list[Bar]:
    return [bar for bar in desk.market.bars[symbol, timeframe] if first <= bar.ts < last]


def the_minutes(desk: Desk) -> list[Bar]:
    return held(desk, "AAPL", "1m", OPENS[1], OPENS[3])


# What it brings


def test_daily_bars_of_several_symbols_carry_their_sessions_over_a_clock_change(desk: Callable[..., Desk]) -> None:
    at_desk = desk()
    frame = at_desk.ib().bars(["BRK.B", "AAPL"], date(2024, 3, 8), WEDNESDAY).collect()
    assert frame.schema == BAR_SCHEMA
    assert bars_of(frame.filter(symbol="AAPL")) == at_desk.market.bars["AAPL", "1d"]
    assert bars_of(frame.filter(symbol="BRK.B")) == at_desk.market.bars["BRK.B", "1d"]
    assert frame["symbol"].is_sorted()
    assert frame.filter(symbol="AAPL")["known_at"].to_list()[:2] == [instant(2024, 3, 8, 21), instant(2024, 3, 11, 20)]


def test_a_session_still_trading_and_an_excluded_day_are_no_bars(desk: Callable[..., Desk]) -> None:
    exclude = (ExcludedRow(symbol="AAPL", session=MONDAY, reason="a test"),)
    frame = desk().ib(instant(2024, 3, 13, 19, 59), exclude=exclude).bars(["AAPL"], MONDAY, WEDNESDAY).collect()
    assert frame["ts"].dt.date().to_list() == [TUESDAY]


def test_minutes_are_asked_for_by_the_day_and_joined(desk: Callable[..., Desk]) -> None:
    at_desk = desk()
    frame = at_desk.minutes()
    assert bars_of(frame) == the_minutes(at_desk)
    assert frame["known_at"].to_list() == [bar.ts + MINUTE for bar in the_minutes(at_desk)]
    asked = [fields[15:21] for fields in at_desk.gateway.asked if fields[0] == "20"]
    assert asked == [
        [f"202403{day} 20:00:00 UTC", "1 min", "86400 S", "1", "TRADES", "2"] for day in (11, 12)
    ]  # fmt: skip


def test_a_bar_being_built_is_left_out_though_our_clock_runs_ahead(desk: Callable[..., Desk]) -> None:
    at_desk = desk()
    ib = at_desk.ib(instant(2024, 3, 12, 14, 0, 30), clock=lambda: instant(2024, 3, 12, 14, 30))
    assert ib.bars(["AAPL"], MONDAY, TUESDAY, "1m").collect()["ts"].max() == instant(2024, 3, 12, 13, 59)


def test_forex_is_the_midpoint_around_the_clock_without_volume(desk: Callable[..., Desk]) -> None:
    at_desk = desk()
    frame = at_desk.ib().bars(["EUR.USD"], date(2024, 3, 10), WEDNESDAY, "1h").collect()
    expected = at_desk.market.bars["EUR.USD", "1h"]
    assert bars_of(frame) == [bar._replace(volume=0.0) for bar in expected]
    assert frame["ts"][0] == instant(2024, 3, 10, 22)  # Sunday evening


def test_futures_are_of_sessions_that_open_the_evening_before(desk: Callable[..., Desk]) -> None:
    at_desk = desk()
    frame = at_desk.ib(instant(2024, 3, 14, 12)).bars(["ES.202403"], MONDAY, WEDNESDAY).collect()
    assert bars_of(frame) == at_desk.market.bars["ES.202403", "1d"]
    asked = [(fields[14], fields[18]) for fields in at_desk.gateway.asked if fields[0] == "20"]
    assert asked == [("1", "0")]  # expired ones too, and all hours


def test_windows_before_the_first_instant_of_the_history_are_not_asked(desk: Callable[..., Desk]) -> None:
    at_desk = desk()
    frame = at_desk.ib().bars(["AAPL"], date(2024, 2, 26), WEDNESDAY, "1m").collect()
    assert frame.height == 4 * 390
    assert at_desk.count("reqHeadTimeStamp AAPL") == 1
    assert at_desk.count("reqHistoricalData AAPL") == 4
    assert at_desk.count("cancelHeadTimeStamp") == 1  # the client's own


@pytest.mark.parametrize("timeframe", list(ib_translate.STEPS))
def test_no_request_is_longer_than_ib_allows_and_no_bar_is_missed(desk: Callable[..., Desk], timeframe: str) -> None:
    at_desk = desk()  # the gateway refuses longer ones
    days = [
        date(2023, 1, 3) + timedelta(days=at)
        for at in range({"1m": 10, "5m": 30, "15m": 30, "1d": 430}.get(timeframe, 70))
    ]
    opens = [row[1] for row in ib_translate.sessions("XNYS", days[0], days[-1]).rows()]
    at_desk.market.set_bars("AAPL", timeframe, seeded_bars(9, opens))
    frame = at_desk.ib().bars(["AAPL"], days[0], days[-1], timeframe).collect()
    assert bars_of(frame) == at_desk.market.bars["AAPL", timeframe]


def test_instruments_of_every_class(desk: Callable[..., Desk]) -> None:
    names = ["AAPL", "AAPL240315C00170000", "BRK.B", "ES.202403", "EUR.USD", "USD.JPY", "VOD.LSE"]
    frame = desk().ib().instruments(names)
    assert frame.schema == INSTRUMENT_SCHEMA
    told = ("symbol", "asset_class", "venue", "calendar", "currency", "tick", "multiplier", "expiry", "strike", "right")
    march = date(2024, 3, 15)
    assert frame.select(*told, "underlying", "pip").rows() == [
        ("AAPL", "equity", "XNAS", "XNYS", "USD", 0.01, 1.0, None, None, None, None, None),
        ("AAPL240315C00170000", "option", "SMART", "XNYS", "USD", 0.01, 100.0, march, 170.0, "call", "AAPL", None),
        ("BRK.B", "equity", "XNYS", "XNYS", "USD", 0.01, 1.0, None, None, None, None, None),
        ("ES.202403", "future", "XCME", "CMES", "USD", 0.25, 50.0, march, None, None, "ES", None),
        ("EUR.USD", "forex", "IDEALPRO", "24/5", "USD", 0.00005, 1.0, None, None, None, None, 0.0001),
        ("USD.JPY", "forex", "IDEALPRO", "24/5", "JPY", 0.005, 1.0, None, None, None, None, 0.01),
        ("VOD.LSE", "equity", "XLON", "XLON", "GBP", 0.01, 1.0, None, None, None, None, None),
    ]
    assert frame["lot"].to_list() == [1.0, 1.0, 1.0, 1.0, 0.01, 1.0, 1.0]


def test_an_option_chain_holds_what_is_listed_and_not_every_strike_at_every_expiry(desk: Callable[..., Desk]) -> None:
    at_desk = desk()
    frame = at_desk.ib().option_chain("AAPL", WEDNESDAY)
    assert frame.schema == INSTRUMENT_SCHEMA
    assert frame.select("expiry", "strike", "right").rows() == CHAIN[1:]
    assert frame["symbol"][0] == "AAPL240315C00170000"
    with pytest.raises(NotOfferedError, match=r"ib has no option chains of the past \(2024-03-12\)"):
        at_desk.ib().option_chain("AAPL", TUESDAY)
    with pytest.raises(NoDataError, match=r"no options on BRK\.B"):
        at_desk.ib().option_chain("BRK.B", WEDNESDAY)


def test_futures_of_a_root_with_their_expiries(desk: Callable[..., Desk]) -> None:
    at_desk = desk()
    frame = at_desk.ib().futures("ES", WEDNESDAY)
    assert frame.schema == INSTRUMENT_SCHEMA
    assert frame.select("symbol", "expiry").rows() == [
        ("ES.202403", date(2024, 3, 15)),
        ("ES.202406", date(2024, 6, 21)),
    ]
    before = at_desk.ib().futures("ES.CME", date(2023, 12, 1))["symbol"].to_list()
    assert before == ["ES.202312.CME", "ES.202403.CME", "ES.202406.CME"]  # expired ones are told for two years
    with pytest.raises(NoDataError, match="the last expired 2024-06-21"):
        at_desk.ib().futures("ES", date(2025, 1, 1))
    with pytest.raises(UnknownSymbolError, match="ib has no NQ"):
        at_desk.ib().futures("NQ", WEDNESDAY)


def flat(days: list[date], price: float) -> list[Bar]:
    """Futures' days at one price; Globex opens at 22:00 UTC of the day before in summer, 23:00 in winter."""
    return [Bar(row[1], price, price, price, price, 5.0) for day in days for row in CMES.filter(session=day).rows()]


CMES = ib_translate.sessions("CMES", date(2024, 2, 1), date(2024, 6, 28))


def test_a_continuous_series_is_back_adjusted_and_tells_its_rolls(desk: Callable[..., Desk]) -> None:
    at_desk = desk()
    days = [day for day in CMES["session"] if date(2024, 3, 1) <= day <= date(2024, 3, 20)]
    rising = [bar._replace(close=bar.close + at, high=bar.high + at) for at, bar in enumerate(flat(days, 5100.0))]
    at_desk.market.set_bars("ES.202403", "1d", rising[:11])
    at_desk.market.set_bars("ES.202406", "1d", flat(days, 5202.0 + 1 / 8))
    series = at_desk.ib(instant(2024, 3, 21)).continuous("ES", date(2024, 3, 4), date(2024, 3, 20))
    rolled, old = date(2024, 3, 8), 5105.0  # five sessions before 15 March, at the sixth bar
    factor = 5202.125 / old
    assert series.rolls.rows() == [(rolled, "ES.202403", "ES.202406", factor)]
    frame = series.bars.collect()
    assert frame.schema == BAR_SCHEMA
    assert frame["symbol"].unique().to_list() == ["ES.CONT"]
    assert frame["known_at"].dt.convert_time_zone("America/Chicago").dt.date().to_list() == days[1:]
    assert frame["close"].to_list() == [bar.close * factor for bar in rising[1:6]] + [5202.125] * 8
    assert frame["close"][4] == pytest.approx(5202.125)  # no jump where nobody gained


def test_the_factors_of_later_rolls_multiply() -> None:
    days = [date(2024, 3, day) for day in (4, 5, 6)]
    parts = [Held(name, day, day) for name, day in zip("ABC", days, strict=True)]

    def closes(price: float) -> pl.DataFrame:
        stamps = [datetime(day.year, day.month, day.day, 12) for day in days]
        prices = dict.fromkeys(("open", "high", "low", "close"), price)
        return pl.DataFrame({"known_at": stamps}).with_columns(
            pl.col("known_at").dt.replace_time_zone("UTC"),
            symbol=pl.lit(""),
            **{k: pl.lit(v) for k, v in prices.items()},
        )

    series = back_adjusted("X.CONT", parts, {"A": closes(1.0), "B": closes(2.0), "C": closes(6.0)}, "UTC")
    assert series.bars.collect()["close"].to_list() == [6.0, 6.0, 6.0]
    assert series.rolls["factor"].to_list() == [2.0, 3.0]


def test_a_continuous_series_that_no_contract_covers_is_no_data(desk: Callable[..., Desk]) -> None:
    at_desk = desk()
    ib = at_desk.ib(instant(2024, 3, 14))
    with pytest.raises(NoDataError, match="no contract to hold from 2024-06-17 to 2024-06-20"):
        ib.continuous("ES", date(2024, 3, 11), date(2024, 6, 20))
    at_desk.market.set_bars("ES.202403", "1d", flat([date(2024, 3, 7), date(2024, 3, 8)], 5100.0))
    with pytest.raises(NoDataError, match=r"ib has no rows of ES\.202406"):
        ib.continuous("ES", date(2024, 3, 5), date(2024, 3, 13))
    at_desk.market.set_bars("ES.202406", "1d", flat([TUESDAY], 5200.0))
    with pytest.raises(NoDataError, match=r"ES\.202406 2024-03-08: no bar to roll at"):
        ib.continuous("ES", date(2024, 3, 8), date(2024, 3, 12))


def test_what_is_on_several_venues_must_be_named_with_its_venue(desk: Callable[..., Desk]) -> None:
    at_desk = desk()
    expiry = date(2024, 3, 15)
    at_desk.market.add(
        Listing("ES.202403.twin", "future", venue="QBALGO", expiry=expiry, underlying="ES"),
        Listing("ES.202403.other", "future", venue="EUREX", expiry=expiry, underlying="ES"),
    )
    with pytest.raises(ConfigError, match=r"ES\.202403 is 2 contracts.*on CME \(USD\), EUREX \(USD\).*ES\.202412\.CME"):
        at_desk.ib().instruments(["ES.202403"])
    with pytest.raises(ConfigError, match=r"ES has futures on CME, EUREX; name one: ES\.CME"):
        at_desk.ib().futures("ES", WEDNESDAY)
    assert at_desk.ib().instruments(["ES.202403.CME"])["venue"].to_list() == ["XCME"]


def test_what_ib_lacks_it_says_by_name(desk: Callable[..., Desk]) -> None:
    ib = desk().ib()
    with pytest.raises(NotOfferedError, match="ib has no history of splits and dividends"):
        ib.corporate_actions(["AAPL"], MONDAY, TUESDAY)
    with pytest.raises(NotOfferedError, match=r"trades of forex pairs \(EUR\.USD\)"):
        ib.trades(["EUR.USD"], OPENS[0], OPENS[1])
    with pytest.raises(NotOfferedError, match="no bars of '2h'"):
        ib.bars(["AAPL"], MONDAY, TUESDAY, "2h")


# Ticks: a page is 1000 of them, their stamps are whole seconds, and equal ones may be two


def stamps(*counts: int) -> list[datetime]:
    """So many instants within each second from Monday's opening on."""
    return [OPENS[1] + timedelta(seconds=at, microseconds=i) for at, count in enumerate(counts) for i in range(count)]


PAGES = [  # how many ticks each second holds, and how many requests that takes without whole seconds
    ("one short page", (3, 0, 2), 2),
    ("a full page that ends with its second", (400, 600, 5), 3),
    ("a page border within a second", (400, 599, 5, 700, 1), 3),
    ("many pages", (700,) * 6, 7),
    ("exactly a page", (500, 500), 3),
]


@pytest.mark.parametrize("whole_seconds", [False, True])
@pytest.mark.parametrize(("counts", "requests"), [case[1:] for case in PAGES], ids=[case[0] for case in PAGES])
def test_ticks_over_page_borders_are_all_there_once_true_repeats_included(
    desk: Callable[..., Desk], counts: tuple[int, ...], requests: int, whole_seconds: bool
) -> None:
    at_desk = desk(whole_seconds=whole_seconds)
    sold = [
        trade._replace(price=100.0, size=1.0 + at % 2) for at, trade in enumerate(seeded_trades(1, stamps(*counts)))
    ]
    at_desk.market.set_trades("AAPL", sold)
    frame = at_desk.ib().trades(["AAPL"], OPENS[1], OPENS[2]).collect()
    assert frame.schema == TRADE_SCHEMA
    seconds = [trade.ts.replace(microsecond=0) for trade in sold]
    assert frame["ts"].to_list() == seconds
    assert frame["size"].to_list() == [trade.size for trade in sold]
    if not whole_seconds:
        assert at_desk.count("reqHistoricalTicks AAPL") == requests


def test_a_second_that_fills_a_page_is_refused_by_name_or_taken_whole(desk: Callable[..., Desk]) -> None:
    for whole, at_desk in ((False, desk()), (True, desk(whole_seconds=True))):
        at_desk.market.set_trades("AAPL", seeded_trades(1, stamps(2, 1500, 3)))
        if whole:
            assert at_desk.ib().trades(["AAPL"], OPENS[1], OPENS[2]).collect().height == 1505
        else:
            with pytest.raises(ProviderError, match=r"AAPL 2024-03-11 13:30:01.*1000 ticks or more within this second"):
                at_desk.ib().trades(["AAPL"], OPENS[1], OPENS[2])


def test_ticks_end_before_the_end_and_begin_at_the_start(desk: Callable[..., Desk]) -> None:
    at_desk = desk()
    at_desk.market.set_trades("AAPL", seeded_trades(1, stamps(1, 1, 1, 1)))
    second = timedelta(seconds=1)
    frame = at_desk.ib().trades(["AAPL"], OPENS[1] + second, OPENS[1] + 3 * second).collect()
    assert frame["ts"].to_list() == [OPENS[1] + second, OPENS[1] + 2 * second]


def test_quotes_keep_a_missing_side_null(desk: Callable[..., Desk]) -> None:
    at_desk = desk()
    quotes = [Quote(OPENS[1], 1.1, 5, 1.2, 6), Quote(OPENS[1] + MINUTE, 0, 0, 1.2, 7), Quote(OPENS[2], 1.0, 1, 1.1, 1)]
    at_desk.market.set_quotes("EUR.USD", quotes)
    frame = at_desk.ib().quotes(["EUR.USD"], OPENS[1], OPENS[2]).collect()
    assert frame.schema == QUOTE_SCHEMA
    assert frame.select("ts", "bid", "bid_size", "ask", "ask_size").rows() == [
        tuple(quotes[0]), (OPENS[1] + MINUTE, None, 0.0, 1.2, 7.0)
    ]  # fmt: skip


def test_a_trade_without_a_price_is_refused(desk: Callable[..., Desk]) -> None:
    at_desk = desk()
    at_desk.market.set_trades("AAPL", [Trade(OPENS[1], 0.0, 1.0, 1)])
    with pytest.raises(BarSchemaError, match=r"price is 0\.0"):
        at_desk.ib().trades(["AAPL"], OPENS[1], OPENS[2])


def test_no_ticks_at_all_is_no_data(desk: Callable[..., Desk]) -> None:
    with pytest.raises(NoDataError, match="AAPL from 2024-03-11"):
        desk().ib().trades(["AAPL"], OPENS[1], OPENS[2])


# What goes wrong

PACING = "Historical Market Data Service error message:Historical data request pacing violation"
REFUSALS = [  # code, text, error, what it says, whether another try is made
    (162, PACING, RateLimitedError, "162.*pacing violation.*60 historical requests", True),
    (100, "Max rate of messages per second has been exceeded", RateLimitedError, "Ask less often", True),
    (162, "HMDS query returned no data: AAPL@SMART Trades", NoDataError, "ib has no rows of AAPL", False),
    (162, "No market data permissions for ISLAND STK", AccessDeniedError, "Subscribe to this market data", False),
    (162, "API historical data query cancelled", BadAnswerError, "162.*cancelled", True),
    (200, "No security definition has been found", UnknownSymbolError, "ib has no AAPL: No security", False),
    (203, "The security is not available or allowed for this account", AccessDeniedError, "may not trade it", False),
    (354, "Requested market data is not subscribed", AccessDeniedError, "354.*Subscribe", False),
    (10089, "Requested market data requires additional subscription", AccessDeniedError, "10089", False),
    (10167, "Requested market data is not subscribed. Displaying delayed", AccessDeniedError, "10167", False),
    (321, "Error validating request", ProviderError, "AAPL: Interactive Brokers answered 321", False),
]
IDS = [f"{case[0]} {case[1][-20:]}" for case in REFUSALS]


@pytest.mark.parametrize(("code", "text", "error", "says", "again"), REFUSALS, ids=IDS)
def test_an_error_message_is_an_error_and_never_an_empty_answer(
    desk: Callable[..., Desk], code: int, text: str, error: type[ProviderError], says: str, again: bool
) -> None:
    at_desk = desk()
    at_desk.market.faults.add("reqHistoricalData", Fault("status", status=code, body=text), times=None)
    with pytest.raises(error, match=says):
        at_desk.ib(tries=3).bars(["AAPL"], MONDAY, TUESDAY)
    assert at_desk.count("reqHistoricalData AAPL") == (3 if again else 1)
    if error is RateLimitedError:
        assert min(at_desk.pauses) >= ib_translate.PACE


def test_a_passing_pacing_violation_costs_nothing(desk: Callable[..., Desk]) -> None:
    at_desk = desk()
    at_desk.market.faults.add("reqHistoricalData", Fault("status", status=162, body=PACING), times=2, skip=1)
    waits: list[float] = []
    bucket = TokenBucket(1.0, 60, clock=lambda: 0.0, sleep=waits.append)
    assert bars_of(at_desk.minutes(at_desk.ib(bucket=bucket))) == the_minutes(at_desk)
    assert waits == [16.0, 17.0]  # 15 s of silence and a token; the clock of this test stands still


def test_the_pace_stays_under_60_in_any_ten_minutes() -> None:
    now, spent = [0.0], []
    bucket = InteractiveBrokers(clock=lambda: EVENING)._bucket
    paced = TokenBucket(
        bucket.per_second, bucket.burst, clock=lambda: now[0], sleep=lambda s: now.__setitem__(0, now[0] + s)
    )
    for _ in range(200):
        paced.take()
        spent.append(now[0])
    assert max(sum(at <= other < at + 600 for other in spent) for at in spent) <= 60
    assert max(sum(at <= other < at + 2 for other in spent) for at in spent) < 6


def test_a_silent_data_farm_is_a_time_out_and_never_an_empty_success(desk: Callable[..., Desk]) -> None:
    at_desk = desk()
    at_desk.market.faults.add("reqHistorical", Fault("silent"), times=None)
    ib = at_desk.ib(timeout=0.05, tries=2)
    with ib:
        at_desk.gateway.say(2105, "HMDS data farm connection is broken:ushmds")
        with pytest.raises(ProviderTimeoutError, match=r"AAPL.*within 0\.05 s \(HMDS data farm connection is broken"):
            at_desk.minutes(ib)
        assert at_desk.pauses  # asked again first
        with pytest.raises(ProviderTimeoutError, match="AAPL"):
            ib.quotes(["AAPL"], OPENS[1], OPENS[2])
    assert at_desk.count("cancelHistoricalData") == 2


def test_a_late_second_answer_does_not_double_rows(desk: Callable[..., Desk]) -> None:
    at_desk = desk()
    at_desk.market.faults.add("reqHistoricalData", Fault("duplicated"), times=None)
    assert bars_of(at_desk.minutes()) == the_minutes(at_desk)


@pytest.mark.parametrize("kind", ["dropped", "cut off", "silent"])
@pytest.mark.parametrize("window", [0, 1])
def test_a_loss_in_the_middle_of_a_download_loses_and_doubles_nothing(
    desk: Callable[..., Desk], kind: str, window: int
) -> None:
    at_desk = desk()
    at_desk.market.faults.add("reqHistoricalData", Fault(kind), times=2, skip=window)
    assert bars_of(at_desk.minutes(at_desk.ib(timeout=0.1))) == the_minutes(at_desk)
    assert at_desk.count("reqHistoricalData AAPL") == 4
    assert at_desk.gateway.clients == {} or wait_until(lambda: not at_desk.gateway.clients)


def test_a_loss_between_pages_of_ticks_loses_and_doubles_nothing(desk: Callable[..., Desk]) -> None:
    at_desk = desk()
    at_desk.market.set_trades("AAPL", seeded_trades(1, stamps(*(700,) * 4)))
    at_desk.market.faults.add("reqHistoricalTicks", Fault("cut off"), times=1, skip=2)
    assert at_desk.ib().trades(["AAPL"], OPENS[1], OPENS[2]).collect().height == 2800


def test_lost_connectivity_1100_is_waited_out_and_the_request_asked_again_after_1102(desk: Callable[..., Desk]) -> None:
    at_desk = desk()
    at_desk.market.faults.add("reqHistoricalData", Fault("status", status=1100, body="Connectivity lost"), skip=1)
    at_desk.meanwhile = lambda: at_desk.gateway.say(1102, "Connectivity restored - data maintained")
    assert bars_of(at_desk.minutes()) == the_minutes(at_desk)
    assert at_desk.count("reqHistoricalData AAPL") == 3  # 1102 alone brings no answer
    assert min(at_desk.pauses) >= 20


def test_connectivity_that_stays_lost_is_an_error_that_names_it(desk: Callable[..., Desk]) -> None:
    at_desk = desk()
    at_desk.market.faults.add("reqHistoricalData", Fault("status", status=1100, body="Connectivity lost"))
    with pytest.raises(ProviderTimeoutError, match=r"lost Interactive Brokers' servers \(1100: Connectivity lost\)"):
        at_desk.minutes(at_desk.ib(tries=3))
    assert len(at_desk.pauses) == 2
    assert at_desk.count("reqHistoricalData AAPL") == 1  # the others were not sent into the void


def test_the_nightly_restart_of_the_gateway_is_outlasted(desk: Callable[..., Desk]) -> None:
    at_desk = desk()
    at_desk.market.faults.add("reqHistoricalData", Fault("dropped"), skip=1)

    def meanwhile() -> None:  # gone at the first pause, back at the third
        if len(at_desk.pauses) == 1:
            at_desk.gateway.stop()
        if len(at_desk.pauses) == 3:
            at_desk.gateway.start()

    at_desk.meanwhile = meanwhile
    assert bars_of(at_desk.minutes()) == the_minutes(at_desk)
    assert len(at_desk.pauses) == 3


@pytest.mark.parametrize(("tells_taken", "says"), [(True, r"already \(326\)"), (False, "hung up while we connected")])
def test_a_client_id_in_use_is_one_clear_error(desk: Callable[..., Desk], tells_taken: bool, says: str) -> None:
    at_desk = desk(tells_taken=tells_taken)
    with at_desk.ib(), pytest.raises(ProviderError, match=rf"{says}.*client_id 17.*provider\.client_id: 18"):
        at_desk.ib().instruments(["AAPL"])
    assert wait_until(lambda: not at_desk.gateway.clients)
    assert at_desk.ib().instruments(["AAPL"]).height == 1  # free again: the first has hung up


def test_a_gateway_that_does_not_let_us_in_is_a_time_out_that_names_client_id(desk: Callable[..., Desk]) -> None:
    at_desk = desk()
    at_desk.market.faults.add("connect", Fault("silent"))
    with pytest.raises(ProviderTimeoutError, match=r"did not let us in within 0\.1 s.*client_id 17"):
        at_desk.ib(connect_seconds=0.1).instruments(["AAPL"])


def test_no_gateway_is_an_error_that_says_where(desk: Callable[..., Desk]) -> None:
    at_desk = desk()
    at_desk.gateway.stop()
    with pytest.raises(ProviderError, match=rf"127\.0\.0\.1:{at_desk.gateway.port} cannot be reached.*provider\.port"):
        at_desk.ib().instruments(["AAPL"])
    assert at_desk.pauses == []


# Where it runs


def wait_until(condition: Callable[[], bool]) -> bool:
    for _ in range(200):
        if condition():
            return True
        time.sleep(0.005)
    return False


def own_threads() -> list[threading.Thread]:
    return [each for each in threading.enumerate() if each.name.startswith("ib-")]


@pytest.mark.parametrize("fails", [False, True])
def test_every_call_disconnects_and_leaves_no_thread(desk: Callable[..., Desk], fails: bool) -> None:
    at_desk = desk()
    ib = at_desk.ib()
    if fails:
        with pytest.raises(UnknownSymbolError, match="ib has no NOPE"):
            ib.bars(["NOPE"], MONDAY, TUESDAY)
    else:
        at_desk.minutes(ib)
    assert own_threads() == []
    assert wait_until(lambda: not at_desk.gateway.clients)


class Stopped(BaseException):
    """As Dagster's interruption of a run."""


def test_an_interrupted_download_disconnects(desk: Callable[..., Desk]) -> None:
    at_desk = desk()
    at_desk.market.faults.add("reqHistoricalData", Fault("silent"))

    def stop(*_: object) -> None:
        raise Stopped

    before = signal.signal(signal.SIGALRM, stop)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        with pytest.raises(Stopped):
            at_desk.minutes(at_desk.ib(timeout=60))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert own_threads() == []
    assert wait_until(lambda: not at_desk.gateway.clients)


def test_threads_share_one_connection_and_get_their_own_answers(desk: Callable[..., Desk]) -> None:
    at_desk = desk()
    ib = at_desk.ib()
    with ib, ThreadPoolExecutor(4) as pool:
        asked = [("AAPL", "1d"), ("BRK.B", "1d"), ("EUR.USD", "1h"), ("AAPL", "1m")] * 3
        frames = list(pool.map(lambda each: ib.bars([each[0]], MONDAY, TUESDAY, each[1]).collect(), asked))
        assert len(at_desk.gateway.clients) == 1
    for (symbol, timeframe), frame in zip(asked, frames, strict=True):
        assert frame["symbol"].unique().to_list() == [symbol]
        assert frame.height == {"1d": 2, "1h": 48, "1m": 780}[timeframe]
    assert own_threads() == []


def test_it_works_where_a_loop_is_already_running(desk: Callable[..., Desk]) -> None:
    at_desk = desk()

    async def notebook() -> pl.DataFrame:
        return at_desk.minutes()

    assert asyncio.run(notebook()).height == 780


def test_a_kept_connection_is_opened_once(desk: Callable[..., Desk]) -> None:
    at_desk = desk()
    with at_desk.ib() as ib:
        at_desk.minutes(ib)
        at_desk.minutes(ib)
    assert at_desk.count("reqPositions") == 1
    assert at_desk.count("reqContractDetails AAPL") == 1


# Spelling


@pytest.mark.parametrize("symbol", ["", "aapl", "AAPL.XX.YY", "EUR.XXX", "^GSPC", "ES.2024", "AAPL240315X00170000"])
def test_a_malformed_symbol_names_the_field_and_examples(symbol: str) -> None:
    with pytest.raises(ConfigError, match=r"universe\.symbols: .*names nothing.*AAPL240315C00170000"):
        ib_translate.parse(symbol)


def test_no_symbols_is_an_error_with_an_example(desk: Callable[..., Desk]) -> None:
    with pytest.raises(ConfigError, match="no symbols asked for"):
        desk().ib().bars([], MONDAY, TUESDAY)


def test_bars_outside_their_window_are_cut_off() -> None:
    window = (OPENS[1], OPENS[1] + MINUTE)
    bars = [
        SimpleNamespace(**bar._asdict(), date=bar.ts) for bar in seeded_bars(1, every(OPENS[1] - MINUTE, MINUTE, 3))
    ]
    frame = ib_translate.bar_rows("AAPL", bars, window, daily=False, midpoint=False)
    assert frame["ts"].to_list() == [OPENS[1]]


def test_two_contracts_of_a_month_are_named_by_their_day() -> None:
    def contract(month: str, last: str) -> SimpleNamespace:
        return SimpleNamespace(
            contractMonth=month, contract=SimpleNamespace(symbol="VIX", lastTradeDateOrContractMonth=last)
        )

    found = [contract("202403", "20240313"), contract("202403", "20240320 09:00"), contract("202404", "20240417")]
    assert ib_translate.future_names(found) == ["VIX.20240313", "VIX.20240320", "VIX.202404"]


def test_the_last_day_is_read_strictly() -> None:
    assert ib_translate.last_day("20241220 08:30 US/Central") == date(2024, 12, 20)
    with pytest.raises(BadAnswerError, match="'202412' for a last trading day"):
        ib_translate.last_day("202412")
