"""Every catalogue entry goes through every proof, and features that cheat do not get through."""

from __future__ import annotations

import itertools
from dataclasses import replace

import polars as pl
import pytest

from quant_assets.features import TECHNICAL, Feature
from quant_assets.features.expressions import CLOSE, VOLUME, talib
from quant_assets.features.proofs import (
    PROOFS,
    Refuted,
    example_bars,
    honest_lookback,
    isolated,
    no_look_ahead,
    scale_free,
    within_bounds,
)

BARS = example_bars()


@pytest.mark.parametrize("proof", PROOFS, ids=lambda proof: proof.__name__)
@pytest.mark.parametrize("feature", list(TECHNICAL), ids=lambda feature: feature.name)
def test_feature_stands(feature, proof):
    proof(feature, BARS)


@pytest.mark.parametrize("seed", [2, 3])
@pytest.mark.parametrize("feature", list(TECHNICAL), ids=lambda feature: feature.name)
def test_look_back_is_long_enough_on_other_paths(feature, seed):
    honest_lookback(feature, example_bars(seed, sessions=400, symbols=("WILD",)))


RECURSIVE = ("macd_12_26_9_hist", "adx_14", "rsi_2", "rsi_14", "atr_14_pct", "natr_5")


@pytest.mark.parametrize("feature", [each for each in TECHNICAL if each.lookback], ids=lambda feature: feature.name)
def test_look_back_is_no_longer_than_needed(feature):
    fewer = feature.lookback // 2 if feature.name in RECURSIVE else feature.lookback - 1
    with pytest.raises(Refuted, match=feature.name):
        honest_lookback(replace(feature, lookback=fewer), BARS)


def tomorrow() -> pl.Expr:
    return CLOSE.shift(-1) / CLOSE - 1


def against_all_time_mean() -> pl.Expr:
    return CLOSE / CLOSE.mean()


def centred_mean(window: int) -> pl.Expr:
    return CLOSE / CLOSE.rolling_mean(window, center=True)


def backfilled_volume() -> pl.Expr:
    return (pl.when(VOLUME > 0).then(VOLUME).backward_fill() / VOLUME.rolling_mean(21)).fill_nan(0)


def future_extreme() -> pl.Expr:
    return CLOSE / CLOSE.max()


def rsi(window: int) -> pl.Expr:
    return talib("RSI", [CLOSE], timeperiod=window)


def mean_distance(window: int) -> pl.Expr:
    return CLOSE / CLOSE.rolling_mean(window) - 1


def since_the_start() -> pl.Expr:
    return CLOSE / CLOSE.first() - 1


def early_mean(window: int) -> pl.Expr:
    return CLOSE / CLOSE.rolling_mean(window, min_samples=1) - 1


def dollars() -> pl.Expr:
    return CLOSE


def shares() -> pl.Expr:
    return VOLUME


def dollar_steps() -> pl.Expr:
    return (CLOSE - CLOSE.shift()).abs().clip(upper_bound=0.5)


def rises() -> pl.Expr:
    return (CLOSE.shift() < CLOSE).cast(pl.Float64).rolling_mean(5)


def nowhere() -> pl.Expr:
    return CLOSE.log() * float("nan")


_calls = itertools.count()


def running_count() -> pl.Expr:
    return pl.map_batches([CLOSE], lambda columns: columns[0] * 0 + next(_calls), return_dtype=pl.Float64)


CHEATS = [
    (no_look_ahead, tomorrow, {}, 0),
    (no_look_ahead, against_all_time_mean, {}, 0),
    (no_look_ahead, centred_mean, {"window": 21}, 20),
    (no_look_ahead, backfilled_volume, {}, 20),
    (no_look_ahead, future_extreme, {}, 0),
    (honest_lookback, rsi, {"window": 14}, 14),
    (honest_lookback, rsi, {"window": 14}, 120),
    (honest_lookback, mean_distance, {"window": 50}, 48),
    (honest_lookback, early_mean, {"window": 50}, 20),
    (honest_lookback, since_the_start, {}, 10),
    (scale_free, dollars, {}, 0),
    (scale_free, shares, {}, 0),
    (scale_free, dollar_steps, {}, 1),
    (scale_free, rises, {}, 5),
    (isolated, running_count, {}, 0),
    (within_bounds, nowhere, {}, 0),
]


@pytest.mark.parametrize(
    ("proof", "build", "parameters", "lookback"), CHEATS, ids=[f"{case[1].__name__}-{case[3]}" for case in CHEATS]
)
def test_cheats_are_refuted(proof, build, parameters, lookback):
    feature = Feature("cheat", "test", "refuted", build, parameters, lookback=lookback)
    with pytest.raises(Refuted, match="cheat"):
        proof(feature, BARS)


def test_bounds_are_held_against_the_values():
    narrow = Feature("narrow", "test", "", mean_distance, {"window": 20}, lookback=19, bounds=(-0.001, 0.001))
    with pytest.raises(Refuted, match="outside its bounds"):
        within_bounds(narrow, BARS)


def test_too_few_bars_to_prove_anything_is_an_error():
    feature = Feature("slow", "test", "", mean_distance, {"window": 900}, lookback=899)
    with pytest.raises(ValueError, match=r"example_bars\(sessions=999\)"):
        honest_lookback(feature, BARS)


def test_example_bars_hold_what_real_ones_do():
    flags = BARS["flags"].list.contains("missing_session")
    assert flags.any()
    assert (~flags & (BARS["volume"] == 0)).any()
    ties = BARS.filter(pl.col("close") == pl.col("close").shift().over("symbol"))
    assert ties.height > flags.sum()
    assert (BARS["high"] >= BARS[["open", "close"]].max_horizontal()).all()
    assert (BARS["low"] <= BARS[["open", "close"]].min_horizontal()).all()
