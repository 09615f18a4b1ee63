"""A bar beside its own past: lagged returns and volume changes, ranks in time, and how long ago the extremes were."""

from __future__ import annotations

import math

import numpy as np

from quant_assets.features.definition import Feature
from quant_assets.features.kernels import inner, kernel
from quant_assets.features.precision import NOTHING


@kernel(inputs=["adj_close", "adj_volume"], parameters=["lag"], outputs=["change", "volume_change"])
def lagged(x: np.ndarray, p: np.ndarray, out: np.ndarray) -> None:
    """As it was `lag` bars ago: the close over the one before, less 1; the logarithm of the volume over the one before,
    NaN where one of the two is zero."""
    close, volume, lag = x[0], x[1], int(p[0])
    for i in range(lag + 1, close.size):
        now, before = i - lag, i - lag - 1
        out[0, i] = close[now] / close[before] - 1.0
        if volume[now] > 0 and volume[before] > 0:
            out[1, i] = math.log(volume[now] / volume[before])


@inner
def place(values: np.ndarray, nothing: float) -> float:
    """Rank of the last value among all, from 0 (the smallest) to 1; ties, closer than `nothing`, share their mean."""
    others = values.size - 1
    below, above = values[others] - nothing, values[others] + nothing
    smaller = larger = unknown = 0
    for j in range(others):  # without branches, so that several are compared at a time
        smaller += int(values[j] < below)
        larger += int(values[j] > above)
        unknown += int(values[j] != values[j])
    return math.nan if unknown or math.isnan(below) else 0.5 * (others + smaller - larger) / others


@inner
def largest(values: np.ndarray, first: int, last: int, before: int) -> int:
    """Where the largest of the values from `first` to `last` is; `before` is where it was up to the last but one."""
    if before >= first:
        return last if values[last] >= values[before] else before
    found = first
    for j in range(first + 1, last + 1):
        if values[j] >= values[found]:
            found = j
    return found


@inner
def since(values: np.ndarray, last: int, largest: int) -> int:
    """Bars from the last back to one as high as the largest, but for rounding."""
    at = last
    while values[at] < values[largest] - NOTHING * abs(values[last]):
        at -= 1
    return last - at


@kernel(inputs=["adj_close", "adj_volume"], parameters=["window"], outputs=["close", "volume", "change", "high", "low"])
def standing(x: np.ndarray, p: np.ndarray, out: np.ndarray) -> None:
    """Where the bar stands in the last n: the percent rank of its close, its volume and its return, (smaller + half of
    the equal) / (n - 1) of the others; and bars since the highest and since the lowest close, the latest of equals."""
    close, volume, window = x[0], x[1], int(p[0])
    change, fallen = np.full(close.size, np.nan), -close
    change[1:] = close[1:] / close[:-1] - 1.0
    high = low = -1
    for i in range(window - 1, close.size):
        first = i - window + 1
        out[0, i] = place(close[first : i + 1], NOTHING * close[i])
        out[1, i] = place(volume[first : i + 1], NOTHING * volume[i])
        out[2, i] = place(change[first : i + 1], NOTHING)
        high, low = largest(close, first, i, high), largest(fallen, first, i, low)
        out[3, i], out[4, i] = since(close, i, high), since(fallen, i, low)


LAGS = (
    *(
        Feature(
            f"return_1_lag_{lag}",
            "lags",
            f"Return of 1 bar, {lag} bar{'s' * (lag > 1)} ago",
            lagged,
            {"lag": lag},
            output="change",
            lookback=lag + 1,
            bounds=(-1.0, math.inf),
        )
        for lag in (1, 2, 3, 4, 5, 10, 21)
    ),
    *(
        Feature(
            f"volume_change_1_lag_{lag}",
            "lags",
            f"Logarithm of volume over that of the bar before, {lag} bar{'s' * (lag != 1)} ago",
            lagged,
            {"lag": lag},
            output="volume_change",
            lookback=lag + 1,
        )
        for lag in (0, 1, 2, 3, 5)
    ),
)

_STANDINGS = {  # output: (name, description, further bars)
    "close": ("close_rank", "Percent rank of the close in its last {}", 0),
    "volume": ("volume_rank", "Percent rank of the volume in its last {}", 0),
    "change": ("return_1_rank", "Percent rank of the return in its last {}", 1),
    "high": ("bars_since_high", "Bars since the highest of the last {} closes", 0),
    "low": ("bars_since_low", "Bars since the lowest of the last {} closes", 0),
}

RANKS = tuple(
    Feature(
        f"{name}_{window}",
        "rolling_ranks" if name.endswith("rank") else "extremes",
        description.format(window),
        standing,
        {"window": window},
        output=output,
        lookback=window - 1 + further,
        bounds=(0.0, 1.0 if name.endswith("rank") else window - 1.0),
    )
    for output, (name, description, further) in _STANDINGS.items()
    for window in (21, 63, 252)
)
