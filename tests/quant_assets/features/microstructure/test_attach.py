"""Ticks counted into bars: cases by hand, and nothing of a bar depends on ticks at or after its end."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant_assets.features.microstructure.attach import BOOK_SCHEMA, attach, both_sides
from resources.calendars import UTC_MICROS
from resources.errors import BarSchemaError

NOON = datetime(2024, 5, 6, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def at(seconds):
    return NOON + timedelta(seconds=seconds)


def frame(rows, names, symbol="A", **constants):
    """Rows whose first value is seconds after noon."""
    made = pl.DataFrame([(at(row[0]), *row[1:]) for row in rows], schema=["ts", *names], orient="row")
    return made.with_columns(pl.col("ts").cast(UTC_MICROS), symbol=pl.lit(symbol), **constants)


def bars(count=2, step=MINUTE, symbol="A", close=100.0):
    starts = [NOON + step * i for i in range(count)]
    made = pl.DataFrame({"symbol": symbol, "ts": starts, "known_at": [start + step for start in starts]})
    return made.with_columns(pl.col("ts", "known_at").cast(UTC_MICROS), close=pl.lit(close))


def trades(*rows):
    """(seconds, price, size) or (seconds, price, size, side)."""
    rows = [row if len(row) == 4 else (*row, None) for row in rows]
    return frame(rows, ["price", "size", "side"]).with_columns(pl.col("side").cast(pl.String))


def quotes(*rows):
    """(seconds, bid, ask) or (seconds, bid, bid_size, ask, ask_size)."""
    rows = [row if len(row) == 5 else (row[0], row[1], 100.0, row[2], 100.0) for row in rows]
    return frame(rows, ["bid", "bid_size", "ask", "ask_size"]).cast(
        dict.fromkeys(("bid", "bid_size", "ask", "ask_size"), pl.Float64)
    )


def told(name, *given, count=2, **options):
    return attach(bars(count), *given, **options).collect()[name].to_list()


def close_to(*values):
    return pytest.approx(list(values), rel=1e-12)


# --- trades -----------------------------------------------------------------------------------------------------------

SIGNS = [  # Lee and Ready (1991): the quote rule, then the tick rule
    ("above the middle", [(0, 99, 101)], [(5, 100.5, 1)], 1),
    ("below the middle", [(0, 99, 101)], [(5, 99.5, 1)], -1),
    ("at the middle after a rise", [(0, 99, 101)], [(-5, 99.9, 1), (5, 100.0, 1)], 1),
    ("at the middle after a fall", [(0, 99, 101)], [(-5, 100.1, 1), (5, 100.0, 1)], -1),
    ("without quotes, zero tick after a rise", [], [(-9, 99, 1), (-5, 100, 1), (5, 100, 1)], 1),
    ("without quotes, zero tick after a fall", [], [(-9, 101, 1), (-5, 100, 1), (5, 100, 1)], -1),
    ("the first trade, without quotes", [], [(5, 100, 1)], None),
    ("crossed quotes have no middle: tick rule", [(0, 101, 99)], [(-5, 99, 1), (5, 99.5, 1)], 1),
    ("a one-sided quote has none either", [(0, None, 101)], [(-5, 99, 1), (5, 99.5, 1)], 1),
    ("a quote of the same instant is in force", [(0, 99, 101), (5, 103, 105)], [(5, 102, 1)], -1),
    ("a later quote is not", [(0, 99, 101), (6, 103, 105)], [(5, 102, 1)], 1),
    ("the taker's side, where it is told", [(0, 99, 101)], [(5, 100.5, 1, "sell")], -1),
    ("a quote older than an hour says nothing", [(-3600, 99, 101)], [(-1800, 102, 1), (5, 101.5, 1)], -1),
    ("nor does an older price", [], [(-3590, 99, 1), (-3580, 98, 1), (30, 98, 1)], None),
]


@pytest.mark.parametrize(("quoted", "traded", "sign"), [case[1:] for case in SIGNS], ids=[case[0] for case in SIGNS])
def test_who_started_a_trade(quoted, traded, sign):
    given = quotes(*quoted) if quoted else None
    assert told("tick_imbalance", trades(*traded), given, count=1) == [sign]


def test_a_lag_takes_the_quote_that_stood_before():
    rows = trades((5, 102, 1)), quotes((0, 99, 101), (4, 103, 105))
    assert told("tick_imbalance", *rows) == [-1, None]
    assert told("tick_imbalance", *rows, lag=timedelta(seconds=2)) == [1, None]


def test_trades_of_a_bar():
    rows = trades((0, 100, 3, "buy"), (10, 102, 1, "sell"), (59.999999, 101, 4, "buy"), (60, 90, 1, "sell"))
    assert told("tick_imbalance", rows) == close_to(6 / 8, -1)
    assert told("tick_count", rows) == [3, 1]
    assert told("tick_vwap_gap", rows) == close_to(math.log(101 / ((300 + 102 + 404) / 8)), 0.0)


def test_trades_that_are_not_signed_are_no_part_of_the_imbalance():
    assert told("tick_imbalance", trades((1, 100, 50), (2, 101, 1), (3, 100, 3)))[0] == pytest.approx(-2 / 4)


def test_effective_spread_is_weighted_by_size_and_against_the_middle_in_force():
    given = quotes((0, 99, 101), (30, 199, 201))
    assert told("tick_effective_spread", trades((10, 100.5, 3), (40, 199, 1)), given)[0] == pytest.approx(
        (2 * 0.5 / 100 * 3 + 2 * 1 / 200 * 1) / 4
    )


def test_realised_spread_counts_where_its_delay_ends():
    """Bought at 101 with the middle at 100, which is 100.5 thirty seconds later: 2 x 0.5 / 100."""
    given = quotes((0, 99, 101), (35, 99.5, 101.5), (100, 109, 111))
    wait = timedelta(seconds=30)
    early, late, at_end = trades((10, 101, 1)), trades((40, 101, 1)), trades((30, 101, 1))
    assert told("tick_realised_spread", early, given, delay=wait) == [pytest.approx(0.01), None]
    assert told("tick_realised_spread", late, given, delay=wait) == [None, pytest.approx(2 * 0.5 / 100.5)]
    assert told("tick_realised_spread", at_end, given, delay=wait)[0] is None
    both = told("tick_realised_spread", trades((10, 101, 1), (20, 99, 3)), given, delay=wait)[0]
    assert both == pytest.approx((0.01 - 3 * 2 * (99 - 100.5) / 100 * 1) / 4)


def test_five_minutes_after_trades_outside_any_bar_count_for_none():
    before = trades((-60, 101, 1, "buy"))
    assert told("tick_realised_spread", before, quotes((-90, 99, 101)), count=10) == [None] * 10


# --- quotes -----------------------------------------------------------------------------------------------------------


def test_quoted_spread_is_weighted_by_time_from_what_stood_at_the_start():
    given = quotes((-10, 99, 101), (15, 99.5, 100.5), (45, 98, 102), (60, 90, 110))
    wanted = (15 * 2 / 100 + 30 * 1 / 100 + 15 * 4 / 100) / 60
    assert told("tick_quoted_spread", None, given) == close_to(wanted, 20 / 100)


def test_crossed_one_sided_and_old_quotes_have_no_spread():
    given = quotes((0, 99, 101), (15, 102, 101), (30, None, 101), (45, 98, 102))
    assert told("tick_quoted_spread", None, given)[0] == pytest.approx((15 * 0.02 + 15 * 0.04) / 30)
    assert told("tick_quoted_spread", None, quotes((-30, 99, 101)), stale=timedelta(seconds=30)) == [None, None]


def test_imbalance_of_quoted_sizes():
    given = quotes((0, 99, 300.0, 101, 100.0), (30, 99, 100.0, 101, 100.0))
    assert told("quote_imbalance", None, given)[0] == pytest.approx(0.25)


# Cont, Kukanov and Stoikov (2014), section 2.1: what an event at the best quotes adds.
FLOWS = [  #                 bid  size  ask  size      order flow
    ("bid size grows",      (99, 130.0, 101, 100.0), 30),
    ("bid size shrinks",    (99, 80.0, 101, 100.0), -20),
    ("bid rises",           (100, 50.0, 101, 100.0), 50),
    ("bid falls",           (98, 500.0, 101, 100.0), -100),
    ("ask size grows",      (99, 100.0, 101, 140.0), -40),
    ("ask size shrinks",    (99, 100.0, 101, 70.0), 30),
    ("ask falls",           (99, 100.0, 100, 60.0), -60),
    ("ask rises",           (99, 100.0, 102, 60.0), 100),
]  # fmt: skip


@pytest.mark.parametrize(("quote", "flow"), [case[1:] for case in FLOWS], ids=[case[0] for case in FLOWS])
def test_order_flow_of_one_event(quote, flow):
    given = quotes((0, 99, 100.0, 101, 100.0), (30, *quote))
    depth = (100 + (quote[1] + quote[3]) / 2) / 2
    made = attach(bars(1), quotes=given).collect()
    assert made["quote_flow"][0] == np.sign(flow)
    assert made["quote_flow"][0] * made["quote_traffic"][0] == pytest.approx(flow / depth)


def test_order_flow_of_a_bar_is_net_over_gross():
    given = quotes((-5, 99, 100.0, 101, 100.0), (10, 99, 130.0, 101, 100.0), (20, 99, 120.0, 101, 100.0))
    assert told("quote_flow", None, given) == [pytest.approx(20 / 40), None]


def test_a_quote_after_a_long_silence_adds_nothing_to_one_that_had_grown_stale():
    given = quotes((-5, 99, 100.0, 101, 100.0), (10, 99, 130.0, 101, 100.0))
    assert told("quote_flow", None, given, stale=timedelta(seconds=15)) == [1, None]
    assert told("quote_flow", None, given, stale=timedelta(seconds=14)) == [None, None]


def test_a_feed_that_tells_one_side_at_a_time():
    rows = quotes((0, 99, 5.0, None, None), (10, None, None, 101, 7.0), (20, 0.0, 0.0, 100, 2.0))
    other = rows.head(2).tail(1).with_columns(symbol=pl.lit("B"))
    whole = both_sides(pl.concat([rows, other])).collect()
    assert whole.select("symbol", "bid", "bid_size", "ask", "ask_size").rows() == [
        ("A", 99, 5, None, None), ("A", 99, 5, 101, 7), ("A", 99, 5, 100, 2), ("B", None, None, 101, 7),
    ]  # fmt: skip


# --- book -------------------------------------------------------------------------------------------------------------


def book(*rows):
    """(seconds, message, type, side, price, size)."""
    return frame(rows, ["message", "type", "side", "price", "size"]).select(BOOK_SCHEMA.names()).cast(dict(BOOK_SCHEMA))


SNAPSHOT = (
    (0, 1, "snapshot", "bid", 99.0, 10.0),
    (0, 1, "snapshot", "bid", 98.0, 20.0),
    (0, 1, "snapshot", "ask", 101.0, 5.0),
    (0, 1, "snapshot", "ask", 102.0, 5.0),
)


def test_imbalance_and_worth_of_a_book():
    made = attach(bars(1), book=book(*SNAPSHOT)).collect()
    assert made["book_imbalance"][0] == pytest.approx((30 - 10) / 40)
    assert made["book_depth"][0] == pytest.approx(990 + 1960 + 505 + 510)
    assert told("book_imbalance", None, None, book(*SNAPSHOT), count=1, levels=1) == close_to((10 - 5) / 15)


def test_deltas_change_add_and_take_away_levels_and_stand_for_their_time():
    changes = (
        (30, 2, "delta", "bid", 99.0, 0.0),
        (30, 2, "delta", "ask", 100.0, 5.0),
        (45, 3, "delta", "bid", 98.0, 5.0),
    )
    wanted = 30 * 20 / 40 + 15 * (20 - 15) / 35 + 15 * (5 - 15) / 20
    assert told("book_imbalance", None, None, book(*SNAPSHOT, *changes))[0] == pytest.approx(wanted / 60)


def test_a_message_takes_effect_as_a_whole_and_a_snapshot_begins_anew():
    again = ((30, 2, "snapshot", "bid", 50.0, 1.0), (30, 2, "snapshot", "ask", 51.0, 3.0))
    wanted = (30 * 0.5 + 30 * (1 - 3) / 4) / 60
    assert told("book_imbalance", None, None, book(*SNAPSHOT, *again))[0] == pytest.approx(wanted)


def test_before_a_snapshot_and_while_crossed_there_is_no_book():
    change = ((30, 2, "delta", "bid", 103.0, 1.0),)
    assert told("book_imbalance", None, None, book(*SNAPSHOT, *change))[0] == pytest.approx(0.5)
    assert told("book_imbalance", None, None, book(*SNAPSHOT, *change)) == [pytest.approx(0.5), None]
    deltas = book(*[(second, message, "delta", *rest) for second, message, _, *rest in SNAPSHOT])
    assert told("book_imbalance", None, None, deltas) == [None, None]


# --- all of it --------------------------------------------------------------------------------------------------------

SECONDS = st.integers(-30, 210)
PRICE = st.integers(95, 105)
MANY = {
    "trades": st.lists(st.tuples(SECONDS, PRICE, st.integers(1, 9)), min_size=1, max_size=25),
    "quotes": st.lists(st.tuples(SECONDS, PRICE, st.integers(1, 9), PRICE, st.integers(1, 9)), min_size=1, max_size=25),
    "book": st.lists(
        st.tuples(SECONDS, st.sampled_from(["snapshot", "delta"]), st.sampled_from(["bid", "ask"]), PRICE,
                  st.integers(0, 9)),
        min_size=1, max_size=25,
    ),
}  # fmt: skip


def ticks(drawn):
    levels = [(row[0], n, *row[1:]) for n, row in enumerate(sorted(drawn["book"], key=lambda row: row[0]))]
    return trades(*drawn["trades"]), quotes(*drawn["quotes"]), book(*levels)


@given(drawn=st.fixed_dictionaries(MANY), end=st.integers(1, 3))
@settings(max_examples=60)
def test_without_the_ticks_from_its_end_on_a_bar_is_the_same(drawn, end):
    options = {"delay": timedelta(seconds=20), "stale": timedelta(seconds=50)}
    whole = attach(bars(3), *ticks(drawn), **options).collect()
    past = [part.filter(pl.col("ts") < at(60 * end)) for part in ticks(drawn)]
    cut = attach(bars(3), *past, **options).collect()
    assert cut.head(end).equals(whole.head(end))


@given(drawn=st.fixed_dictionaries(MANY), first=st.integers(1, 2))
@settings(max_examples=60)
def test_ticks_from_a_delay_and_what_grows_stale_before_a_bar_are_enough(drawn, first):
    """Of trades and quotes; a book needs its last snapshot."""
    options = {"delay": timedelta(seconds=5), "stale": timedelta(seconds=10)}
    traded, quoted, _ = ticks(drawn)
    whole = attach(bars(3), traded, quoted, **options).collect()
    late = [part.filter(pl.col("ts") >= at(60 * first - 15)) for part in (traded, quoted)]
    assert attach(bars(3), *late, **options).collect().tail(3 - first).equals(whole.tail(3 - first))


def test_symbols_are_counted_apart_and_the_order_of_bars_and_ticks_does_not_matter():
    two = pl.concat([bars(), bars(symbol="B")])
    rows = trades((5, 100, 1, "buy"), (70, 101, 2, "sell"), (80, 99, 1, "buy"))
    both = pl.concat([rows, rows.with_columns(symbol=pl.lit("B"), size=pl.lit(7, pl.Int64))])
    alone = attach(bars(), rows).collect()
    mixed = attach(two.reverse(), both.sort("price")).collect()
    assert mixed.filter(symbol="A").reverse().equals(alone.select(mixed.columns))


def test_a_tick_told_late_counts_when_it_was_known():
    late = trades((5, 100, 1, "buy")).with_columns(known_at=pl.lit(at(65)).cast(UTC_MICROS))
    assert told("tick_count", late) == [None, 1]


def test_bars_keep_their_rows_and_only_get_what_was_given():
    made = attach(bars(), trades((5, 100, 1)))
    assert made.select(bars().columns).collect().equals(bars())
    assert set(made.collect_schema()) - set(bars().columns) == {"tick_imbalance", "tick_count", "tick_vwap_gap"}


def test_what_cannot_be_placed_is_refused():
    with pytest.raises(BarSchemaError, match="bars have no column known_at"):
        attach(bars().drop("known_at"), trades((5, 100, 1)))
    with pytest.raises(BarSchemaError, match=r"trades: A None has no ts; each row needs one"):
        attach(bars(), trades((5, 100, 1)).with_columns(ts=pl.lit(None, UTC_MICROS)))
    with pytest.raises(BarSchemaError, match=r"quotes: ts is Datetime.*UTC microseconds"):
        attach(bars(), quotes=quotes((5, 99, 101)).with_columns(pl.col("ts").dt.replace_time_zone(None)))


# --- real ticks -------------------------------------------------------------------------------------------------------


def real(shared_data, name):
    return pl.read_parquet(shared_data / "multi_asset" / f"{name}.parquet")


def spanning(symbol, start, count, step):
    made = bars(count, step, symbol)
    return made.with_columns(pl.col("ts", "known_at") + (start - NOON))


def test_signs_of_bitcoin_trades_are_those_the_venue_told(shared_data):
    traded, quoted = real(shared_data, "ticks_btcusdt_trades"), real(shared_data, "ticks_btcusdt_quotes")
    tenths = spanning("BTCUSDT", datetime(2021, 1, 8, tzinfo=UTC), 46, timedelta(seconds=1))
    side = pl.when("buyer_is_maker").then(pl.lit("sell")).otherwise(pl.lit("buy"))
    guessed = attach(tenths, traded, quoted).collect()["tick_imbalance"]
    given = attach(tenths, traded.with_columns(side=side), quoted).collect()["tick_imbalance"]
    assert pl.DataFrame({"a": guessed, "b": given}).select(pl.corr("a", "b")).item() > 0.8
    one = spanning("BTCUSDT", datetime(2021, 1, 8, tzinfo=UTC), 1, MINUTE)
    made = attach(one, traded, quoted, delay=timedelta(seconds=5)).collect().row(0, named=True)
    assert made["tick_count"] == 2001
    assert 0 < made["tick_quoted_spread"] < made["tick_effective_spread"] < 0.001
    assert made["tick_realised_spread"] < made["tick_effective_spread"]


def test_minutes_of_ibm_quotes_and_spy_trades(shared_data):
    start = datetime(2013, 10, 7, 13, 30, tzinfo=UTC)
    ibm = attach(spanning("IBM", start, 390, MINUTE), quotes=both_sides(real(shared_data, "ticks_quotes"))).collect()
    assert ibm.null_count().sum_horizontal().item() == 0
    assert 0.0001 < ibm["tick_quoted_spread"].median() < 0.0004
    traded = real(shared_data, "ticks_trades")
    spy = attach(spanning("SPY", start, 390, MINUTE), traded).collect()
    inside = traded.filter(pl.col("ts").is_between(start, start + 390 * MINUTE, closed="left"))
    assert spy["tick_count"].sum() == inside.height
    assert spy["tick_vwap_gap"].abs().median() < 0.001


def test_the_order_book_is_the_one_replayed_by_hand(shared_data):
    rows = real(shared_data, "orderbook_l2_xrpusdt")
    sides, states = {"bid": {}, "ask": {}}, []
    for (_, stamp), part in rows.group_by("message", "ts", maintain_order=True):
        if part["type"][0] == "snapshot":
            sides = {"bid": {}, "ask": {}}
        for side, price, size in part.select("side", "price", "size").iter_rows():
            sides[side][price] = size
        best = {side: sorted(((-p if side == "bid" else p), q) for p, q in held.items() if q)[:5]
                for side, held in sides.items()}  # fmt: skip
        bid, ask = (sum(size for _, size in best[side]) for side in ("bid", "ask"))
        states.append((stamp, (bid - ask) / (bid + ask)))
    start, end = datetime(2024, 12, 1, 0, 0, 1, tzinfo=UTC), datetime(2024, 12, 1, 0, 0, 4, tzinfo=UTC)
    total = 0.0
    for (since, value), (until, _) in zip(states, [*states[1:], (end, 0)], strict=True):
        total += max(0.0, (min(until, end) - max(since, start)).total_seconds()) * value
    bar = spanning("XRPUSDT", start, 1, timedelta(seconds=3))
    assert attach(bar, book=rows).collect()["book_imbalance"][0] == pytest.approx(total / 3)
