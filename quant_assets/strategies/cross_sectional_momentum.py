"""Relative strength: hold the names that rose most."""

from __future__ import annotations

from typing import ClassVar, Literal

import polars as pl
from pydantic import Field, model_validator

from quant_assets.strategies.base import Strategy, monthly, percent, to_intents, universe, weekly
from quant_assets.strategies.windows import RETURN, check_window


class CrossSectionalMomentum(Strategy):
    """Hold the `hold` names with the highest return over `lookback` sessions, leaving out the last `skip`.

    Ranked on the first session of each week or month; equal weights of 1/hold, held until the next ranking. Fewer
    names with a return than `hold` leave the rest in cash.

    Source: Jegadeesh and Titman (1993), "Returns to Buying Winners and Selling Losers"; leaving out the last month,
    which tends to reverse, after Jegadeesh (1990), "Evidence of Predictable Behavior of Security Returns".
    """

    name: ClassVar[str] = "cross_sectional_momentum"

    lookback: int = Field(default=126, ge=1, description="sessions over which the return is measured", examples=[126])
    skip: int = Field(default=21, ge=0, description="latest sessions left out of it; 0 leaves out none", examples=[21])
    hold: int = Field(default=10, ge=1, description="how many names to hold", examples=[10])
    rebalance: Literal["weekly", "monthly"] = Field(default="monthly", examples=["monthly"])

    @model_validator(mode="after")
    def _offered(self) -> CrossSectionalMomentum:
        if self.skip >= self.lookback:
            raise ValueError(f"skip {self.skip} must be smaller than lookback {self.lookback}; for example skip: 21")
        for parameter, window in (("lookback", self.lookback), ("skip", self.skip)):
            if window:
                check_window(RETURN, parameter, window)
        return self

    @property
    def required_features(self) -> tuple[str, ...]:
        return tuple(RETURN.format(window) for window in (self.lookback, self.skip) if window)

    @property
    def history(self) -> int:
        # Back to the first session of this period and one before it; markets without weekends have the most.
        return 7 if self.rebalance == "weekly" else 31

    def intents(self, features: pl.LazyFrame) -> pl.LazyFrame:
        period = weekly() if self.rebalance == "weekly" else monthly()
        growth = 1 + pl.col(RETURN.format(self.lookback))
        recent = 1 + pl.col(RETURN.format(self.skip)) if self.skip else pl.lit(1.0)
        frame = universe(self, features, period).with_columns(
            score=growth / recent - 1, confidence=pl.lit(None, pl.Float64)
        )
        rank = pl.col("score").rank("ordinal", descending=True).over("session")
        ranked = frame.filter(pl.col("rebalance")).select(
            "symbol",
            "decided",
            target_weight=pl.when(rank <= self.hold).then(1.0 / self.hold).otherwise(0.0),
            reason=pl.format("momentum {}, rank {} on {}", percent(pl.col("score")), rank, pl.col("session")),
        )
        return to_intents(
            frame.join(ranked, on=["symbol", "decided"], how="left").with_columns(
                pl.col("target_weight").fill_null(0.0),
                pl.col("reason").fill_null("not ranked at the last rebalance"),
            )
        )
