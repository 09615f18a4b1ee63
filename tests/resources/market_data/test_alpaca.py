"""The Alpaca provider: alpaca-py against a venue on loopback; what it gives, survives, and refuses."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from types import SimpleNamespace
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
    MissingSecretError,
    NoDataError,
    NotOfferedError,
    ProviderError,
    ProviderTimeoutError,
    QuantError,
    RateLimitedError,
    UnknownSymbolError,
)
from resources.market_data import alpaca_client
from resources.market_data.alpaca import FEW, TIMEFRAMES, Alpaca
from resources.market_data.base import ACTION_SCHEMA, BAR_SCHEMA, INSTRUMENT_SCHEMA
from resources.market_data.ticks import QUOTE_SCHEMA, TRADE_SCHEMA
from resources.market_data.timeframes import INTRADAY
from tests.venues.alpaca import KEY, SECRET, AlpacaVenue
from tests.venues.market import (
    Action,
    Bar,
    Fault,
    Listing,
    Market,
    Quote,
    VenueClock,
    every,
    instant,
    seeded_bars,
    seeded_quotes,
    seeded_trades,
)
from tests.venues.server import Answer, Request

TRIES = 5
FRIDAY = date(2024, 3, 8)  # the clocks change on the Sunday after it
MONDAY = date(2024, 3, 11)
MINUTE = timedelta(minutes=1)
OPENS = {FRIDAY: instant(2024, 3, 8, 14, 30), MONDAY: instant(2024, 3, 11, 13, 30)}
SHARES = ("AAPL", "BRK.B", "MSFT")


@pytest.fixture(autouse=True)
def _keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALPACA_API_KEY", KEY)
    monkeypatch.setenv("ALPACA_SECRET_KEY", SECRET)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")

    def never(seconds: float) -> None:
        raise AssertionError(f"alpaca-py slept {seconds} s before a retry of its own")

    monkeypatch.setattr("alpaca.common.rest.time", SimpleNamespace(sleep=never))


@pytest.fixture
def market() -> Market:
    market = Market(clock=VenueClock(instant(2024, 3, 11, 22)))
    market.add(*(Listing(symbol) for symbol in SHARES), Listing("QUIET", active=False))
    market.add(Listing("BTC/USD", "crypto", tick=0.5, lot=1e-6, minimum_quantity=2e-5))
    for seed, symbol in enumerate(SHARES):
        market.set_bars(symbol, "1d", seeded_bars(seed, OPENS.values()))
        market.set_bars(symbol, "1m", seeded_bars(seed, every(OPENS[FRIDAY], MINUTE, 30)))
        market.set_quotes(symbol, seeded_quotes(seed, every(OPENS[FRIDAY], MINUTE, 20), lot=100.0))
        market.set_trades(symbol, seeded_trades(seed, every(OPENS[FRIDAY], MINUTE, 20)))
    days = every(instant(2024, 3, 8), timedelta(days=1), 4)
    market.set_bars("BTC/USD", "1d", seeded_bars(9, days, price=60_000.0, tick=0.5, lot=1e-6))
    market.set_bars("BTC/USD", "1m", seeded_bars(9, every(days[0], MINUTE, 30), price=60_000.0, tick=0.5, lot=1e-6))
    market.set_trades("BTC/USD", seeded_trades(9, every(days[0], MINUTE, 20), price=60_000.0, tick=0.5, lot=1e-6))
    market.set_quotes("BTC/USD", seeded_quotes(9, every(days[0], MINUTE, 20), price=60_000.0, tick=0.5, lot=1e-6))
    return market


class Desk:
    """A venue, and providers that talk to it without waiting."""

    def __init__(self, venue: AlpacaVenue) -> None:
        self.venue, self.market, self.pauses = venue, venue.market, list[float]()

    def alpaca(self, feed: str = "sip", **options: Any) -> Alpaca:
        address = self.venue.address
        plenty = {"requests_per_minute": 1e9, "timeout_seconds": 5.0, "clock": self.market.clock.now}
        return Alpaca(
            feed, data_url=address, trading_url=address, sleep=self.pauses.append, **{**plenty, **options}
        )  # fmt: skip

    def asked(self, path: str) -> list[Request]:
        return [request for request in self.venue.requests if path in request.path]


@pytest.fixture
def desk(market: Market) -> Iterator[Desk]:
    with AlpacaVenue(market) as venue:
        yield Desk(venue)


def rows(frame: pl.LazyFrame, symbol: str) -> list[Bar]:
    columns = ("ts", "open", "high", "low", "close", "volume")
    return [Bar(*row) for row in frame.filter(symbol=symbol).select(columns).collect().rows()]


# ---- bars


@pytest.mark.parametrize("timeframe", [name for name in TIMEFRAMES if name != "1d"])
def test_intraday_bars_are_the_markets(desk: Desk, timeframe: str) -> None:
    stamps = every(OPENS[FRIDAY], INTRADAY[timeframe], 6)
    for symbol in ("AAPL", "BTC/USD"):
        desk.market.set_bars(symbol, timeframe, seeded_bars(3, stamps))
    frame = desk.alpaca().bars(["BTC/USD", "AAPL"], FRIDAY, FRIDAY, timeframe)
    assert frame.collect_schema() == BAR_SCHEMA
    for symbol in ("AAPL", "BTC/USD"):
        assert rows(frame, symbol) == desk.market.bars[symbol, timeframe]
    known = frame.filter(symbol="AAPL").collect()["known_at"].to_list()
    assert known == [stamp + INTRADAY[timeframe] for stamp in stamps]
    asked = {request.path: request.query for request in desk.venue.requests}
    assert asked["/v2/stocks/bars"]["adjustment"] == "raw"
    assert asked["/v2/stocks/bars"]["feed"] == "sip"
    assert frame.collect()["fetched_at"].unique().to_list() == [desk.market.clock.now()]


def test_daily_bars_are_stamped_with_their_session_on_both_sides_of_a_clock_change(desk: Desk) -> None:
    frame = desk.alpaca().bars(["AAPL"], FRIDAY, MONDAY)
    assert rows(frame, "AAPL") == desk.market.bars["AAPL", "1d"]  # the market's begin with the session
    assert frame.collect()["known_at"].to_list() == [instant(2024, 3, 8, 21), instant(2024, 3, 11, 20)]


def test_a_half_day_is_known_at_its_early_close(desk: Desk) -> None:
    desk.market.clock = VenueClock(instant(2024, 7, 5))
    desk.market.set_bars("AAPL", "1d", seeded_bars(1, [instant(2024, 7, 3, 13, 30)]))
    frame = desk.alpaca().bars(["AAPL"], date(2024, 7, 1), date(2024, 7, 4)).collect()
    assert frame["known_at"].to_list() == [instant(2024, 7, 3, 17)]


@pytest.mark.parametrize(
    ("now", "last"),
    [(instant(2024, 3, 11, 20, 15, 59), FRIDAY), (instant(2024, 3, 11, 20, 16), MONDAY)],
)
def test_a_daily_bar_is_given_when_it_has_settled(desk: Desk, now: datetime, last: date) -> None:
    desk.market.clock.truth = now
    assert [row.ts.date() for row in rows(desk.alpaca().bars(["AAPL"], FRIDAY, MONDAY), "AAPL")][-1] == last


def test_crypto_has_sessions_of_utc_days_and_goes_with_shares(desk: Desk) -> None:
    frame = desk.alpaca().bars(["BTC/USD", "AAPL"], FRIDAY, MONDAY)
    assert frame.collect()["symbol"].to_list() == ["AAPL"] * 2 + ["BTC/USD"] * 3
    bitcoin = frame.filter(symbol="BTC/USD").collect()
    assert rows(frame, "BTC/USD") == desk.market.bars["BTC/USD", "1d"][:3]  # the fourth day is still running
    assert bitcoin["known_at"].to_list()[0] == instant(2024, 3, 9)
    assert frame.collect()["symbol"].is_sorted()


def test_a_daily_bar_that_does_not_begin_at_midnight_is_refused(desk: Desk) -> None:
    desk.market.set_bars("BTC/USD", "1d", seeded_bars(9, [instant(2024, 3, 8, 6)]))  # as they were: of Chicago's days
    with pytest.raises(BarSchemaError, match=r"BTC/USD 2024-03-08 06:00.*must begin at midnight of 24/7"):
        desk.alpaca().bars(["BTC/USD"], FRIDAY, FRIDAY)


def test_an_intraday_bar_still_being_built_is_left_out(desk: Desk) -> None:
    desk.market.clock.truth = OPENS[FRIDAY] + timedelta(minutes=10, seconds=30)
    assert len(rows(desk.alpaca("iex").bars(["AAPL"], FRIDAY, FRIDAY, "1m"), "AAPL")) == 10


def test_an_excluded_session_is_left_out_and_half_rows_are_refused(desk: Desk) -> None:
    half = {"t": "2024-03-08T05:00:00Z", "o": 1, "h": 1, "l": None, "c": 1, "v": 5}
    desk.venue.send("bars", "AAPL", [half, {**half, "t": "2024-03-11T04:00:00Z", "l": 1}], "1d")
    with pytest.raises(BarSchemaError, match=r"AAPL 2024-03-08: low is None.*cleaning\.exclude"):
        desk.alpaca().bars(["AAPL"], FRIDAY, MONDAY)
    exclude = (ExcludedRow(symbol="AAPL", session=FRIDAY, reason="no low"),)
    assert [row.ts for row in rows(desk.alpaca(exclude=exclude).bars(["AAPL"], FRIDAY, MONDAY), "AAPL")] == [
        OPENS[MONDAY]
    ]


def test_other_timeframes_and_futures_are_not_offered_by_name(desk: Desk) -> None:
    with pytest.raises(NotOfferedError, match="alpaca has no bars of '4h'; it has 1m, 5m, 15m, 30m, 1h, 1d"):
        desk.alpaca().bars(["AAPL"], FRIDAY, FRIDAY, "4h")
    with pytest.raises(NotOfferedError, match="alpaca has no futures"):
        desk.alpaca().futures("ES", FRIDAY)


# ---- paging


@pytest.mark.parametrize("page_rows", [1, 7, 30, 31, 90, 10_000])
def test_pages_that_count_rows_across_symbols_lose_nothing(desk: Desk, page_rows: int) -> None:
    frame = desk.alpaca(page_rows=page_rows).bars(SHARES, FRIDAY, FRIDAY, "1m")
    for symbol in SHARES:
        assert rows(frame, symbol) == desk.market.bars[symbol, "1m"]
    assert len(desk.asked("/bars")) == -(-90 // page_rows)
    assert {request.query["limit"] for request in desk.asked("/bars")} == {str(page_rows)}


@pytest.mark.parametrize("job_rows", [1440, 3000])
def test_groups_and_windows_at_once_lose_nothing_and_double_nothing(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, job_rows: int
) -> None:
    monkeypatch.setattr(alpaca_client, "JOB_ROWS", job_rows)
    cut = instant(2024, 3, 9, 5)  # midnight in New York: where one window ends and the next begins
    for symbol in SHARES:
        desk.market.set_bars(symbol, "1m", seeded_bars(4, every(cut - 40 * MINUTE, MINUTE, 80)))
    frame = desk.alpaca(page_rows=9, workers=3).bars(SHARES, FRIDAY, MONDAY, "1m")
    for symbol in SHARES:
        assert rows(frame, symbol) == desk.market.bars[symbol, "1m"]
    assert len({request.query["start"] for request in desk.asked("/bars")}) > 1


def test_many_symbols_are_asked_for_in_groups(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alpaca_client, "GROUP", 2)
    assert desk.alpaca().bars(SHARES, FRIDAY, MONDAY).collect().height == 6
    assert sorted(request.query["symbols"] for request in desk.asked("/bars")) == ["AAPL,BRK.B", "MSFT"]


def test_the_same_page_for_ever_is_refused(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    stuck = Answer(200, b'{"bars": {}, "next_page_token": "again"}')
    monkeypatch.setattr(desk.venue, "answer", lambda request: stuck)
    with pytest.raises(BadAnswerError, match="same page twice"):
        desk.alpaca().bars(["AAPL"], FRIDAY, FRIDAY)


# ---- faults

FAULTS = [  # what the venue does, the error, what the message says
    (Fault("status", status=429), RateLimitedError, r"AAPL.*refuses more requests \(429\)"),
    (Fault("status", status=500), BadAnswerError, "AAPL.*answered 500: fault 500"),
    (Fault("html", status=503), BadAnswerError, "answered 503.*DOCTYPE"),
    (Fault("applied", status=504), BadAnswerError, "answered 504"),
    (Fault("html"), BadAnswerError, "something else than its data.*DOCTYPE"),
    (Fault("truncated"), BadAnswerError, "something else than its data"),
    (Fault("cut off"), BadAnswerError, "AAPL.*broke off"),
    (Fault("empty"), BadAnswerError, "AAPL.*was empty"),
    (Fault("drop"), BadAnswerError, "AAPL.*broke off"),
    (Fault("status", status=200, body='{"message": "ok"}'), BadAnswerError, "something else than its data"),
    (Fault("status", status=200, body='{"bars": {"AAPL": [{"o": "x"}]}}'), BadAnswerError, "something else"),
    (Fault("slow"), ProviderTimeoutError, r"AAPL.*within 0\.1 s.*provider\.timeout_seconds"),
]
NAMES = [f"{fault.kind} {fault.status or ''}{fault.body[:8]}".strip() for fault, _, _ in FAULTS]


@pytest.mark.parametrize(("fault", "error", "says"), FAULTS, ids=NAMES)
def test_a_lasting_fault_is_an_error_of_its_kind_after_five_tries(
    desk: Desk, fault: Fault, error: type[ProviderError], says: str
) -> None:
    desk.market.faults.add("/stocks/bars", fault, times=None)
    timeout = 0.1 if fault.kind == "slow" else 5.0
    with pytest.raises(error, match=says):
        desk.alpaca(timeout_seconds=timeout).bars(SHARES, FRIDAY, FRIDAY, "1m")
    assert len(desk.pauses) == TRIES - 1
    assert len(desk.asked("/bars")) <= TRIES  # and none by alpaca-py itself


@pytest.mark.parametrize("fault", [fault for fault, _, _ in FAULTS], ids=NAMES)
def test_a_passing_fault_on_any_page_loses_and_doubles_nothing(desk: Desk, fault: Fault) -> None:
    desk.market.faults.add("/stocks/bars", fault, times=2)
    desk.market.faults.add("/stocks/bars", fault, times=1, skip=3)
    timeout = 0.3 if fault.kind == "slow" else 5.0
    frame = desk.alpaca(page_rows=11, timeout_seconds=timeout).bars(SHARES, FRIDAY, FRIDAY, "1m")
    for symbol in SHARES:
        assert rows(frame, symbol) == desk.market.bars[symbol, "1m"]
    assert len(desk.market.faults.fired) == 3


def test_retry_after_is_obeyed_also_by_those_beside(desk: Desk) -> None:
    desk.market.faults.add("/bars", Fault("status", status=429, retry_after=7.5))
    alpaca = desk.alpaca(requests_per_minute=60)
    assert alpaca.bars(["AAPL"], FRIDAY, FRIDAY).collect().height == 1
    assert desk.pauses[0] >= 7.5  # the try itself
    assert desk.pauses[1] > 7.0  # the bucket, empty for as long (sleeping here takes no time)


def test_no_more_requests_go_out_than_the_plan_allows(desk: Desk) -> None:
    desk.alpaca(requests_per_minute=60, page_rows=10).bars(SHARES, FRIDAY, FRIDAY, "1m")
    assert len(desk.asked("/bars")) == 9
    assert sum(pause > 0 for pause in desk.pauses) == 6  # three at once, then one after another
    assert desk.pauses[-1] > 5.0


def test_a_fault_stops_the_other_downloads(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alpaca_client, "GROUP", 1)
    desk.market.faults.add("/bars", Fault("status", status=403), skip=4)
    with pytest.raises(AccessDeniedError):
        desk.alpaca(workers=2, page_rows=1).bars([*SHARES, "QUIET"], FRIDAY, FRIDAY, "1m")
    assert len(desk.asked("/bars")) < 25  # the three have 30 pages each


def test_a_server_that_is_gone_cannot_be_reached(market: Market) -> None:
    with AlpacaVenue(market) as venue:
        gone = Desk(venue)
    with pytest.raises(ProviderError, match=r"AAPL: Alpaca cannot be reached.*proxy"):
        gone.alpaca().bars(["AAPL"], FRIDAY, FRIDAY)
    assert gone.pauses == []


@pytest.mark.parametrize(
    ("path", "ask"),
    [
        ("/assets/AAPL", lambda alpaca: alpaca.instruments(["AAPL"])),
        ("/latest/trades", lambda alpaca: alpaca.instruments(["BTC/USD"])),
        ("/corporate-actions", lambda alpaca: alpaca.corporate_actions(["AAPL"], FRIDAY, MONDAY).collect()),
        ("/stocks/quotes", lambda alpaca: alpaca.quotes(["AAPL"], OPENS[FRIDAY], OPENS[MONDAY]).collect()),
        ("/crypto/us/trades", lambda alpaca: alpaca.trades(["BTC/USD"], instant(2024, 3, 8), OPENS[MONDAY]).collect()),
    ],
)
def test_every_request_overcomes_what_passes(desk: Desk, path: str, ask: Any) -> None:
    good = ask(desk.alpaca())
    for kind in ("truncated", "drop", "html", "empty"):
        desk.market.faults.add(path, Fault(kind))
    assert ask(desk.alpaca()).equals(good)
    assert len(desk.market.faults.fired) == 4


# ---- refusals


def test_without_keys_it_says_which_and_what_works_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ALPACA_SECRET_KEY")
    with pytest.raises(MissingSecretError, match=r"ALPACA_API_KEY and ALPACA_SECRET_KEY.*sample") as raised:
        Alpaca()
    assert KEY not in str(raised.value)


def test_an_unknown_feed_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"provider\.feed: alpaca has no 'otc'; use sip"):
        Alpaca("otc")


def test_wrong_keys_are_refused_once(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALPACA_SECRET_KEY", "something-else")
    with pytest.raises(AccessDeniedError, match=r"refused the keys \(401: unauthorized.*ALPACA_API_KEY.*paper"):
        desk.alpaca().bars(["AAPL"], FRIDAY, FRIDAY)
    assert len(desk.venue.requests) == 1


def test_recent_data_of_all_exchanges_are_not_in_the_free_plan(market: Market) -> None:
    market.clock.truth = OPENS[FRIDAY] + 20 * MINUTE
    with AlpacaVenue(market, free_plan=True) as venue:
        desk = Desk(venue)
        with pytest.raises(AccessDeniedError, match=r"does not permit querying recent SIP data.*feed: iex"):
            desk.alpaca(delay_minutes=0).bars(["AAPL"], FRIDAY, FRIDAY, "1m")
        assert len(rows(desk.alpaca().bars(["AAPL"], FRIDAY, FRIDAY, "1m"), "AAPL")) == 4
        assert desk.alpaca().quotes(["AAPL"], OPENS[FRIDAY], OPENS[MONDAY]).collect().height == 4
        assert len(rows(desk.alpaca("iex").bars(["AAPL"], FRIDAY, FRIDAY, "1m"), "AAPL")) == 20
        market.clock.truth = instant(2024, 3, 11, 20, 16)  # the daily bar is there as soon as it has settled
        assert len(rows(desk.alpaca().bars(["AAPL"], FRIDAY, MONDAY), "AAPL")) == 2


def test_a_bar_that_is_over_but_not_yet_within_the_delay_is_left_out(desk: Desk) -> None:
    desk.market.clock.truth = OPENS[FRIDAY] + timedelta(minutes=75)
    desk.market.set_bars("AAPL", "1h", seeded_bars(1, [OPENS[FRIDAY] - timedelta(hours=1), OPENS[FRIDAY]]))
    assert len(rows(desk.alpaca().bars(["AAPL"], FRIDAY, FRIDAY, "1h"), "AAPL")) == 1
    assert len(rows(desk.alpaca(delay_minutes=0).bars(["AAPL"], FRIDAY, FRIDAY, "1h"), "AAPL")) == 2


@pytest.mark.parametrize(
    "fault",
    [
        Fault("status", status=status, body=f'{{"message": "key {KEY} {SECRET}"}}')
        for status in (200, 400, 401, 403, 500)
    ]
    + [Fault("status", status=404, body=f"<html>{SECRET}</html>"), Fault("drop"), Fault("cut off"), Fault("slow")],
)
def test_no_error_shows_the_keys(desk: Desk, fault: Fault) -> None:
    desk.market.faults.add("/bars", fault, times=None)
    alpaca = desk.alpaca(timeout_seconds=0.4 if fault.kind == "slow" else 5.0)
    with pytest.raises(QuantError) as raised:
        alpaca.bars(["AAPL"], FRIDAY, FRIDAY)
    shown = "".join(traceback.format_exception(raised.value)) + repr(alpaca) + repr(raised.value)
    assert KEY not in shown
    assert SECRET not in shown


def test_unknown_symbols_are_told_from_those_without_rows(desk: Desk) -> None:
    alpaca = desk.alpaca()
    assert alpaca.bars(["QUIET", "AAPL"], FRIDAY, FRIDAY).collect()["symbol"].unique().to_list() == ["AAPL"]
    with pytest.raises(NoDataError, match="alpaca has no rows of QUIET from 2024-03-08 to 2024-03-11"):
        alpaca.bars(["QUIET"], FRIDAY, MONDAY)
    with pytest.raises(NoDataError, match="alpaca has no trades of QUIET"):
        alpaca.trades(["QUIET"], OPENS[FRIDAY], OPENS[MONDAY])
    for ask in (
        lambda: alpaca.bars(["AAPL", "NOPE"], FRIDAY, FRIDAY),
        lambda: alpaca.quotes(["NOPE"], OPENS[FRIDAY], OPENS[MONDAY]),
        lambda: alpaca.corporate_actions(["NOPE"], FRIDAY, MONDAY),
        lambda: alpaca.instruments(["AAPL", "NOPE"]),
        lambda: alpaca.option_chain("NOPE", MONDAY),
    ):
        with pytest.raises(UnknownSymbolError, match="alpaca has no NOPE"):
            ask()
    with pytest.raises(UnknownSymbolError, match="alpaca has no DOES/NOT"):
        alpaca.bars(["BTC/USD", "DOES/NOT"], FRIDAY, FRIDAY)
    assert desk.pauses == []


def test_many_unknown_symbols_are_looked_up_with_one_request(desk: Desk) -> None:
    many = [f"X{at}" for at in range(FEW + 1)]
    with pytest.raises(UnknownSymbolError, match="alpaca has no X0, X1"):
        desk.alpaca().bars(["AAPL", *many], FRIDAY, FRIDAY)
    assert len(desk.asked("/assets")) == 1


def test_a_malformed_symbol_is_refused_as_unknown(desk: Desk) -> None:
    with pytest.raises(UnknownSymbolError, match=r"400: invalid symbol: \.\."):
        desk.alpaca().bars([".."], FRIDAY, FRIDAY)


def test_no_settled_session_is_no_data(desk: Desk) -> None:
    with pytest.raises(NoDataError):
        desk.alpaca().bars(["AAPL"], date(2024, 3, 9), date(2024, 3, 10))
    assert desk.asked("/bars") == []


# ---- quotes and trades


def test_quotes_are_the_markets_in_shares(desk: Desk) -> None:
    frame = desk.alpaca(page_rows=7).quotes(["AAPL", "BTC/USD"], instant(2024, 3, 8), OPENS[FRIDAY] + 15 * MINUTE)
    assert frame.collect_schema() == QUOTE_SCHEMA
    for symbol, count in (("AAPL", 15), ("BTC/USD", 20)):  # the end is excluded
        found = frame.filter(symbol=symbol).select("ts", "bid", "bid_size", "ask", "ask_size").collect().rows()
        assert found == [tuple(quote) for quote in desk.market.quotes[symbol][:count]]


def test_quotes_sizes_are_shares_since_november_2025_and_absent_sides_are_null(desk: Desk) -> None:
    desk.market.clock.truth = instant(2025, 11, 4)
    desk.market.set_quotes(
        "AAPL",
        [
            Quote(instant(2025, 10, 31, 15), 1.0, 200.0, 1.1, 300.0),
            Quote(instant(2025, 11, 3, 15), 1.0, 240.0, 0.0, 0.0),
            Quote(instant(2025, 11, 3, 16), 0.0, 0.0, 0.0, 0.0),
        ],
    )
    frame = desk.alpaca().quotes(["AAPL"], instant(2025, 10, 31), instant(2025, 11, 4)).collect()
    assert frame.select("bid_size", "ask", "ask_size").rows() == [(200.0, 1.1, 300.0), (240.0, None, 0.0)]


def test_trades_are_the_markets_and_crypto_tells_the_side(desk: Desk) -> None:
    frame = desk.alpaca(page_rows=7).trades(["AAPL", "BTC/USD"], instant(2024, 3, 8), OPENS[MONDAY])
    assert frame.collect_schema() == TRADE_SCHEMA
    for symbol in ("AAPL", "BTC/USD"):
        told = symbol == "BTC/USD"
        assert frame.filter(symbol=symbol).select("ts", "price", "size", "trade_id", "side").collect().rows() == [
            (*trade[:3], str(trade.trade_id), trade.side if told else None) for trade in desk.market.trades[symbol]
        ]


def test_a_window_of_days_takes_each_trade_once_also_at_midnight_and_in_nanoseconds(desk: Desk) -> None:
    stamps = ("2024-03-08T23:59:59.999999999Z", "2024-03-09T00:00:00Z", "2024-03-10T00:00:00Z")
    desk.venue.send("trades", "AAPL", [{"t": at, "p": 1.5, "s": 1, "i": i} for i, at in enumerate(stamps)])
    found = desk.alpaca().trades(["AAPL"], instant(2024, 3, 8), instant(2024, 3, 10)).collect()
    assert found.select("trade_id", "ts").rows() == [
        ("0", instant(2024, 3, 8, 23, 59, 59, 999999)),
        ("1", instant(2024, 3, 9)),
    ]


def test_trades_that_were_cancelled_or_corrected_are_left_out(desk: Desk) -> None:
    trade = {"t": "2024-03-08T15:00:00Z", "p": 1.5, "s": 1}
    updates = [{"i": 1, "u": "canceled"}, {"i": 2, "u": "incorrect"}, {"i": 3, "u": "corrected"}, {"i": 4}]
    desk.venue.send("trades", "AAPL", [trade | update for update in updates])
    found = desk.alpaca().trades(["AAPL"], OPENS[FRIDAY], OPENS[MONDAY]).collect()
    assert found["trade_id"].to_list() == ["3", "4"]


# ---- corporate actions, instruments, option chains


def test_corporate_actions_are_found_by_their_ex_date_however_late_they_were_processed(desk: Desk) -> None:
    paid = Action(FRIDAY, "dividend", 0.24)
    desk.venue.processed["AAPL", paid] = date(2024, 6, 20)
    desk.venue.processed["MSFT", paid] = FRIDAY
    desk.market.set_actions("AAPL", paid, Action(MONDAY, "split", 4.0), Action(date(2024, 3, 7), "dividend", 9.0))
    desk.market.set_actions("MSFT", paid, Action(MONDAY, "split", 0.1))
    desk.market.set_actions("BRK.B", Action(MONDAY, "stock dividend", 0.05))
    frame = desk.alpaca().corporate_actions(["MSFT", "AAPL", "BRK.B", "QUIET", "BTC/USD"], FRIDAY, MONDAY)
    assert frame.collect_schema() == ACTION_SCHEMA
    assert frame.select("symbol", "ts", "kind", "value").collect().rows() == [
        ("AAPL", OPENS[FRIDAY], "dividend", 0.24),
        ("AAPL", OPENS[MONDAY], "split", 4.0),
        ("BRK.B", OPENS[MONDAY], "split", 1.05),
        ("MSFT", OPENS[FRIDAY], "dividend", 0.24),
        ("MSFT", OPENS[MONDAY], "split", 0.1),
    ]


def test_no_action_is_no_error_and_many_come_in_pages(desk: Desk) -> None:
    alpaca = desk.alpaca()
    assert alpaca.corporate_actions(["AAPL", "BTC/USD"], FRIDAY, MONDAY).collect().is_empty()
    days = sessions("XNYS", date(2023, 1, 3), FRIDAY)["session"]
    for at in range(5):
        desk.market.add(Listing(f"D{at}"))
        desk.market.set_actions(f"D{at}", *(Action(day, "dividend", 1.0) for day in days))
    found = alpaca.corporate_actions([f"D{at}" for at in range(5)], days[0], days[-1]).collect()
    assert found.height == 5 * len(days) > 1000
    assert found.unique(["symbol", "ts"]).height == found.height


def test_an_ex_date_that_is_no_session_is_refused(desk: Desk) -> None:
    desk.market.set_actions("AAPL", Action(date(2024, 3, 9), "dividend", 0.24))
    with pytest.raises(BarSchemaError, match="AAPL 2024-03-09: date is not a session"):
        desk.alpaca().corporate_actions(["AAPL"], FRIDAY, MONDAY)


def test_instruments_carry_the_exchanges_filters(desk: Desk) -> None:
    desk.market.add(
        Listing("WHOLE", venue="XNYS", fractionable=False), Listing("NEW/USD", "crypto", tick=0.01, lot=0.1)
    )
    frame = desk.alpaca().instruments(["WHOLE", "BTC/USD", "AAPL", "NEW/USD"])
    assert frame.schema == INSTRUMENT_SCHEMA
    columns = ("symbol", "asset_class", "venue", "calendar", "currency", "tick", "lot", "minimum_notional")
    last = desk.market.trades["BTC/USD"][-1].price
    assert frame.select(columns).rows() == [
        ("AAPL", "equity", "XNAS", "XNYS", "USD", 0.01, 1e-9, 1.0),
        ("BTC/USD", "crypto", "ALPACA", "24/7", "USD", 0.5, 1e-6, pytest.approx(2e-5 * last)),
        ("NEW/USD", "crypto", "ALPACA", "24/7", "USD", 0.01, 0.1, None),
        ("WHOLE", "equity", "XNYS", "XNYS", "USD", 0.01, 1.0, None),
    ]


def chain(underlying: str = "AAPL") -> list[Listing]:
    spec = [
        (date(2024, 3, 8), 170.0, "call", False),
        (date(2024, 3, 15), 180.0, "put", True),
        (date(2024, 3, 15), 180.0, "call", True),
        (date(2024, 3, 15), 172.5, "call", True),
        (date(2026, 12, 18), 200.0, "put", True),
    ]
    return [
        Listing(
            f"{underlying}{expiry:%y%m%d}{right[0].upper()}{int(strike * 1000):08d}", "option", multiplier=100.0,
            expiry=expiry, strike=strike, right=right, underlying=underlying, active=active,
        )
        for expiry, strike, right, active in spec
    ]  # fmt: skip


def test_an_option_chain_is_paged_and_goes_as_far_as_there_are_expiries(desk: Desk) -> None:
    desk.market.add(*chain())
    frame = desk.alpaca(page_rows=2).option_chain("AAPL", MONDAY)
    assert frame.schema == INSTRUMENT_SCHEMA
    columns = ("symbol", "asset_class", "underlying", "expiry", "strike", "right", "multiplier", "currency")
    assert frame.select(columns).rows() == [
        (each.symbol, "option", "AAPL", each.expiry, each.strike, each.right, 100.0, "USD")
        for each in (chain()[3], chain()[2], chain()[1], chain()[4])
    ]
    assert len(desk.asked("/options")) == 2


def test_the_chain_of_the_last_session_holds_what_has_expired_since(desk: Desk) -> None:
    desk.market.add(*chain())
    assert desk.alpaca().option_chain("AAPL", FRIDAY)["expiry"][0] == FRIDAY
    with pytest.raises(NotOfferedError, match="option chains: alpaca has those of today, not of 2024-03-01"):
        desk.alpaca().option_chain("AAPL", date(2024, 3, 1))


def test_no_options_is_no_data(desk: Desk) -> None:
    with pytest.raises(NoDataError, match="alpaca has no options of AAPL that expire on 2024-03-11 or later"):
        desk.alpaca().option_chain("AAPL", MONDAY)


# ---- the pause that is asked for


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, 0.0),
        ({"Retry-After": "3"}, 3.0),
        ({"Retry-After": "soon"}, 0.0),
        ({"Retry-After": "inf"}, 0.0),
        ({"Retry-After": "-4"}, 0.0),
        ({"X-RateLimit-Reset": str(instant(2024, 3, 8).timestamp() + 9)}, 9.0),
        ({"X-RateLimit-Reset": str(instant(2024, 3, 8).timestamp() - 9)}, 0.0),  # a clock that runs ahead
    ],
)
def test_what_a_refusal_asks_to_wait(headers: dict[str, str], seconds: float) -> None:
    from resources.market_data.alpaca_translate import pause

    assert pause(headers, instant(2024, 3, 8)) == seconds
