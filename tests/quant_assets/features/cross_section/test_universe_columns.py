"""The market's columns against numpy, symbol by symbol and instant by instant in a plain loop."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from quant_assets.features.columns.universe import COLUMNS
from quant_assets.features.context import Context
from quant_assets.features.cross_section import CROSS_SECTION
from quant_assets.features.engine import evaluate
from resources.errors import ConfigError

START = datetime(2024, 1, 1, 14, 30, tzinfo=UTC)
NAMES = ("AA", "BB", "CC", "DD", "EE")
SECTORS = pl.DataFrame({"symbol": NAMES, "sector": ["Tools", "Toys", "Tools", "Toys", None]})


def market(count: int = 320, seed: int = 0) -> pl.DataFrame:
    """Five symbols; bars are missing now and then, and CC lists after 50."""
    random = np.random.default_rng(seed)
    common = random.normal(0, 0.01, count)
    parts = []
    for i, name in enumerate(NAMES):
        close = np.round(50 * np.exp(np.cumsum(common * (0.5 + 0.3 * i) + random.normal(0, 0.01, count))), 2)
        there = (random.random(count) > 0.02) & ((np.arange(count) >= 50) | (name != "CC"))
        days = [START + timedelta(days=int(day)) for day in np.flatnonzero(there)]
        parts.append(pl.DataFrame({"symbol": name, "ts": days, "adj_close": close[there]}))
    return pl.concat(parts)


BARS = market()


CLOSES = {
    name: {(ts - START).days: close for ts, close in part.select("ts", "adj_close").iter_rows()}
    for (name,), part in BARS.group_by("symbol")
}
"""By symbol and day."""

RETURNS = {name: {at: own[at] / own[at - 1] - 1 for at in own if at - 1 in own} for name, own in CLOSES.items()}
"""By symbol and day, where it has a close at the instant before."""


def steps(day: int, names: tuple[str, ...] = NAMES) -> list[float]:
    """Returns of the symbols that have one."""
    return [RETURNS[name][day] for name in names if day in RETURNS[name]]


def made(name: str, bars: pl.DataFrame = BARS, **context) -> pl.DataFrame:
    return COLUMNS[name].make(bars, Context(**context))


def by_day(name: str, **context) -> dict[int, float]:
    """The column's one value of each day."""
    found = made(name, **context).group_by("ts").agg(pl.col(name).unique())
    assert (found[name].list.len() == 1).all()
    return {(ts - START).days: values[0] for ts, values in found.iter_rows()}


def test_market_return_is_the_mean_of_those_with_a_bar_now_and_before():
    found = by_day("market_return")
    assert found.pop(0) is None
    for day, value in found.items():
        assert value == pytest.approx(np.mean(steps(day)), rel=1e-12), day


def test_market_return_is_the_benchmarks_since_its_bar_before():
    own = BARS.filter(pl.col("symbol") == "BB")
    expected = dict(zip(own["ts"], (own["adj_close"] / own["adj_close"].shift() - 1).to_list(), strict=True))
    found = made("market_return", benchmark="BB")
    assert found["market_return"].to_list() == [expected.get(ts) for ts in found["ts"]]
    assert found["market_return"].null_count() > 1


def test_a_benchmark_without_bars_is_named():
    with pytest.raises(ConfigError, match="SPY"):
        made("market_return", benchmark="SPY")


def test_a_symbol_that_comes_back_waits_a_bar():
    days = [START + timedelta(days=day) for day in range(4)]
    bars = pl.DataFrame(
        {"symbol": ["A"] * 4 + ["B"] * 3, "ts": [*days, days[0], *days[2:]], "adj_close": [1.0, 1, 1, 1, 1, 9, 18]}
    )
    assert made("market_return", bars)["market_return"].to_list() == [None, 0, 0, 0.5, None, 0, 0.5]


def test_the_bar_before_is_that_of_the_symbols_calendar():
    friday, saturday, monday = (datetime(2024, 1, day, tzinfo=UTC) for day in (5, 6, 8))
    bars = pl.DataFrame(
        {
            "symbol": ["BTC"] * 3 + ["IBM"] * 2,
            "ts": [friday, saturday, monday, friday, monday],
            "adj_close": [1.0, 2, 2, 10, 11],
        }
    )
    instruments = pl.DataFrame({"symbol": ["BTC", "IBM"], "calendar": ["24/7", "XNYS"]})
    assert made("market_return", bars, instruments=instruments)["market_return"].to_list() == pytest.approx(
        [None, 1.0, 0.05, None, 0.05]
    )


