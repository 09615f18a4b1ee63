"""The Yahoo provider against a venue on loopback: what it restates, what it leaves out, what it refuses and how."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import date, datetime

import polars as pl
import pytest

from resources.config import ExcludedRow
from resources.errors import (
    BadAnswerError,
    BarSchemaError,
    NoDataError,
    ProviderError,
    ProviderTimeoutError,
    RateLimitedError,
    UnknownSymbolError,
)
from resources.market_data.base import ACTION_SCHEMA, BAR_SCHEMA, INSTRUMENT_SCHEMA
from resources.market_data.pacing import TokenBucket
from resources.market_data.yahoo import Yahoo
from resources.market_data.yahoo.client import REFUSED_SECONDS, TRIES
from tests.resources.market_data.yahoo.yahoo_desk import (
    AAPL,
    EVENING,
    FB,
    NAN,
    Desk,
    at_open,
    bars_of,
    daily,
    days_of,
    desks,
)
from tests.venues.market import Fault, Market, instant, seeded_bars
from tests.venues.yahoo import FAULTS, YahooVenue, chart

AUGUST = (date(2020, 8, 28), date(2020, 9, 3))
JUNE = (date(2014, 6, 5), date(2014, 6, 9))


@pytest.fixture(scope="module", autouse=True)
def _caches_in_a_folder_of_their_own(tmp_path_factory: pytest.TempPathFactory) -> None:
    import yfinance

    yfinance.set_tz_cache_location(str(tmp_path_factory.mktemp("yfinance")))


@pytest.fixture
def desk() -> Iterator[Callable[..., Desk]]:
    with desks() as open_desk:
        yield open_desk


def test_bars_are_as_traded_also_before_splits_that_come_after_the_range(desk: Callable[..., Desk]) -> None:
    frame = desk().yahoo().bars(["AAPL"], *JUNE)
    assert bars_of(frame) == AAPL[:3]
    assert frame.collect_schema() == BAR_SCHEMA
    assert frame.collect()["known_at"].to_list() == [instant(2014, 6, day, 20) for day in (5, 6, 9)]
    assert frame.collect()["fetched_at"].unique().to_list() == [EVENING]


def test_actions_are_as_paid(desk: Callable[..., Desk]) -> None:
    frame = desk().yahoo().corporate_actions(["FB", "AAPL"], date(2014, 6, 1), date(2020, 12, 31))
    assert frame.collect_schema() == ACTION_SCHEMA
    assert frame.select(pl.col("ts").dt.date(), "kind", "value").collect().rows() == [
        (date(2014, 6, 5), "dividend", 3.29),
        (date(2014, 6, 9), "split", 7.0),
        (date(2014, 8, 7), "dividend", 0.47),
        (date(2020, 8, 31), "split", 4.0),
    ]


def test_actions_outside_the_range_stay_out_and_none_is_no_error(desk: Callable[..., Desk]) -> None:
    assert desk().yahoo().corporate_actions(["AAPL"], date(2014, 6, 6), date(2014, 6, 6)).collect().is_empty()


@pytest.mark.parametrize(
    ("now", "last"),
    [
        (instant(2020, 9, 3, 19, 59), date(2020, 8, 31)),  # a minute before the close
        (instant(2020, 9, 3, 20), date(2020, 9, 3)),
    ],
)
def test_a_session_still_trading_is_no_bar(desk: Callable[..., Desk], now: datetime, last: date) -> None:
    at_desk = desk()
    at_desk.venue.live["AAPL"] = now  # Yahoo sends the day twice while it trades
    frame = at_desk.yahoo(now).bars(["AAPL"], date(2020, 8, 28), date(2020, 9, 3))
    assert max(days_of(frame)) == last
    assert frame.collect()["ts"].is_unique().all()


def test_nothing_but_an_open_session_is_no_data(desk: Callable[..., Desk]) -> None:
    with pytest.raises(NoDataError, match="FB from 2020-09-03 to 2020-09-03"):
        desk().yahoo(instant(2020, 9, 3, 15)).bars(["FB"], date(2020, 9, 3), date(2020, 9, 3))


def test_days_without_prices_are_left_out_and_half_rows_refused(desk: Callable[..., Desk]) -> None:
    bars = daily({date(2020, 9, 1): (1.0, 1.0, 1.0, 1.0, 5.0), date(2020, 9, 2): (NAN,) * 5})
    frame = desk({"X": bars}).yahoo().bars(["X"], date(2020, 9, 1), date(2020, 9, 3))
    assert days_of(frame) == [date(2020, 9, 1)]
    half = daily({date(2020, 9, 2): (1.0, 1.0, NAN, 1.0, 5.0)})
    with pytest.raises(BarSchemaError, match=r"X 2020-09-02: low is None.*cleaning\.exclude"):
        desk({"X": half}).yahoo().bars(["X"], date(2020, 9, 1), date(2020, 9, 3))


def test_an_excluded_row_is_left_out(desk: Callable[..., Desk]) -> None:
    half = daily({date(2020, 9, 1): (1.0, 1.0, 1.0, 1.0, 5.0), date(2020, 9, 2): (1.0, 1.0, NAN, 1.0, 5.0)})
    exclude = (ExcludedRow(symbol="X", session=date(2020, 9, 2), reason="no low"),)
    frame = desk({"X": half}).yahoo(exclude=exclude).bars(["X"], date(2020, 9, 1), date(2020, 9, 3))
    assert days_of(frame) == [date(2020, 9, 1)]


def test_a_day_that_is_no_session_is_refused(desk: Callable[..., Desk]) -> None:
    sunday = daily({date(2020, 8, 30): (1.0, 1.0, 1.0, 1.0, 5.0)})
    with pytest.raises(BarSchemaError, match="X 2020-08-30: date is not a session of XNYS"):
        desk({"X": sunday}).yahoo().bars(["X"], date(2020, 8, 28), date(2020, 9, 3))


DEFECTS = [  # what is wrong with Yahoo's data is cleaning's to judge: the adapter gives it as it came
    ("prices 100x off", (12_691.0, 12_884.0, 12_050.0, 12_088.0, 257599640.0)),
    ("no volume", (126.91, 128.84, 120.50, 120.88, 0.0)),
]


@pytest.mark.parametrize("row", [case[1] for case in DEFECTS], ids=[case[0] for case in DEFECTS])
def test_a_defect_of_a_settled_day_passes_unchanged(desk: Callable[..., Desk], row: tuple[float, ...]) -> None:
    bars = daily({date(2020, 9, 1): (126.91, 128.84, 120.50, 120.88, 5.0), date(2020, 9, 2): row})
    assert bars_of(desk({"X": bars}).yahoo().bars(["X"], date(2020, 9, 1), date(2020, 9, 3))) == bars


@pytest.mark.parametrize(("told", "off"), [(0, 1 / 4), (1, 1), (2, 4)])
def test_a_split_that_yahoo_missed_or_booked_twice_is_a_jump_of_its_ratio(
    desk: Callable[..., Desk], told: int, off: float
) -> None:
    at_desk = desk()
    result = chart(at_desk.market, "AAPL", *(int(at_open(day).timestamp()) for day in AUGUST))
    (split,) = result["events"]["splits"].values()
    result["events"]["splits"] = {f"{at}": split | {"date": split["date"] + at * 86_400} for at in range(told)}
    body = json.dumps({"chart": {"result": [result], "error": None}})
    at_desk.market.faults.add("/chart/AAPL", Fault("status", status=200, body=body))
    bars = bars_of(at_desk.yahoo().bars(["AAPL"], date(2020, 8, 28), date(2020, 8, 28)))
    assert [bar.close for bar in bars] == [pytest.approx(499.23 * off)]


def test_a_symbol_not_yet_listed_is_absent_and_no_rows_at_all_is_an_error(desk: Callable[..., Desk]) -> None:
    frame = desk().yahoo().bars(["FB", "AAPL"], *JUNE)
    assert frame.collect()["symbol"].unique().to_list() == ["AAPL"]
    with pytest.raises(NoDataError, match="FB from 2014-06-05 to 2014-06-09"):
        desk().yahoo().bars(["FB"], *JUNE)


@pytest.mark.parametrize("faults", [["no range", "no range"], []])
def test_no_rows_in_an_answer_is_no_data_and_asked_once(desk: Callable[..., Desk], faults: list[str]) -> None:
    at_desk = desk(faults=faults)
    with pytest.raises(NoDataError):
        at_desk.yahoo(instant(2021, 9, 3)).bars(["AAPL"], date(2021, 8, 2), date(2021, 8, 6))
    assert at_desk.pauses == []


def test_an_unknown_symbol_is_named_and_asked_once(desk: Callable[..., Desk]) -> None:
    at_desk = desk()
    with pytest.raises(UnknownSymbolError, match="yahoo has no NOPE"):
        at_desk.yahoo().bars(["AAPL", "NOPE"], *JUNE)
    assert at_desk.pauses == []


REFUSALS = [  # what the venue does, the error, what the message says
    ("429", RateLimitedError, "AAPL: Yahoo refuses more requests"),
    ("500", BadAnswerError, "AAPL: Yahoo answered 500 with something that is not its chart"),
    ("503 html", BadAnswerError, "answered 503.*DOCTYPE"),
    ("html", BadAnswerError, "answered 200.*DOCTYPE"),
    ("truncated", BadAnswerError, "not its chart"),
    ("cut off", BadAnswerError, "AAPL: Yahoo's answer broke off"),
    ("hung up", BadAnswerError, "AAPL: Yahoo hung up without an answer"),
    ("nothing", BadAnswerError, "not its chart"),
    ("null", BadAnswerError, "without a chart"),
    ("unauthorized", BadAnswerError, "answered 401: Invalid Crumb"),
]


@pytest.mark.parametrize(("name", "error", "says"), REFUSALS, ids=[case[0] for case in REFUSALS])
def test_a_lasting_fault_is_an_error_of_its_kind_after_a_bounded_number_of_tries(
    desk: Callable[..., Desk], name: str, error: type[ProviderError], says: str
) -> None:
    at_desk = desk()
    at_desk.market.faults.add("/chart/", FAULTS[name], times=None)
    with pytest.raises(error, match=says):
        at_desk.yahoo().bars(["AAPL"], *JUNE)
    assert at_desk.pauses == [2.0, 4.0, 8.0, 16.0]
    assert len(at_desk.venue.asked) <= 2 * TRIES  # yfinance itself asks twice after a status of 400 or more


@pytest.mark.parametrize("name", [case[0] for case in REFUSALS])
def test_a_passing_fault_is_overcome(desk: Callable[..., Desk], name: str) -> None:
    assert len(bars_of(desk(faults=[name] * 2).yahoo().bars(["AAPL"], *JUNE))) == 3


def test_a_slow_answer_times_out(desk: Callable[..., Desk]) -> None:
    at_desk = desk(faults=["slow"] * 20)
    with pytest.raises(ProviderTimeoutError, match=r"within 0\.1 s.*provider\.timeout_seconds"):
        at_desk.yahoo(timeout=0.1).bars(["AAPL"], *JUNE)
    assert len(at_desk.pauses) == TRIES - 1


def test_a_refusal_is_waited_out_for_as_long_as_it_says_and_by_all_threads(desk: Callable[..., Desk]) -> None:
    at_desk = desk()
    at_desk.market.faults.add("/chart/AAPL", Fault("status", status=429, retry_after=33), times=2)  # both cookies
    assert bars_of(at_desk.yahoo().bars(["AAPL"], *JUNE)) == AAPL[:3]
    assert at_desk.pauses == [33.0]
    assert at_desk.waits == pytest.approx([33.0], abs=0.01)  # the pace of the others


def test_a_refusal_that_does_not_say_for_how_long_slows_everybody_down(desk: Callable[..., Desk]) -> None:
    at_desk = desk(faults=["429"] * 2)
    at_desk.yahoo().bars(["AAPL"], *JUNE)
    assert at_desk.waits == pytest.approx([REFUSED_SECONDS], abs=0.01)


def test_a_ban_is_not_waited_for(desk: Callable[..., Desk]) -> None:
    at_desk = desk()
    at_desk.market.faults.add("/chart/AAPL", Fault("status", status=429, retry_after=3600), times=None)
    with pytest.raises(RateLimitedError, match="for 3600 s"):
        at_desk.yahoo().bars(["AAPL"], *JUNE)
    assert at_desk.pauses == []
    assert len(at_desk.venue.asked) == 2


def test_requests_keep_the_pace(desk: Callable[..., Desk]) -> None:
    at_desk, now = desk(), [0.0]
    bucket = TokenBucket(2.0, 3, clock=lambda: now[0], sleep=at_desk.waits.append)
    at_desk.yahoo(bucket=bucket, threads=1).instruments(["AAPL", "FB", "^GSPC"] * 2)
    at_desk.yahoo(bucket=bucket, threads=1).instruments(["AAPL", "FB"])
    assert at_desk.waits == [0.5, 1.0]


def test_a_server_that_is_gone_cannot_be_reached() -> None:
    with YahooVenue(Market()) as venue:
        session = venue.session()
    with pytest.raises(ProviderError, match="AAPL: Yahoo cannot be reached"):
        Yahoo(1.0, session, sleep=lambda _: None).bars(["AAPL"], *JUNE)


def test_many_symbols_come_a_few_at_a_time_each_with_its_own_rows(desk: Callable[..., Desk]) -> None:
    names = [f"S{at:02d}" for at in range(24)]
    days = [bar.ts for bar in AAPL[:3]]
    bars = {name: seeded_bars(at, days) for at, name in enumerate(names)}
    at_desk = desk(bars, faults=["429", "cut off", "500", "html"])
    frame = at_desk.yahoo(threads=4).bars([*reversed(names), *names], *JUNE).collect()
    assert frame["symbol"].to_list() == [name for name in names for _ in days]
    for name in names:
        assert [bar.volume for bar in bars_of(frame.filter(symbol=name))] == [bar.volume for bar in bars[name]]
    assert len(at_desk.venue.asked) == len(names) + 4  # each once, and once more for each fault


def test_the_first_error_leaves_the_other_symbols_unasked(desk: Callable[..., Desk]) -> None:
    names = [f"S{at:02d}" for at in range(24)]
    at_desk = desk(dict.fromkeys(names, FB))
    at_desk.market.faults.add("/chart/S", Fault("slow", seconds=0.3))
    with pytest.raises(UnknownSymbolError, match="yahoo has no NOPE"):
        at_desk.yahoo(threads=1).bars(["NOPE", *names], date(2020, 9, 1), date(2020, 9, 3))
    assert len(at_desk.venue.asked) <= 4  # NOPE twice, by both cookies, and who was on the way


def test_providers_do_not_share_a_connection(desk: Callable[..., Desk]) -> None:
    first, second = desk(), desk()
    one, two = first.yahoo(), second.yahoo()
    for each in (one, two, one):
        each.instruments(["FB"])
    assert (first.venue.asked, second.venue.asked) == (["FB", "FB"], ["FB"])


def test_instruments_come_from_the_chart(desk: Callable[..., Desk]) -> None:
    frame = desk().yahoo().instruments(["FB", "AAPL"])
    assert frame.schema == INSTRUMENT_SCHEMA
    assert frame.select("symbol", "asset_class", "venue", "currency", "tick", "listed").rows() == [
        ("AAPL", "equity", "XNAS", "USD", 0.01, date(2014, 6, 5)),
        ("FB", "equity", "XNAS", "USD", 0.01, date(2020, 9, 3)),
    ]


def test_an_index_is_asked_for_by_its_name(desk: Callable[..., Desk]) -> None:
    at_desk = desk()
    assert len(bars_of(at_desk.yahoo().bars(["^GSPC"], date(2020, 9, 3), date(2020, 9, 3)))) == 1
    assert at_desk.venue.asked == ["^GSPC"]


def test_the_session_of_the_tests_reaches_no_other_host(desk: Callable[..., Desk]) -> None:
    with pytest.raises(AssertionError, match=r"evilyahoo\.com"):
        desk().venue.session().get("https://evilyahoo.com/")
