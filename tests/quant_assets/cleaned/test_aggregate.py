"""Bars made of ticks: against a naive reference, at the changes of the clock, and against a vendor's minutes."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta, tzinfo
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant_assets.cleaned import clean
from quant_assets.cleaned.aggregate import bars_of_quotes, bars_of_trades
from quant_assets.cleaned.ticks import faults, without
from resources.calendars import sessions
from resources.errors import BarSchemaError, ConfigError
from resources.market_data import ticks
from resources.market_data.base import ACTION_SCHEMA, BAR_SCHEMA, check_bars
from resources.market_data.timeframes import INTRADAY

FETCHED = datetime(2030, 1, 1, tzinfo=UTC)
CALENDARS = pl.DataFrame({"symbol": ["NY", "ES", "BTC"], "calendar": ["XNYS", "CMES", "24/7"]})
ZONES = {"NY": "America/New_York", "ES": "America/Chicago", "BTC": "UTC"}

Tick = tuple[str, datetime, float, float]


def at(*when: int) -> datetime:
    return datetime(*when, tzinfo=UTC)  # type: ignore[arg-type, misc]


def trades(rows: list[Tick]) -> pl.LazyFrame:
    frame = pl.DataFrame(rows, schema=["symbol", "ts", "price", "size"], orient="row").with_columns(
        side=pl.lit(None, pl.String), trade_id=pl.lit(None, pl.String)
    )
    return ticks.trades(frame.lazy(), provider="test", fetched_at=FETCHED, source="test")


def quotes(rows: list[tuple[datetime, float | None, float | None]], symbol: str = "NY") -> pl.LazyFrame:
    frame = pl.DataFrame(
        [(symbol, ts, bid, 1.0, ask, 1.0) for ts, bid, ask in rows],
        schema={"symbol": pl.String, "ts": BAR_SCHEMA["ts"]}
        | dict.fromkeys(("bid", "bid_size", "ask", "ask_size"), pl.Float64),
        orient="row",
    )  # fmt: skip
    return ticks.quotes(frame.lazy(), provider="test", fetched_at=FETCHED, source="test")


# --- against a reference that anyone can check ------------------------------------------------------------------------


def naive(rows: list[Tick], timeframe: str, zoned: bool) -> list[tuple[object, ...]]:
    """symbol, ts, open, high, low, close, volume, known_at, one tick at a time."""
    step, made = INTRADAY[timeframe], {}
    for symbol, ts, price, size in sorted(rows, key=lambda row: (row[0], row[1])):
        zone = ZoneInfo(ZONES[symbol]) if zoned else UTC
        edges = on_the_wall(ts, step, zone)
        begin = max(edge for edge in edges if edge <= ts)
        key = (symbol, begin, min(edge for edge in edges if edge > ts))
        opened, high, low, _, volume = made.get(key, (price, price, price, price, 0.0))
        made[key] = (opened, max(high, price), min(low, price), price, volume + size)
    return [(symbol, begin, *values, end) for (symbol, begin, end), values in made.items()]


def on_the_wall(ts: datetime, step: timedelta, zone: tzinfo) -> set[datetime]:
    """The instants around one when a clock shows a multiple of the step: of an hour that is there twice each."""
    midnight = datetime.combine(ts.astimezone(zone).date(), time())
    shown = [midnight + at * step for at in range(-1, timedelta(days=2) // step)]
    folds = (0, 1) if step <= timedelta(hours=1) else (0,)
    return {local.replace(tzinfo=zone, fold=fold).astimezone(UTC) for local in shown for fold in folds}


WEEKS = [at(2014, 3, 8), at(2014, 11, 1), at(2014, 6, 9)]

TICKS = st.lists(
    st.tuples(
        st.sampled_from(list(ZONES)),
        st.builds(
            lambda week, seconds: week + timedelta(seconds=seconds),
            st.sampled_from(WEEKS),
            st.integers(0, 3 * 24 * 3600).map(lambda n: n - n % 7),  # some fall on one instant
        ),
        st.integers(1, 500).map(float),
        st.integers(1, 900).map(float),
    ),
    min_size=1,
    max_size=60,
)


@given(rows=TICKS, timeframe=st.sampled_from(list(INTRADAY)), zoned=st.booleans())
@settings(max_examples=60, deadline=None)
def test_like_the_naive_reference(rows, timeframe, zoned):
    made = bars_of_trades(trades(rows), timeframe, calendars=CALENDARS if zoned else None)
    assert made.collect_schema() == BAR_SCHEMA
    columns = ("symbol", "ts", "open", "high", "low", "close", "volume", "known_at")
    assert made.select(columns).collect().rows() == naive(rows, timeframe, zoned)
    check_bars(made, "test")


@given(rows=TICKS)
@settings(max_examples=30, deadline=None)
def test_sessions_like_the_naive_reference(rows):
    expected: dict[tuple[object, ...], list[tuple[float, float]]] = {}
    calendar_of = dict(CALENDARS.iter_rows())
    for symbol, ts, price, size in sorted(rows, key=lambda row: (row[0], row[1])):
        held = sessions(calendar_of[symbol], date(2014, 3, 1), date(2014, 11, 10)).iter_rows()
        _, opening, closing = [session for session in held if session[1] <= ts][-1]
        if ts <= closing:
            expected.setdefault((symbol, opening, closing), []).append((price, size))
    made = bars_of_trades(trades(rows), "1d", calendars=CALENDARS)
    columns = ("symbol", "ts", "known_at", "open", "high", "low", "close", "volume")
    assert made.select(columns).collect().rows() == [
        (*key, prices[0], max(prices), min(prices), prices[-1], sum(sizes))
        for key, (prices, sizes) in ((key, list(zip(*held, strict=True))) for key, held in expected.items())
    ]


# --- cases ------------------------------------------------------------------------------------------------------------


def test_ticks_of_one_instant_count_in_their_order():
    noon = at(2014, 6, 9, 16)
    made = bars_of_trades(trades([("NY", noon, price, 1.0) for price in (5.0, 7.0, 3.0, 4.0)]), "1m").collect()
    assert made.select("open", "high", "low", "close", "volume").rows() == [(5.0, 7.0, 3.0, 4.0, 4.0)]


def test_ticks_in_any_order_of_time_and_symbol():
    noon = at(2014, 6, 9, 16)
    rows = [("NY", noon + timedelta(seconds=n), float(n + 1), 1.0) for n in range(4)] + [("BTC", noon, 9.0, 1.0)]
    given = trades(rows)
    mixed = given.collect()[[3, 4, 0, 2, 1]].lazy()
    assert bars_of_trades(mixed, "1m").collect().equals(bars_of_trades(given, "1m").collect())
    made = bars_of_trades(mixed, "1d", calendars=CALENDARS).collect()
    assert made.select("symbol", "open", "close").rows() == [("BTC", 9.0, 9.0), ("NY", 1.0, 4.0)]


HOURS = [  # four-hour bars by New York's clock: at the instant, the bar's start
    (at(2014, 3, 7, 14, 30), at(2014, 3, 7, 13)),
    (at(2014, 3, 10, 14, 30), at(2014, 3, 10, 12)),
    (at(2014, 10, 31, 14, 30), at(2014, 10, 31, 12)),
    (at(2014, 11, 3, 14, 30), at(2014, 11, 3, 13)),
]


@pytest.mark.parametrize(("instant", "start"), HOURS)
def test_long_bars_keep_to_the_clock_on_the_wall(instant, start):
    made = bars_of_trades(trades([("NY", instant, 5.0, 1.0)]), "4h", calendars=CALENDARS).collect()
    assert made["ts"].to_list() == [start]
    assert bars_of_trades(trades([("NY", instant, 5.0, 1.0)]), "4h").collect()["ts"][0].hour == 12


CHANGES = [  # four-hour bars of the days when New York's clock changes, at 07:00 and 06:00 UTC: instants, start, end
    ("the night before", [at(2014, 3, 9, 4, 59)], at(2014, 3, 9, 1), at(2014, 3, 9, 5)),
    ("forward: three hours", [at(2014, 3, 9, 5), at(2014, 3, 9, 6, 59), at(2014, 3, 9, 7), at(2014, 3, 9, 7, 59)],
     at(2014, 3, 9, 5), at(2014, 3, 9, 8)),
    ("and the next", [at(2014, 3, 9, 8), at(2014, 3, 9, 11, 59)], at(2014, 3, 9, 8), at(2014, 3, 9, 12)),
    ("back: five hours", [at(2014, 11, 2, 4), at(2014, 11, 2, 5, 30), at(2014, 11, 2, 6, 30), at(2014, 11, 2, 8, 59)],
     at(2014, 11, 2, 4), at(2014, 11, 2, 9)),
    ("and the next one", [at(2014, 11, 2, 9), at(2014, 11, 2, 12, 59)], at(2014, 11, 2, 9), at(2014, 11, 2, 13)),
]  # fmt: skip


@pytest.mark.parametrize(("what", "instants", "start", "end"), CHANGES, ids=[case[0] for case in CHANGES])
def test_a_long_bar_in_which_the_clock_changes_is_one_from_border_to_border(what, instants, start, end):
    made = bars_of_trades(trades([("NY", ts, 5.0, 1.0) for ts in instants]), "4h", calendars=CALENDARS)
    assert made.select("ts", "known_at", "volume").collect().rows() == [(start, end, float(len(instants)))]


def test_hours_that_are_there_twice_are_two_bars():
    rows = [("NY", at(2014, 11, 2, hour, 30), 5.0, 1.0) for hour in (5, 6, 7)]
    made = bars_of_trades(trades(rows), "1h", calendars=CALENDARS).collect()
    assert made["ts"].to_list() == [at(2014, 11, 2, hour) for hour in (5, 6, 7)]
    assert made["known_at"].to_list() == [at(2014, 11, 2, hour) for hour in (6, 7, 8)]


EDGES = [  # symbol, instant, open of the session that it belongs to
    ("NY", at(2014, 6, 9, 13, 30), at(2014, 6, 9, 13, 30)),
    ("NY", at(2014, 6, 9, 13, 29, 59), None),
    ("NY", at(2014, 6, 9, 20), at(2014, 6, 9, 13, 30)),  # the closing auction
    ("NY", at(2014, 6, 9, 20, 0, 1), None),
    ("NY", at(2014, 6, 14, 15), None),
    ("NY", at(2014, 11, 28, 18, 0, 1), None),  # after a half day
    ("ES", at(2014, 3, 9, 22), at(2014, 3, 9, 22)),  # Sunday, the clock went forward that morning
    ("ES", at(2014, 3, 9, 21, 59), None),
    ("ES", at(2014, 6, 9, 22), at(2014, 6, 9, 22)),  # one session's close is the next one's open
    ("BTC", at(2014, 6, 15), at(2014, 6, 15)),
]


@pytest.mark.parametrize(("symbol", "instant", "opening"), EDGES)
def test_edges_of_sessions(symbol, instant, opening):
    made = bars_of_trades(trades([(symbol, instant, 5.0, 1.0)]), "1d", calendars=CALENDARS).collect()
    assert made["ts"].to_list() == ([opening] if opening else [])


def test_quotes_make_bars_of_their_middle():
    noon = at(2014, 6, 9, 16)
    given = quotes([
        (noon, 10.0, 10.2), (noon + timedelta(seconds=1), 11.0, 11.2), (noon + timedelta(seconds=2), None, 10.0),
        (noon + timedelta(seconds=3), 0.0, 10.0), (noon + timedelta(seconds=4), 9.0, 9.4),
        (noon + timedelta(minutes=1), 5.0, None),
    ])  # fmt: skip
    made = bars_of_quotes(given, "1m").collect()
    assert made.schema == BAR_SCHEMA
    values = made.select("ts", "open", "high", "low", "close", "volume").row(0)
    assert values[0] == noon
    assert values[1:] == pytest.approx((10.1, 11.1, 9.2, 9.2, 0.0))
    assert made.height == 1


def test_a_bar_that_is_being_built_is_told_by_cleaning():
    noon = at(2014, 6, 9, 16)
    given = trades([("NY", noon, 5.0, 1.0), ("NY", noon + timedelta(seconds=70), 6.0, 1.0)])
    early = given.with_columns(fetched_at=pl.lit(noon + timedelta(seconds=80)).cast(BAR_SCHEMA["ts"]))
    result = clean(bars_of_trades(early, "1m"), ACTION_SCHEMA.to_frame().lazy(), CALENDARS, None, "1m")
    assert result.findings["rule"].to_list() == ["half_built"]


def test_no_ticks_are_no_bars():
    nothing = trades([("NY", at(2014, 6, 9, 16), 5.0, 1.0)]).filter(pl.lit(False))
    for timeframe in ("1m", "4h", "1d"):
        assert bars_of_trades(nothing, timeframe, calendars=CALENDARS).collect().schema == BAR_SCHEMA


def test_refused():
    given = trades([("NY", at(2014, 6, 9, 16), 5.0, 1.0)])
    with pytest.raises(ConfigError, match="timeframe: no bars of '2h' from ticks; for example 1d, 1m"):
        bars_of_trades(given, "2h")
    for calendars in (None, CALENDARS.filter(pl.col("symbol") == "ES")):
        with pytest.raises(BarSchemaError, match="NY: bars of 1d are sessions, and no calendar is known"):
            bars_of_trades(given, "1d", calendars=calendars)


# --- real ticks -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def spy(shared_data) -> pl.LazyFrame:
    rows = pl.scan_parquet(shared_data / "multi_asset" / "ticks_trades.parquet")
    named = rows.with_columns(side=pl.lit(None, pl.String), trade_id=pl.lit(None, pl.String))
    return ticks.trades(named, provider="files", fetched_at=FETCHED, source="file")


def test_minutes_of_real_trades_agree_with_the_vendors(spy, shared_data):
    """The vendor leaves out trades by their condition (odd lots, late reports), so not every price is the same."""
    made = bars_of_trades(spy, "1m").collect()
    vendor = pl.read_parquet(shared_data / "multi_asset" / "equity_minute_trades.parquet").filter(
        (pl.col("symbol") == "SPY") & pl.col("ts").is_between(made["ts"][0], made["ts"][-1])
    )
    both = made.join(vendor, on=["symbol", "ts"], suffix="_vendor")
    assert made.height == vendor.height == both.height == 1656
    agree = {
        name: both.select((pl.col(name) == pl.col(f"{name}_vendor")).mean()).item()
        for name in ("open", "high", "low", "close", "volume")
    }
    assert agree["volume"] > 0.99
    assert min(agree.values()) > 0.94
    assert both.select(((pl.col("close") / pl.col("close_vendor") - 1).abs() < 5e-4).mean()).item() > 0.999


def test_a_session_of_real_trades_agrees_with_the_vendors(spy, shared_data):
    calendars = pl.DataFrame({"symbol": ["SPY"], "calendar": ["XNYS"]})
    made = bars_of_trades(without(spy, faults(spy, calendars)), "1d", calendars).collect()
    daily = pl.read_parquet(shared_data / "multi_asset" / "equity_daily.parquet").filter(pl.col("symbol") == "SPY")
    vendor = daily.filter(pl.col("local_date").is_in(made["ts"].dt.date().implode()))
    for name in ("open", "low", "close"):
        assert made[name].to_list() == pytest.approx(vendor[name].to_list(), rel=5e-4)
    assert made["volume"].to_list() == pytest.approx(vendor["volume"].to_list(), rel=0.02)


def test_minutes_of_real_quotes_are_those_of_the_middle(shared_data):
    """Each row of the file changes one side; the other, written as zero, stands."""
    rows = pl.scan_parquet(shared_data / "multi_asset" / "ticks_quotes.parquet").with_columns(
        pl.when(pl.col(name) > 0).then(name).forward_fill().alias(name) for name in ("bid", "ask")
    )
    given = ticks.quotes(rows.drop_nulls(["bid", "ask"]), provider="files", fetched_at=FETCHED, source="file")
    inside = given.filter(pl.col("ts").is_between(at(2013, 10, 7, 13, 30), at(2013, 10, 7, 20), closed="left"))
    made = bars_of_quotes(inside, "1m").collect()
    middle = (pl.col("bid") + pl.col("ask")) / 2
    expected = inside.group_by(pl.col("ts").dt.truncate("1m")).agg(high=middle.max(), close=middle.last()).sort("ts")
    assert made.height == 390
    assert made.select("ts", "high", "close").equals(expected.collect())
