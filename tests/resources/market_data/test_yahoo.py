"""The Yahoo provider against a venue on loopback: what it restates, what it leaves out, what it refuses and how."""

from __future__ import annotations

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
from resources.market_data.yahoo import PAUSES, Yahoo
from tests.venues.yahoo import Bar, Listing, YahooVenue, at

EVENING = at(2020, 9, 3, 22)

AAPL = Listing(  # as traded and paid: 7:1 on 2014-06-09, 4:1 on 2020-08-31
    bars={
        date(2014, 6, 5): (646.20, 649.37, 642.61, 647.35, 10850100),
        date(2014, 6, 6): (649.90, 651.26, 644.47, 645.57, 12497800),
        date(2014, 6, 9): (92.70, 93.88, 91.75, 93.70, 75414997),
        date(2014, 8, 7): (94.93, 95.95, 94.10, 94.48, 46711179),
        date(2020, 8, 28): (504.05, 505.77, 498.31, 499.23, 46907479),
        date(2020, 8, 31): (127.58, 131.00, 126.00, 129.04, 225702688),
        date(2020, 9, 3): (126.91, 128.84, 120.50, 120.88, 257599640),
    },
    splits={date(2014, 6, 9): (7, 1), date(2020, 8, 31): (4, 1)},
    dividends={date(2014, 6, 5): 3.29, date(2014, 8, 7): 0.47},
)
FB = Listing(bars={date(2020, 9, 3): (295.99, 297.60, 283.63, 291.12, 32294100)})


@pytest.fixture(scope="module", autouse=True)
def _caches_in_a_folder_of_their_own(tmp_path_factory: pytest.TempPathFactory) -> None:
    import yfinance

    yfinance.set_tz_cache_location(str(tmp_path_factory.mktemp("yfinance")))


class Desk:
    """A venue, and providers that talk to it with a clock of the test's and no waiting."""

    def __init__(self, listings: dict[str, Listing], faults: list[str] | None = None) -> None:
        self.venue = YahooVenue(listings, faults)
        self.pauses: list[float] = []

    def yahoo(self, now: datetime = EVENING, timeout: float = 5.0, exclude: tuple[ExcludedRow, ...] = ()) -> Yahoo:
        return Yahoo(timeout, self.venue.session(), exclude=exclude, clock=lambda: now, sleep=self.pauses.append)


@pytest.fixture
def desk() -> Iterator[Callable[..., Desk]]:
    opened: list[Desk] = []

    def open_desk(listings: dict[str, Listing] | None = None, faults: list[str] | None = None) -> Desk:
        opened.append(Desk({"AAPL": AAPL, "FB": FB} if listings is None else listings, faults))
        opened[-1].venue.__enter__()
        return opened[-1]

    yield open_desk
    for each in opened:
        each.venue.__exit__()


def rows(frame: pl.LazyFrame) -> dict[date, Bar]:
    columns = ("open", "high", "low", "close", "volume")
    return {row["ts"].date(): tuple(row[name] for name in columns) for row in frame.collect().to_dicts()}  # type: ignore[misc]


def test_bars_are_as_traded_also_before_splits_that_come_after_the_range(desk: Callable[..., Desk]) -> None:
    frame = desk().yahoo().bars(["AAPL"], date(2014, 6, 5), date(2014, 6, 9))
    assert rows(frame) == {day: bar for day, bar in AAPL.bars.items() if day <= date(2014, 6, 9)}
    assert frame.collect_schema() == BAR_SCHEMA
    assert frame.collect()["known_at"].to_list() == [at(2014, 6, day, 20) for day in (5, 6, 9)]
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
        (at(2020, 9, 3, 19, 59), date(2020, 8, 31)),  # a minute before the close
        (at(2020, 9, 3, 20), date(2020, 9, 3)),
    ],
)
def test_a_session_still_trading_is_no_bar(desk: Callable[..., Desk], now: datetime, last: date) -> None:
    trading = Listing(AAPL.bars, AAPL.splits, live_at=now)  # Yahoo sends the day twice while it trades
    frame = desk({"AAPL": trading}).yahoo(now).bars(["AAPL"], date(2020, 8, 28), date(2020, 9, 3))
    assert max(rows(frame)) == last
    assert frame.collect()["ts"].is_unique().all()


