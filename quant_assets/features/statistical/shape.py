"""How returns are distributed: moments, tails, and how evenly they fill their range."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np

from quant_assets.features.definition import Feature
from quant_assets.features.kernels import inner, kernel
from quant_assets.features.statistical.windows import NEGLIGIBLE, log_returns, squares, summing, total

BINS = 9
"""Of the entropy. An odd number, so that a return of nothing lies inside one and not between two."""

_EDGES = tuple(NormalDist().inv_cdf(k / BINS) for k in range(1, BINS))


@summing
def _third_and_fourth(values: np.ndarray, centre: float) -> tuple[float, float]:
    third, fourth = 0.0, 0.0
    for j in range(values.size):
        distance = values[j] - centre
        square = distance * distance
        third += square * distance
        fourth += square * square
    return third, fourth


@kernel(inputs=["adj_close"], parameters=["window"], outputs=["skewness", "kurtosis"])
def moments(x: np.ndarray, p: np.ndarray, out: np.ndarray) -> None:
    """Skewness m3 / m2^1.5 and excess kurtosis m4 / m2^2 - 3 of the last `window` log returns, by their central
    moments with 1/n; null where the returns are all alike.
    """
    n, returns = int(p[0]), log_returns(x[0])
    for i in range(n, returns.size):
        window = returns[i - n + 1 : i + 1]
        mean = total(window) / n
        second = squares(window, mean) / n
        if second > NEGLIGIBLE**2:
            third, fourth = _third_and_fourth(window, mean)
            out[0, i] = third / n / second**1.5
            out[1, i] = fourth / n / (second * second) - 3.0


@inner
def _slide(ordered: np.ndarray, gone: float, come: float) -> None:
    """Put one value in the place of another, and keep them in order."""
    place = np.searchsorted(ordered, gone)
    while place + 1 < ordered.size and ordered[place + 1] < come:
        ordered[place] = ordered[place + 1]
        place += 1
    while place > 0 and ordered[place - 1] > come:
        ordered[place] = ordered[place - 1]
        place -= 1
    ordered[place] = come


@inner
def _hill(ordered: np.ndarray, count: int, side: int) -> float:
    """Mean log excess of the `count` largest losses (side -1) or gains (1) over the next one; NaN if that is none."""
    first = 0 if side < 0 else ordered.size - count
    threshold = side * ordered[count if side < 0 else first - 1]
    if not threshold > NEGLIGIBLE:
        return np.nan
    excess = 0.0
    for j in range(first, first + count):
        excess += np.log(side * ordered[j] / threshold)
    return excess / count


@kernel(
    inputs=["adj_close"],
    parameters=["window"],
    outputs=["value_at_risk", "expected_shortfall", "left", "right"],
)
def tails(x: np.ndarray, p: np.ndarray, out: np.ndarray) -> None:
    """Tails of the last `window` = n log returns, by rank.

    With k = 5 % of n, rounded up: value at risk is the k-th largest loss (minus the k-th smallest return), expected
    shortfall the mean of the k largest losses. Both are negative where even those were gains. Hill's estimate of the
    tail index (1 / alpha; larger is heavier) of losses and of gains: the mean log ratio of the n/10 largest to the
    next one; null where that one is not a loss (a gain).
    """
    n, returns = int(p[0]), log_returns(x[0])
    worst, beyond = int(np.ceil(0.05 * n - 1e-9)), n // 10
    ordered, whole = np.empty(n), False
    for i in range(n, returns.size):
        window = returns[i - n + 1 : i + 1]
        # The order is kept from bar to bar: it is exact, and has no rounding to keep.
        if whole and np.isfinite(returns[i]):
            _slide(ordered, returns[i - n], returns[i])
        else:
            whole = np.isfinite(total(window))
            if not whole:
                continue
            ordered[:] = np.sort(window)
        out[0, i] = -ordered[worst - 1]
        out[1, i] = -total(ordered[:worst]) / worst
        out[2, i] = _hill(ordered, beyond, -1)
        out[3, i] = _hill(ordered, beyond, 1)


@summing
def _below(values: np.ndarray, edge: float) -> float:
    """How many are."""
    found = 0.0
    for j in range(values.size):
        found += 1.0 if values[j] < edge else 0.0
    return found


@kernel(inputs=["adj_close"], parameters=["window"])
def entropy(x: np.ndarray, p: np.ndarray, out: np.ndarray) -> None:
    """Shannon entropy of the last `window` log returns over nine bins, as a fraction of the most possible, log 9.

    The bins are those that a normal distribution with the window's own mean and deviation would fill equally: 1 where
    the returns do, less where they heap up. Null where they are all alike.
    """
    n, returns = int(p[0]), log_returns(x[0])
    for i in range(n, returns.size):
        window = returns[i - n + 1 : i + 1]
        mean = total(window) / n
        scale = np.sqrt(squares(window, mean) / n)
        if not scale > NEGLIGIBLE:
            continue
        found, before = 0.0, 0.0
        for k in range(BINS):
            until = _below(window, mean + _EDGES[k] * scale) if k < BINS - 1 else 1.0 * n
            share, before = (until - before) / n, until
            if share > 0:
                found -= share * np.log(share)
        out[0, i] = found / np.log(BINS)


@kernel(inputs=["adj_close"], parameters=["window", "order"])
def permutation_entropy(x: np.ndarray, p: np.ndarray, out: np.ndarray) -> None:
    """Entropy of the orders in which `order` log returns in a row stand, among the last `window`, over log(order!).

    1 where every order is as frequent as any other, 0 where there is only one. Returns that differ by rounding alone
    are ties, and stand in the order of time.
    """
    n, order, returns = int(p[0]), int(p[1]), log_returns(x[0])
    patterns = 1
    for k in range(2, order + 1):
        patterns *= k
    codes = np.zeros(returns.size, dtype=np.int64)
    for i in range(order, returns.size):
        for a in range(order):
            smaller = 0
            for b in range(a + 1, order):
                smaller += returns[i - order + 1 + b] < returns[i - order + 1 + a] - NEGLIGIBLE
            codes[i] = codes[i] * (order - a) + smaller
    # Whole numbers may be counted from bar to bar: they keep no rounding.
    counts, held = np.zeros(patterns), n - order + 1
    for i in range(order, returns.size):
        counts[codes[i]] += 1.0
        if i - held >= order:
            counts[codes[i - held]] -= 1.0
        if i >= n:
            found = 0.0
            for k in range(patterns):
                if counts[k] > 0:
                    found -= counts[k] / held * np.log(counts[k] / held)
            out[0, i] = found / np.log(patterns)


_HILL = "Hill (1975), A Simple General Approach to Inference About the Tail of a Distribution"

SHAPE = (
    *(
        Feature(
            f"skewness_{window}",
            "shape",
            f"Skewness of the last {window} log returns",
            moments,
            {"window": window},
            lookback=window,
            bounds=(-math.sqrt(window), math.sqrt(window)),
            output="skewness",
        )
        for window in (21, 63, 252)
    ),
    *(
        Feature(
            f"kurtosis_{window}",
            "shape",
            f"Excess kurtosis of the last {window} log returns",
            moments,
            {"window": window},
            lookback=window,
            bounds=(-2.0, float(window)),
            output="kurtosis",
        )
        for window in (21, 63, 252)
    ),
    *(
        Feature(
            f"{output}_95_{window}",
            "shape",
            f"{description} of the last {window} log returns, as a loss",
            tails,
            {"window": window},
            lookback=window,
            output=output,
            source="Jorion (2006), Value at Risk; Acerbi and Tasche (2002), On the Coherence of Expected Shortfall",
        )
        for output, description in (
            ("value_at_risk", "Loss that 95 % do not exceed"),
            ("expected_shortfall", "Mean of the worst 5 %"),
        )
        for window in (63, 252)
    ),
    *(
        Feature(
            f"hill_{side}_252",
            "shape",
            f"Tail index of the {what} among 252 log returns, from the 25 largest",
            tails,
            {"window": 252},
            lookback=252,
            bounds=(0.0, math.inf),
            output=side,
            source=_HILL,
        )
        for side, what in (("left", "losses"), ("right", "gains"))
    ),
    *(
        Feature(
            f"entropy_{window}",
            "shape",
            f"How evenly {window} log returns fill the bins that normal ones would, 0 to 1",
            entropy,
            {"window": window},
            lookback=window,
            bounds=(0.0, 1.0),
            source="Shannon (1948), A Mathematical Theory of Communication",
        )
        for window in (63, 252)
    ),
    *(
        Feature(
            f"permutation_entropy_{window}_{order}",
            "shape",
            f"How evenly the orders of {order} log returns in a row occur among {window}, 0 to 1",
            permutation_entropy,
            {"window": window, "order": order},
            lookback=window,
            bounds=(0.0, 1.0),
            source="Bandt and Pompe (2002), Permutation Entropy: A Natural Complexity Measure for Time Series",
        )
        for window, order in ((63, 3), (252, 4))
    ),
)
