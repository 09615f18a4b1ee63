"""Values against the formulas written out a second time, in plain numpy, or against TA-Lib itself."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest
import talib
from scipy import stats

from quant_assets.features import compute
from quant_assets.features.proofs import example_bars
from quant_assets.features.technical import TECHNICAL

BARS = example_bars(seed=5, sessions=500, symbols=("ONE",))
OPEN, H, L, C, V = (BARS[f"adj_{name}"].to_numpy() for name in ("open", "high", "low", "close", "volume"))
PRICES = ("open", "high", "low", "close")
R = np.diff(np.log(C), prepend=np.nan)
LAST = 60
"""How many sessions from the end are compared."""


def each(function):
    """The function of the position, for the last sessions."""
    return np.array([function(i) for i in range(len(C) - LAST, len(C))])


def window(values, i, n):
    return values[i - n + 1 : i + 1]


def yang_zhang(i, n=21):
    night = np.log(OPEN[i - n + 1 : i + 1] / C[i - n : i])
    day = np.log(window(C, i, n) / window(OPEN, i, n))
    up, down = np.log(window(H, i, n) / window(OPEN, i, n)), np.log(window(L, i, n) / window(OPEN, i, n))
    k = 0.34 / (1.34 + (n + 1) / (n - 1))
    rogers_satchell = np.mean(up * (up - day) + down * (down - day))
    return math.sqrt(np.var(night, ddof=1) + k * np.var(day, ddof=1) + (1 - k) * rogers_satchell)


def money_flow(i, n=14):
    typical = [round((H[j] + L[j] + C[j]) / 3, 9) for j in range(i - n, i + 1)]
    flows = [typical[j] * V[i - n + j] for j in range(1, n + 1)]
    up = sum(flow for j, flow in enumerate(flows, 1) if typical[j] > typical[j - 1])
    down = sum(flow for j, flow in enumerate(flows, 1) if typical[j] < typical[j - 1])
    return 100 * up / (up + down)


def stochastic(i, n=14):
    top, bottom = window(H, i, n).max(), window(L, i, n).min()
    return 100 * (C[i] - bottom) / (top - bottom)


def stochastic_k(i):
    return np.mean([stochastic(j) for j in (i - 2, i - 1, i)])


def garman_klass(i, n=21):
    hl, co = np.log(window(H, i, n) / window(L, i, n)), np.log(window(C, i, n) / window(OPEN, i, n))
    return math.sqrt(np.mean(0.5 * hl**2 - (2 * math.log(2) - 1) * co**2))


def amihud(i):
    impact = np.divide(np.abs(R), C * V, out=np.full(len(C), np.nan), where=V > 0)
    return math.log(np.nanmean(window(impact, i, 21)) / np.nanmean(window(impact, i, 252)))


def money_place(i, n=21):
    span = window(H, i, n) - window(L, i, n)
    place = np.divide(2 * window(C, i, n) - window(H, i, n) - window(L, i, n), span, out=np.zeros(n), where=span > 0)
    return np.sum(place * window(V, i, n)) / np.sum(window(V, i, n))


def bollinger_b(i, n=20):
    middle, deviation = np.mean(window(C, i, n)), np.std(window(C, i, n))
    return (C[i] - (middle - 2 * deviation)) / (4 * deviation)


def slope(i, n=63):
    return np.polyfit(np.arange(n), np.log(window(C, i, n)), 1)[0]


def obv_slope(i, n=21):
    return np.sum(np.sign(np.diff(C[i - n : i + 1])) * window(V, i, n)) / np.sum(window(V, i, n))


FORMULAS = {
    **{f"return_{n}": (lambda i, n=n: C[i] / C[i - n] - 1) for n in (1, 5, 10, 21, 63, 126, 252)},
    "return_252_21": lambda i: C[i - 21] / C[i - 252] - 1,
    "gap": lambda i: OPEN[i] / C[i - 1] - 1,
    "intraday_return": lambda i: C[i] / OPEN[i] - 1,
    **{f"sma_ratio_{n}": (lambda i, n=n: C[i] / np.mean(window(C, i, n)) - 1) for n in (10, 20, 50, 100, 200)},
    "sma_cross_50_200": lambda i: np.mean(window(C, i, 50)) / np.mean(window(C, i, 200)) - 1,
    "high_252_distance": lambda i: C[i] / window(H, i, 252).max() - 1,
    "low_252_distance": lambda i: C[i] / window(L, i, 252).min() - 1,
    "drawdown_63": lambda i: C[i] / window(C, i, 63).max() - 1,
    **{
        f"breakout_{n}": (
            lambda i, n=n: (C[i] - window(L, i - 1, n).min()) / (window(H, i - 1, n).max() - window(L, i - 1, n).min())
        )
        for n in (20, 55)
    },
    "trend_slope_63": slope,
    "stochastic_k_14_3": stochastic_k,
    "stochastic_d_14_3_3": lambda i: np.mean([stochastic_k(j) for j in (i - 2, i - 1, i)]),
    "williams_r_14": lambda i: stochastic(i) - 100,
    "mfi_14": money_flow,
    "roc_42": lambda i: 100 * (C[i] / C[i - 42] - 1),
    "bollinger_b_20": bollinger_b,
    "bollinger_width_20": lambda i: 4 * np.std(window(C, i, 20)) / np.mean(window(C, i, 20)),
    "volatility_21": lambda i: np.std(window(R, i, 21), ddof=1),
    "volatility_63": lambda i: np.std(window(R, i, 63), ddof=1),
    "volatility_ratio_21_63": lambda i: np.std(window(R, i, 21), ddof=1) / np.std(window(R, i, 63), ddof=1),
    "parkinson_21": lambda i: math.sqrt(np.mean(np.log(window(H, i, 21) / window(L, i, 21)) ** 2) / (4 * math.log(2))),
    "garman_klass_21": garman_klass,
    "yang_zhang_21": yang_zhang,
    "skewness_63": lambda i: stats.skew(window(R, i, 63)),
    "kurtosis_63": lambda i: stats.kurtosis(window(R, i, 63)),
    "autocorrelation_63": lambda i: np.corrcoef(window(R, i, 63), window(R, i - 1, 63))[0, 1],
    "volume_zscore_63": lambda i: (V[i] - np.mean(window(V, i, 63))) / np.std(window(V, i, 63)),
    "volume_ratio_5_63": lambda i: np.mean(window(V, i, 5)) / np.mean(window(V, i, 63)),
    "obv_slope_21": obv_slope,
    "chaikin_money_flow_21": money_place,
    "amihud_21": amihud,
    "untraded_63": lambda i: np.mean(window(V, i, 63) == 0),
}

LIBRARY = {
    "macd_12_26_9_hist": lambda: talib.MACD(C, 12, 26, 9)[2] / C,
    "aroon_osc_25": lambda: talib.AROONOSC(H, L, 25),
    "rsi_2": lambda: talib.RSI(C, 2),
    "rsi_14": lambda: talib.RSI(C, 14),
    "cci_20": lambda: talib.CCI(H, L, C, 20),
    "atr_14_pct": lambda: talib.ATR(H, L, C, 14) / C,
    "natr_5": lambda: talib.NATR(H, L, C, 5),
}


def computed(name, bars=BARS):
    return compute(bars.lazy(), [name]).collect()[name].tail(LAST).to_numpy()


@pytest.mark.parametrize("name", FORMULAS)
def test_formula(name):
    np.testing.assert_allclose(computed(name), each(FORMULAS[name]), rtol=1e-8, atol=1e-11)


@pytest.mark.parametrize("name", LIBRARY)
def test_library(name):
    np.testing.assert_allclose(computed(name), LIBRARY[name]()[-LAST:], rtol=1e-12)


def test_adx_is_the_librarys_where_no_bar_reaches_as_far_up_as_down():
    random = np.random.default_rng(1)
    untied = BARS.with_columns(
        adj_high=pl.col("adj_high") * (1 + 1e-6 * random.random(BARS.height)),
        adj_low=pl.col("adj_low") * (1 - 1e-6 * random.random(BARS.height)),
    )
    prices = [untied[f"adj_{name}"].to_numpy() for name in ("high", "low", "close")]
    np.testing.assert_allclose(computed("adx_14", untied), talib.ADX(*prices, 14)[-LAST:], rtol=1e-6)


def test_every_feature_is_checked_here():
    assert {*FORMULAS, *LIBRARY, "adx_14"} == set(TECHNICAL.names)


RATIOS = (
    *("rsi_2", "rsi_14", "cci_20", "stochastic_k_14_3", "williams_r_14", "mfi_14", "bollinger_b_20", "breakout_20"),
    *("volatility_ratio_21_63", "skewness_63", "kurtosis_63", "autocorrelation_63"),
    *("volume_zscore_63", "volume_ratio_5_63", "obv_slope_21", "chaikin_money_flow_21", "amihud_21"),
)
"""Features that divide by a movement or by volume."""


@pytest.mark.parametrize("bars", [BARS.head(330), BARS.with_columns(pl.lit(10.01).alias(f"adj_{p}") for p in PRICES)])
def test_in_a_halt_ratios_are_null_and_not_the_rounding_that_is_left(bars):
    """The example's halt ends at bar 330; the other symbol has one price for ever."""
    halted = bars.with_columns(adj_volume=pl.when(pl.int_range(pl.len()) < 250).then("adj_volume").otherwise(0.0))
    values = compute(halted.lazy()).collect().row(-1, named=True)
    assert {name: values[name] for name in RATIOS} == dict.fromkeys(RATIOS)
    assert values["volatility_21"] == pytest.approx(0.0, abs=1e-8)
    assert values["return_21"] == 0.0


def test_a_symbol_that_does_not_trade_has_no_volume_features():
    silent = BARS.with_columns(adj_volume=pl.lit(0.0))
    values = compute(silent.lazy()).collect().row(-1, named=True)
    names = ("volume_zscore_63", "volume_ratio_5_63", "obv_slope_21", "chaikin_money_flow_21", "amihud_21", "mfi_14")
    assert {name: values[name] for name in names} == dict.fromkeys(names)
    assert values["untraded_63"] == 1.0
