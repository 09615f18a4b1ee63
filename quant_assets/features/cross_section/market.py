"""A symbol beside its market and its sector: what it shares with them, who moves first, and how far it has run away.

The market is the benchmark, or the equal-weighted mean of all symbols; the sector the equal-weighted mean of its
symbols, this one included. A symbol's return is since its own bar before, so after missing bars it spans more than the
market's.
"""

from __future__ import annotations

import math

import numpy as np

from quant_assets.features.definition import Feature
from quant_assets.features.kernels import Kernel
from quant_assets.features.precision import NOTHING


def together(x: np.ndarray, p: np.ndarray, out: np.ndarray) -> None:
    """The last n returns r of a symbol and m of its index: correlation(r, m); beta, their covariance over the variance
    of m; follows, the correlation of r with the m one bar before; leads, that of m with the r one bar before;
    relative, the symbol's growth over the index's, less 1.

    NaN where either has no return within the window, or always the same one.
    """
    close, index, window = x[0], x[1], int(p[0])
    own = np.full(close.size, np.nan)
    own[1:] = close[1:] / close[:-1] - 1.0
    for i in range(window, close.size):
        growth = 1.0
        mean_own = mean_index = before_own = before_index = 0.0
        for j in range(i - window + 1, i + 1):
            growth *= 1.0 + index[j]
            mean_own += own[j]
            mean_index += index[j]
            before_own += own[j - 1]
            before_index += index[j - 1]
        mean_own, mean_index = mean_own / window, mean_index / window
        before_own, before_index = before_own / window, before_index / window
        both = square_own = square_index = follows = leads = square_before = square_index_before = 0.0
        for j in range(i - window + 1, i + 1):
            a, b = own[j] - mean_own, index[j] - mean_index
            a_before, b_before = own[j - 1] - before_own, index[j - 1] - before_index
            both += a * b
            square_own += a * a
            square_index += b * b
            follows += a * b_before
            leads += b * a_before
            square_before += a_before * a_before
            square_index_before += b_before * b_before
        nothing = window * NOTHING * NOTHING
        if square_own > nothing and square_index > nothing:
            out[0, i] = both / math.sqrt(square_own * square_index)
        if square_index > nothing:
            out[1, i] = both / square_index
        if square_own > nothing and square_index_before > nothing:
            out[2, i] = follows / math.sqrt(square_own * square_index_before)
        if square_index > nothing and square_before > nothing:
            out[3, i] = leads / math.sqrt(square_index * square_before)
        out[4, i] = close[i] / close[i - window] / growth - 1.0


def spread(x: np.ndarray, p: np.ndarray, out: np.ndarray) -> None:
    """Log growth of the symbol less that of its index, each since the window's first bar: its last value less the mean
    of its n values, over their deviation. NaN where the two always go together.

    Source: Gatev, Goetzmann and Rouwenhorst (2006), Pairs Trading, with the index for the other of the pair.
    """
    price, index, window = np.log(x[0]), np.log1p(x[1]), int(p[0])
    away = np.empty(window)
    for i in range(window - 1, price.size):
        first = i - window + 1
        growth = total = squares = 0.0
        away[0] = 0.0
        for k in range(1, window):
            growth += index[first + k]
            away[k] = price[first + k] - price[first] - growth
            total += away[k]
        for k in range(window):
            squares += (away[k] - total / window) ** 2
        deviation = math.sqrt(squares / window)
        if deviation > NOTHING:
            out[0, i] = (away[-1] - total / window) / deviation


_OUTPUTS = ("correlation", "beta", "follows", "leads", "relative")
_PAIRS = {
    index: Kernel(together, ("adj_close", f"{index}_return"), ("window",), _OUTPUTS) for index in ("market", "sector")
}
_SPREADS = {index: Kernel(spread, ("adj_close", f"{index}_return"), ("window",)) for index in ("market", "sector")}

_TOGETHER = {  # output: (name, description, further bars, bounds)
    "correlation": ("{}_correlation", "Correlation of {} returns with those of the {}", 0, (-1.0, 1.0)),
    "beta": ("{}_beta", "Slope of {} returns on those of the {}", 0, (-math.inf, math.inf)),
    "follows": ("follows_{}", "Correlation of {} returns with the return of the {} one bar before", 1, (-1.0, 1.0)),
    "leads": ("leads_{}", "Correlation of its return one bar before with {} returns of the {}", 1, (-1.0, 1.0)),
    "relative": ("{}_relative_strength", "Growth over {} bars beside that of the {}", 0, (-1.0, math.inf)),
}
_SOURCES = {
    "beta": "Sharpe (1964), Capital Asset Prices",
    "follows": "Lo and MacKinlay (1990), When Are Contrarian Profits Due to Stock Market Overreaction?",
    "leads": "Lo and MacKinlay (1990), When Are Contrarian Profits Due to Stock Market Overreaction?",
    "relative": "Levy (1967), Relative Strength as a Criterion for Investment Selection",
}


def _together(index: str, output: str, window: int) -> Feature:
    name, description, further, bounds = _TOGETHER[output]
    return Feature(
        f"{name.format(index)}_{window}",
        index,
        description.format(window, index),
        _PAIRS[index],
        {"window": window},
        output=output,
        lookback=window + further,
        bounds=bounds,
        source=_SOURCES.get(output, ""),
    )


BESIDE = (
    # Beta to the market is a statistic: quant_assets.features.statistical.
    *(_together("market", output, window) for output in _TOGETHER if output != "beta" for window in (63, 252)),
    _together("market", "relative", 21),
    *(_together("sector", output, 63) for output in _TOGETHER),
    _together("sector", "relative", 21),
    *(
        Feature(
            f"{index}_spread_{window}",
            index,
            f"Log price spread to the {index} beside its last {window}, in their standard deviations",
            _SPREADS[index],
            {"window": window},
            lookback=window - 1,
            bounds=(-math.sqrt(window - 1), math.sqrt(window - 1)),
            source="Gatev, Goetzmann and Rouwenhorst (2006), Pairs Trading; the bound by Samuelson (1968)",
        )
        for index, window in (("market", 63), ("sector", 21), ("sector", 63), ("sector", 252))
    ),
)
"""A symbol beside its market and its sector."""
