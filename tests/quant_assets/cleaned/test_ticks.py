"""Quotes and trades that cannot be, or cannot be at their time."""

from __future__ import annotations

import math
import time
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given as examples
from hypothesis import strategies as st

from quant_assets.cleaned import FINDING_SCHEMA
from quant_assets.cleaned.ticks import BEFORE, REFERENCE, faults, without
from resources.errors import BarSchemaError
from resources.market_data import ticks

FETCHED = datetime(2013, 10, 31, tzinfo=UTC)
INSTRUMENTS = pl.DataFrame({"symbol": ["IBM", "BTC", "ES"], "calendar": ["XNYS", "24/7", "CMES"]})
NOON = datetime(2013, 10, 7, 16, tzinfo=UTC)


def quotes(*rows: tuple[datetime, float | None, float | None], symbol: str = "IBM") -> pl.LazyFrame:
    frame = pl.DataFrame(
        [(symbol, ts, bid, 1.0, ask, 1.0) for ts, bid, ask in rows],
        schema=["symbol", "ts", "bid", "bid_size", "ask", "ask_size"],
        orient="row",
    ).cast({"bid": pl.Float64, "ask": pl.Float64})
    return ticks.quotes(frame.lazy(), provider="test", fetched_at=FETCHED, source="test")


def trades(*stamps: datetime, symbol: str = "IBM") -> pl.LazyFrame:
    frame = pl.DataFrame({"symbol": symbol, "ts": list(stamps), "price": 5.0, "size": 1.0}).with_columns(
        side=pl.lit(None, pl.String), trade_id=pl.lit(None, pl.String)
    )
    return ticks.trades(frame.lazy(), provider="test", fetched_at=FETCHED, source="test")


SIDES = [
    ("sound", 10.0, 10.1, []),
    ("locked", 10.0, 10.0, []),
    ("one side", None, 10.1, []),
    ("crossed", 10.2, 10.1, [("crossed", "bid", 10.2, 10.1)]),
    ("bid of zero", 0.0, 10.1, [("invalid_value", "bid", 0.0, None)]),
]


@pytest.mark.parametrize(("bid", "ask", "found"), [case[1:] for case in SIDES], ids=[case[0] for case in SIDES])
def test_quotes(bid, ask, found):
    result = faults(quotes((NOON, bid, ask)), INSTRUMENTS)
    assert result.schema == FINDING_SCHEMA
    assert result.select("rule", "field", "old", "new").rows() == found


TIMES = [  # New York in October 2013: 13:30 to 20:00 UTC
    ("at the open", "IBM", datetime(2013, 10, 7, 13, 30, tzinfo=UTC), []),
    ("before the open", "IBM", datetime(2013, 10, 7, 13, 29, 59, tzinfo=UTC), ["out_of_session"]),
    ("at the close", "IBM", datetime(2013, 10, 7, 20, tzinfo=UTC), []),
    ("after the close", "IBM", datetime(2013, 10, 7, 20, 0, 1, tzinfo=UTC), ["out_of_session"]),
    ("Saturday", "IBM", datetime(2013, 10, 5, 16, tzinfo=UTC), ["out_of_session"]),
    ("Saturday, round the clock", "BTC", datetime(2013, 10, 5, 16, tzinfo=UTC), []),
    ("Sunday evening, Monday's session", "ES", datetime(2013, 10, 6, 23, tzinfo=UTC), []),
    ("after it was fetched", "IBM", datetime(2013, 11, 1, 16, tzinfo=UTC), ["clock_error"]),
]


@pytest.mark.parametrize(("symbol", "ts", "found"), [case[1:] for case in TIMES], ids=[case[0] for case in TIMES])
def test_times(symbol, ts, found):
    result = faults(trades(ts, symbol=symbol), INSTRUMENTS)
    assert result["rule"].to_list() == found
    assert result["old"].to_list() == [ts.timestamp()] * len(found)


def test_ticks_of_several_calendars_together():
    night = datetime(2013, 10, 5, 16, tzinfo=UTC)
    mixed = pl.concat([trades(NOON, night), trades(NOON, night, symbol="BTC")])
    assert faults(mixed, INSTRUMENTS).select("symbol", "ts").rows() == [("IBM", night)]


@pytest.mark.parametrize(("name", "dtype"), [("symbol", pl.String), ("ts", FINDING_SCHEMA["ts"])])
def test_a_tick_that_cannot_be_placed_is_refused(name, dtype):
    with pytest.raises(BarSchemaError, match="a tick needs a symbol, a time and a calendar"):
        faults(trades(NOON).with_columns(pl.lit(None, dtype).alias(name)), INSTRUMENTS)


