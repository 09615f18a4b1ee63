"""From target weights to orders for the simulated exchange."""

from __future__ import annotations

import polars as pl

from quant_assets.strategies.base import BRACKET

SMALLEST_CHANGE = 1e-9
"""Targets nearer to each other than this (as a fraction of equity) are the same target."""


def orders(intents: pl.LazyFrame, tag: str = "") -> pl.LazyFrame:
    """One market order to a target weight whenever the target changes, or a rebalance day comes.

    Takes INTENT_SCHEMA; returns ts (submit instant: when the signal is known, so that it fills at the next open),
    symbol, target_weight, type, tif, take_profit_fraction, stop_loss_fraction, reduce_only and tag, sorted by ts and
    symbol. On other days nothing is sent, so holdings drift with prices; a rebalance day sends every target again that
    is not flat. Orders rest until they are filled or replaced by the symbol's next target, so thin volume delays an
    exit and does not undo it.

    A target with a bracket is sent once, when it opens, with its exits; then only when it ends or turns round. Sent
    again on a rebalance day it would buy what its bracket has closed. Its exits are the exchange's from then on. An
    order to be flat only reduces: where a bracket closes the position at the same open, it would else open another.
    """
    target, before = pl.col("target_weight"), previous_target()
    again = pl.col("rebalance") & (target.abs() > SMALLEST_CHANGE) & ~bracketed()
    opens = target.abs() > pl.when(direction(target) == direction(before)).then(before.abs()).otherwise(SMALLEST_CHANGE)
    return (
        intents.with_columns(
            *(pl.when(opens).then(name).alias(name) for name in BRACKET), sent=(wanted_change() != 0) | again
        )
        .filter("sent")
        .select(
            "symbol",
            "target_weight",
            *BRACKET,
            ts="known_at",
            type=pl.lit("market"),
            tif=pl.lit("gtc"),
            reduce_only=target.abs() <= SMALLEST_CHANGE,
            tag=pl.lit(tag),
        )
        .select("ts", "symbol", "target_weight", "type", "tif", *BRACKET, "reduce_only", "tag")
        .sort("ts", "symbol")
    )


def previous_target() -> pl.Expr:
    """The target of the symbol's row before; 0.0 on its first."""
    return pl.col("target_weight").shift(1).over("symbol", order_by="ts").fill_null(0.0)


def bracketed() -> pl.Expr:
    """Whether the target has exits of its own."""
    return pl.any_horizontal(pl.col(name).is_not_null() for name in BRACKET)


def direction(weight: pl.Expr) -> pl.Expr:
    """1 long, -1 short, 0 flat."""
    return pl.when(weight.abs() > SMALLEST_CHANGE).then(weight.sign().cast(pl.Int8)).otherwise(pl.lit(0, pl.Int8))


def wanted_change() -> pl.Expr:
    """Which way the target has moved since the row before: 1, -1, or 0. A bracketed one moves by opening or turning."""
    target, before = pl.col("target_weight"), previous_target()
    change = direction(target - before)
    return pl.when(bracketed() & (direction(target) == direction(before))).then(pl.lit(0, pl.Int8)).otherwise(change)
