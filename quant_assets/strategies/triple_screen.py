"""Two timeframes: the week says which way, the day says when."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import polars as pl
from pydantic import Field, model_validator

from quant_assets.strategies.base import Strategy, entered, equal_shares, monthly, percent, to_intents, universe, weekly
from quant_assets.strategies.windows import CLOSE, RSI, check_window


class TripleScreen(Strategy):
    """Buy a daily pullback (RSI below `pullback`) in a weekly uptrend; leave when either is over.

    The weekly trend is up while the last weekly close is above the mean of the last `weeks` and that mean has risen
    since the week before. Only whole weeks before the current one count. The pullback is over when RSI is above
    `recovered`, or after `patience` sessions without one. Each name weighs 1/(tradable names), counted on the first
    session of the month, when holdings are also brought back to their weights.

    Weekly bars are made here, of the daily closes that the panel has: the lake stores no features of coarser bars.

    Source: Elder (1993), "Trading for a Living", the triple screen, with an average in place of the weekly MACD
    histogram, RSI in place of the force index, and without its third screen (the way to enter within the day).
    """

    name: ClassVar[str] = "triple_screen"

    weeks: int = Field(default=26, ge=2, le=104, description="weekly closes of the average", examples=[26])
    window: int = Field(default=7, ge=1, description="sessions of the daily RSI", examples=[7])
    pullback: float = Field(default=40.0, gt=0, lt=100, description="daily RSI that is bought below", examples=[40])
    recovered: float = Field(default=70.0, gt=0, lt=100, description="daily RSI that is sold above", examples=[70])
    patience: int = Field(default=30, ge=1, le=260, description="sessions since the last pullback", examples=[30])

    @model_validator(mode="after")
    def _offered(self) -> TripleScreen:
        if self.pullback >= self.recovered:
            raise ValueError(
                f"pullback {self.pullback} must be smaller than recovered {self.recovered}; for example pullback: 40"
            )
        check_window(RSI, "window", self.window)
        return self

    @property
    def required_features(self) -> tuple[str, ...]:
        return (RSI.format(self.window), CLOSE)

    @property
    def history(self) -> int:
        # The weeks of the average and one more, whole, before the oldest session whose trend can matter.
        return max(31, 7 * (self.weeks + 3) + self.patience)

    def intents(self, features: pl.LazyFrame) -> pl.LazyFrame:
        rsi, trend = pl.col(RSI.format(self.window)), pl.col("trend")
        daily = universe(self, features, monthly()).with_columns(week=weekly())
        frame = daily.join(self._weekly(daily), on=["symbol", "week"], how="left").with_columns(
            up=((trend > 0) & pl.col("rising")).fill_null(False)
        )
        long = entered(pl.col("up") & (rsi < self.pullback), ~pl.col("up") | (rsi > self.recovered), self.patience)
        return to_intents(
            equal_shares(frame.with_columns(long=long, score=trend, confidence=pl.lit(None, pl.Float64))).with_columns(
                target_weight=pl.when("long").then("share").fill_null(0.0),
                reason=pl.when("up")
                .then(
                    pl.format(
                        f"weekly trend up, {{}} to its mean; rsi {self.window} at {{}}", percent(trend), rsi.round(1)
                    )
                )
                .otherwise(pl.format("weekly trend not up, {} to its mean", percent(trend)))
                .fill_null(f"{self.weeks} weeks or rsi {self.window} are warming up"),
            )
        )

    def _weekly(self, daily: pl.LazyFrame) -> pl.LazyFrame:
        """By symbol and week: trend (last close before the week over the mean, less 1) and whether the mean rises.

        A week without a close leaves both null until it is out of the mean, whatever the frame holds before it.
        """
        closes = daily.group_by("symbol", "week").agg(pl.col(CLOSE).sort_by("ts").last())
        # Every week of every name has a row: shifting over a gap would reach as far back as the history goes.
        grid = daily.select("symbol").unique().join(daily.select("week").unique(), how="cross").sort("symbol", "week")
        rows = grid.join(closes, on=["symbol", "week"], how="left", maintain_order="left")
        total = pl.col(CLOSE).shift(1).map_batches(self._sums, return_dtype=pl.Float64)
        own = pl.col("symbol") == pl.col("symbol").shift(self.weeks + 1)
        return rows.with_columns(total=total).select(
            "symbol",
            "week",
            trend=pl.when(own).then(pl.col(CLOSE).shift(1) * self.weeks / pl.col("total") - 1),
            rising=pl.when(own).then(pl.col("total") > pl.col("total").shift(1)),
        )

    def _sums(self, closes: pl.Series) -> pl.Series:
        """Of each `weeks` values, null where one is. Added up anew: a rolling sum carries rounding from long before."""
        values = closes.to_numpy()
        sums = np.full(len(values), np.nan)
        if len(values) >= self.weeks:
            sums[self.weeks - 1 :] = sum(
                values[back : len(values) - self.weeks + 1 + back] for back in range(self.weeks)
            )
        return pl.Series(sums, nan_to_null=True)