def test_real_quotes_of_ibm_are_nearly_all_sound(shared_data):
    rows = pl.scan_parquet(shared_data / "multi_asset" / "ticks_quotes.parquet")
    given = ticks.quotes(rows, provider="files", fetched_at=datetime(2021, 1, 1, tzinfo=UTC), source="file")
    found = faults(given, INSTRUMENTS)
    inside = found.filter(pl.col("rule") != "out_of_session")
    assert inside.height <= 0.001 * given.select(pl.len()).collect().item()


# --- values, ids and clocks -------------------------------------------------------------------------------------------


def tape(prices: list[float], symbol: str = "IBM", **columns: object) -> pl.DataFrame:
    """A trade a second from noon on, with an id of its own."""
    rows = pl.DataFrame(
        {
            "symbol": symbol,
            "ts": [NOON + timedelta(seconds=second) for second in range(len(prices))],
            "price": [float(price) for price in prices],
            "size": 1.0,
            "trade_id": [str(number) for number in range(len(prices))],
        }
    )
    rows = rows.with_columns(side=pl.lit(None, pl.String), provider=pl.lit("test"), known_at="ts")
    fetched = pl.lit(FETCHED).dt.cast_time_unit("us").alias("fetched_at")
    rows = rows.with_columns(pl.col("ts", "known_at").cast(FINDING_SCHEMA["ts"]), fetched)
    return rows.with_columns(pl.Series(name, values) for name, values in columns.items())


NUMBERS = [
    ("price of zero", {"price": [0.0]}, ("price", 0.0)),
    ("price below zero", {"price": [-5.0]}, ("price", -5.0)),
    ("infinite price", {"price": [math.inf]}, ("price", math.inf)),
    ("size of zero", {"size": [0.0]}, ("size", 0.0)),
    ("size below zero", {"size": [-1.0]}, ("size", -1.0)),
]


@pytest.mark.parametrize(("columns", "found"), [case[1:] for case in NUMBERS], ids=[case[0] for case in NUMBERS])
def test_numbers_of_a_trade(columns, found):
    result = faults(tape([5.0], **columns).lazy(), INSTRUMENTS)
    assert result.select("rule", "field", "old").rows() == [("invalid_value", *found)]


def test_sizes_of_a_quote():
    wrong = quotes((NOON, 10.0, 10.1)).with_columns(bid_size=pl.lit(-1.0), ask=pl.lit(math.nan))
    found = faults(wrong, INSTRUMENTS).filter(pl.col("rule") == "invalid_value")
    assert found["field"].to_list() == ["ask", "bid_size"]


def test_a_clock_that_was_never_set():
    never = datetime(1970, 1, 1, 0, 0, 7, tzinfo=UTC)
    assert faults(trades(never), INSTRUMENTS).select("rule", "old").rows() == [("clock_error", 7.0)]
    mixed = faults(trades(never, NOON, symbol="BTC"), INSTRUMENTS)
    assert mixed["rule"].to_list() == ["clock_error"]


def test_a_clock_centuries_ahead_hinders_no_other_tick():
    ahead = datetime(2250, 1, 1, tzinfo=UTC)
    night = datetime(2013, 10, 7, 3, tzinfo=UTC)
    assert faults(trades(night, NOON, ahead), INSTRUMENTS).select("rule", "ts").rows() == [
        ("out_of_session", night),
        ("clock_error", ahead),
    ]


def test_a_trade_id_told_twice_is_a_duplicate_and_the_first_stays():
    given = tape([5.0, 5.1, 5.2])
    twice = pl.concat([given, given[1].with_columns(price=5.15)])
    found = faults(twice.lazy(), INSTRUMENTS)
    assert found.select("rule", "ts", "old", "new").rows() == [("duplicate", given["ts"][1], 5.15, 5.1)]
    assert without(twice.lazy(), found).sort("ts").collect().equals(given)


def test_equal_trades_without_an_id_and_equal_quotes_are_no_duplicates():
    same = tape([5.0, 5.0]).with_columns(ts=pl.lit(NOON).dt.cast_time_unit("us"), trade_id=pl.lit(None, pl.String))
    assert faults(same.lazy(), INSTRUMENTS).is_empty()
    assert faults(quotes((NOON, 10.0, 10.1), (NOON, 10.0, 10.1)), INSTRUMENTS).is_empty()


def test_one_id_at_two_times_is_two_trades():
    assert faults(tape([5.0, 5.0], trade_id=["7", "7"]).lazy(), INSTRUMENTS).is_empty()


# --- bad prints -------------------------------------------------------------------------------------------------------

CALM = [100.0 + 0.01 * (second % 3) for second in range(80)]
AT = 50


