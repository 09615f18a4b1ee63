"""Trade the model: hold the names that it expects most of."""

from __future__ import annotations

from typing import ClassVar

import polars as pl
from pydantic import Field

from quant_assets.strategies.base import Strategy, blocks, percent, to_intents, universe


class ModelScore(Strategy):
    """Hold the `hold` names with the highest positive score, each at confidence/hold of equity.

    Decided on the first session of each block of `rebalance` weekdays. A name that was among the best at the decision
    before is displaced only by one that ranks more than `buffer` places better, so that noise around the border does
    not turn the portfolio over. That memory reaches back one decision and no further, which is what lets a short
    window agree with the whole history.
    """

    name: ClassVar[str] = "model_score"
    needs_predictions: ClassVar[bool] = True

    hold: int = Field(default=10, ge=1, description="how many names to hold", examples=[10])
    rebalance: int = Field(default=5, ge=1, le=260, description="weekdays between decisions; 5 is weekly", examples=[5])
    buffer: int = Field(default=1, ge=0, description="places by which a newcomer must beat a name held", examples=[1])
    max_weight: float = Field(default=1.0, gt=0, le=1, description="largest weight of one name", examples=[0.3])

    @property
    def required_features(self) -> tuple[str, ...]:
        return ("score", "confidence")

    @property
    def history(self) -> int:
        # Two blocks, with every weekend day that they can hold in a market without weekends, and one session before.
        return 2 * (self.rebalance + 2 * (self.rebalance // 5 + 1)) + 1

    def intents(self, features: pl.LazyFrame) -> pl.LazyFrame:
        frame = universe(self, features, blocks(self.rebalance))
        weight = (pl.col("confidence").clip(0.0, 1.0) / self.hold).clip(upper_bound=self.max_weight).fill_null(0.0)
        judged = self._places(frame.filter(pl.col("rebalance"))).select(
            "symbol",
            "decided",
            target_weight=pl.when(pl.col("place") <= self.hold).then(weight).otherwise(0.0),
            reason=pl.coalesce(
                pl.format("score {}, rank {} on {}", percent(pl.col("score")), pl.col("rank"), pl.col("session")),
                pl.format("score {}, not positive on {}", percent(pl.col("score")), pl.col("session")),
                pl.format("no prediction on {}", pl.col("session")),
            ),
        )
        return to_intents(
            frame.join(judged, on=["symbol", "decided"], how="left").with_columns(
                pl.col("target_weight").fill_null(0.0),
                pl.col("reason").fill_null("not judged at the last decision"),
            )
        )

    def _places(self, frame: pl.LazyFrame) -> pl.LazyFrame:
        """Add rank (1 is the best positive score) and place (the rank after the head start of names held)."""
        ranked = frame.with_columns(
            rank=pl.when(pl.col("score") > 0).then("score").rank("ordinal", descending=True).over("session")
        )
        held = ranked.filter(pl.col("rank") <= self.hold).select(
            "symbol", decided_before="session", head_start=pl.lit(self.buffer + 0.5)
        )
        # Half a place more than the buffer: a tie goes to the name held, so that no two places are alike.
        return ranked.join(held, on=["symbol", "decided_before"], how="left").with_columns(
            place=(pl.col("rank") - pl.col("head_start").fill_null(0.0)).rank("ordinal").over("session")
        )