def test_nothing_but_an_open_session_is_no_data(desk: Callable[..., Desk]) -> None:
    with pytest.raises(NoDataError, match="FB from 2020-09-03 to 2020-09-03"):
        desk().yahoo(at(2020, 9, 3, 15)).bars(["FB"], date(2020, 9, 3), date(2020, 9, 3))


def test_days_without_prices_are_left_out_and_half_rows_refused(desk: Callable[..., Desk]) -> None:
    bars: dict[date, Bar] = {date(2020, 9, 1): (1.0, 1.0, 1.0, 1.0, 5.0), date(2020, 9, 2): (None,) * 5}
    frame = desk({"X": Listing(bars)}).yahoo().bars(["X"], date(2020, 9, 1), date(2020, 9, 3))
    assert list(rows(frame)) == [date(2020, 9, 1)]
    half = Listing({date(2020, 9, 2): (1.0, 1.0, None, 1.0, 5.0)})
    with pytest.raises(BarSchemaError, match=r"X 2020-09-02: low is None.*cleaning\.exclude"):
        desk({"X": half}).yahoo().bars(["X"], date(2020, 9, 1), date(2020, 9, 3))


def test_an_excluded_row_is_left_out(desk: Callable[..., Desk]) -> None:
    half = Listing({date(2020, 9, 1): (1.0, 1.0, 1.0, 1.0, 5.0), date(2020, 9, 2): (1.0, 1.0, None, 1.0, 5.0)})
    exclude = (ExcludedRow(symbol="X", session=date(2020, 9, 2), reason="no low"),)
    frame = desk({"X": half}).yahoo(exclude=exclude).bars(["X"], date(2020, 9, 1), date(2020, 9, 3))
    assert list(rows(frame)) == [date(2020, 9, 1)]


def test_a_day_that_is_no_session_is_refused(desk: Callable[..., Desk]) -> None:
    sunday = Listing({date(2020, 8, 30): (1.0, 1.0, 1.0, 1.0, 5.0)})
    with pytest.raises(BarSchemaError, match="X 2020-08-30: date is not a session of XNYS"):
        desk({"X": sunday}).yahoo().bars(["X"], date(2020, 8, 28), date(2020, 9, 3))


def test_a_symbol_not_yet_listed_is_absent_and_no_rows_at_all_is_an_error(desk: Callable[..., Desk]) -> None:
    frame = desk().yahoo().bars(["FB", "AAPL"], date(2014, 6, 5), date(2014, 6, 9))
    assert frame.collect()["symbol"].unique().to_list() == ["AAPL"]
    with pytest.raises(NoDataError, match="FB from 2014-06-05 to 2014-06-09"):
        desk().yahoo().bars(["FB"], date(2014, 6, 5), date(2014, 6, 9))


@pytest.mark.parametrize("fault", ["no range", "none"])
def test_no_rows_in_an_answer_is_no_data_and_asked_once(desk: Callable[..., Desk], fault: str) -> None:
    at_desk = desk(faults=[fault, fault])
    with pytest.raises(NoDataError):
        at_desk.yahoo(at(2021, 9, 3)).bars(["AAPL"], date(2021, 8, 2), date(2021, 8, 6))
    assert at_desk.pauses == []


def test_an_unknown_symbol_is_named_and_asked_once(desk: Callable[..., Desk]) -> None:
    at_desk = desk()
    with pytest.raises(UnknownSymbolError, match="yahoo has no NOPE"):
        at_desk.yahoo().bars(["AAPL", "NOPE"], date(2014, 6, 5), date(2014, 6, 9))
    assert at_desk.pauses == []


