"""How much is traded, and how the price answers. A session without trading has a volume of zero."""

from __future__ import annotations

import math

import polars as pl

from quant_assets.features.definition import Feature
from quant_assets.features.expressions import CLOSE, HIGH, LOW, NOTHING, VOLUME, log_return, ratio, varies


def volume_zscore(window: int) -> pl.Expr:
    """Volume against its mean, in standard deviations of the last `window` sessions; null where all are alike."""
    score = (VOLUME - VOLUME.rolling_mean(window)) / VOLUME.rolling_std(window, ddof=0)
    return pl.when(varies(VOLUME, window, VOLUME.rolling_max(window))).then(score)


def volume_ratio(fast: int, slow: int) -> pl.Expr:
    """Mean volume of `fast` sessions over that of `slow`."""
    return ratio(VOLUME.rolling_mean(fast), VOLUME.rolling_mean(slow), VOLUME.rolling_max(slow))


def obv_slope(window: int) -> pl.Expr:
    """Mean step of on-balance volume over the last `window` sessions, as a fraction of their mean volume.

    OBV adds the volume of a session whose close rose and takes off that of one whose close fell.
    """
    change = CLOSE / CLOSE.shift() - 1
    signed = VOLUME * pl.when(change.abs() > NOTHING).then(change.sign()).otherwise(0.0)
    return ratio(signed.rolling_sum(window), VOLUME.rolling_sum(window), VOLUME.rolling_max(window))


def chaikin_money_flow(window: int) -> pl.Expr:
    """Volume weighted by where each close lies in its bar, from -1 (the low) to 1 (the high)."""
    place = ratio(2 * CLOSE - HIGH - LOW, HIGH - LOW, CLOSE).fill_null(0.0)
    flow = (place * VOLUME).rolling_sum(window)
    return ratio(flow, VOLUME.rolling_sum(window), VOLUME.rolling_max(window))


def amihud(fast: int, slow: int) -> pl.Expr:
    """Log of the mean price impact of `fast` sessions over that of `slow`: above 0 is less liquid than usual.

    Impact is |return| per dollar traded; taken against the symbol's own past, because dollars per return are no
    common scale. Sessions without trading have no impact, and half of the window must have traded.
    """
    impact = log_return().abs() / pl.when(VOLUME > 0).then(VOLUME * CLOSE)
    now = impact.rolling_mean(fast, min_samples=fast // 2)
    usual = impact.rolling_mean(slow, min_samples=slow // 2)
    return ratio(now, usual, impact.rolling_max(slow, min_samples=1)).log()


def untraded(window: int) -> pl.Expr:
    """Share of the last `window` sessions without volume."""
    return (VOLUME == 0).cast(pl.Float64).rolling_mean(window)


VOLUMES = (
    Feature(
        "volume_zscore_63",
        "volume",
        "Volume in standard deviations from its mean of 63 sessions",
        volume_zscore,
        {"window": 63},
        lookback=62,
        bounds=(-math.sqrt(62), math.sqrt(62)),
    ),
    Feature(
        "volume_ratio_5_63",
        "volume",
        "Mean volume of 5 sessions over that of 63",
        volume_ratio,
        {"fast": 5, "slow": 63},
        lookback=62,
        bounds=(0.0, 63 / 5),
    ),
    Feature(
        "obv_slope_21",
        "volume",
        "Mean step of on-balance volume over mean volume, 21 sessions",
        obv_slope,
        {"window": 21},
        lookback=21,
        bounds=(-1.0, 1.0),
        source="Granville (1963), New Key to Stock Market Profits",
    ),
    Feature(
        "chaikin_money_flow_21",
        "volume",
        "Volume weighted by the place of the close, 21 sessions",
        chaikin_money_flow,
        {"window": 21},
        lookback=20,
        bounds=(-1.0, 1.0),
        source="Chaikin's money flow",
    ),
    Feature(
        "amihud_21",
        "volume",
        "Price impact of 21 sessions against that of 252, in logs",
        amihud,
        {"fast": 21, "slow": 252},
        lookback=252,
        source="Amihud (2002), Illiquidity and Stock Returns",
    ),
    Feature(
        "untraded_63",
        "volume",
        "Share of 63 sessions without trading",
        untraded,
        {"window": 63},
        lookback=62,
        bounds=(0.0, 1.0),
        source="Lesmond, Ogden and Trzcinka (1999), on zero-trading days",
    ),
)
