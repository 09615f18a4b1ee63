"""Risk parity, scaled to a target volatility."""

from __future__ import annotations

import math
from typing import ClassVar

import polars as pl
from pydantic import Field, model_validator

from quant_assets.strategies.base import Strategy, monthly, percent, to_intents, universe
from quant_assets.strategies.windows import CORRELATION, VOLATILITY, check_window


class RiskParity(Strategy):
    """Hold every name at a weight that makes each bear the same risk, and all together `target_volatility` a year.

    Weights are c / volatility, which bear equal risk where all correlations are alike. The portfolio's volatility is
    then c x sqrt(n (1 + (n - 1) r)) with r the mean correlation of the universe over 63 sessions (1 where there is
    none, and not below 0), which gives c. Weights are scaled down where they would add up to more than `max_gross`.
    Decided on the first session of each month.

    Source: Maillard, Roncalli and Teiletche (2010), "The Properties of Equally Weighted Risk Contribution Portfolios";
    the scaling after Moreira and Muir (2017), "Volatility-Managed Portfolios".
    """

    name: ClassVar[str] = "risk_parity"

    window: int = Field(default=63, ge=2, description="sessions of each name's volatility", examples=[63])
    target_volatility: float = Field(default=0.10, gt=0, le=2, description="of the portfolio, a year", examples=[0.1])
    max_gross: float = Field(default=1.0, gt=0, le=1, description="largest sum of the weights", examples=[1.0])
    sessions_a_year: int = Field(default=252, ge=200, le=366, description="365 for crypto", examples=[252])

    @model_validator(mode="after")
    def _offered(self) -> RiskParity:
        check_window(VOLATILITY, "window", self.window)
        return self

    @property
    def required_features(self) -> tuple[str, ...]:
        return (VOLATILITY.format(self.window), CORRELATION)

    @property
    def history(self) -> int:
        return 31  # back to the first session of the month and one before it

    def intents(self, features: pl.LazyFrame) -> pl.LazyFrame:
        own = pl.col(VOLATILITY.format(self.window))
        year = math.sqrt(self.sessions_a_year)
        frame = universe(self, features, monthly()).with_columns(
            # What does not move cannot be sized by how much it moves.
            score=pl.when(own > 0).then(own * year),
            confidence=pl.lit(None, pl.Float64),
            alike=pl.col(CORRELATION).clip(0.0, 1.0).fill_null(1.0),
        )
        names = pl.col("score").count().over("session")
        risk = self.target_volatility / (names * (1 + (names - 1) * pl.col("alike"))).sqrt()
        decided = (
            frame.filter(pl.col("rebalance"))
            .with_columns(weight=risk / pl.col("score"))
            .with_columns(gross=pl.col("weight").sum().over("session", order_by="symbol"))
            .with_columns(scale=(self.max_gross / pl.col("gross")).clip(upper_bound=1.0))
            .select(
                "symbol",
                "decided",
                target_weight=pl.col("weight") * pl.col("scale"),
                reason=pl.format(
                    "volatility {} a year, mean correlation {} on {}",
                    percent(pl.col("score")), pl.col("alike").round(2), pl.col("session"),
                ),
            )
        )  # fmt: skip
        return to_intents(
            frame.join(decided, on=["symbol", "decided"], how="left").with_columns(
                pl.col("target_weight").fill_null(0.0),
                pl.col("reason").fill_null("no volatility at the last decision"),
            )
        )
