"""Ranks, scores, and a symbol beside its market, against scipy and numpy in a plain loop."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from scipy.stats import rankdata

from quant_assets.features.columns.universe import COLUMNS
from quant_assets.features.context import Context
from quant_assets.features.cross_section import CROSS_SECTION
from quant_assets.features.cross_section.ranks import BASES, less_mean, market_rank, ranks, zscores
from quant_assets.features.definition import Across, Feature, FeatureSet
from quant_assets.features.engine import evaluate
from quant_assets.features.proofs import example_bars, honest_lookback, prove

SYMBOLS = tuple(f"S{i:02d}" for i in range(9))
SECTORS = pl.DataFrame({"symbol": SYMBOLS, "sector": ["Tools"] * 4 + ["Toys"] * 3 + [None, "Alone"]})
CONTEXT = Context(SECTORS)


def _bars() -> pl.DataFrame:
    """Of nine symbols, each without a bar now and then."""
    bars = example_bars(sessions=360, symbols=SYMBOLS)
    gone = (pl.int_range(pl.len()) * 7919 % 41 == 5) & (pl.int_range(pl.len()).over("symbol") > 0)
    return bars.filter(~gone)


BARS = _bars()


def values(*names: str) -> pl.DataFrame:
    bases = FeatureSet("bases", BASES.features)
    of = FeatureSet("some", (*CROSS_SECTION.pick([name for name in names if name not in bases.names]).features,
                             *bases.pick([name for name in names if name in bases.names]).features))  # fmt: skip
    return evaluate(of, BARS.lazy(), CONTEXT).collect().join(SECTORS, on="symbol", how="left")


@pytest.mark.parametrize("base", ["return_21", "volume_ratio_5_63"])
def test_ranks_and_scores_among_the_symbols_of_an_instant(base):
    found = values(base, f"market_rank_{base}", f"market_zscore_{base}")
    sizes = set()
    for _, part in found.group_by("ts"):
        held = part.drop_nulls(base)
        sizes.add(held.height)
        assert part[f"market_rank_{base}"].null_count() == part[base].null_count()
        own = held[base].to_numpy()
        if held.height < 2:
            continue
        expected = (rankdata(own.round(9)) - 1) / (own.size - 1)
        np.testing.assert_allclose(held[f"market_rank_{base}"].to_numpy(), expected, rtol=1e-12)
        if own.std() > 1e-9:
            scores = (own - own.mean()) / own.std(ddof=1)
            np.testing.assert_allclose(held[f"market_zscore_{base}"].to_numpy(), scores, rtol=1e-9, atol=1e-12)
    assert len(sizes) > 2


def test_sector_forms_look_at_the_sector_alone():
    found = values("return_21", "sector_rank_return_21", "sector_neutral_return_21")
    for (_, sector), part in found.drop_nulls("return_21").group_by("ts", "sector"):
        own = part["return_21"].to_numpy()
        ranked, neutral = part["sector_rank_return_21"], part["sector_neutral_return_21"]
        if sector is None:
            assert ranked.null_count() == neutral.null_count() == part.height
            continue
        expected = (rankdata(own.round(9)) - 1) / (own.size - 1) if own.size > 1 else [0.5]
        np.testing.assert_allclose(ranked.to_numpy(), expected, rtol=1e-12)
        np.testing.assert_allclose(neutral.to_numpy(), own - own.mean(), atol=1e-15)


def test_ties_but_for_rounding_share_their_mean_place_and_alike_have_no_score():
    held = np.array([0.1, 0.1 + 1e-16, np.nan, -1e-17, 0.0, 5.0])
    order, ends = np.array([0, 1, 3, 4, 5]), np.array([0, 5])
    out = np.full(6, np.nan)
    ranks(held, order, ends, out)
    assert out[[0, 1, 3, 4, 5]].tolist() == [0.625, 0.625, 0.125, 0.125, 1.0]
    scores = np.full(6, np.nan)
    zscores(held, np.array([3, 4]), np.array([0, 2]), scores)
    assert np.isnan(scores).all()
    rest = np.full(6, np.nan)
    less_mean(held, np.array([0, 5]), np.array([0, 2]), rest)
    assert rest[[0, 5]].tolist() == pytest.approx([-2.45, 2.45])


def test_anyones_own_feature_is_ranked_with_one_line():
    base = BASES.pick(["return_5"]).features[0]
    mine = Feature("mine", "own", "", Across(market_rank("return_5"), (base,), ("instant",)), lookback=5)
    found = evaluate(FeatureSet("own", (mine,)), BARS.lazy(), CONTEXT).collect()
    assert found["mine"].equals(values("market_rank_return_5")["market_rank_return_5"], null_equal=True)


def _pair(symbol: str, index: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Close, return and the index's return on the symbol's bars."""
    held = BARS.sort("symbol", "ts").select("symbol", "ts", "adj_close")
    own = COLUMNS[f"{index}_return"].make(held, CONTEXT).filter(pl.col("symbol") == symbol)
    close = own["adj_close"].to_numpy()
    return close, np.r_[np.nan, close[1:] / close[:-1] - 1], own[f"{index}_return"].to_numpy()


