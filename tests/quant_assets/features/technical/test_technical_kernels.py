"""Kernels against TA-Lib where that is sound, and against their formulas written out a second time in plain numpy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import talib

from quant_assets.features.engine import evaluate
from quant_assets.features.example import example_bars
from quant_assets.features.kernels import Kernel
from quant_assets.features.technical import TECHNICAL
from tests.quant_assets.features.technical.untied import agree, untied_bars


def before(values, bars=1):
    return np.concatenate([np.full(bars, np.nan), values[:-bars]])


def changed(line, bars):
    """What a cumulative line gained within so many bars."""
    return line - before(line, bars)


def library_values(H, L, C, V):
    """What TA-Lib makes of high, low, close and volume, by the name of the kernel's feature."""
    upper, middle, lower = talib.BBANDS(C, 20, 2, 2)
    return {
        "sma_cross_50_200": talib.SMA(C, 50) / talib.SMA(C, 200) - 1,
        **{f"trend_slope_{n}": talib.LINEARREG_SLOPE(np.log(C), n) for n in (21, 63)},
        **{f"trend_fit_{n}": talib.CORREL(np.arange(C.size, dtype=float), np.log(C), n) ** 2 for n in (21, 63)},
        "high_252_distance": C / talib.MAX(H, 252) - 1,
        "low_252_distance": C / talib.MIN(L, 252) - 1,
        "drawdown_63": C / talib.MAX(C, 63) - 1,
        **{
            f"breakout_{n}": (C - before(talib.MIN(L, n))) / (before(talib.MAX(H, n)) - before(talib.MIN(L, n)))
            for n in (20, 55)
        },
        "channel_width_20": (talib.MAX(H, 20) - talib.MIN(L, 20)) / C,
        "plus_di_14": talib.PLUS_DI(H, L, C, 14),
        "minus_di_14": talib.MINUS_DI(H, L, C, 14),
        "dx_14": talib.DX(H, L, C, 14),
        "adx_14": talib.ADX(H, L, C, 14),
        "adxr_14": talib.ADXR(H, L, C, 14),
        "aroon_up_25": talib.AROON(H, L, 25)[1],
        "aroon_down_25": talib.AROON(H, L, 25)[0],
        "aroon_osc_25": talib.AROONOSC(H, L, 25),
        "ichimoku_conversion_ratio": C / talib.MIDPRICE(H, L, 9) - 1,
        "ichimoku_base_ratio": C / talib.MIDPRICE(H, L, 26) - 1,
        "ichimoku_span_a_ratio": C / before((talib.MIDPRICE(H, L, 9) + talib.MIDPRICE(H, L, 26)) / 2, 26) - 1,
        "ichimoku_span_b_ratio": C / before(talib.MIDPRICE(H, L, 52), 26) - 1,
        "choppiness_14": (
            100 * np.log10(talib.SUM(talib.TRANGE(H, L, C), 14) / (talib.MAX(H, 14) - talib.MIN(L, 14))) / np.log10(14)
        ),
        "mass_index_9_25": talib.MASSI(H, L, 9, 25),
        "stochastic_fast_14": talib.STOCHF(H, L, C, 14, 3)[0],
        "stochastic_k_14_3": talib.STOCH(H, L, C, 14, 3, 0, 3, 0)[0],
        "stochastic_d_14_3_3": talib.STOCH(H, L, C, 14, 3, 0, 3, 0)[1],
        "mfi_14": talib.MFI(H, L, C, V, 14),
        "cci_20": talib.CCI(H, L, C, 20),
        "bollinger_b_20": (C - lower) / (upper - lower),
        "bollinger_width_20": (upper - lower) / middle,
        "keltner_b_20_10": (C - talib.EMA(C, 20)) / (4 * talib.ATR(H, L, C, 10)) + 0.5,
        "keltner_width_20_10": 4 * talib.ATR(H, L, C, 10) / talib.EMA(C, 20),
        "squeeze_20_10": talib.STDDEV(C, 20) / talib.ATR(H, L, C, 10),
        "range_growth_10_10": np.log1p(talib.CVI(H, L, 10, 10) / 100),
        "volume_zscore_63": (V - talib.SMA(V, 63)) / talib.STDDEV(V, 63),
        **{
            f"volume_ratio_{m}_{n}": (V if m == 1 else talib.SMA(V, m)) / talib.SMA(V, n)
            for m, n in ((1, 20), (5, 63), (21, 252))
        },
        "pvo_12_26": talib.PVO(V, 12, 26, 1),
        "obv_slope_21": changed(talib.OBV(C, V), 21) / talib.SUM(V, 21),
        "chaikin_money_flow_21": talib.CMF(H, L, C, V, 21),
        "price_volume_trend_21": changed(talib.PVT(C, V), 21) / talib.SUM(V, 21),
        "vwap_ratio_21": C / talib.VWMA((H + L + C) / 3, V, 21) - 1,
        "negative_volume_index_63": talib.NVI(C, V) / before(talib.NVI(C, V), 63) - 1,
        "positive_volume_index_63": talib.PVI(C, V) / before(talib.PVI(C, V), 63) - 1,
        "price_volume_correlation_21": talib.CORREL(talib.ROCP(C, 1), V, 21),
        "chaikin_oscillator_3_10": talib.ADOSC(H, L, C, V, 3, 10) / talib.SMA(V, 63),
    }


