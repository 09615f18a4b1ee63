"""Reversal: hold the names that fell most in the last days."""

from __future__ import annotations

from typing import ClassVar, Literal

import polars as pl
from pydantic import Field, model_validator

from quant_assets.strategies.base import Strategy, percent, to_intents, universe, weekly
from quant_assets.strategies.windows import RETURN, check_window


class ShortTermReversal(Strategy):
    """Each week hold the `hold` names with the lowest return over `lookback` sessions, equally weighted.

    `sides: long_short` is also short of as many with the highest, each side half of equity. Ranked on the first session
    of the week; of a small universe at most the half on either side, so that losers are losers.

    Source: Jegadeesh (1990), "Evidence of Predictable Behavior of Security Returns" (months) and Lehmann (1990),
    "Fads, Martingales, and Market Efficiency" (weeks).
    """

    name: ClassVar[str] = "short_term_reversal"

    lookback: int = Field(default=5, ge=1, description="sessions over which the return is measured", examples=[5])
    hold: int = Field(default=10, ge=1, description="how many names on a side", examples=[10])
    sides: Literal["long", "long_short"] = Field(default="long", examples=["long_short"])

    @model_validator(mode="after")
    def _offered(self) -> ShortTermReversal:
        check_window(RETURN, "lookback", self.lookback)
        return self

    @property
    def required_features(self) -> tuple[str, ...]:
        return (RETURN.format(self.lookback),)

    @property
    def history(self) -> int:
        return 7  # back to the first session of the week and one before it, in a market without weekends

    def intents(self, features: pl.LazyFrame) -> pl.LazyFrame:
        past = pl.col(self.required_features[0])
        frame = universe(self, features, weekly()).with_columns(
            score=(-past).clip(-1.0), confidence=pl.lit(None, pl.Float64)
        )
        worst = past.rank("ordinal").over("session")
        names = past.count().over("session")
        places = pl.min_horizontal(pl.lit(self.hold), names // 2)
        weight = (1.0 if self.sides == "long" else 0.5) / self.hold
        best = (worst > names - places) if self.sides == "long_short" else pl.lit(False)
        ranked = frame.filter(pl.col("rebalance")).select(
            "symbol",
            "decided",
            target_weight=pl.when(worst <= places).then(weight).when(best).then(-weight).otherwise(0.0),
            reason=pl.format(
                f"{self.lookback}-session return {{}}, {{}} from the bottom of {{}} on {{}}",
                percent(past), worst, names, pl.col("session"),
            ),
        )  # fmt: skip
        return to_intents(
            frame.join(ranked, on=["symbol", "decided"], how="left").with_columns(
                pl.col("target_weight").fill_null(0.0),
                pl.col("reason").fill_null("not ranked at the last rebalance"),
            )
        )
