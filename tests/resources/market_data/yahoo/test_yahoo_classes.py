"""The Yahoo provider beside daily shares: intraday bars, crypto, forex, futures and indices, option chains."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date, datetime, timedelta
from types import SimpleNamespace

import pytest

from resources.calendars import sessions
from resources.config import ExcludedRow
from resources.errors import BadAnswerError, BarSchemaError, NoDataError, NotOfferedError, UnknownSymbolError
from resources.market_data.base import BAR_SCHEMA, INSTRUMENT_SCHEMA
from resources.market_data.yahoo import client
from resources.market_data.yahoo.provider import REACH
from tests.resources.market_data.yahoo.yahoo_desk import Desk, bars_of, desks
from tests.venues.market import Action, Bar, Fault, Listing, every, instant, seeded_bars
from tests.venues.yahoo import FAULTS, float32

NOW = instant(2024, 3, 13, 22)  # New York's clock moved on the 10th, London's moves on the 31st
MONDAY, WEDNESDAY = date(2024, 3, 11), date(2024, 3, 13)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
STEPS = {
    "1m": timedelta(minutes=1), "5m": timedelta(minutes=5), "15m": timedelta(minutes=15),
    "30m": timedelta(minutes=30), "1h": HOUR,
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def _caches_in_a_folder_of_their_own(tmp_path_factory: pytest.TempPathFactory) -> None:
    import yfinance

    yfinance.set_tz_cache_location(str(tmp_path_factory.mktemp("yfinance")))


@pytest.fixture
def desk() -> Iterator[Callable[..., Desk]]:
    with desks() as open_desk:
        yield open_desk


def worldly(at_desk: Desk) -> Desk:
    """A desk whose market has an instrument of every class, at 22:00 UTC on a Wednesday."""
    market = at_desk.market
    market.clock.truth = NOW
    market.add(
        Listing("BTC-USD", "crypto", venue="CCC"),
        Listing("EURUSD=X", "forex", venue="CCY"),
        Listing("USDJPY=X", "forex", venue="CCY", currency="JPY"),
        Listing("ES=F", "future", venue="CME"),
        Listing("CT=F", "future", venue="NYB"),
        Listing("VOD.L", venue="LSE", currency="GBp"),
        *(option(*each) for each in CHAIN),
    )
    market.set_bars("BTC-USD", "1d", shown(1, every(instant(2024, 3, 8), DAY, 6)))
    london = [instant(2024, 3, day) for day in (8, 11, 12, 13)]
    market.set_bars("EURUSD=X", "1d", [bar._replace(volume=0.0) for bar in shown(2, london, tick=1e-4, price=1.1)])
    market.set_bars("USDJPY=X", "1d", shown(3, london))
    new_york = [instant(2024, 3, 8, 5), *(instant(2024, 3, day, 4) for day in (11, 12, 13))]
    for seed, symbol in enumerate(("ES=F", "CT=F"), 4):
        market.set_bars(symbol, "1d", shown(seed, new_york, price=5100))
    market.set_bars("VOD.L", "1d", shown(6, london))
    market.set_bars("^GSPC", "1d", shown(7, [instant(2024, 3, day, 13, 30) for day in (11, 12, 13)], price=5100))
    return at_desk


def shown(seed: int, starts: list[datetime], price: float = 100.0, tick: float = 0.01) -> list[Bar]:
    """Bars that 32 bits hold, as Yahoo's are."""
    return [
        Bar(bar.ts, *(float(f"{float32(each):.7g}") for each in bar[1:5]), bar.volume)
        for bar in seeded_bars(seed, starts, price=price, tick=tick)
    ]


CHAIN = [  # not every strike at every expiry
    (date(2024, 3, 8), 170.0, "call"),
    (date(2024, 3, 15), 170.0, "call"),
    (date(2024, 3, 15), 170.0, "put"),
    (date(2024, 4, 19), 172.5, "call"),
]


def option(expiry: date, strike: float, right: str) -> Listing:
    name = f"AAPL{expiry:%y%m%d}{right[0].upper()}{round(strike * 1000):08d}"
    return Listing(name, "option", venue="OPRA", expiry=expiry, strike=strike, right=right, underlying="AAPL")