UNTIED = untied_bars()
STAND_INS = library_values(*(UNTIED[f"adj_{name}"].to_numpy() for name in ("high", "low", "close", "volume")))
UNTIED_VALUES = evaluate(TECHNICAL, UNTIED.lazy()).collect()


@pytest.mark.parametrize("name", STAND_INS)
def test_a_kernel_agrees_with_the_library_where_that_is_sound(name):
    # The library's running sums of squares hold no more.
    agree(UNTIED_VALUES[name].to_numpy(), STAND_INS[name], 1e-6)


BARS = example_bars(seed=5, sessions=700, symbols=("ONE",))
OPEN, H, L, C, V = (BARS[f"adj_{name}"].to_numpy() for name in ("open", "high", "low", "close", "volume"))
R = np.diff(np.log(C), prepend=np.nan)
CHANGE = np.diff(C, prepend=np.nan) / np.concatenate([[np.nan], C[:-1]])
LAST = 60
"""How many sessions from the end are compared."""
VALUES = evaluate(TECHNICAL, BARS.lazy()).collect()


def window(values, i, n):
    return values[i - n + 1 : i + 1]


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


def amihud(i):
    impact = np.divide(np.abs(R), C * V, out=np.full(len(C), np.nan), where=V > 0)
    return math.log(np.nanmean(window(impact, i, 21)) / np.nanmean(window(impact, i, 252)))


def close_place(i, n):
    span = window(H, i, n) - window(L, i, n)
    return np.divide(2 * window(C, i, n) - window(H, i, n) - window(L, i, n), span, out=np.zeros(n), where=span > 0)


def bollinger_b(i, n=20):
    middle, deviation = np.mean(window(C, i, n)), np.std(window(C, i, n))
    return (C[i] - (middle - 2 * deviation)) / (4 * deviation)


def obv_slope(i, n=21):
    return np.sum(np.sign(np.diff(C[i - n : i + 1])) * window(V, i, n)) / np.sum(window(V, i, n))


def fit(i, n):
    return np.corrcoef(np.arange(n), np.log(window(C, i, n)))[0, 1] ** 2


def vigor(i, n=10):
    weights = np.convolve(np.ones(n), [1, 2, 2, 1])
    return np.sum(weights * window(C - OPEN, i, n + 3)) / np.sum(weights * window(H - L, i, n + 3))


def sure_thing(i):
    averages = [np.mean([C[j] / C[j - n] - 1 for j in range(i - m + 1, i + 1)]) for n, m in KST]
    return 100 * sum(weight * average for weight, average in enumerate(averages, 1))


KST = ((10, 10), (15, 10), (20, 10), (30, 15))


def ulcer(i, n=14):
    below = [100 * (C[j] / window(C, j, n).max() - 1) for j in range(i - n + 1, i + 1)]
    return math.sqrt(np.mean(np.square(below)))


def held_on(sign, i, n=63):
    days = [j for j in range(i - n + 1, i + 1) if np.sign(V[j] - V[j - 1]) == sign]
    return np.prod([C[j] / C[j - 1] for j in days]) - 1


def vwap(i, n=21):
    typical = (window(H, i, n) + window(L, i, n) + window(C, i, n)) / 3
    return C[i] / (np.sum(typical * window(V, i, n)) / np.sum(window(V, i, n))) - 1


def force(i):
    weights = (2 / 15) * (13 / 15) ** np.arange(i)
    return np.sum(weights * (CHANGE * V)[i:0:-1]) / np.mean(window(V, i, 63))


def ease(i, n=14):
    usual = np.mean(window(V, i, 63))
    middle = H + L
    moves = [
        (middle[j] / middle[j - 1] - 1) * ((H[j] - L[j]) / C[j]) / (V[j] / usual) if V[j] > 0 else 0.0
        for j in range(i - n + 1, i + 1)
    ]
    return np.mean(moves)


