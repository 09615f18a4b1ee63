"""Published worked examples, and what becomes of indicators where nothing is traded or moves."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from quant_assets.features.definition import FeatureSet
from quant_assets.features.engine import evaluate
from quant_assets.features.example import example_bars
from quant_assets.features.technical import TECHNICAL

BARS = example_bars(seed=5, sessions=700, symbols=("ONE",))
PRICES = ("open", "high", "low", "close")


def published(name, prices):
    """The feature from its first possible bar on: with the averages' own beginning, as in a printed table."""
    rows = [{"symbol": "X", "ts": i, **bar} for i, bar in enumerate(prices)]
    early = replace(TECHNICAL.pick([name]).features[0], lookback=0)
    bars = pl.DataFrame(rows).with_columns(pl.from_epoch("ts", time_unit="d"))
    return evaluate(FeatureSet("published", (early,)), bars.lazy()).collect()[name].to_list()


def test_rsi_is_that_of_the_published_table():
    """StockCharts ChartSchool, "Relative Strength Index": 14 periods of QQQQ, Wilder's averages."""
    closes = [
        44.3389, 44.0902, 44.1497, 43.6124, 44.3278, 44.8264, 45.0955, 45.4245, 45.8433, 46.0826, 45.8931, 46.0328,
        45.6140, 46.2820, 46.2820, 46.0028, 46.0328, 46.4116, 46.2222, 45.6439, 46.2122, 46.2521, 45.7137, 46.4515,
        45.7835, 45.3548, 44.0288, 44.1783, 44.2181, 44.5672, 43.4205, 42.6628, 43.1314,
    ]  # fmt: skip
    printed = [
        70.53, 66.32, 66.55, 69.41, 66.36, 57.97, 62.93, 63.26, 56.06, 62.38, 54.71, 50.42, 39.99, 41.46, 41.87, 45.46,
        37.30, 33.08, 37.77,
    ]  # fmt: skip
    found = published("rsi_14", [dict.fromkeys(PRICES, close) for close in closes])
    np.testing.assert_allclose(found[14:], printed, atol=0.005)


STOCHASTIC = (
    (127.0090, 125.3574, None), (127.6159, 126.1633, None), (126.5911, 124.9296, None), (127.3472, 126.0937, None),
    (128.1730, 126.8199, None), (128.4317, 126.4817, None), (127.3671, 126.0340, None), (126.4220, 124.8301, None),
    (126.8995, 126.3921, None), (126.8498, 125.7156, None), (125.6460, 124.5615, None), (125.7156, 124.5715, None),
    (127.1582, 125.0689, None), (127.7154, 126.8597, 127.2876), (127.6855, 126.6309, 127.1781),
    (128.2228, 126.8001, 128.0138), (128.2725, 126.7105, 127.1085), (128.0934, 126.8001, 127.7253),
    (128.2725, 126.1335, 127.0587), (127.7353, 125.9245, 127.3273), (128.7700, 126.9891, 128.7103),
    (129.2873, 127.8148, 127.8745), (130.0633, 128.4715, 128.5809), (129.1182, 128.0641, 128.6008),
    (129.2873, 127.6059, 127.9342), (128.4715, 127.5960, 128.1133), (128.0934, 126.9990, 127.5960),
    (128.6506, 126.8995, 127.5960), (129.1381, 127.4865, 128.6904), (128.6406, 127.3970, 128.2725),
)  # fmt: skip
"""High, low and close; StockCharts ChartSchool, "Stochastic Oscillator": its table gives no close before the 14th."""


def test_stochastic_and_williams_r_are_those_of_the_published_table():
    """StockCharts ChartSchool, "Stochastic Oscillator (Fast, Slow, and Full)": %K of 14 periods."""
    prices = [
        {"high": high, "low": low, "close": low if close is None else close, "open": low}
        for high, low, close in STOCHASTIC
    ]
    printed = [
        70.44, 67.61, 89.20, 65.81, 81.75, 64.52, 74.53, 98.58, 70.10, 73.06, 73.42, 61.23, 60.96, 40.39, 40.39, 66.83,
        56.73,
    ]  # fmt: skip
    np.testing.assert_allclose(published("stochastic_fast_14", prices)[13:], printed, atol=0.006)
    np.testing.assert_allclose(published("williams_r_14", prices)[13:], np.array(printed) - 100, atol=0.006)


RATIOS = (
    *("rsi_2", "rsi_14", "stoch_rsi_14", "cci_20", "stochastic_k_14_3", "williams_r_14", "mfi_14", "bollinger_b_20"),
    *("breakout_20", "plus_di_14", "choppiness_14", "vortex_plus_14", "efficiency_ratio_10", "cmo_14", "trend_fit_63"),
    *("true_strength_25_13", "stochastic_momentum_13_25_2", "relative_vigor_10", "relative_volatility_14"),
    *("vertical_horizontal_28", "ultimate_oscillator_7_14_28", "intraday_momentum_14"),
    *("volume_zscore_63", "volume_ratio_5_63", "obv_slope_21", "chaikin_money_flow_21", "amihud_21", "pvo_12_26"),
    *("vwap_ratio_21", "price_volume_correlation_21", "chaikin_oscillator_3_10", "force_index_14"),
)
"""Features that divide by a movement or by volume."""

HALTED = BARS.head(430)
"""The example's halt, of 80 bars, ends there."""


@pytest.mark.parametrize("bars", [HALTED, BARS.with_columns(pl.lit(10.01).alias(f"adj_{p}") for p in PRICES)])
def test_in_a_halt_ratios_are_null_and_not_the_rounding_that_is_left(bars):
    halted = bars.with_columns(adj_volume=pl.when(pl.int_range(pl.len()) < 350).then("adj_volume").otherwise(0.0))
    values = evaluate(TECHNICAL, halted.lazy()).collect().row(-1, named=True)
    assert {name: values[name] for name in RATIOS} == dict.fromkeys(RATIOS)
    assert values["return_21"] == 0.0


def test_a_symbol_that_does_not_trade_has_no_volume_features():
    silent = BARS.with_columns(adj_volume=pl.lit(0.0))
    values = evaluate(TECHNICAL, silent.lazy()).collect().row(-1, named=True)
    empty = {"untraded_63": 1.0, "negative_volume_index_63": 0.0, "positive_volume_index_63": 0.0}
    volumes = {feature.name for feature in TECHNICAL if feature.family == "volume"} | {"mfi_14"}
    assert {name: values[name] for name in volumes} == dict.fromkeys(volumes) | empty


def test_there_are_a_hundred_indicators_and_more_of_every_kind():
    families = [feature.family for feature in TECHNICAL if feature.family != "returns"]
    assert set(families) == {"trend", "momentum", "volatility", "volume", "cycle", "patterns"}
    assert len(families) > 140
