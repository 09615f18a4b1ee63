"""The spread between bid and ask, as a fraction of the price, estimated from the bars' own prices."""

from __future__ import annotations

import math

import numpy as np

from quant_assets.features.definition import Feature
from quant_assets.features.kernels import inner, kernel
from quant_assets.features.microstructure.windows import log_returns, told

_K = 3.0 - 2.0 * math.sqrt(2.0)


@inner
def roll(returns: np.ndarray) -> float:
    """2 sqrt(-cov) of successive returns, zero where they are not negatively correlated."""
    later, earlier = returns[1:], returns[:-1]
    one, other = later.mean(), earlier.mean()
    total = 0.0
    for j in range(later.size):
        total += (later[j] - one) * (earlier[j] - other)
    return 2.0 * math.sqrt(max(0.0, -total / later.size))


@inner
def two_bars(high: np.ndarray, low: np.ndarray, close: np.ndarray) -> np.ndarray:
    """Corwin and Schultz's spread of each bar and the one before, not below zero.

    The second bar is moved to the first one's close by what lies between them: nights are no spread.
    """
    out = np.full(close.size, np.nan)
    for i in range(1, close.size):
        gap = max(0.0, low[i] - close[i - 1]) + min(0.0, high[i] - close[i - 1])
        top, bottom = high[i] - gap, low[i] - gap
        one = math.log(high[i - 1] / low[i - 1]) ** 2 + math.log(top / bottom) ** 2
        both = math.log(max(high[i - 1], top) / min(low[i - 1], bottom)) ** 2
        alpha = (math.sqrt(2.0 * one) - math.sqrt(one)) / _K - math.sqrt(both / _K)
        out[i] = max(0.0, 2.0 * (math.exp(alpha) - 1.0) / (1.0 + math.exp(alpha)))
    return out


@inner
def from_middles(high: np.ndarray, low: np.ndarray, close: np.ndarray) -> np.ndarray:
    """Of each bar and the one before: the earlier close less the middle of its bar, times less that of the later."""
    out = np.full(close.size, np.nan)
    for i in range(1, close.size):
        last = math.log(close[i - 1])
        earlier, later = math.log(high[i - 1] * low[i - 1]) / 2.0, math.log(high[i] * low[i]) / 2.0
        out[i] = told(last - earlier) * told(last - later)
    return out


@inner
def abdi_ranaldo(products: np.ndarray) -> float:
    """2 sqrt(mean) of what `from_middles` gives, zero where the mean is below zero."""
    return 2.0 * math.sqrt(max(0.0, products.mean()))


@kernel(
    inputs=["adj_high", "adj_low", "adj_close"],
    parameters=["window"],
    outputs=["roll", "corwin_schultz", "abdi_ranaldo"],
)
def spreads(x: np.ndarray, p: np.ndarray, out: np.ndarray) -> None:
    """Three estimates of the spread over the last `window` pairs of bars.

    roll: from the bounce between bid and ask in closes; corwin_schultz: from high and low of one and of two bars;
    abdi_ranaldo: from each close against the middles of its bar and of the next.
    """
    high, low, close = x[0], x[1], x[2]
    window = int(p[0])
    returns, pairs, products = log_returns(close), two_bars(high, low, close), from_middles(high, low, close)
    for i in range(window, close.size):
        out[0, i] = roll(returns[i - window + 1 : i + 1])
        out[1, i] = pairs[i - window + 1 : i + 1].mean()
        out[2, i] = abdi_ranaldo(products[i - window + 1 : i + 1])


_ESTIMATES = (
    ("roll_spread", "roll", "from the bounce of closes", (0.0, math.inf),
     "Roll (1984), A Simple Implicit Measure of the Effective Bid-Ask Spread in an Efficient Market"),
    ("corwin_schultz_spread", "corwin_schultz", "from highs and lows of one bar and of two", (0.0, 2.0),
     "Corwin and Schultz (2012), A Simple Way to Estimate Bid-Ask Spreads from Daily High and Low Prices"),
    ("abdi_ranaldo_spread", "abdi_ranaldo", "from closes against the middles of bars", (0.0, math.inf),
     "Abdi and Ranaldo (2017), A Simple Estimation of Bid-Ask Spreads from Daily Close, High, and Low Prices"),
)  # fmt: skip

SPREADS = tuple(
    Feature(
        f"{name}_{window}",
        "spread",
        f"Spread as a fraction of the price, {how}, {window} pairs of bars",
        spreads,
        {"window": window},
        lookback=window,
        bounds=bounds,
        output=output,
        still=window + 1,
        source=source,
    )
    for name, output, how, bounds, source in _ESTIMATES
    for window in (21, 63)
)
