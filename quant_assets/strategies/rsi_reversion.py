"""Mean reversion: buy a fall in an uptrend, with exits at the exchange."""

from __future__ import annotations

from typing import ClassVar

import polars as pl
from pydantic import Field, model_validator

from quant_assets.strategies.base import Strategy, entered, monthly, percent, to_intents, universe
from quant_assets.strategies.windows import CLOSE_TO_SMA, RSI, check_window


class RsiReversion(Strategy):
    """Buy while RSI is below `oversold` and the close above its `trend` average; leave when RSI is above `recovered`.

    Each purchase is a bracket: it takes its profit at `take_profit` above the last close, its loss at `stop_loss` below
    it, and what is closed so is not bought again before the rule has left. A name not oversold for `patience` sessions
    is left too. At most `slots` names at 1/slots of equity each: those that were oversold first, then by symbol.

    Source: Connors and Alvarez (2009), "Short Term Trading Strategies That Work", the 2-period RSI. Theirs has no
    stops; the bracket and `patience` are ours.
    """

    name: ClassVar[str] = "rsi_reversion"

    window: int = Field(default=2, ge=1, description="sessions of the RSI", examples=[2])
    trend: int = Field(default=200, ge=1, description="sessions of the average that says uptrend", examples=[200])
    oversold: float = Field(default=10.0, gt=0, lt=100, description="RSI that is bought below", examples=[10])
    recovered: float = Field(default=65.0, gt=0, lt=100, description="RSI that is sold above", examples=[65])
    patience: int = Field(default=10, ge=1, le=260, description="sessions since last oversold", examples=[10])
    slots: int = Field(default=10, ge=1, description="most names at once, each at 1/slots of equity", examples=[10])
    take_profit: float = Field(default=0.05, ge=0, lt=10, description="0 is no take-profit", examples=[0.05])
    stop_loss: float = Field(default=0.08, ge=0, lt=1, description="0 is no stop-loss", examples=[0.08])

    @model_validator(mode="after")
    def _offered(self) -> RsiReversion:
        if self.oversold >= self.recovered:
            raise ValueError(
                f"oversold {self.oversold} must be smaller than recovered {self.recovered}; for example oversold: 10"
            )
        check_window(RSI, "window", self.window)
        check_window(CLOSE_TO_SMA, "trend", self.trend)
        return self

    @property
    def required_features(self) -> tuple[str, ...]:
        return (RSI.format(self.window), CLOSE_TO_SMA.format(self.trend))

    @property
    def history(self) -> int:
        # Back to the latest fall, and from there to the first one that it may go on from.
        return 2 * self.patience

    def intents(self, features: pl.LazyFrame) -> pl.LazyFrame:
        rsi, uptrend = (pl.col(name) for name in self.required_features)
        enter, leave = (rsi < self.oversold) & (uptrend > 0), rsi > self.recovered
        frame = self._falls(
            universe(self, features, monthly()).with_columns(
                long=entered(enter, leave, self.patience),
                left=leave.fill_null(False).cast(pl.Int64).cum_sum().over("symbol", order_by="ts"),
            ),
            enter,
        )
        place = pl.when("long").then("fell").rank("ordinal").over("session", order_by="symbol")
        held = pl.col("long") & (pl.col("place") <= self.slots)
        return to_intents(
            frame.with_columns(place=place).with_columns(
                target_weight=pl.when(held).then(1.0 / self.slots).otherwise(0.0),
                score=(self.oversold - rsi) / 100,
                confidence=pl.lit(None, pl.Float64),
                # Never sent again while it lasts: its bracket may have closed it.
                rebalance=pl.lit(False),
                take_profit_fraction=pl.when(held & (self.take_profit > 0)).then(self.take_profit),
                stop_loss_fraction=pl.when(held & (self.stop_loss > 0)).then(self.stop_loss),
                reason=pl.when(pl.col("long") & ~held)
                .then(pl.lit(f"{self.slots} others were oversold before"))
                .otherwise(self._said(rsi, uptrend)),
            )
        )

    def _falls(self, frame: pl.LazyFrame, enter: pl.Expr) -> pl.LazyFrame:
        """Add fell: the first oversold session since the rule last left, within `patience` of the latest one."""
        first = pl.col("number").rolling_min_by("number", f"{self.patience}i").over("symbol", "left", order_by="ts")
        falls = frame.filter(enter).select("symbol", "ts", fell=first)
        return frame.join(falls, on=["symbol", "ts"], how="left").with_columns(
            pl.col("fell").forward_fill().over("symbol", order_by="ts")
        )

    def _said(self, rsi: pl.Expr, uptrend: pl.Expr) -> pl.Expr:
        return pl.format(
            f"rsi {self.window} at {{}}, close {{}} to sma {self.trend}", rsi.round(1), percent(uptrend)
        ).fill_null(f"rsi {self.window} or sma {self.trend} is warming up")
