"""Across asset classes: hold what rises most, and nothing that falls."""

from __future__ import annotations

from typing import ClassVar

import polars as pl
from pydantic import Field, model_validator

from quant_assets.strategies.base import (
    Strategy,
    absent,
    decisions,
    monthly,
    percent,
    symbols_of,
    to_intents,
    told_of,
    universe,
)
from quant_assets.strategies.windows import RETURN, check_window

STALE = "7d"
"""A market that was closed on the day of a decision is judged by its last session, if that is no older than this."""


class AssetRotation(Strategy):
    """Each month hold the `hold` best of some assets by return over `lookback` sessions, where that is positive.

    `symbols` names the assets, for example "SPY, TLT, GLD, BTCUSD" (all of the universe where it is empty). What finds
    no asset that rose goes into `refuge`, for example "BIL" (cash where it is empty). Equal weights of 1/hold, on one
    account. A market that is closed on the first session of the month is judged by its last session before it.

    Source: Antonacci (2014), "Dual Momentum Investing": relative momentum to choose, absolute momentum to take part;
    across asset classes as in Faber (2007), "A Quantitative Approach to Tactical Asset Allocation".
    """

    name: ClassVar[str] = "asset_rotation"

    symbols: str = Field(default="", description="assets, by commas; empty is all", examples=['"SPY, TLT, GLD"'])
    refuge: str = Field(default="", description="held in place of what does not rise; empty is cash", examples=["BIL"])
    lookback: int = Field(default=126, ge=1, description="sessions over which the return is measured", examples=[126])
    hold: int = Field(default=2, ge=1, description="how many assets to hold", examples=[2])

    @model_validator(mode="after")
    def _offered(self) -> AssetRotation:
        check_window(RETURN, "lookback", self.lookback)
        assets = symbols_of(self.symbols)
        if self.refuge in assets:
            raise ValueError(f"refuge {self.refuge} must not be one of symbols; leave it out of them")
        if assets and self.hold > len(assets):
            raise ValueError(f"hold {self.hold} is more than the {len(assets)} symbols; for example hold: 1")
        return self

    @property
    def required_features(self) -> tuple[str, ...]:
        return (RETURN.format(self.lookback),)

    @property
    def history(self) -> int:
        return 31 + 8  # the month and one session before it, and a week for markets that were closed then

    def intents(self, features: pl.LazyFrame) -> pl.LazyFrame:
        frame = universe(self, features, monthly()).with_columns(
            score=pl.col(self.required_features[0]), confidence=pl.lit(None, pl.Float64)
        )
        assets = symbols_of(self.symbols)
        lost = absent(features, [*assets, *([self.refuge] if self.refuge else [])])
        unknown = told_of(self, lost, nothing_left=bool(assets) and set(assets) <= set(lost))
        among = pl.col("symbol").is_in(assets) if assets else pl.col("symbol") != self.refuge
        chosen = self._chosen(frame.filter(among), decisions(features, monthly()))
        spare = chosen.group_by("decided").agg(spare=1.0 - pl.col("target_weight").sum())
        weight = pl.when(pl.col("symbol") == self.refuge).then("spare") if self.refuge else pl.lit(None, pl.Float64)
        moved = (pl.col("decided") != pl.col("decided").shift()).over("symbol", order_by="ts")
        return to_intents(
            frame.join(chosen, on=["symbol", "decided"], how="left")
            .join(spare, on="decided", how="left")
            .with_columns(
                pl.coalesce("target_weight", weight, pl.lit(0.0)).alias("target_weight"),
                # A market's own first session under the decision, which may come after the day of it.
                rebalance=moved.fill_null(True),
                reason=pl.coalesce("reason", self._other()) + unknown,
            )
        )

    def _chosen(self, assets: pl.LazyFrame, calendar: pl.LazyFrame) -> pl.LazyFrame:
        """target_weight and reason by symbol and decision."""
        days = calendar.filter("rebalance").select(session="decided")
        asked = assets.select("symbol").unique().join(days, how="cross").sort("session")
        known = assets.select("symbol", "session", "score", judged="session").sort("session")
        rank = pl.col("score").rank("ordinal", descending=True).over("session", order_by="symbol")
        held = (rank <= self.hold) & (pl.col("score") > 0)
        return asked.join_asof(known, on="session", by="symbol", tolerance=STALE, check_sortedness=False).select(
            "symbol",
            decided="session",
            target_weight=pl.when(held).then(1.0 / self.hold).otherwise(0.0),
            reason=pl.format("momentum {}, rank {} on {}", percent(pl.col("score")), rank, pl.col("judged")),
        )

    def _other(self) -> pl.Expr:
        refuge = pl.when(pl.col("symbol") == self.refuge).then(pl.lit("refuge of what does not rise"))
        return refuge.otherwise(pl.lit("not judged at the last decision"))