def with_prices(*changes: tuple[int, float]) -> pl.DataFrame:
    prices = list(CALM)
    for at, price in changes:
        prices[at] = price
    return tape(prices)


PRINTS = [
    ("high", [(AT, 110.0)], [AT]),
    ("low", [(AT, 90.0)], [AT]),
    ("two in a row", [(AT, 110.0), (AT + 1, 110.0)], [AT, AT + 1]),
    ("three are a price", [(AT, 110.0), (AT + 1, 110.0), (AT + 2, 110.0)], []),
    ("a level that stays", [(at, 90.0) for at in range(AT, 80)], []),
    ("a slide", [(AT + step, 100.0 - step) for step in range(30)], []),
    ("too near", [(AT, 100.2)], []),
    ("nothing before it", [(2, 110.0)], []),
    ("not confirmed yet", [(80 - REFERENCE, 110.0)], []),
]


@pytest.mark.parametrize(("changes", "at"), [case[1:] for case in PRINTS], ids=[case[0] for case in PRINTS])
def test_bad_prints(changes, at):
    given = with_prices(*changes)
    found = faults(given.lazy(), INSTRUMENTS)
    assert found.select("rule", "ts").rows() == [("bad_print", given["ts"][index]) for index in at]
    assert without(given.lazy(), found).collect().height == 80 - len(at)
    assert found["new"].to_list() == [pytest.approx(100.01, abs=0.011)] * len(at)


def test_where_trades_lie_far_apart_a_far_trade_is_no_bad_print():
    wild = [100.0 * (1.01 if second % 2 else 1.0) for second in range(80)]
    wild[AT] = 104.0
    assert faults(tape(wild).lazy(), INSTRUMENTS).is_empty()


def test_a_standing_quote_confirms_a_trade():
    given = with_prices((AT, 110.0))
    before = given["ts"][AT] - timedelta(seconds=2)
    wide, narrow, crossed = (90.0, 111.0), (99.9, 100.1), (112.0, 90.0)
    for (bid, ask), told in ((wide, 0), (narrow, 1), (crossed, 1)):
        standing = quotes((before, bid, ask))
        assert faults(given.lazy(), INSTRUMENTS, standing).height == told
    old = quotes((before - timedelta(minutes=2), *wide))
    assert faults(given.lazy(), INSTRUMENTS, old).height == 1


def test_another_symbol_is_no_neighbour():
    given = pl.concat([tape(CALM), tape([200.0] * BEFORE + [210.0] + [200.0] * REFERENCE, "SPY")])
    both = pl.concat([INSTRUMENTS, pl.DataFrame({"symbol": ["SPY"], "calendar": ["XNYS"]})])
    assert faults(given.lazy(), both).select("symbol", "old").rows() == [("SPY", 210.0)]


@examples(st.lists(st.tuples(st.integers(0, 119), st.floats(0.5, 2.0)), max_size=8), st.integers(40, 119))
def test_what_was_said_of_trades_never_changes(changes, cut):
    prices = (100 + np.cumsum(np.sin(np.arange(120.0))) / 100).tolist()
    for at, factor in changes:
        prices[at] *= factor
    given = tape(prices)
    whole, part = faults(given.lazy(), INSTRUMENTS), faults(given.head(cut).lazy(), INSTRUMENTS)
    judged = given["ts"][max(cut - REFERENCE, 0)]
    assert part.equals(whole.filter(pl.col("ts") < judged))


def test_of_an_instant_only_the_named_trade_is_left_out():
    given = with_prices((AT, 110.0))
    together = given.with_columns(ts=pl.when(pl.int_range(pl.len()) == AT + 1).then(given["ts"][AT]).otherwise("ts"))
    left = without(together.lazy(), faults(together.lazy(), INSTRUMENTS)).collect()
    assert left.height == 79
    assert left["price"].max() < 101


def test_real_trades_have_few_bad_prints(shared_data):
    rows = pl.scan_parquet(shared_data / "multi_asset" / "ticks_trades.parquet").head(200_000)
    rows = rows.with_columns(side=pl.lit(None, pl.String), trade_id=pl.lit(None, pl.String))
    tape_ = ticks.trades(rows, provider="files", fetched_at=datetime(2021, 1, 1, tzinfo=UTC), source="file")
    spy = pl.DataFrame({"symbol": ["SPY"], "calendar": ["XNYS"]})
    began = time.process_time()
    found = faults(tape_, spy)
    assert time.process_time() - began < 2, "200,000 trades: a tenth of the speed that the benchmark shows"
    assert found.filter(pl.col("rule") == "bad_print")["old"].to_list() == [168.9]