FORMULAS = {
    **{f"return_{n}": (lambda i, n=n: C[i] / C[i - n] - 1) for n in (1, 5, 10, 21, 63, 126, 252)},
    "return_252_21": lambda i: C[i - 21] / C[i - 252] - 1,
    "gap": lambda i: OPEN[i] / C[i - 1] - 1,
    "intraday_return": lambda i: C[i] / OPEN[i] - 1,
    **{f"sma_ratio_{n}": (lambda i, n=n: C[i] / np.mean(window(C, i, n)) - 1) for n in (10, 20, 50, 100, 200)},
    "sma_cross_50_200": lambda i: np.mean(window(C, i, 50)) / np.mean(window(C, i, 200)) - 1,
    "detrended_price_20": lambda i: (C[i - 11] - np.mean(window(C, i, 20))) / C[i],
    "high_252_distance": lambda i: C[i] / window(H, i, 252).max() - 1,
    "low_252_distance": lambda i: C[i] / window(L, i, 252).min() - 1,
    "drawdown_63": lambda i: C[i] / window(C, i, 63).max() - 1,
    **{
        f"breakout_{n}": (
            lambda i, n=n: (C[i] - window(L, i - 1, n).min()) / (window(H, i - 1, n).max() - window(L, i - 1, n).min())
        )
        for n in (20, 55)
    },
    **{f"trend_slope_{n}": lambda i, n=n: np.polyfit(np.arange(n), np.log(window(C, i, n)), 1)[0] for n in (21, 63)},
    **{f"trend_fit_{n}": lambda i, n=n: fit(i, n) for n in (21, 63)},
    "efficiency_ratio_10": lambda i: abs(C[i] - C[i - 10]) / np.sum(np.abs(np.diff(C[i - 10 : i + 1]))),
    "stochastic_k_14_3": stochastic_k,
    "stochastic_d_14_3_3": lambda i: np.mean([stochastic_k(j) for j in (i - 2, i - 1, i)]),
    "williams_r_14": lambda i: stochastic(i) - 100,
    "mfi_14": money_flow,
    "roc_42": lambda i: 100 * (C[i] / C[i - 42] - 1),
    "bollinger_b_20": bollinger_b,
    "bollinger_width_20": lambda i: 4 * np.std(window(C, i, 20)) / np.mean(window(C, i, 20)),
    "relative_vigor_10": vigor,
    "relative_vigor_10_signal": lambda i: np.dot([vigor(i - j) for j in range(4)], [1, 2, 2, 1]) / 6,
    "know_sure_thing": sure_thing,
    "know_sure_thing_signal": lambda i: np.mean([sure_thing(i - j) for j in range(9)]),
    "psychological_12": lambda i: np.mean(np.diff(C[i - 12 : i + 1]) > 0),
    "ulcer_14": ulcer,
    "volume_zscore_63": lambda i: (V[i] - np.mean(window(V, i, 63))) / np.std(window(V, i, 63)),
    "volume_ratio_5_63": lambda i: np.mean(window(V, i, 5)) / np.mean(window(V, i, 63)),
    "obv_slope_21": obv_slope,
    "chaikin_money_flow_21": lambda i: np.sum(close_place(i, 21) * window(V, i, 21)) / np.sum(window(V, i, 21)),
    "price_volume_trend_21": lambda i: np.sum(window(CHANGE * V, i, 21)) / np.sum(window(V, i, 21)),
    "vwap_ratio_21": vwap,
    "negative_volume_index_63": lambda i: held_on(-1, i),
    "positive_volume_index_63": lambda i: held_on(1, i),
    "price_volume_correlation_21": lambda i: np.corrcoef(window(CHANGE, i, 21), window(V, i, 21))[0, 1],
    "force_index_14": force,
    "ease_of_movement_14": ease,
    "amihud_21": amihud,
    "untraded_63": lambda i: np.mean(window(V, i, 63) == 0),
}


@pytest.mark.parametrize("name", FORMULAS)
def test_formula(name):
    expected = np.array([FORMULAS[name](i) for i in range(len(C) - LAST, len(C))])
    # What TA-Lib computes is of prices to 36 bits.
    tolerance = 1e-8 if isinstance(TECHNICAL.pick([name]).features[0].build, Kernel) else 1e-6
    np.testing.assert_allclose(VALUES[name].tail(LAST).to_numpy(), expected, rtol=tolerance, atol=1e-10)


def test_every_kernel_is_checked_here():
    assert {each.name for each in TECHNICAL if isinstance(each.build, Kernel)} - {*STAND_INS, *FORMULAS} == set()
