"""Values against the formulas of the papers, written out a second time in plain numpy and scipy."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest
from scipy import stats

from quant_assets.features.engine import evaluate
from quant_assets.features.example import example_bars
from quant_assets.features.microstructure import MICROSTRUCTURE

BARS = example_bars(seed=5, sessions=400, symbols=("ONE",))
H, L, C, V = (BARS[f"adj_{name}"].to_numpy() for name in ("high", "low", "close", "volume"))
R = np.diff(np.log(C), prepend=np.nan)
DOLLARS = C * V
LAST = 55
"""Bars from the end that are compared; the ticks of some are missing, so that both ways are taken."""


def column(name):
    return BARS[name].to_numpy()


def window(values, i, n):
    return values[i - n + 1 : i + 1]


def known(values, i, n):
    found = window(values, i, n)
    found = found[~np.isnan(found)]
    return found.mean() if 2 * len(found) >= n else np.nan


def roll(i, n):
    covariance = np.cov(window(R, i, n)[1:], window(R, i, n)[:-1], ddof=0)[0, 1]
    return 2 * math.sqrt(max(0.0, -covariance))


def corwin_schultz(i, n):
    """Equations (14) and (18) of the paper, with its adjustment for nights and negative estimates set to zero."""
    k = 3 - 2 * math.sqrt(2)
    found = []
    for t in range(i - n, i):
        high, low = H[t + 1], L[t + 1]
        if low > C[t]:
            high, low = high - (low - C[t]), C[t]
        elif high < C[t]:
            high, low = C[t], low + (C[t] - high)
        beta = math.log(H[t] / L[t]) ** 2 + math.log(high / low) ** 2
        gamma = math.log(max(H[t], high) / min(L[t], low)) ** 2
        alpha = (math.sqrt(2 * beta) - math.sqrt(beta)) / k - math.sqrt(gamma / k)
        found.append(max(0.0, 2 * (math.exp(alpha) - 1) / (1 + math.exp(alpha))))
    return np.mean(found)


def abdi_ranaldo(i, n):
    """Equation (11) of the paper, with the mean over all pairs inside the root."""
    c, eta = np.log(C), (np.log(H) + np.log(L)) / 2
    pairs = [4 * (c[t] - eta[t]) * (c[t] - eta[t + 1]) for t in range(i - n, i)]
    return math.sqrt(max(0.0, np.mean(pairs)))


def amihud(i, n):
    impact = np.divide(np.abs(R), DOLLARS, out=np.full(len(C), np.nan), where=V > 0)
    return np.nanmean(window(impact, i, n))


def side():
    imbalance = column("tick_imbalance")
    return np.where(np.isnan(imbalance), np.sign(R), imbalance)


def kyle(i, n):
    signed = window(side() * V, i, n) / window(V, i, n).mean()
    return stats.linregress(signed, window(R, i, n)).slope


def hasbrouck(i, n):
    root = np.sqrt(DOLLARS)
    return stats.linregress(window(side() * root, i, n) / window(root, i, n).mean(), window(R, i, n)).slope


def pastor_stambaugh(i, n):
    returns, volume = window(R, i, n), window(V, i, n) / window(V, i, n).mean()
    design = np.column_stack([np.ones(n - 1), returns[:-1], np.sign(returns[:-1]) * volume[:-1]])
    return np.linalg.lstsq(design, returns[1:], rcond=None)[0][2]


def bought(i, returns):
    """Bulk volume classification (Easley, Lopez de Prado and O'Hara 2012, equation 4), where trades do not tell."""
    told = column("tick_imbalance")[i]
    return 2 * stats.norm.cdf(R[i] / np.std(returns, ddof=1)) - 1 if np.isnan(told) else told


def flow(i, n):
    return sum(V[j] * bought(j, window(R, i, 63)) for j in range(i - n + 1, i + 1)) / window(V, i, n).sum()


def vpin(i, n=50, buckets=10):
    """By the time at which each unit of volume was traded, on a fine grid of volume rather than by filling buckets."""
    volume = window(V, i, n)
    sides = np.array([bought(j, window(R, i, n)) for j in range(i - n + 1, i + 1)])
    edges = np.concatenate([[0.0], np.cumsum(volume[::-1])])
    net = np.concatenate([[0.0], np.cumsum((volume * sides)[::-1])])
    at = np.interp(np.linspace(0, edges[-1], buckets + 1), edges, net)
    return np.abs(np.diff(at)).sum() / edges[-1]


def vwap(i, n):
    gap = column("tick_vwap_gap")
    price = np.where(np.isnan(gap), (H + L + C) / 3, C / np.exp(gap))
    return math.log(C[i] / np.average(window(price, i, n), weights=window(V, i, n)))


def usual(values):
    return lambda i: math.log(known(values, i, 5) / known(values, i, 63))


def mean(name, n):
    return lambda i: known(column(name), i, n)


def spread(i, n=21):
    quoted = known(column("tick_quoted_spread"), i, n)
    return abdi_ranaldo(i, n) if np.isnan(quoted) else quoted


OFI = column("quote_flow") * column("quote_traffic")
FORMULAS = {
    **{f"roll_spread_{n}": (lambda i, n=n: roll(i, n)) for n in (21, 63)},
    **{f"corwin_schultz_spread_{n}": (lambda i, n=n: corwin_schultz(i, n)) for n in (21, 63)},
    **{f"abdi_ranaldo_spread_{n}": (lambda i, n=n: abdi_ranaldo(i, n)) for n in (21, 63)},
    "amihud_5_63": lambda i: math.log(amihud(i, 5) / amihud(i, 63)),
    "amihud_impact_63": lambda i: amihud(i, 63) * window(DOLLARS, i, 63).mean(),
    **{f"kyle_lambda_{n}": (lambda i, n=n: kyle(i, n)) for n in (21, 63)},
    **{f"hasbrouck_lambda_{n}": (lambda i, n=n: hasbrouck(i, n)) for n in (21, 63)},
    **{f"pastor_stambaugh_gamma_{n}": (lambda i, n=n: pastor_stambaugh(i, n)) for n in (21, 63)},
    **{f"flow_imbalance_{n}": (lambda i, n=n: flow(i, n)) for n in (5, 21)},
    "vpin_50": vpin,
    **{f"vwap_distance_{n}": (lambda i, n=n: vwap(i, n)) for n in (5, 21, 63)},
    "zero_return_share_63": lambda i: np.mean(window(R, i, 63) == 0),
    "dollar_volume_ratio_5_63": lambda i: math.log(window(DOLLARS, i, 5).mean() / window(DOLLARS, i, 63).mean()),
    "dollar_volume_variation_63": lambda i: np.std(window(DOLLARS, i, 63), ddof=1) / window(DOLLARS, i, 63).mean(),
    "volume_concentration_63": lambda i: np.sum((window(V, i, 63) / window(V, i, 63).sum()) ** 2),
    "spread_21": spread,
    **{f"quoted_spread_{n}": mean("tick_quoted_spread", n) for n in (1, 21)},
    "effective_spread_21": mean("tick_effective_spread", 21),
    "realised_spread_21": mean("tick_realised_spread", 21),
    "price_impact_21": lambda i: known(column("tick_effective_spread") - column("tick_realised_spread"), i, 21),
    **{f"trade_imbalance_{n}": mean("tick_imbalance", n) for n in (1, 21)},
    **{f"order_flow_imbalance_{n}": (lambda i, n=n: known(OFI, i, n)) for n in (1, 21)},
    "quote_flow_share_21": mean("quote_flow", 21),
    **{f"quote_imbalance_{n}": mean("quote_imbalance", n) for n in (1, 21)},
    **{f"book_imbalance_{n}": mean("book_imbalance", n) for n in (1, 21)},
    "trade_vwap_gap_1": mean("tick_vwap_gap", 1),
    "trade_count_ratio_5_63": usual(column("tick_count")),
    "trade_size_ratio_5_63": usual(np.where(V > 0, V / column("tick_count"), np.nan)),
    "book_depth_ratio_5_63": usual(column("book_depth")),
    "quoted_spread_ratio_5_63": usual(column("tick_quoted_spread")),
}


def computed(bars, names=MICROSTRUCTURE.names):
    return evaluate(MICROSTRUCTURE.pick(names), bars.lazy()).collect()


@pytest.fixture(scope="module")
def values():
    return computed(BARS).tail(LAST)


@pytest.mark.parametrize("name", FORMULAS)
def test_formula(name, values):
    wanted = [FORMULAS[name](i) for i in range(len(C) - LAST, len(C))]
    assert np.isfinite(wanted).any()
    np.testing.assert_allclose(
        values[name].cast(pl.Float64).fill_null(np.nan).to_numpy(), wanted, rtol=1e-8, atol=1e-11
    )


def test_every_feature_is_checked_here():
    assert set(FORMULAS) == set(MICROSTRUCTURE.names)


def test_ticks_are_there_for_some_of_the_bars_compared_and_not_for_all():
    missing = np.isnan(column("tick_imbalance")[-LAST:])
    assert 10 < missing.sum() < LAST


def simulated(spread, days=250, trades=390, volatility=0.03):
    """The market of Corwin and Schultz's simulations: a random walk of 390 prices a day, each at bid or at ask."""
    random = np.random.default_rng(3)
    true = np.exp(np.cumsum(random.normal(0, volatility / math.sqrt(trades), days * trades))).reshape(days, trades)
    seen = true * (1 + random.choice([-0.5, 0.5], true.shape) * spread)
    prices = {"open": seen[:, 0], "high": seen.max(axis=1), "low": seen.min(axis=1), "close": seen[:, -1]}
    stamps = BARS["ts"][:days]
    return pl.DataFrame({"symbol": "SIM", "ts": stamps, **prices, "volume": 1.0})


@pytest.mark.parametrize("name", ["roll_spread_63", "corwin_schultz_spread_63", "abdi_ranaldo_spread_63"])
@pytest.mark.parametrize("spread", [0.03, 0.05])
def test_estimators_find_the_spread_of_a_simulated_market(name, spread):
    found = computed(simulated(spread), [name])[name].mean()
    assert found == pytest.approx(spread, rel=0.25)


def test_features_of_ticks_are_null_without_them_and_the_others_are_not():
    plain = BARS.select(pl.exclude("^(tick|quote|book)_.*$"))
    last = computed(plain).row(-1, named=True)
    nothing = {name for name, value in last.items() if value is None}
    assert nothing == {feature.name for feature in MICROSTRUCTURE if feature.family == "ticks"}


@pytest.mark.parametrize(
    ("imbalance", "toxicity"),
    [(np.ones(400), 1.0), (np.zeros(400), 0.0), (np.where(np.arange(400) // 5 % 2, 1, -1), 1.0),
     (np.where(np.arange(400) % 2, 1, -1), 0.2)],
    ids=["all bought", "every bar half bought", "whole buckets by turns", "bars by turns, five in a bucket"],
)  # fmt: skip
def test_toxicity_is_how_one_sided_the_buckets_are(imbalance, toxicity):
    bars = BARS.with_columns(adj_volume=pl.lit(100.0), tick_imbalance=pl.Series(imbalance, dtype=pl.Float64))
    assert computed(bars, ["vpin_50"])["vpin_50"][-1] == pytest.approx(toxicity)


def test_in_a_halt_slopes_and_spreads_are_null_and_not_the_rounding_that_is_left():
    still = computed(BARS.with_columns(pl.lit(10.01).alias(f"adj_{name}") for name in ("open", "high", "low", "close")))
    last = still.row(-1, named=True)
    for name in (
        "roll_spread_21",
        "abdi_ranaldo_spread_63",
        "kyle_lambda_21",
        "pastor_stambaugh_gamma_63",
        "amihud_5_63",
    ):
        assert last[name] is None
    assert last["zero_return_share_63"] == 1.0
