"""Trend following on the highs and lows of a channel."""

from __future__ import annotations

from typing import ClassVar

import polars as pl
from pydantic import Field, model_validator

from quant_assets.strategies.base import Strategy, entered, equal_shares, monthly, to_intents, universe
from quant_assets.strategies.windows import BREAKOUT, check_window


class DonchianBreakout(Strategy):
    """Buy a close above the highest high of `entry` sessions; leave on a close below the lowest low of `exit` sessions.

    A trend without a new high for `patience` sessions is left too. Each name weighs 1/(tradable names), counted on the
    first session of the month, when holdings are also brought back to their weights.

    Source: Donchian's channel rule as in the Turtles' second system (Faith 2003, "The Original Turtle Trading Rules":
    55 and 20 days), long only, without its stops and pyramiding; `patience` is ours.
    """

    name: ClassVar[str] = "donchian_breakout"

    entry: int = Field(default=55, ge=1, description="sessions of the channel whose high is bought", examples=[55])
    exit: int = Field(default=20, ge=1, description="sessions of the channel whose low is sold", examples=[20])
    patience: int = Field(default=120, ge=1, le=2600, description="sessions without a new high", examples=[120])

    @model_validator(mode="after")
    def _offered(self) -> DonchianBreakout:
        if self.exit > self.entry:
            raise ValueError(f"exit {self.exit} must not be above entry {self.entry}; for example entry: 55, exit: 20")
        for parameter, window in (("entry", self.entry), ("exit", self.exit)):
            check_window(BREAKOUT, parameter, window)
        return self

    @property
    def required_features(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((BREAKOUT.format(self.entry), BREAKOUT.format(self.exit))))

    @property
    def history(self) -> int:
        return max(31, self.patience)  # 31: back to the first session of the month and one before it

    def intents(self, features: pl.LazyFrame) -> pl.LazyFrame:
        place, floor = pl.col(BREAKOUT.format(self.entry)), pl.col(BREAKOUT.format(self.exit))
        frame = equal_shares(universe(self, features, monthly())).with_columns(
            # Over the high of the channel, in channels; -1 is at its low, or under it.
            long=entered(place > 1, floor < 0, self.patience),
            score=(place - 1).clip(-1.0),
            confidence=pl.lit(None, pl.Float64),
        )
        return to_intents(
            frame.with_columns(
                target_weight=pl.when("long").then("share").fill_null(0.0),
                reason=pl.when(place > 1)
                .then(pl.format(f"above the {self.entry}-session high"))
                .when(floor < 0)
                .then(pl.format(f"below the {self.exit}-session low"))
                .when("long")
                .then(pl.lit(f"trend of a {self.entry}-session breakout"))
                .otherwise(pl.lit(f"no {self.entry}-session breakout in force")),
            )
        )
