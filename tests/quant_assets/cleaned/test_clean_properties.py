"""What holds for any history: the past never changes, symbols keep to themselves, adjusted returns are a holder's."""

from __future__ import annotations

from datetime import date

import hypothesis.strategies as st
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings

from quant_assets.cleaned import clean
from resources.calendars import sessions
from resources.market_data.base import ACTION_SCHEMA, BAR_SCHEMA

DAYS = sessions("XNYS", date(2011, 1, 1), date(2011, 12, 31))
INSTRUMENTS = pl.DataFrame({"symbol": ["AAA", "BBB"], "calendar": ["XNYS", "XNYS"]})


def history(seed: int, symbol: str, count: int = 120) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Bars with gaps, halts, repeats and jumps, and actions of which some show in the prices and some do not."""
    random = np.random.default_rng(seed)
    move = np.where(random.random(count) < 0.1, 0.0, random.normal(0, 0.02, count))
    move += np.where(random.random(count) < 0.03, random.choice([-0.7, 0.7, 0.25]), 0.0)
    split = np.where(random.random(count) < 0.03, random.choice([2.0, 1.5, 0.1]), 1.0)
    paid = np.where(random.random(count) < 0.06, random.choice([0.005, 0.02, 0.3, 1.4]), 0.0)
    shows = random.random(count) < 0.7
    close = 50 * np.exp(np.cumsum(move - np.where(shows, np.log(split), 0.0)))
    opened = close * np.exp(random.normal(0, 0.003, count))
    stamps = DAYS.head(count)
    bars = pl.DataFrame(
        {
            "symbol": symbol,
            "ts": stamps["open"],
            "open": opened,
            "high": np.maximum(opened, close) * 1.002,
            "low": np.minimum(opened, close) * 0.998,
            "close": close,
            "volume": np.where(random.random(count) < 0.05, 0.0, 1e6 * random.random(count)),
            "provider": "test",
            "fetched_at": stamps["close"],
            "known_at": stamps["close"],
        },
        schema=BAR_SCHEMA,
    )
    told = [
        pl.DataFrame({"ts": stamps["open"], "kind": kind, "value": value}).filter(pl.col("value") != nothing)
        for kind, value, nothing in (("split", split, 1.0), ("dividend", paid * close, 0.0))
    ]
    actions = pl.concat(told).with_columns(
        symbol=pl.lit(symbol), provider=pl.lit("test"), fetched_at="ts", known_at="ts"
    )
    held = random.random(count) > 0.05
    return bars.filter(pl.Series(held)), actions.select(ACTION_SCHEMA.names()).cast(dict(ACTION_SCHEMA))


def both(seed: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    one, other = history(seed, "AAA"), history(seed + 1, "BBB")
    return pl.concat([one[0], other[0]]), pl.concat([one[1], other[1]])


@given(seed=st.integers(0, 10_000), cut=st.integers(2, 119))
@settings(max_examples=40)
def test_cutting_the_history_changes_no_row_before_the_cut(seed, cut):
    bars, actions = both(seed)
    until = pl.col("ts") <= DAYS["open"][cut]
    whole = clean(bars.lazy(), actions.lazy(), INSTRUMENTS)
    held = bars.filter(until)
    part = clean(held.lazy(), actions.lazy(), INSTRUMENTS)
    last = held.group_by("symbol").agg(last=pl.col("ts").max())
    expected = whole.bars.collect().join(last, on="symbol").filter(pl.col("ts") <= pl.col("last")).drop("last")
    assert part.bars.collect().equals(expected.sort("symbol", "ts"))
    placed = pl.col("rule") != "action_without_bar"
    before = whole.findings.join(last, on="symbol").filter(placed & (pl.col("ts") <= pl.col("last"))).drop("last")
    assert part.findings.filter(placed).sort(pl.all()).equals(before.sort(pl.all()))


@given(seed=st.integers(0, 10_000))
@settings(max_examples=15)
def test_a_symbol_alone_is_as_among_others(seed):
    bars, actions = both(seed)
    among = clean(bars.lazy(), actions.lazy(), INSTRUMENTS)
    for symbol in ("AAA", "BBB"):
        of = pl.col("symbol") == symbol
        alone = clean(bars.filter(of).lazy(), actions.filter(of).lazy(), INSTRUMENTS)
        assert alone.bars.collect().equals(among.bars.filter(of).collect())
        assert alone.findings.equals(among.findings.filter(of))


@given(seed=st.integers(0, 10_000))
@settings(max_examples=25)
def test_adjusted_close_is_the_wealth_of_a_holder_who_reinvests(seed):
    frame = clean(*(part.lazy() for part in history(seed, "AAA")), INSTRUMENTS).bars.collect()
    shares, before = 1.0, frame["close"][0]
    wealth = []
    for close, split, dividend in frame.select("close", "split", "dividend").iter_rows():
        shares *= split
        shares += shares * dividend / (before / split - dividend)  # bought at the ex-dividend price
        wealth.append(shares * close)
        before = close
    assert frame["adj_close"].to_list() == pytest.approx(wealth, rel=1e-9)


@given(seed=st.integers(0, 10_000))
@settings(max_examples=15)
def test_every_session_has_one_row_of_good_numbers(seed):
    frame = clean(*(part.lazy() for part in both(seed)), INSTRUMENTS).bars.collect()
    for part in frame.partition_by("symbol"):
        inside = DAYS.filter(pl.col("session").is_between(part["session"].min(), part["session"].max()))
        assert part["session"].to_list() == inside["session"].to_list()
        assert part["split_factor"][0] == part["dividend_factor"][0] == 1.0
        assert (part["dividend_factor"].diff().drop_nulls() >= 0).all()
    numbers = frame.select(pl.col(pl.Float64))
    assert numbers.null_count().sum_horizontal().item() == 0
    assert numbers.select(pl.all().is_finite().all()).row(0) == (True,) * numbers.width
    assert numbers.select(pl.exclude("volume", "adj_volume", "dividend").min()).min_horizontal().item() > 0


def test_the_histories_hold_what_they_promise():
    found = set()
    for seed in range(40):
        found |= set(clean(*(part.lazy() for part in both(seed)), INSTRUMENTS).findings["rule"])
    assert found >= {
        "action_moved",
        "dividend_exceeds_price",
        "dividend_unconfirmed",
        "jump",
        "missing_session",
        "split_unconfirmed",
        "zero_volume",
    }
