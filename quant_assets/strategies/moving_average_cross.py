"""Trend following on two moving averages."""

from __future__ import annotations

from typing import ClassVar

import polars as pl
from pydantic import Field, model_validator

from quant_assets.strategies.base import Strategy, equal_shares, monthly, percent, to_intents, universe
from quant_assets.strategies.windows import CLOSE_TO_SMA, check_window


class MovingAverageCross(Strategy):
    """Long while the average of the last `fast` closes is above that of the last `slow`, else flat.

    Each name weighs 1/(tradable names), counted on the first session of the month, when holdings are also brought
    back to their weights; more names than then share the whole. Entries and exits come on any session.

    Source: Brock, Lakonishok and LeBaron (1992), "Simple Technical Trading Rules and the Stochastic Properties of
    Stock Returns", the variable-length moving average.
    """

    name: ClassVar[str] = "moving_average_cross"

    fast: int = Field(default=50, ge=1, description="sessions of the shorter average", examples=[50])
    slow: int = Field(default=200, ge=2, description="sessions of the longer average", examples=[200])

    @model_validator(mode="after")
    def _offered(self) -> MovingAverageCross:
        if self.fast >= self.slow:
            raise ValueError(f"fast {self.fast} must be smaller than slow {self.slow}; for example fast: 50, slow: 200")
        for parameter, window in (("fast", self.fast), ("slow", self.slow)):
            check_window(CLOSE_TO_SMA, parameter, window)
        return self

    @property
    def required_features(self) -> tuple[str, ...]:
        return (CLOSE_TO_SMA.format(self.fast), CLOSE_TO_SMA.format(self.slow))

    @property
    def history(self) -> int:
        return 31  # back to the first session of the month and one before it

    def intents(self, features: pl.LazyFrame) -> pl.LazyFrame:
        fast, slow = (1 + pl.col(name) for name in self.required_features)
        frame = equal_shares(
            universe(self, features, monthly())
            # close/slow over close/fast is fast/slow: how far the shorter average is above the longer one.
            .with_columns(score=slow / fast - 1, confidence=pl.lit(None, pl.Float64))
        )
        return to_intents(
            frame.with_columns(
                target_weight=pl.when(pl.col("score") > 0).then("share").fill_null(0.0),
                reason=pl.format(f"sma {self.fast}/{self.slow} {{}}", percent(pl.col("score"))).fill_null(
                    f"sma {self.slow} is warming up"
                ),
            )
        )
