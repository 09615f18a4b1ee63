"""Values against pandas, scipy, formulas written out a second time in plain numpy, and published worked examples."""

from __future__ import annotations

import itertools
import math
from statistics import NormalDist

import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy import stats

from quant_assets.features.definition import FeatureSet
from quant_assets.features.engine import evaluate
from quant_assets.features.example import example_bars
from quant_assets.features.statistical import STATISTICAL
from quant_assets.features.statistical.memory import autocorrelation, expected_range, fractional_difference
from quant_assets.features.statistical.shape import permutation_entropy
from quant_assets.features.statistical.volatility import variation

MANY = example_bars(seed=5, sessions=500, symbols=("ONE", "OTHER", "THIRD"))
BARS = MANY.filter(pl.col("symbol") == "ONE")
OPEN, H, L, C = (BARS[f"adj_{name}"].to_numpy() for name in ("open", "high", "low", "close"))
R = np.diff(np.log(C), prepend=np.nan)
S = np.diff(C, prepend=np.nan) / np.concatenate([[np.nan], C[:-1]])
LAST = 40
"""How many sessions from the end are compared."""
VALUES = evaluate(FeatureSet("own", tuple(f for f in STATISTICAL if f.scope == "symbol")), BARS.lazy()).collect()


def window(values, i, n):
    return values[i - n + 1 : i + 1]


def agree(name, function, rtol=1e-8, atol=1e-11):
    """The feature's last values are the function's, of the row."""
    expected = np.array([function(i) for i in range(len(C) - LAST, len(C))])
    np.testing.assert_allclose(VALUES[name].tail(LAST).to_numpy(), expected, rtol=rtol, atol=atol, err_msg=name)


def on_returns(function, returns=R):
    return lambda n: lambda i: function(window(returns, i, n))


def parkinson(n):
    return lambda i: math.sqrt(np.mean(np.log(window(H, i, n) / window(L, i, n)) ** 2) / (4 * math.log(2)))


def garman_klass(n):
    def value(i):
        hl, co = np.log(window(H, i, n) / window(L, i, n)), np.log(window(C, i, n) / window(OPEN, i, n))
        return math.sqrt(np.mean(0.5 * hl**2 - (2 * math.log(2) - 1) * co**2))

    return value


def rogers_satchell(n):
    def value(i):
        h, low, o, c = (window(values, i, n) for values in (H, L, OPEN, C))
        return math.sqrt(np.mean(np.log(h / c) * np.log(h / o) + np.log(low / c) * np.log(low / o)))

    return value


def yang_zhang(n):
    def value(i):
        night = np.log(window(OPEN, i, n) / window(C, i - 1, n))
        day = np.log(window(C, i, n) / window(OPEN, i, n))
        k = 0.34 / (1.34 + (n + 1) / (n - 1))
        squared = rogers_satchell(n)(i) ** 2
        return math.sqrt(np.var(night, ddof=1) + k * np.var(day, ddof=1) + (1 - k) * squared)

    return value


def night_share(n):
    def value(i):
        night = np.sum(np.log(window(OPEN, i, n) / window(C, i - 1, n)) ** 2)
        return night / (night + np.sum(np.log(window(C, i, n) / window(OPEN, i, n)) ** 2))

    return value


def jump_share(r):
    bipower = np.pi / 2 * len(r) / (len(r) - 1) * np.sum(np.abs(r[1:] * r[:-1]))
    return max(0, 1 - bipower / np.sum(r**2))


def expected_shortfall(r):
    return -np.sort(r)[: math.ceil(len(r) / 20)].mean()


def hill(losses):
    ordered = np.sort(losses)[::-1]
    return np.mean(np.log(ordered[:25])) - np.log(ordered[25])


def shannon(r):
    edges = [-np.inf, *(NormalDist(r.mean(), r.std()).inv_cdf(k / 9) for k in range(1, 9)), np.inf]
    return stats.entropy(np.histogram(r, edges)[0]) / math.log(9)