def test_a_close_that_is_missing_is_no_bar():
    holes = BARS.with_columns(adj_close=pl.when(pl.int_range(pl.len()) % 11 != 3).then("adj_close"))
    found = made("market_return", holes)
    without = made("market_return", holes.drop_nulls("adj_close"))
    assert found.filter(pl.col("adj_close").is_not_null()).equals(without)
    assert found.filter(pl.col("adj_close").is_null())["market_return"].null_count() == holes["adj_close"].null_count()


def test_sector_return_is_the_mean_of_the_sector():
    found = made("sector_return", instruments=SECTORS)
    members = {"AA": ("AA", "CC"), "CC": ("AA", "CC"), "BB": ("BB", "DD"), "DD": ("BB", "DD"), "EE": ()}
    for name, ts, value in found.select("symbol", "ts", "sector_return").iter_rows():
        of = steps((ts - START).days, members[name])
        assert value == (pytest.approx(np.mean(of), rel=1e-12) if of else None), (name, ts)
    assert made("sector_return")["sector_return"].null_count() == BARS.height


def test_breadth_counts_those_above_their_mean_and_at_extremes():
    above, highs = by_day("breadth_above_50"), by_day("breadth_highs_252")
    rising = by_day("breadth_advancing")
    part = {"above": 0, "highs": 0}
    for day in range(1, 320):
        means, extremes = [], []
        for own in CLOSES.values():
            held = [close for at, close in sorted(own.items()) if at <= day]
            if day in own and len(held) >= 50:
                means.append(held[-1] > np.mean(held[-50:]))
            if day in own and len(held) >= 252:
                extremes.append(int(held[-1] == max(held[-252:])) - int(held[-1] == min(held[-252:])))
        now = steps(day)
        assert rising[day] == pytest.approx(np.mean([step > 0 for step in now])), day
        assert above[day] == (pytest.approx(np.mean(means)) if means else None), day
        assert highs[day] == (pytest.approx(np.mean(extremes)) if extremes else None), day
        part["above"] += bool(means)
        part["highs"] += any(extremes)
    assert min(part.values()) > 5


def test_dispersion_is_the_standard_deviation_across_symbols():
    found = by_day("dispersion")
    for day in range(1, 320):
        assert found[day] == pytest.approx(np.std(steps(day), ddof=1), rel=1e-9), day


def test_average_correlation_is_the_mean_of_all_pairs():
    found, seen = by_day("average_correlation_63"), 0
    for day in range(320):
        rows = [
            [steps_of[at] for at in range(day - 62, day + 1)]
            for steps_of in RETURNS.values()
            if all(at in steps_of for at in range(day - 62, day + 1))
        ]
        if len(rows) < 2:
            assert found[day] is None, day
            continue
        pairs = np.corrcoef(rows)[np.triu_indices(len(rows), 1)]
        assert found[day] == pytest.approx(pairs.mean(), rel=1e-9), day
        seen += 1
    assert seen > 5


@pytest.mark.parametrize("name", sorted(set(COLUMNS) - {"instant", "sector_instant"}))
def test_later_bars_change_nothing(name):
    whole = made(name, instruments=SECTORS)
    for day in (1, 60, 199, 300):
        until = pl.col("ts") <= START + timedelta(days=day)
        assert made(name, BARS.filter(until), instruments=SECTORS).equals(whole.filter(until)), day


def test_the_order_of_rows_and_of_instruments_changes_nothing():
    bars = BARS.rename({"adj_close": "close"}).with_columns(
        open="close", high="close", low="close", volume=pl.lit(10.0) + pl.int_range(pl.len()) % 7
    )
    some = CROSS_SECTION.pick([each.name for each in CROSS_SECTION if each.lookback < 130])
    shuffled = bars.sort("ts", pl.col("symbol").hash(3))
    one = evaluate(some, bars.lazy(), Context(SECTORS)).collect()
    other = evaluate(some, shuffled.lazy(), Context(SECTORS.reverse())).collect()
    assert one.equals(other)
