"""The whole catalogue goes through every proof, and features that cheat do not get through."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from quant_assets.features import ALL, GROUPS, Across, Feature, FeatureSet
from quant_assets.features.example import example_bars
from quant_assets.features.kernels import kernel
from quant_assets.features.plan import PRICES
from quant_assets.features.proofs import (
    PROOFS,
    honest_lookback,
    isolated,
    no_look_ahead,
    prove,
    streams,
    survives_bad_weather,
    unit_free,
    within_bounds,
)

CLOSE, VOLUME = pl.col("adj_close"), pl.col("adj_volume")


BARS = example_bars(sessions=max(700, ALL.lookback + 150))
HELD = [group for group in GROUPS.values() if len(group)]


@pytest.mark.parametrize("proof", PROOFS, ids=lambda proof: proof.__name__)
@pytest.mark.parametrize("group", HELD, ids=lambda group: group.name)
def test_every_feature_stands(group, proof):
    assert [str(found) for found in prove(group, BARS, [proof])] == []


@pytest.mark.parametrize("seed", [2, 3])
@pytest.mark.parametrize("group", HELD, ids=lambda group: group.name)
def test_look_back_is_long_enough_on_other_paths(group, seed):
    other = example_bars(seed, sessions=max(500, group.lookback + 50))
    assert [str(found) for found in prove(group, other, [honest_lookback])] == []


def tied(bars: pl.DataFrame) -> pl.DataFrame:
    """The same with prices on a grid so coarse that many closes in a row are equal."""
    step = pl.col("adj_close").first().over("symbol") * 0.02
    return bars.with_columns(((pl.col(name) / step).round(0).clip(1) * step).alias(name) for name in PRICES)


@pytest.mark.parametrize("group", HELD, ids=lambda group: group.name)
def test_look_back_is_long_enough_where_prices_are_tied(group):
    other = tied(example_bars(4, sessions=max(500, group.lookback + 50)))
    assert [str(found) for found in prove(group, other, [honest_lookback, streams])] == []


# Patterns that are rare, and memories that end in steps: their own tests look at more places.
RARE = {"sar_ratio", "supertrend_direction_10_3", "cycle_trend_mode", "cycle_trendline_ratio"}


@pytest.mark.parametrize("group", HELD, ids=lambda group: group.name)
def test_half_the_look_back_is_too_little(group):
    seen = [each for each in group if each.lookback and each.family != "patterns" and each.name not in RARE]
    halved = [replace(feature, lookback=feature.lookback // 2) for feature in seen]
    found = {each.feature for each in prove(halved, BARS, [honest_lookback])}
    assert {feature.name for feature in halved} - found == set()


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
    import talib

    return CLOSE.map_batches(lambda close: pl.Series(talib.RSI(close.to_numpy(), window)), return_dtype=pl.Float64)


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


@kernel(inputs=["adj_close"])
def running_mean(x, p, out):
    close = x[0]
    total = 0.0
    for i in range(close.size):
        total += close[i]
        out[0, i] = total / (i + 1) / close[i]


@kernel(inputs=["adj_close"])
def next_close(x, p, out):
    close = x[0]
    for i in range(close.size - 1):
        out[0, i] = close[i + 1] / close[i]


@kernel(inputs=["adj_close"])
def share_of_the_history(x, p, out):
    for i in range(x.shape[1]):
        out[0, i] = (i + 1) / x.shape[1]


def rank_of_all_time() -> pl.Expr:
    return pl.col("base").rank() / pl.len()


BASE = Feature("base", "test", "", mean_distance, {"window": 5}, lookback=4)

CHEATS = [
    (no_look_ahead, tomorrow, {}, 0),
    (no_look_ahead, against_all_time_mean, {}, 0),
    (no_look_ahead, centred_mean, {"window": 21}, 20),
    (no_look_ahead, backfilled_volume, {}, 20),
    (no_look_ahead, future_extreme, {}, 0),
    (no_look_ahead, next_close, {}, 0),
    (no_look_ahead, share_of_the_history, {}, 0),
    (no_look_ahead, Across(rank_of_all_time, of=(BASE,)), {}, 4),
    (honest_lookback, rsi, {"window": 14}, 14),
    (honest_lookback, rsi, {"window": 14}, 120),
    (honest_lookback, mean_distance, {"window": 50}, 48),
    (honest_lookback, early_mean, {"window": 50}, 20),
    (honest_lookback, since_the_start, {}, 10),
    (honest_lookback, running_mean, {}, 100),
    (unit_free, dollars, {}, 0),
    (unit_free, shares, {}, 0),
    (unit_free, dollar_steps, {}, 1),
    (unit_free, rises, {}, 5),
    (isolated, running_count, {}, 0),
    (within_bounds, nowhere, {}, 0),
    (streams, running_mean, {}, 100),
    (streams, since_the_start, {}, 10),
]


def cheat(build: object, parameters: dict[str, float], lookback: int, **more: object) -> FeatureSet:
    return FeatureSet("test", (Feature("cheat", "test", "", build, parameters, lookback=lookback, **more),))


@pytest.mark.parametrize(
    ("proof", "build", "parameters", "lookback"),
    CHEATS,
    ids=[f"{case[0].__name__}-{at}" for at, case in enumerate(CHEATS)],
)
def test_cheats_are_refuted(proof, build, parameters, lookback):
    found = prove(cheat(build, parameters, lookback), BARS, [proof])
    assert [(each.feature, each.proof) for each in found] == [("cheat", proof.__name__)]


def test_a_refutation_names_the_feature_the_symbol_and_the_session():
    (found,) = prove(cheat(tomorrow, {}, 0), BARS, [no_look_ahead])
    assert "cheat: sees the future: CALM 2" in str(found)
    assert str(found).endswith("(no_look_ahead)")


def test_a_value_before_the_look_back_is_no_cheat_as_the_engine_takes_it_away():
    assert prove(cheat(early_mean, {"window": 20}, 19), BARS, [honest_lookback]) == []


@pytest.mark.parametrize("proof", [within_bounds, survives_bad_weather], ids=lambda proof: proof.__name__)
def test_bounds_are_held_against_the_values(proof):
    narrow = cheat(mean_distance, {"window": 20}, 19, bounds=(0.001, 0.002))
    (found,) = prove(narrow, BARS, [proof])
    assert "outside its bounds 0.001 to 0.002" in found.what


def test_too_few_bars_to_prove_anything_is_an_error():
    with pytest.raises(ValueError, match="too few for a look-back of 899"):
        prove(
            cheat(mean_distance, {"window": 900}, 899),
            BARS.filter(pl.col("session") < pl.col("session").min().dt.offset_by("2y")),
        )


def test_without_bars_the_example_is_as_long_as_the_look_back_asks():
    assert prove(cheat(mean_distance, {"window": 900}, 899), proofs=[honest_lookback]) == []


def test_example_bars_hold_what_real_ones_do():
    flags = BARS["flags"].list.contains("missing_session")
    assert flags.any()
    assert (~flags & (BARS["volume"] == 0)).any()
    ties = BARS.filter(pl.col("close") == pl.col("close").shift().over("symbol"))
    assert ties.height > flags.sum()
    assert (BARS["high"] >= BARS[["open", "close"]].max_horizontal()).all()
    assert (BARS["low"] <= BARS[["open", "close"]].min_horizontal()).all()
    starts = BARS.group_by("symbol").agg(pl.col("ts").min())["ts"]
    assert starts.n_unique() == 2
    assert np.isfinite(BARS["close"].to_numpy()).all()