def orders(order):
    def value(r):
        found = [tuple(np.argsort(np.round(r[j : j + order], 9), kind="stable")) for j in range(len(r) - order + 1)]
        counts = [found.count(each) for each in itertools.permutations(range(order))]
        return stats.entropy(counts) / math.log(math.factorial(order))

    return value


def drawdown(c):
    return (pd.Series(c) / pd.Series(c).cummax() - 1).to_numpy()


def variance_ratio(q):
    def value(r):
        n, mean = len(r), r.mean()
        sums = np.convolve(r, np.ones(q), "valid")
        return np.sum((sums - q * mean) ** 2) / (q * (n - q + 1) * (1 - q / n)) / np.var(r, ddof=1)

    return value


def variance_ratio_z(r, q=10):
    a = (r - r.mean()) ** 2
    delta = [np.sum(a[j:] * a[:-j]) / np.sum(a) ** 2 for j in range(1, q)]
    theta = sum((2 * (q - j) / q) ** 2 * delta[j - 1] for j in range(1, q))
    return (variance_ratio(q)(r) - 1) / math.sqrt(theta)


def scaling(n):
    def value(i):
        x, steps = np.log(window(C, i, n + 1)), [1, 2, 4, 8, 16]
        return np.polyfit(np.log(steps), [np.log(np.mean(np.abs(x[k:] - x[:-k]))) for k in steps], 1)[0]

    return value


def anis_lloyd(n):
    parts = sum(math.sqrt((n - i) / i) for i in range(1, n))
    return math.gamma((n - 1) / 2) / (math.sqrt(math.pi) * math.gamma(n / 2)) * parts


def rescaled_range(r):
    sizes, logs = (12, 21, 36, 63, 126, 252), []
    for size in sizes:
        blocks = np.array([block for block in r.reshape(-1, size) if np.ptp(block) > 1e-9])
        sums = np.cumsum(blocks - blocks.mean(axis=1, keepdims=True), axis=1)
        ratios = (np.maximum(sums.max(axis=1), 0) - np.minimum(sums.min(axis=1), 0)) / blocks.std(axis=1)
        logs.append(np.log(ratios.mean()) - np.log(anis_lloyd(size)))
    return 0.5 + np.polyfit(np.log(sizes), logs, 1)[0]


def fractional(order):
    weights = [1.0]
    for k in range(1, 126):
        weights.append(-weights[-1] * (order - k + 1) / k)
    return lambda i: np.dot(weights, np.log(window(C, i, 126)[::-1] / C[i - 125]))


def trend_t(n):
    def value(i):
        line = stats.linregress(np.arange(n), np.log(window(C, i, n)))
        return line.slope / line.stderr

    return value


def lagged(lag, returns=R):
    return lambda n: lambda i: np.corrcoef(window(returns, i, n), window(returns, i - lag, n))[0, 1]


