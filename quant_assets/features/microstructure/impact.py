"""How far the price moves for what is traded."""

from __future__ import annotations

import math

import numpy as np

from quant_assets.features.definition import Feature
from quant_assets.features.kernels import inner, kernel
from quant_assets.features.microstructure.windows import NOTHING, log_returns, mean_of_known


@kernel(inputs=["adj_close", "adj_volume"], parameters=["fast", "slow"], outputs=["ratio", "level"])
def amihud(x: np.ndarray, p: np.ndarray, out: np.ndarray) -> None:
    """|return| per dollar traded, a bar; bars without volume have none, and half of a window must have it.

    ratio: log of its mean over `fast` bars over that of `slow`. level: its mean over `slow` bars times the mean dollar
    volume of those bars: the move that a bar's usual trading would make.
    """
    close, volume = x[0], x[1]
    fast, slow = int(p[0]), int(p[1])
    returns, dollars = log_returns(close), close * volume
    impact = np.full(close.size, np.nan)
    for i in range(1, close.size):
        if volume[i] > 0.0:
            impact[i] = abs(returns[i]) / dollars[i]
    for i in range(slow, close.size):
        window = impact[i - slow + 1 : i + 1]
        usual = mean_of_known(window)
        now = mean_of_known(window[slow - fast :])
        if now > 0.0:
            out[0, i] = math.log(now / usual)
        out[1, i] = usual * dollars[i - slow + 1 : i + 1].mean()


@inner
def slope(y: np.ndarray, x: np.ndarray) -> float:
    """Of y on x with a constant, where x has a natural size of 1; NaN where x does not vary."""
    mean, level = x.mean(), y.mean()
    both = squares = 0.0
    for j in range(x.size):
        both += (x[j] - mean) * (y[j] - level)
        squares += (x[j] - mean) ** 2
    return both / squares if squares > NOTHING * x.size else np.nan


@inner
def reversal(returns: np.ndarray, volume: np.ndarray) -> float:
    """Slope of a return on the signed volume of the bar before, beside that bar's return."""
    n = returns.size - 1
    later, before = returns[1:], returns[:-1]
    signed = np.sign(before) * volume[:-1]
    y, r, s = later.mean(), before.mean(), signed.mean()
    rr = ss = rs = ry = sy = 0.0
    for j in range(n):
        dr, ds, dy = before[j] - r, signed[j] - s, later[j] - y
        rr += dr * dr
        ss += ds * ds
        rs += dr * ds
        ry += dr * dy
        sy += ds * dy
    left = rr * ss - rs * rs
    return (sy * rr - ry * rs) / left if left > NOTHING * rr * ss and ss > NOTHING * n else np.nan


@kernel(
    inputs=["adj_close", "adj_volume", "tick_imbalance"],
    parameters=["window"],
    outputs=["kyle", "hasbrouck", "pastor_stambaugh"],
)
def lambdas(x: np.ndarray, p: np.ndarray, out: np.ndarray) -> None:
    """Slopes of the log return on signed volume over `window` bars, volume in units of the window's mean.

    kyle: on the volume of the bar, signed by the imbalance of its trades where they are known, by its return where not.
    hasbrouck: on the root of the dollars traded, signed likewise, in units of their mean. pastor_stambaugh: of the
    NEXT bar's return on the volume signed by the return, beside the return: reversals that pay for liquidity are
    below zero.
    """
    close, volume, imbalance = x[0], x[1], x[2]
    window = int(p[0])
    returns = log_returns(close)
    side = np.where(np.isnan(imbalance), np.sign(returns), imbalance)
    roots = np.sqrt(close * volume)
    for i in range(window, close.size):
        first = i - window + 1
        mean = volume[first : i + 1].mean()
        if not mean > 0.0:
            continue
        moves, sides = returns[first : i + 1], side[first : i + 1]
        root = roots[first : i + 1].mean()
        scaled = volume[first : i + 1] / mean
        out[0, i] = slope(moves, sides * scaled)
        out[1, i] = slope(moves, sides * roots[first : i + 1] / root)
        out[2, i] = reversal(moves, scaled)


_LAMBDAS = (
    ("kyle_lambda", "kyle", "Return per usual bar's volume bought, signed by trades where known, else by the return",
     "Kyle (1985), Continuous Auctions and Insider Trading"),
    ("hasbrouck_lambda", "hasbrouck", "Return per usual root of dollars bought, signed like kyle_lambda",
     "Hasbrouck (2009), Trading Costs and Returns for U.S. Equities"),
    ("pastor_stambaugh_gamma", "pastor_stambaugh", "Next return per usual volume signed by the return: its reversal",
     "Pastor and Stambaugh (2003), Liquidity Risk and Expected Stock Returns, on raw returns"),
)  # fmt: skip

_AMIHUD = {"fast": 5, "slow": 63}
_ILLIQUIDITY = "Amihud (2002), Illiquidity and Stock Returns"

IMPACTS = (
    Feature(
        "amihud_5_63",
        "impact",
        "Price impact of 5 bars against that of 63, in logs",
        amihud,
        _AMIHUD,
        lookback=63,
        output="ratio",
        source=_ILLIQUIDITY,
    ),
    Feature(
        "amihud_impact_63",
        "impact",
        "Move that a usual bar's dollars make, 63 bars",
        amihud,
        _AMIHUD,
        lookback=63,
        bounds=(0.0, math.inf),
        output="level",
        source=_ILLIQUIDITY,
    ),
    *(
        Feature(
            f"{name}_{window}",
            "impact",
            f"{what}, {window} bars",
            lambdas,
            {"window": window},
            lookback=window,
            output=output,
            still=window + 1,
            source=source,
        )
        for name, output, what, source in _LAMBDAS
        for window in (21, 63)
    ),
)
