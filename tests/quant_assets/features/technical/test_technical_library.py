"""Indicators that TA-Lib computes are its own values, and functions of their look-back."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import talib
from talib import abstract

from quant_assets.features.definition import FeatureSet
from quant_assets.features.engine import evaluate
from quant_assets.features.example import example_bars
from quant_assets.features.plan import Plan, significant
from quant_assets.features.talib import TaLib
from quant_assets.features.technical import TECHNICAL
from tests.quant_assets.features.technical.untied import PRICES, agree, untied_bars

LIBRARY = [feature for feature in TECHNICAL if isinstance(feature.build, TaLib)]
PATTERNS = [feature for feature in LIBRARY if feature.family == "patterns"]


BARS = untied_bars()
COLUMNS = {f"adj_{name}": BARS[f"adj_{name}"].to_numpy() for name in (*PRICES, "volume")}
C = COLUMNS["adj_close"]
VALUES = evaluate(TECHNICAL, BARS.lazy()).collect()


@pytest.mark.parametrize("feature", LIBRARY, ids=lambda feature: feature.name)
def test_an_indicator_of_the_library_is_its_own_value(feature):
    build = feature.build
    result = getattr(talib, build.function)(*[COLUMNS[name] for name in build.inputs], **feature.parameters)
    value = result[build.output] if isinstance(result, tuple) else result
    if build.over:
        value = {"close": value / C, "distance": C / value - 1, "below": (C - value) / C}[build.over]
    # Differences of prices to 36 bits, 1e-11 of the price, that are a thousandth of it and less.
    agree(VALUES[feature.name].to_numpy(), np.asarray(value, dtype=float), 0.0 if feature in PATTERNS else 2e-7)


@pytest.mark.parametrize("feature", PATTERNS, ids=lambda feature: feature.name)
def test_the_look_back_of_a_pattern_is_the_librarys_own(feature):
    assert feature.lookback == abstract.Function(feature.build.function, **feature.parameters).lookback


def test_all_patterns_of_the_library_are_features():
    assert {feature.build.function for feature in PATTERNS} == set(talib.get_function_groups()["Pattern Recognition"])
    assert len(PATTERNS) == 61


EXACT = [
    feature
    for feature in LIBRARY
    if feature in PATTERNS or feature.build.function in ("SMA", "WMA", "TRIMA", "AO", "ADR", "SAR")
]


def test_running_sums_of_36_bits_are_exact_so_that_nothing_is_left_of_bars_long_gone():
    """Bit for bit, on prices in cents with their ties and after a fall to a thousandth."""
    bars = example_bars(seed=3, sessions=700, symbols=("WILD",))
    rows = pl.int_range(pl.len())
    bars = bars.with_columns(
        pl.when(rows < 200).then(pl.col(f"adj_{name}") * 1000).otherwise(f"adj_{name}").alias(f"adj_{name}")
        for name in PRICES
    )
    features = FeatureSet("exact", tuple(EXACT))
    whole = evaluate(features, bars.lazy()).collect()
    for end in range(600, 700, 7):
        part = evaluate(features, bars.slice(end - 320, 321).lazy()).collect()
        assert part.row(-1) == whole.row(end)


def test_running_sums_of_full_numbers_are_not():
    close = example_bars(seed=3, sessions=700, symbols=("WILD",))["adj_close"].to_numpy() / 3
    for values, same in ((close, False), (significant(close), True)):
        assert (talib.SMA(values, 200)[-100:] == talib.SMA(values[-300:], 200)[-100:]).all() == same


def test_features_of_one_function_share_its_call():
    names = ["macd_12_26_9", "macd_12_26_9_signal", "macd_12_26_9_hist", "mama_ratio", "fama_ratio", "rsi_14"]
    assert len(Plan(list(TECHNICAL.pick(names))).indicators) == 3


STEPS = {"sar_ratio": 60, "supertrend_direction_10_3": 30, "cycle_trend_mode": 100, "cycle_trendline_ratio": 150}
"""Features whose memory ends in steps, and how many bars are too few for them."""


@pytest.mark.parametrize(("name", "few"), STEPS.items())
def test_the_look_back_of_a_memory_in_steps_is_enough_and_much_less_is_not(name, few):
    feature = TECHNICAL.pick([name]).features[0]
    plan = Plan([replace(feature, lookback=0)])
    wrong = {feature.lookback: 0, few: 0}
    for bars in example_bars(seed=2, sessions=900).partition_by("symbol"):
        frame = bars.select(pl.col(pl.Float64))
        whole = plan.values(frame, [frame.height])[0]
        for end in range(feature.lookback, frame.height, 4):
            for lookback in wrong:
                value = plan.values(frame.slice(end - lookback, lookback + 1), [lookback + 1])[0, -1]
                wrong[lookback] += not abs(value - whole[end]) <= 1e-9 * np.median(np.abs(whole[feature.lookback :]))
    assert wrong[feature.lookback] == 0
    assert wrong[few] > 0