ratios = {
    f"volatility_ratio_{fast}_{slow}": (
        lambda i, fast=fast, slow=slow: np.std(window(R, i, fast), ddof=1) / np.std(window(R, i, slow), ddof=1)
    )
    for fast, slow in ((5, 21), (21, 63), (63, 252))
}
FORMULAS = {
    "volatility": on_returns(lambda r: pd.Series(r).std()),
    "parkinson": parkinson,
    "garman_klass": garman_klass,
    "rogers_satchell": rogers_satchell,
    "yang_zhang": yang_zhang,
    "night_share": night_share,
    "jump_share": on_returns(jump_share),
    "downside_share": on_returns(lambda r: np.sum(r[r < 0] ** 2) / np.sum(r**2)),
    "skewness": on_returns(stats.skew),
    "kurtosis": on_returns(stats.kurtosis),
    "value_at_risk_95": on_returns(lambda r: -np.quantile(r, 0.05, method="inverted_cdf")),
    "expected_shortfall_95": on_returns(expected_shortfall),
    "hill_left": on_returns(lambda r: hill(-r)),
    "hill_right": on_returns(hill),
    "entropy": on_returns(shannon),
    "permutation_entropy_63": lambda order: on_returns(orders(order))(63),
    "permutation_entropy_252": lambda order: on_returns(orders(order))(252),
    "rolling_sharpe": on_returns(lambda r: pd.Series(r).mean() / pd.Series(r).std(), S),
    "rolling_sortino": on_returns(lambda r: r.mean() / math.sqrt(np.mean(np.minimum(r, 0) ** 2)), S),
    "downside_deviation": on_returns(lambda r: math.sqrt(np.mean(np.minimum(r, 0) ** 2)), S),
    "omega": on_returns(lambda r: r[r > 0].sum() / -r[r < 0].sum(), S),
    "drawdown": on_returns(lambda c: drawdown(c)[-1], C),
    "max_drawdown": on_returns(lambda c: drawdown(c).min(), C),
    "calmar": on_returns(lambda c: (c[-1] / c[0] - 1) / -drawdown(c).min(), C),
    "trend_t_statistic": trend_t,
    "autocorrelation": lagged(1),
    "autocorrelation_63_lag": lambda lag: lagged(lag)(63),
    "absolute_autocorrelation": lagged(1, np.abs(R)),
    "variance_ratio_63": lambda q: on_returns(variance_ratio(q))(63),
    "variance_ratio_126": lambda q: on_returns(variance_ratio(q))(126),
    "variance_ratio_252": lambda q: on_returns(variance_ratio(q))(252),
    "variance_ratio_z_252": lambda q: on_returns(variance_ratio_z)(252),
    "hurst_scaling": scaling,
    "hurst_rescaled_range": on_returns(rescaled_range),
    **{f"fractional_difference_0{tenths}": (lambda n, d=tenths / 10: fractional(d)) for tenths in (2, 4, 6, 8)},
}
"""By the name without its last number, which the formula takes."""


@pytest.mark.parametrize("name", VALUES.columns[4:])
def test_formula(name):
    stem, number = name.rsplit("_", 1)
    agree(name, ratios[name] if name in ratios else FORMULAS[stem](int(number)))


def market_model(own, market):
    line = stats.linregress(market, own)
    rest = own - line.intercept - line.slope * market
    down = market < market.mean()
    away = market - market.mean()
    return {
        "beta": line.slope,
        "alpha": line.intercept,
        "idiosyncratic_volatility": math.sqrt(np.sum(rest**2) / (len(own) - 2)),
        "market_share": line.rvalue**2,
        "downside_beta": np.cov(own[down], market[down])[0, 1] / np.var(market[down], ddof=1),
        "coskewness": np.mean(rest * away**2) / (np.std(rest) * np.var(market)),
    }


@pytest.mark.parametrize(
    "output", ["beta", "alpha", "idiosyncratic_volatility", "market_share", "downside_beta", "coskewness"]
)
def test_market_model_is_the_regression_on_the_mean_of_all_symbols(output):
    features = [each for each in STATISTICAL if each.output == output]
    values = evaluate(FeatureSet("market", tuple(features)), MANY.lazy()).filter(pl.col("symbol") == "ONE").collect()
    closes = MANY.pivot("symbol", index="ts", values="adj_close").drop("ts").to_pandas()
    market = closes.pct_change().mean(axis=1).to_numpy()
    assert features
    for feature in features:
        n = feature.parameters["window"]
        expected = [market_model(window(S, i, n), window(market, i, n))[output] for i in range(len(C) - LAST, len(C))]
        np.testing.assert_allclose(values[feature.name].tail(LAST).to_numpy(), expected, rtol=1e-8, atol=1e-11)


def run(kernel, *columns, **parameters):
    """The kernel's first output for the last bar."""
    x = np.stack([np.asarray(column, dtype=float) for column in columns])
    out = np.full((len(kernel.outputs), x.shape[1]), np.nan)
    kernel.compiled(x, kernel.vector(parameters), out)
    return out[0, -1]


def path(returns):
    """Closes with these log returns."""
    return 100 * np.exp(np.cumsum([0.0, *returns]))


