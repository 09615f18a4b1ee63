"""Features of what `attach` counts from trades, quotes and books: null without them, or beside an estimate from bars.

Half of a window's bars must have the column that a mean is of.
"""

from __future__ import annotations

import math

import numpy as np

from quant_assets.features.definition import UNBOUNDED, Feature
from quant_assets.features.kernels import Function, Kernel, kernel
from quant_assets.features.microstructure.spreads import abdi_ranaldo, from_middles
from quant_assets.features.microstructure.windows import mean_of_known


@kernel(inputs=["adj_high", "adj_low", "adj_close", "tick_quoted_spread"], parameters=["window"])
def spread(x: np.ndarray, p: np.ndarray, out: np.ndarray) -> None:
    """Mean quoted spread where at least half of the bars have one, else Abdi and Ranaldo's estimate of the window."""
    window = int(p[0])
    products = from_middles(x[0], x[1], x[2])
    for i in range(window, x.shape[1]):
        quoted = mean_of_known(x[3, i - window + 1 : i + 1])
        out[0, i] = abdi_ranaldo(products[i - window + 1 : i + 1]) if math.isnan(quoted) else quoted


def mean(x: np.ndarray, p: np.ndarray, out: np.ndarray) -> None:
    """Mean of what is known of the last `window` bars."""
    window = int(p[0])
    for i in range(window - 1, x.shape[1]):
        out[0, i] = mean_of_known(x[0, i - window + 1 : i + 1])


def mean_difference(x: np.ndarray, p: np.ndarray, out: np.ndarray) -> None:
    """Mean of the first column less the second over the last `window` bars."""
    window = int(p[0])
    less = x[0] - x[1]
    for i in range(window - 1, less.size):
        out[0, i] = mean_of_known(less[i - window + 1 : i + 1])


def mean_product(x: np.ndarray, p: np.ndarray, out: np.ndarray) -> None:
    """Mean of the first column times the second over the last `window` bars."""
    window = int(p[0])
    times = x[0] * x[1]
    for i in range(window - 1, times.size):
        out[0, i] = mean_of_known(times[i - window + 1 : i + 1])


def against_usual(x: np.ndarray, p: np.ndarray, out: np.ndarray) -> None:
    """Log of the mean over `fast` bars over that of `slow`."""
    fast, slow = int(p[0]), int(p[1])
    for i in range(slow - 1, x.shape[1]):
        now, usual = mean_of_known(x[0, i - fast + 1 : i + 1]), mean_of_known(x[0, i - slow + 1 : i + 1])
        if now > 0.0:
            out[0, i] = math.log(now / usual)


def quotient_against_usual(x: np.ndarray, p: np.ndarray, out: np.ndarray) -> None:
    """Log of the mean of the first column over the second, over `fast` bars over `slow`; where the first is above 0."""
    fast, slow = int(p[0]), int(p[1])
    share = np.where(x[0] > 0.0, x[0] / x[1], np.nan)
    for i in range(slow - 1, share.size):
        now, usual = mean_of_known(share[i - fast + 1 : i + 1]), mean_of_known(share[i - slow + 1 : i + 1])
        if now > 0.0:
            out[0, i] = math.log(now / usual)


def _kernel(function: Function, columns: tuple[str, ...], *parameters: str) -> Kernel:
    """Of these columns; with the close beside them, for a bar without prices is a gap to every feature."""
    return Kernel(function, (*columns, "adj_close"), parameters)


_SIGNED, _SPREAD = (-1.0, 1.0), (0.0, 2.0)
_FLOW = "Cont, Kukanov and Stoikov (2014), The Price Impact of Order Book Events"
_COSTS = "Huang and Stoll (1996), Dealer versus Auction Markets"

_MEANS = (
    ("quoted_spread", (1, 21), ("tick_quoted_spread",), mean, _SPREAD, "Time-weighted quoted spread", ""),
    ("effective_spread", (21,), ("tick_effective_spread",), mean, (0.0, math.inf), "Effective spread", _COSTS),
    ("realised_spread", (21,), ("tick_realised_spread",), mean, UNBOUNDED, "Realised spread", _COSTS),
    ("price_impact", (21,), ("tick_effective_spread", "tick_realised_spread"), mean_difference, UNBOUNDED,
     "Effective less realised spread", _COSTS),
    ("trade_imbalance", (1, 21), ("tick_imbalance",), mean, _SIGNED, "Volume bought less sold over all",
     "Lee and Ready (1991), Inferring Trade Direction from Intraday Data"),
    ("order_flow_imbalance", (1, 21), ("quote_flow", "quote_traffic"), mean_product, UNBOUNDED,
     "Order flow at the best quotes over their depth", _FLOW),
    ("quote_flow_share", (21,), ("quote_flow",), mean, _SIGNED, "Net over all order flow at the best quotes", _FLOW),
    ("quote_imbalance", (1, 21), ("quote_imbalance",), mean, _SIGNED, "Bid less ask size at the best quotes", ""),
    ("book_imbalance", (1, 21), ("book_imbalance",), mean, _SIGNED, "Bid less ask size in the book", ""),
    ("trade_vwap_gap", (1,), ("tick_vwap_gap",), mean, UNBOUNDED, "Log of the last trade over the trades' VWAP", ""),
)  # fmt: skip

_RATIOS = (
    ("trade_count_ratio", ("tick_count",), against_usual, "number of trades"),
    ("trade_size_ratio", ("adj_volume", "tick_count"), quotient_against_usual, "size of a trade"),
    ("book_depth_ratio", ("book_depth",), against_usual, "worth of what stands in the book"),
    ("quoted_spread_ratio", ("tick_quoted_spread",), against_usual, "quoted spread"),
)

QUOTED = (
    Feature(
        "spread_21",
        "spread",
        "Best estimate of the spread, 21 bars: quoted where half have quotes, else Abdi and Ranaldo's",
        spread,
        {"window": 21},
        lookback=21,
        bounds=(0.0, math.inf),
    ),
    *(
        Feature(
            f"{name}_{window}",
            "ticks",
            f"{what}, {f'mean of {window} bars' if window > 1 else 'the bar'}; null without ticks",
            _kernel(function, inputs, "window"),
            {"window": window},
            lookback=window - 1,
            bounds=bounds,
            source=source,
        )
        for name, windows, inputs, function, bounds, what, source in _MEANS
        for window in windows
    ),
    *(
        Feature(
            f"{name}_5_63",
            "ticks",
            f"Log of the mean {what} of 5 bars over that of 63; null without ticks",
            _kernel(function, inputs, "fast", "slow"),
            {"fast": 5, "slow": 63},
            lookback=62,
        )
        for name, inputs, function, what in _RATIOS
    ),
)