def hours(calendar: str, start: date, end: date, step: timedelta) -> list[datetime]:
    """When bars of a length begin in the sessions."""
    rows = sessions(calendar, start, end).select("open", "close").rows()
    return [opens + step * at for opens, closes in rows for at in range(-(-(closes - opens) // step))]


# Classes


def test_instruments_of_every_class(desk: Callable[..., Desk]) -> None:
    names = ["^GSPC", "AAPL240315C00170000", "BTC-USD", "CT=F", "ES=F", "EURUSD=X", "USDJPY=X", "VOD.L"]
    frame = worldly(desk()).yahoo().instruments(names)
    assert frame.schema == INSTRUMENT_SCHEMA
    told = ("symbol", "asset_class", "venue", "calendar", "currency", "multiplier", "underlying", "pip")
    assert frame.select(told).rows() == [
        ("AAPL240315C00170000", "option", "OPR", "XNYS", "USD", 100.0, "AAPL", None),
        ("BTC-USD", "crypto", "CCC", "24/7", "USD", 1.0, "BTC", None),
        ("CT=F", "future", "IFUS", "IEPA", "USD", None, "CT", None),
        ("ES=F", "future", "XCME", "CMES", "USD", None, "ES", None),
        ("EURUSD=X", "forex", "CCY", "24/5", "USD", 1.0, None, 0.0001),
        ("USDJPY=X", "forex", "CCY", "24/5", "JPY", 1.0, None, 0.01),
        ("VOD.L", "equity", "LSE", "XNYS", "GBp", 1.0, None, None),
        ("^GSPC", "index", "SNP", "XNYS", "USD", None, None, None),
    ]
    assert frame.select("expiry", "strike", "right").row(0) == (date(2024, 3, 15), 170.0, "call")


def test_a_kind_that_has_no_name_here_is_refused_by_name(desk: Callable[..., Desk]) -> None:
    at_desk = worldly(desk())
    body = '{"chart": {"result": [{"meta": {"symbol": "FB", "instrumentType": "ALTSYMBOL", "exchangeTimezoneName": "UTC"}}], "error": null}}'  # noqa: E501
    at_desk.market.faults.add("/chart/FB", Fault("status", status=200, body=body))
    with pytest.raises(NotOfferedError, match="FB: yahoo calls it ALTSYMBOL"):
        at_desk.yahoo().instruments(["FB"])


CLASSES = [  # symbol, days that are over at 22:00 UTC on Wednesday the 13th, when the last one was
    ("BTC-USD", [8, 9, 10, 11, 12], instant(2024, 3, 13)),
    ("EURUSD=X", [8, 11, 12], instant(2024, 3, 13)),
    ("ES=F", [8, 11, 12, 13], instant(2024, 3, 13, 22)),
    ("VOD.L", [8, 11, 12, 13], instant(2024, 3, 13, 20)),
    ("^GSPC", [11, 12, 13], instant(2024, 3, 13, 20)),
]


@pytest.mark.parametrize(("symbol", "days", "known"), CLASSES, ids=[case[0] for case in CLASSES])
def test_days_are_the_sessions_of_the_classs_own_calendar(
    desk: Callable[..., Desk], symbol: str, days: list[int], known: datetime
) -> None:
    at_desk = worldly(desk())
    at_desk.venue.live[symbol] = NOW
    frame = at_desk.yahoo().bars([symbol], date(2024, 3, 8), WEDNESDAY).collect()
    assert frame.schema == BAR_SCHEMA
    held = at_desk.market.bars[symbol, "1d"][: len(days)]
    assert [bar[1:] for bar in bars_of(frame)] == [bar[1:] for bar in held]
    assert [(at - DAY / 24).day for at in frame["known_at"]] == days
    assert frame["known_at"][-1] == known


def test_classes_come_together_each_by_its_own_calendar(desk: Callable[..., Desk]) -> None:
    frame = worldly(desk()).yahoo().bars(["ES=F", "BTC-USD", "^GSPC"], date(2024, 3, 8), WEDNESDAY).collect()
    assert frame["symbol"].to_list() == ["BTC-USD"] * 5 + ["ES=F"] * 4 + ["^GSPC"] * 3
    assert worldly(desk()).yahoo().corporate_actions(["BTC-USD"], MONDAY, WEDNESDAY).collect().is_empty()


@pytest.mark.parametrize(("calendar", "opens"), [("XNYS", 13), ("XLON", 8)])
def test_shares_keep_the_calendar_of_the_configuration(desk: Callable[..., Desk], calendar: str, opens: int) -> None:
    frame = worldly(desk()).yahoo(calendar=calendar).bars(["VOD.L"], MONDAY, MONDAY).collect()
    assert frame["ts"][0].hour == opens


def test_the_first_day_of_a_share_whose_session_opens_the_day_before_by_our_clock(desk: Callable[..., Desk]) -> None:
    at_desk = worldly(desk())
    at_desk.market.add(Listing("BHP.AX", venue="ASX", currency="AUD"))
    at_desk.market.set_bars("BHP.AX", "1d", shown(9, [instant(2024, 3, day, 23) for day in (10, 11)]))
    at_desk.market.set_bars("BHP.AX", "1h", shown(9, every(instant(2024, 3, 10, 23), HOUR, 6)))
    yahoo = at_desk.yahoo(calendar="XASX")
    assert yahoo.bars(["BHP.AX"], MONDAY, MONDAY).collect()["ts"].to_list() == [instant(2024, 3, 10, 23)]
    assert bars_of(yahoo.bars(["BHP.AX"], MONDAY, MONDAY, "1h")) == at_desk.market.bars["BHP.AX", "1h"]


# Intraday


@pytest.mark.parametrize("timeframe", list(REACH))
def test_bars_of_each_timeframe_as_far_back_as_yahoo_has_them(desk: Callable[..., Desk], timeframe: str) -> None:
    at_desk = worldly(desk())  # the venue refuses older ones, and more than it gives at once
    first = (NOW - timedelta(days=REACH[timeframe])).date() + 2 * DAY
    bars = shown(8, hours("XNYS", first, WEDNESDAY, STEPS[timeframe]))
    at_desk.market.set_bars("FB", timeframe, bars)
    frame = at_desk.yahoo().bars(["FB"], first, WEDNESDAY, timeframe).collect()
    assert frame.schema == BAR_SCHEMA
    assert bars_of(frame) == bars
    assert (frame["known_at"] - frame["ts"]).unique().to_list() == [STEPS[timeframe]]
    with pytest.raises(NotOfferedError, match=rf"{timeframe} of the last {REACH[timeframe]} days only: from {first}"):
        at_desk.yahoo().bars(["FB"], first - DAY, first - DAY, timeframe)


@pytest.mark.parametrize(
    ("timeframe", "start", "first"),
    [("1m", date(2024, 2, 13), date(2024, 2, 14)), ("5m", date(2024, 1, 1), date(2024, 1, 15))],
)
def test_a_range_that_begins_too_early_is_refused_whole_and_says_from_where_on_it_would_not_be(
    desk: Callable[..., Desk], timeframe: str, start: date, first: date
) -> None:
    at_desk = worldly(desk())  # the venue refuses to give older ones
    bars = shown(8, hours("XNYS", start, WEDNESDAY, STEPS[timeframe]))
    at_desk.market.set_bars("FB", timeframe, bars)
    with pytest.raises(NotOfferedError, match=f"from {first} on, not from {start}"):
        at_desk.yahoo().bars(["FB"], start, WEDNESDAY, timeframe)
    frame = at_desk.yahoo().bars(["FB"], first, WEDNESDAY, timeframe)
    assert bars_of(frame) == [bar for bar in bars if bar.ts.date() >= first]


def test_older_days_are_refused_before_anything_is_asked_and_say_what_to_do(desk: Callable[..., Desk]) -> None:
    at_desk = worldly(desk())
    with pytest.raises(NotOfferedError, match=r"from 2024-02-14 on, not from 2024-01-02\. .*or 5m or 15m.*or 1d"):
        at_desk.yahoo().bars(["FB"], date(2024, 1, 2), date(2024, 1, 31), "1m")
    assert at_desk.venue.asked == []
    with pytest.raises(NotOfferedError, match="yahoo has no bars of '4h'; it has 1d, 1m, 5m, 15m, 30m, 1h"):
        at_desk.yahoo().bars(["FB"], MONDAY, WEDNESDAY, "4h")


def test_yahoos_own_refusal_of_old_days_is_told_in_its_words_and_not_asked_again(desk: Callable[..., Desk]) -> None:
    at_desk = worldly(desk())
    at_desk.market.clock.skew_seconds = 100 * 86_400.0  # as if our clock were far behind
    with pytest.raises(NotOfferedError, match=r"FB: yahoo has no such bars: .*within the last 60 days"):
        at_desk.yahoo(clock=lambda: NOW).bars(["FB"], MONDAY, WEDNESDAY, "5m")
    assert at_desk.pauses == []


def test_what_is_not_over_is_no_bar(desk: Callable[..., Desk]) -> None:
    now = instant(2024, 3, 13, 15, 42, 30)
    at_desk = worldly(desk())
    bars = [bar for bar in shown(8, hours("XNYS", MONDAY, WEDNESDAY, STEPS["5m"])) if bar.ts < now]
    at_desk.market.set_bars("FB", "5m", bars)
    at_desk.venue.live["FB"] = instant(2024, 3, 13, 15, 42, 17)  # the last trade
    frame = at_desk.yahoo(now).bars(["FB"], MONDAY, WEDNESDAY, "5m")
    assert bars_of(frame) == bars[:-1]  # the one of 15:40 is being built
    at_desk.venue.live["FB"] = instant(2024, 3, 13, 20)  # after the close it is stamped by the close
    at_desk.market.set_bars("FB", "5m", shown(8, hours("XNYS", MONDAY, WEDNESDAY, STEPS["5m"])))
    frame = at_desk.yahoo(NOW).bars(["FB"], MONDAY, WEDNESDAY, "5m")
    assert bars_of(frame)[-1].ts == instant(2024, 3, 13, 19, 55)


@pytest.mark.parametrize("ahead", [timedelta(0), timedelta(minutes=40), 2 * DAY], ids=str)
def test_what_still_trades_by_yahoos_clock_is_no_bar_though_ours_runs_ahead(
    desk: Callable[..., Desk], ahead: timedelta
) -> None:
    now = instant(2024, 3, 13, 19, 32)  # New York closes at 20:00
    at_desk = worldly(desk())
    built = [bar for bar in shown(8, hours("XNYS", MONDAY, WEDNESDAY, STEPS["5m"])) if bar.ts < now]
    at_desk.market.set_bars("FB", "5m", built)
    yahoo = at_desk.yahoo(now, clock=lambda: now + ahead)
    days = yahoo.bars(["^GSPC"], MONDAY, WEDNESDAY).collect()
    assert days["ts"].dt.day().to_list() == [11, 12]
    minutes = yahoo.bars(["FB"], MONDAY, WEDNESDAY, "5m").collect()
    assert bars_of(minutes) == built[:-1]  # the one of 19:30 is being built
    assert {days["fetched_at"].max(), minutes["fetched_at"].max()} == {now}


@pytest.mark.parametrize("ahead", [timedelta(hours=-3), timedelta(0)], ids=str)
def test_our_own_clock_counts_where_it_is_behind(desk: Callable[..., Desk], ahead: timedelta) -> None:
    yahoo = worldly(desk()).yahoo(clock=lambda: NOW + ahead)
    last = yahoo.bars(["^GSPC"], MONDAY, WEDNESDAY).collect()["ts"].max()
    assert last == instant(2024, 3, 13 if not ahead else 12, 13, 30)


@pytest.mark.parametrize(
    ("told", "answered"),
    [("Wed, 13 Mar 2024 19:30:00 GMT", instant(2024, 3, 13, 19, 30)), ("soon", None), (None, None)],
)
def test_when_yahoo_answered_its_date_tells_or_nothing(told: str | None, answered: datetime | None) -> None:
    headers = {} if told is None else {"Date": told}
    assert client._answered(SimpleNamespace(headers=headers)) == answered


def test_only_the_sessions_asked_for_are_given_also_those_that_open_the_evening_before(
    desk: Callable[..., Desk],
) -> None:
    at_desk = worldly(desk())
    at_desk.market.set_bars("ES=F", "1h", shown(9, hours("CMES", date(2024, 3, 8), WEDNESDAY, HOUR), price=5100))
    frame = at_desk.yahoo().bars(["ES=F"], MONDAY, MONDAY, "1h").collect()
    assert frame["ts"][0] == instant(2024, 3, 10, 22)  # Sunday evening in Chicago
    assert frame["ts"][-1] == instant(2024, 3, 11, 21)


def test_intraday_bars_before_a_split_are_as_traded_though_it_comes_after_the_range(
    desk: Callable[..., Desk],
) -> None:
    at_desk = worldly(desk())
    bars = shown(8, hours("XNYS", date(2024, 2, 26), WEDNESDAY, STEPS["1m"]))
    at_desk.market.set_bars("FB", "1m", bars)
    at_desk.market.set_actions("FB", Action(date(2024, 3, 12), "split", 4.0))
    frame = at_desk.yahoo().bars(["FB"], date(2024, 2, 26), date(2024, 3, 1), "1m").collect()
    held = [bar for bar in bars if bar.ts < instant(2024, 3, 2)]
    assert [bar[:5] for bar in bars_of(frame)] == [bar[:5] for bar in held]
    assert frame["volume"].to_list() == [bar.volume for bar in held]
    assert len(at_desk.venue.asked) == 3  # weeks, up to today: the split is told by the last


def test_crypto_minutes_around_the_clock_and_an_excluded_day(desk: Callable[..., Desk]) -> None:
    at_desk = worldly(desk())
    bars = shown(9, every(instant(2024, 3, 8), STEPS["1m"], 5 * 1440))
    at_desk.market.set_bars("BTC-USD", "1m", bars)
    sunday = ExcludedRow(symbol="BTC-USD", session=date(2024, 3, 10), reason="a test")
    frame = at_desk.yahoo(exclude=[sunday]).bars(["BTC-USD"], date(2024, 3, 8), date(2024, 3, 11), "1m")
    assert bars_of(frame) == [bar for bar in bars if bar.ts.day in (8, 9, 11)]


def test_an_excluded_session_begins_on_the_evening_before_where_the_venues_does(desk: Callable[..., Desk]) -> None:
    at_desk = worldly(desk())
    at_desk.market.set_bars("ES=F", "1h", shown(9, hours("CMES", date(2024, 3, 8), WEDNESDAY, HOUR), price=5100))
    monday = ExcludedRow(symbol="ES=F", session=MONDAY, reason="a test")
    frame = at_desk.yahoo(exclude=[monday]).bars(["ES=F"], date(2024, 3, 8), date(2024, 3, 12), "1h").collect()
    assert not frame["ts"].is_between(instant(2024, 3, 8, 23), instant(2024, 3, 11, 21)).any()
    assert frame["ts"].dt.date().unique().to_list() == [date(2024, 3, 7), date(2024, 3, 8), MONDAY, date(2024, 3, 12)]


def test_an_action_on_a_day_without_a_session_is_refused_and_left_out_once_excluded(desk: Callable[..., Desk]) -> None:
    at_desk, saturday = desk(), date(2014, 6, 7)
    at_desk.market.set_actions("AAPL", Action(saturday, "dividend", 0.24), Action(date(2014, 6, 9), "split", 7.0))
    with pytest.raises(BarSchemaError, match="AAPL 2014-06-07: date is not a session"):
        at_desk.yahoo().corporate_actions(["AAPL"], date(2014, 6, 5), date(2014, 6, 9)).collect()
    left_out = ExcludedRow(symbol="AAPL", session=saturday, reason="a test")
    frame = at_desk.yahoo(exclude=[left_out]).corporate_actions(["AAPL"], date(2014, 6, 5), date(2014, 6, 9))
    assert frame.collect().select("kind", "value").rows() == [("split", 7.0)]


def test_what_two_requests_bring_alike_is_there_once(desk: Callable[..., Desk]) -> None:
    at_desk = worldly(desk())
    at_desk.venue.whole_end = True
    bars = shown(9, every(instant(2024, 2, 26), STEPS["1m"], 16 * 1440))
    at_desk.market.set_bars("BTC-USD", "1m", bars)
    frame = at_desk.yahoo().bars(["BTC-USD"], date(2024, 2, 26), date(2024, 3, 12), "1m")
    assert bars_of(frame) == bars
    assert len(at_desk.venue.asked) == 3


@pytest.mark.parametrize("name", ["429", "500", "503 html", "html", "truncated", "cut off", "hung up", "nothing"])
def test_a_fault_in_the_middle_of_a_download_loses_and_doubles_nothing(desk: Callable[..., Desk], name: str) -> None:
    at_desk = worldly(desk())
    bars = shown(8, hours("XNYS", date(2024, 2, 26), WEDNESDAY, STEPS["1m"]))
    at_desk.market.set_bars("FB", "1m", bars)
    at_desk.market.faults.add("/chart/FB", FAULTS[name], times=2, skip=1)
    assert bars_of(at_desk.yahoo().bars(["FB"], date(2024, 2, 26), WEDNESDAY, "1m")) == bars
    assert 1 <= len(at_desk.pauses) <= 2  # yfinance asks again after 400 or worse, libcurl where a kept plug is gone


def test_no_intraday_bar_is_no_data(desk: Callable[..., Desk]) -> None:
    at_desk = worldly(desk())
    for days in ((MONDAY, WEDNESDAY), (date(2024, 3, 9), date(2024, 3, 10))):  # no rows, no session
        with pytest.raises(NoDataError, match="yahoo has no rows of FB"):
            at_desk.yahoo().bars(["FB"], *days, "5m")


# Options


def test_an_option_chain_holds_what_is_listed_and_alive(desk: Callable[..., Desk]) -> None:
    at_desk = worldly(desk())
    frame = at_desk.yahoo().option_chain("AAPL", WEDNESDAY)
    assert frame.schema == INSTRUMENT_SCHEMA
    assert frame.select("expiry", "strike", "right").rows() == CHAIN[1:]
    told = ("symbol", "asset_class", "venue", "calendar", "currency", "lot", "multiplier", "underlying")
    assert frame.select(told).row(0) == (
        "AAPL240315C00170000", "option", "OPRA", "XNYS", "USD", 1.0, 100.0, "AAPL",
    )  # fmt: skip
    last_day = at_desk.yahoo().option_chain("AAPL", date(2024, 3, 15))
    assert last_day.height == 3  # also those that expire on it
    later = at_desk.yahoo().option_chain("AAPL", date(2024, 3, 18))
    assert later.select("expiry", "strike", "right").rows() == CHAIN[3:]


def test_chains_of_the_past_of_nothing_and_of_nobody_are_told_apart(desk: Callable[..., Desk]) -> None:
    yahoo = worldly(desk()).yahoo()
    with pytest.raises(NotOfferedError, match=r"yahoo has no option chains of the past \(2024-03-12\)"):
        yahoo.option_chain("AAPL", date(2024, 3, 12))
    with pytest.raises(NoDataError, match="no options on FB that are alive on 2024-03-13"):
        yahoo.option_chain("FB", WEDNESDAY)
    with pytest.raises(UnknownSymbolError, match="yahoo has no NOPE"):
        yahoo.option_chain("NOPE", WEDNESDAY)


ODD = ['{"optionChain": {"result": [{"expirationDates": "soon"}], "error": null}}', '{"chart": {}}', "{}"]


@pytest.mark.parametrize("body", ODD)
def test_options_of_another_layout_are_a_bad_answer_and_a_passing_one_is_overcome(
    desk: Callable[..., Desk], body: str
) -> None:
    at_desk = worldly(desk())
    at_desk.market.faults.add("/options/AAPL", Fault("status", status=200, body=body), times=2)
    assert at_desk.yahoo().option_chain("AAPL", WEDNESDAY).height == 3
    at_desk.market.faults.add("/options/AAPL", Fault("status", status=200, body=body), times=None, skip=1)
    with pytest.raises(BadAnswerError, match="AAPL: Yahoo"):
        at_desk.yahoo().option_chain("AAPL", WEDNESDAY)


def test_quotes_trades_and_futures_are_not_offered_by_name(desk: Callable[..., Desk]) -> None:
    yahoo = worldly(desk()).yahoo()
    for what, ask in (
        ("quotes", lambda: yahoo.quotes(["AAPL"], NOW, NOW)),
        ("trades", lambda: yahoo.trades(["AAPL"], NOW, NOW)),
        ("futures", lambda: yahoo.futures("ES", WEDNESDAY)),
    ):
        with pytest.raises(NotOfferedError, match=f"yahoo has no {what}; it has bars of 1d"):
            ask()