def test_permutation_entropy_of_the_example_of_bandt_and_pompe():
    """Bandt and Pompe (2002), Phys. Rev. Lett. 88, 174102: 0.918 bits of order 2, 1.522 of order 3."""
    closes = path(np.array([4, 7, 9, 10, 6, 11, 3]) / 100)
    assert run(permutation_entropy, closes, window=7, order=2) == pytest.approx(0.918 / math.log2(2), abs=5e-4)
    assert run(permutation_entropy, closes, window=7, order=3) == pytest.approx(1.522 / math.log2(6), abs=5e-4)


@pytest.mark.parametrize(("order", "expected"), [(0.0, math.log(1.3)), (1.0, math.log(1.3 / 1.2))])
def test_fractional_difference_of_order_0_is_the_price_and_of_1_the_return(order, expected):
    closes = np.array([1.0, 1.1, 1.15, 1.2, 1.3]) * 50
    assert run(fractional_difference, closes, order=order, window=5) == pytest.approx(expected)


def test_fractional_difference_has_the_published_weights():
    """Lopez de Prado (2018), figure 5.1: weights of order 0.4 are 1, -0.4, -0.12, -0.064."""
    weights = [run(fractional_difference, np.exp(np.eye(6)[5 - k]), order=0.4, window=6) for k in range(4)]
    np.testing.assert_allclose(weights, [1, -0.4, -0.12, -0.064], rtol=1e-12)


def test_expected_rescaled_range_is_that_of_normal_returns():
    """Two returns have R/S = 1 whatever they are; more, by simulation."""
    drawn = np.random.default_rng(1).normal(size=(20_000, 21))
    away = np.cumsum(drawn - drawn.mean(axis=1, keepdims=True), axis=1)
    simulated = ((np.maximum(away.max(axis=1), 0) - np.minimum(away.min(axis=1), 0)) / drawn.std(axis=1)).mean()
    assert expected_range(2) == pytest.approx(1.0)
    assert expected_range(21) == pytest.approx(simulated, rel=0.01)


def test_a_single_jump_is_all_of_the_variation():
    quiet = np.tile([1e-5, -1e-5], 10)
    quiet[10] = 0.1
    assert run(variation, path(quiet), window=20) > 0.99


def test_returns_that_alternate_are_perfectly_anticorrelated():
    closes = path(np.tile([0.01, -0.01], 20))
    assert run(autocorrelation, closes, window=30, lag=1, absolute=0) == pytest.approx(-1.0)
    assert run(autocorrelation, closes, window=30, lag=2, absolute=0) == pytest.approx(1.0)


def test_a_random_walk_has_the_exponents_and_ratios_of_one():
    closes = path(np.random.default_rng(3).normal(0, 0.01, 4000))
    frame = pl.DataFrame(
        {
            "symbol": "RW",
            "ts": pl.datetime_range(pl.datetime(2000, 1, 1), pl.datetime(2010, 12, 14), "1d", eager=True)[:4001],
        }
    )
    bars = frame.with_columns(pl.Series("close", closes)).with_columns(
        open="close", high="close", low="close", volume=1.0
    )
    names = {"hurst_scaling_252": 0.5, "hurst_rescaled_range_252": 0.5, "variance_ratio_252_10": 1.0}
    found = evaluate(STATISTICAL.pick(names), bars.lazy()).collect()
    assert {name: found[name].mean() for name in names} == pytest.approx(names, abs=0.08)


HALTED = BARS.head(330)
"""The example's halt of 80 sessions ends here."""

STEADY = (
    *("volatility", "parkinson", "garman_klass", "rogers_satchell", "yang_zhang", "downside_deviation"),
    *("value_at_risk_95", "expected_shortfall_95", "drawdown", "max_drawdown", "permutation_entropy_63"),
)
"""What has a value, 0, where the price rests; ratios have none."""


def test_in_a_halt_sizes_are_zero_and_ratios_null():
    last = evaluate(
        FeatureSet("own", tuple(f for f in STATISTICAL if f.scope == "symbol" and f.lookback < 75)), HALTED.lazy()
    )
    for name, value in last.collect().row(-1, named=True).items():
        if name in STATISTICAL.names:
            expected = 0.0 if name.rsplit("_", 1)[0] in STEADY else None
            assert value == (expected if expected is None else pytest.approx(0.0, abs=1e-12)), name