@pytest.mark.parametrize("index", ["market", "sector"])
def test_beside_an_index(index):
    kinds = (f"{index}_correlation_63", f"follows_{index}_63", f"leads_{index}_63",
             f"{index}_relative_strength_63")  # fmt: skip
    found = values(*kinds).filter(pl.col("symbol") == "S01").select(kinds).to_numpy()
    close, own, other = _pair("S01", index)
    checked = 0
    for at in range(64, close.size):
        now, before = slice(at - 62, at + 1), slice(at - 63, at)
        if np.isnan(other[at - 63 : at + 1]).any() or own[at - 63 : at].std() < 1e-9 or other[now].std() < 1e-9:
            continue
        expected = [
            np.corrcoef(own[now], other[now])[0, 1],
            np.corrcoef(own[now], other[before])[0, 1],
            np.corrcoef(own[before], other[now])[0, 1],
            close[at] / close[at - 63] / np.prod(1 + other[now]) - 1,
        ]
        np.testing.assert_allclose(found[at], expected, rtol=1e-7, atol=1e-12)
        checked += 1
    assert checked > 100


def test_beta_to_the_sector_is_the_slope_of_the_regression_line():
    found = values("sector_beta_63").filter(pl.col("symbol") == "S01")["sector_beta_63"].to_numpy()
    _, own, other = _pair("S01", "sector")
    for at in range(100, 110):
        now = slice(at - 62, at + 1)
        assert found[at] == pytest.approx(np.polyfit(other[now], own[now], 1)[0], rel=1e-7)


@pytest.mark.parametrize("window", [21, 63])
def test_spread_to_the_sector_is_a_score_within_the_window(window):
    name = f"sector_spread_{window}"
    found = values(name).filter(pl.col("symbol") == "S05")[name].to_numpy()
    close, own, other = _pair("S05", "sector")
    checked = 0
    for at in range(window - 1, close.size):
        now = slice(at - window + 2, at + 1)
        away = np.r_[0, np.cumsum(np.log1p(own[now]) - np.log1p(other[now]))]
        if np.isfinite(away).all() and away.std() > 1e-9:
            assert found[at] == pytest.approx((away[-1] - away.mean()) / away.std(), rel=1e-6, abs=1e-9), at
            checked += 1
        else:
            assert np.isnan(found[at]), at
    assert checked > 50


def test_the_market_as_a_whole_over_time():
    _, _, market = _pair("S00", "market")
    names = ("market_return_21", "market_volatility_21", "dispersion_21", "breadth_advancing_10")
    found = values(*names, "dispersion", "breadth_advancing").filter(pl.col("symbol") == "S00")
    for at in (40, 100, 300):
        last = market[at - 20 : at + 1]
        assert found["market_return_21"][at] == pytest.approx(np.prod(1 + last) - 1)
        assert found["market_volatility_21"][at] == pytest.approx(last.std(ddof=1), abs=1e-15)
        assert found["dispersion_21"][at] == pytest.approx(found["dispersion"][at - 20 : at + 1].mean())
        assert found["breadth_advancing_10"][at] == pytest.approx(found["breadth_advancing"][at - 9 : at + 1].mean())


def test_look_backs_are_no_longer_than_needed():
    shorter = FeatureSet("shorter", tuple(replace(each, lookback=each.lookback - 1) for each in CROSS_SECTION))
    assert {each.feature for each in prove(shorter, proofs=[honest_lookback])} == set(shorter.names)


def test_all_say_that_they_depend_on_the_universe():
    assert {each.scope for each in CROSS_SECTION} == {"universe"}
