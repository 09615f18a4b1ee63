"""Who pushes the price, and how steadily it is traded."""

from __future__ import annotations

import math

import numpy as np

from quant_assets.features.definition import Feature
from quant_assets.features.kernels import inner, kernel
from quant_assets.features.microstructure.windows import bought, deviation, log_returns

_SIGNED = ["adj_close", "adj_volume", "tick_imbalance"]


@kernel(inputs=_SIGNED, parameters=["window", "usual"])
def flow_imbalance(x: np.ndarray, p: np.ndarray, out: np.ndarray) -> None:
    """Volume bought less sold over `window` bars, over all of it.

    A bar without signed trades is signed by its return in standard deviations of the last `usual` returns.
    """
    close, volume, imbalance = x[0], x[1], x[2]
    window, usual = int(p[0]), int(p[1])
    returns = log_returns(close)
    for i in range(usual, close.size):
        spread = deviation(returns[i - usual + 1 : i + 1])
        net = total = 0.0
        for j in range(i - window + 1, i + 1):
            net += volume[j] * bought(imbalance[j], returns[j], spread)
            total += volume[j]
        out[0, i] = net / total


@inner
def one_sided(volume: np.ndarray, side: np.ndarray, buckets: int) -> float:
    """Mean |bought - sold| over buckets of equal volume, as a fraction of it.

    The buckets are filled backwards from the last bar; a bar that does not fit goes on in the next bucket.
    """
    whole = volume.sum()
    size = whole / buckets
    room, net, found = size, 0.0, 0.0
    for j in range(volume.size - 1, -1, -1):
        left = volume[j]
        while left > 0.0:
            taken = min(left, room)
            net += side[j] * taken
            left -= taken
            room -= taken
            if room <= 1e-12 * size:
                found += abs(net)
                room, net = size, 0.0
    return (found + abs(net)) / whole


@kernel(inputs=_SIGNED, parameters=["window", "buckets"])
def vpin(x: np.ndarray, p: np.ndarray, out: np.ndarray) -> None:
    """Volume-synchronised probability of informed trading: `buckets` of equal volume made of the last `window` bars.

    Each bar's volume is signed by its trades where they are known, otherwise by bulk volume classification with the
    standard deviation of the window's returns. The published one cuts buckets from the start of the day; these are cut
    backwards from the current bar, so that the value is a function of the window alone.
    """
    close, volume, imbalance = x[0], x[1], x[2]
    window, buckets = int(p[0]), int(p[1])
    returns = log_returns(close)
    side = np.empty(window)
    for i in range(window, close.size):
        first = i - window + 1
        spread = deviation(returns[first : i + 1])
        for j in range(window):
            side[j] = bought(imbalance[first + j], returns[first + j], spread)
        out[0, i] = one_sided(volume[first : i + 1], side, buckets)


@kernel(inputs=["adj_high", "adj_low", "adj_close", "adj_volume", "tick_vwap_gap"], parameters=["window"])
def vwap_distance(x: np.ndarray, p: np.ndarray, out: np.ndarray) -> None:
    """Log of the close over the volume-weighted price of the last `window` bars.

    A bar's price is that of its trades where they are known, otherwise the mean of high, low and close.
    """
    high, low, close, volume, gap = x[0], x[1], x[2], x[3], x[4]
    window = int(p[0])
    price = np.where(np.isnan(gap), (high + low + close) / 3.0, close * np.exp(-gap))
    for i in range(window - 1, close.size):
        paid = (price[i - window + 1 : i + 1] * volume[i - window + 1 : i + 1]).sum()
        out[0, i] = math.log(close[i] * volume[i - window + 1 : i + 1].sum() / paid)


@kernel(
    inputs=["adj_close", "adj_volume"],
    parameters=["fast", "slow"],
    outputs=["unchanged", "ratio", "variation", "concentration"],
)
def activity(x: np.ndarray, p: np.ndarray, out: np.ndarray) -> None:
    """unchanged: share of `slow` returns that are zero. ratio: log of the mean dollars traded in `fast` bars over those
    in `slow`. variation: their standard deviation over their mean, `slow` bars. concentration: sum of the squared
    shares of the bars in the volume of `slow`: from 1 / slow (even) to 1 (all in one bar)."""
    close, volume = x[0], x[1]
    fast, slow = int(p[0]), int(p[1])
    returns, dollars = log_returns(close), close * volume
    for i in range(slow - 1, close.size):
        first = i - slow + 1
        if i >= slow:
            out[0, i] = (returns[first : i + 1] == 0.0).mean()
        usual = dollars[first : i + 1].mean()
        out[1, i] = math.log(dollars[i - fast + 1 : i + 1].mean() / usual)
        out[2, i] = deviation(dollars[first : i + 1]) / usual
        shares = volume[first : i + 1] / volume[first : i + 1].sum()
        out[3, i] = (shares * shares).sum()


_TOXICITY = "Easley, Lopez de Prado and O'Hara (2012), Flow Toxicity and Liquidity in a High-Frequency World"

FLOWS = (
    *(
        Feature(
            f"flow_imbalance_{window}",
            "flow",
            f"Volume bought less sold over all volume, {window} bars; signed by trades where known, else by returns",
            flow_imbalance,
            {"window": window, "usual": 63},
            lookback=63,
            bounds=(-1.0, 1.0),
            source=_TOXICITY,
        )
        for window in (5, 21)
    ),
    Feature(
        "vpin_50",
        "flow",
        "Share of volume that is one-sided, 10 buckets of equal volume from 50 bars; signed like flow_imbalance",
        vpin,
        {"window": 50, "buckets": 10},
        lookback=50,
        bounds=(0.0, 1.0),
        source=_TOXICITY,
    ),
    *(
        Feature(
            f"vwap_distance_{window}",
            "flow",
            f"Log of the close over the volume-weighted price of {window} bars",
            vwap_distance,
            {"window": window},
            lookback=window - 1,
        )
        for window in (5, 21, 63)
    ),
)

_ACTIVITY = (
    ("zero_return_share_63", "unchanged", "Share of 63 bars whose close did not change", 63, (0.0, 1.0),
     "Lesmond, Ogden and Trzcinka (1999), A New Estimate of Transaction Costs"),
    ("dollar_volume_ratio_5_63", "ratio", "Log of the mean dollars traded in 5 bars over those in 63", 62,
     (-math.inf, math.log(63 / 5)), ""),
    ("dollar_volume_variation_63", "variation", "Dollars traded: standard deviation over mean, 63 bars", 62,
     (0.0, math.sqrt(63)), "Chordia, Subrahmanyam and Anshuman (2001), Trading Activity and Expected Stock Returns"),
    ("volume_concentration_63", "concentration", "Sum of squared shares of bars in the volume of 63", 62,
     (1 / 63, 1.0), "the Herfindahl index of volume"),
)  # fmt: skip

ACTIVITY = tuple(
    Feature(name, "activity", what, activity, {"fast": 5, "slow": 63}, lookback=lookback, bounds=bounds, output=output,
            source=source)
    for name, output, what, lookback, bounds, source in _ACTIVITY
)  # fmt: skip
