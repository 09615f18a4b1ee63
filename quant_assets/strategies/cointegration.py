"""Two prices that stay together: the Engle-Granger regression of one on the other, and a test of what is left."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

CRITICAL = {
    "1%": (-3.89644, -10.9519, -22.527),
    "5%": (-3.33613, -6.1101, -6.823),
    "10%": (-3.04445, -4.2412, -2.720),
}
"""The t below which two series count as cointegrated: b0 + b1/T + b2/T^2 for T observations.

Source: MacKinnon (2010), "Critical Values for Cointegration Tests", table 2, two variables with a constant.
"""


@dataclass(frozen=True, slots=True)
class Fit:
    """Regressions a = constant + slope x b, an element a pair."""

    slope: Floats
    constant: Floats
    deviation: Floats
    """Standard deviation of the residuals."""
    t: Floats
    """Of the Dickey-Fuller regression on the residuals."""


def critical(level: str, count: int) -> float:
    """The critical value of a test with `count` observations, at 1%, 5% or 10%."""
    b0, b1, b2 = CRITICAL[level]
    return b0 + b1 / count + b2 / count**2


def engle_granger(a: Floats, b: Floats) -> Fit:
    """Regress the log prices a on b, both an array (time, pairs), and test the residuals for a unit root.

    The test is the augmented Dickey-Fuller regression with one lag and no constant: the change of the residual on the
    residual before and on the change before. A series that does not move has NaN.

    Source: Engle and Granger (1987), "Co-Integration and Error Correction".
    """
    middle_a, middle_b = a.mean(axis=0), b.mean(axis=0)
    from_a, from_b = a - middle_a, b - middle_b
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = (from_a * from_b).sum(axis=0) / (from_b**2).sum(axis=0)
        rest = from_a - slope * from_b
        t = _dickey_fuller(rest)
    return Fit(slope, middle_a - slope * middle_b, rest.std(axis=0), t)


def _dickey_fuller(rest: Floats) -> Floats:
    """The t of `level` in: change = level x before + lag x change before."""
    change = np.diff(rest, axis=0)
    y, before, lagged = change[1:], rest[1:-1], change[:-1]
    xx, zz, xz = ((u * v).sum(axis=0) for u, v in ((before, before), (lagged, lagged), (before, lagged)))
    xy, zy = (before * y).sum(axis=0), (lagged * y).sum(axis=0)
    size = xx * zz - xz**2
    level, lag = (zz * xy - xz * zy) / size, (xx * zy - xz * xy) / size
    error = ((y - level * before - lag * lagged) ** 2).sum(axis=0) / (len(y) - 2)
    t: Floats = level / np.sqrt(error * zz / size)
    return t


def closest(logs: Floats, count: int) -> list[tuple[int, int]]:
    """The `count` pairs of columns of log prices (time, names) whose paths from the first row on differ least.

    Least squared distance of the paths, which start together at 0; a tie goes to the earlier columns.

    Source: Gatev, Goetzmann and Rouwenhorst (2006), "Pairs Trading: Performance of a Relative-Value Arbitrage Rule".
    """
    paths = logs - logs[0]
    square = (paths**2).sum(axis=0)
    apart = square[:, None] + square[None, :] - 2 * (paths.T @ paths)
    left, right = np.triu_indices(logs.shape[1], k=1)
    order = np.argsort(apart[left, right], kind="stable")[:count]
    return [(int(left[place]), int(right[place])) for place in order]


def spread_positions(z: Floats, enter: float, leave: float, stop: float) -> npt.NDArray[np.int8]:
    """Of a spread, session by session from flat: 1 long, -1 short, 0 flat.

    Opened against z where |z| reaches `enter` (and is below `stop`), closed where z has come back to within `leave` of
    0 or crossed it. |z| at `stop` or beyond closes it for good. NaN changes nothing.
    """
    held, broken = 0, False
    found = np.zeros(len(z), dtype=np.int8)
    for at, value in enumerate(z):
        if abs(value) >= stop:
            held, broken = 0, True
        elif held and -held * value <= leave:
            held = 0
        elif not held and not broken and abs(value) >= enter:
            held = -1 if value > 0 else 1
        found[at] = held
    return found