REFUSALS = [  # what the venue does, the error, what the message says
    ("429", RateLimitedError, "AAPL: Yahoo refuses more requests"),
    ("500", BadAnswerError, "AAPL: Yahoo answered 500 with something that is not a chart"),
    ("503 html", BadAnswerError, "answered 503.*DOCTYPE"),
    ("html", BadAnswerError, "answered 200.*DOCTYPE"),
    ("truncated", BadAnswerError, "not a chart"),
    ("cut off", BadAnswerError, "AAPL: Yahoo's answer broke off"),
    ("nothing", BadAnswerError, "not a chart"),
    ("null", BadAnswerError, "without a chart"),
    ("unauthorized", BadAnswerError, "answered 401: Invalid Crumb"),
]


@pytest.mark.parametrize(("fault", "error", "says"), REFUSALS, ids=[case[0] for case in REFUSALS])
def test_a_lasting_fault_is_an_error_of_its_kind_after_a_bounded_number_of_tries(
    desk: Callable[..., Desk], fault: str, error: type[ProviderError], says: str
) -> None:
    at_desk = desk(faults=[fault] * 20)
    with pytest.raises(error, match=says):
        at_desk.yahoo().bars(["AAPL"], date(2014, 6, 5), date(2014, 6, 9))
    assert at_desk.pauses == list(PAUSES)
    assert len(at_desk.venue.asked) <= 2 * (len(PAUSES) + 1)  # yfinance itself asks twice after a status of 400 or more


@pytest.mark.parametrize("fault", [case[0] for case in REFUSALS])
def test_a_passing_fault_is_overcome(desk: Callable[..., Desk], fault: str) -> None:
    frame = desk(faults=[fault] * 2).yahoo().bars(["AAPL"], date(2014, 6, 5), date(2014, 6, 9))
    assert len(rows(frame)) == 3


def test_a_slow_answer_times_out(desk: Callable[..., Desk]) -> None:
    at_desk = desk(faults=["slow"] * 20)
    with pytest.raises(ProviderTimeoutError, match=r"within 0\.1 s.*provider\.timeout_seconds"):
        at_desk.yahoo(timeout=0.1).bars(["AAPL"], date(2014, 6, 5), date(2014, 6, 9))
    assert at_desk.pauses == list(PAUSES)


def test_a_server_that_is_gone_cannot_be_reached() -> None:
    with YahooVenue({}) as venue:
        session = venue.session()
    with pytest.raises(ProviderError, match="AAPL: Yahoo cannot be reached"):
        Yahoo(1.0, session, sleep=lambda _: None).bars(["AAPL"], date(2014, 6, 5), date(2014, 6, 9))


def test_bars_other_than_daily_are_refused(desk: Callable[..., Desk]) -> None:
    with pytest.raises(Exception, match="yahoo gives daily bars only, not '1h'"):
        desk().yahoo().bars(["AAPL"], date(2014, 6, 5), date(2014, 6, 9), "1h")


def test_instruments_come_from_the_chart(desk: Callable[..., Desk]) -> None:
    frame = desk().yahoo().instruments(["FB", "AAPL"])
    assert frame.schema == INSTRUMENT_SCHEMA
    assert frame.select("symbol", "asset_class", "venue", "currency", "tick", "listed").rows() == [
        ("AAPL", "equity", "XNAS", "USD", 0.01, date(2014, 6, 5)),
        ("FB", "equity", "XNAS", "USD", 0.01, date(2020, 9, 3)),
    ]


def test_an_index_is_asked_for_by_its_name(desk: Callable[..., Desk]) -> None:
    at_desk = desk({"^GSPC": FB})
    assert len(rows(at_desk.yahoo().bars(["^GSPC"], date(2020, 9, 3), date(2020, 9, 3)))) == 1
    assert at_desk.venue.asked == ["^GSPC"]


def test_the_session_of_the_tests_reaches_no_other_host(desk: Callable[..., Desk]) -> None:
    with pytest.raises(AssertionError, match=r"evilyahoo\.com"):
        desk().venue.session().get("https://evilyahoo.com/")
