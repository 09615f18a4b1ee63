"""Lags, ranks in time and distances to extremes against pandas, scipy and plain loops."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from scipy.stats import percentileofscore

from quant_assets.features.definition import FeatureSet
from quant_assets.features.engine import evaluate
from quant_assets.features.proofs import example_bars, honest_lookback, prove
from quant_assets.features.temporal import TEMPORAL

BARS = example_bars(sessions=420, symbols=("WILD",))
CLOSE, VOLUME = BARS["adj_close"].to_numpy(), BARS["adj_volume"].to_numpy()
RETURN = np.r_[np.nan, CLOSE[1:] / CLOSE[:-1] - 1]


def column(name: str, bars: pl.DataFrame = BARS) -> np.ndarray:
    return evaluate(TEMPORAL.pick([name]), bars.lazy()).collect()[name].to_numpy()


@pytest.mark.parametrize("lag", [1, 5, 21])
def test_lagged_returns_are_those_of_pandas(lag):
    expected = pl.Series(CLOSE).to_pandas().pct_change().shift(lag).to_numpy()
    np.testing.assert_allclose(column(f"return_1_lag_{lag}"), expected, rtol=1e-12)


@pytest.mark.parametrize("lag", [0, 1, 5])
def test_lagged_volume_changes_need_volume_on_both_bars(lag):
    with np.errstate(divide="ignore", invalid="ignore"):
        change = np.log(VOLUME[1:] / VOLUME[:-1])
    expected = np.r_[np.full(lag + 1, np.nan), change[: change.size - lag]]
    expected[~np.isfinite(expected)] = np.nan
    assert np.isnan(expected[lag + 1 :]).any()
    np.testing.assert_allclose(column(f"volume_change_1_lag_{lag}"), expected, rtol=1e-12)


@pytest.mark.parametrize("window", [21, 252])
@pytest.mark.parametrize(("name", "values"), [("close", CLOSE), ("volume", VOLUME), ("return_1", RETURN)])
def test_rank_is_the_mean_percentile_among_the_others(name, values, window):
    ranks = column(f"{name}_rank_{window}")
    for at in [*range(window, 420, 7), 419]:
        others, last = values[at - window + 1 : at], values[at]
        assert ranks[at] == pytest.approx(percentileofscore(others, last, kind="mean") / 100), at


def test_ranks_reach_from_the_smallest_to_the_largest_and_share_ties():
    close = [*np.arange(1.0, 22.0), 0.5, 7.0, 7.0]
    bars = pl.DataFrame({"symbol": "A", "close": close, "volume": 5.0}).with_columns(
        ts=pl.datetime(2024, 1, 1) + pl.duration(days=pl.int_range(pl.len()))
    )
    ranks = column("close_rank_21", bars)
    assert ranks[20] == 1.0
    assert ranks[21] == 0.0
    assert ranks[22] == pytest.approx((5 + 0.5) / 20)  # 0.5, 3, 4, 5 and 6 are smaller, one other is 7
    assert column("volume_rank_21", bars)[20] == 0.5


def test_a_volume_that_is_not_known_has_no_rank():
    bars = BARS.with_columns(adj_volume=pl.when(pl.int_range(pl.len()) != 100).then("adj_volume"))
    missing = np.flatnonzero(np.isnan(column("volume_rank_21", bars)))
    assert missing.tolist() == [*range(20), *range(100, 121)]


@pytest.mark.parametrize("window", [21, 63, 252])
def test_bars_since_extremes_count_from_the_latest_of_equals(window):
    high, low = column(f"bars_since_high_{window}"), column(f"bars_since_low_{window}")
    for at in range(window - 1, 420):
        held = CLOSE[at - window + 1 : at + 1][::-1]
        assert high[at] == np.flatnonzero(held == held.max())[0], at
        assert low[at] == np.flatnonzero(held == held.min())[0], at


def test_extremes_that_differ_by_rounding_are_equal():
    nudged = BARS.with_columns(pl.col("adj_close") * (1 + 4e-16 * (pl.int_range(pl.len()) % 3)))
    for name in ("bars_since_high_63", "bars_since_low_63", "close_rank_63", "return_1_rank_63"):
        np.testing.assert_array_equal(column(name, nudged), column(name))


def test_look_backs_are_no_longer_than_needed():
    shorter = FeatureSet(
        "shorter", tuple(replace(each, lookback=each.lookback - 1) for each in TEMPORAL if each.lookback)
    )
    assert {each.feature for each in prove(shorter, proofs=[honest_lookback])} == set(shorter.names)
