"""From target weights to orders for the simulated exchange."""

from __future__ import annotations

import polars as pl

SMALLEST_CHANGE = 1e-9
"""Targets nearer to each other than this (as a fraction of equity) are the same target."""


def orders(intents: pl.LazyFrame, tag: str = "") -> pl.LazyFrame:
    """One market order to a target weight whenever the target changes, or a rebalance day comes.

    Takes INTENT_SCHEMA; returns ts (submit instant: when the signal is known, so that it fills at the next open),
    symbol, target_weight, type, tif and tag, sorted by ts and symbol. On other days nothing is sent, so holdings
    drift with prices; a rebalance day sends every target again that is not flat. Orders rest until they are filled
    or replaced by the symbol's next target, so thin volume delays an exit and does not undo it.
    """
    target = pl.col("target_weight")
    before = target.shift(1).over("symbol", order_by="ts").fill_null(0.0)
    changed = (target - before).abs() > SMALLEST_CHANGE
    return (
        intents.filter(changed | (pl.col("rebalance") & (target.abs() > SMALLEST_CHANGE)))
        .select(
            "symbol",
            "target_weight",
            ts="known_at",
            type=pl.lit("market"),
            tif=pl.lit("gtc"),
            tag=pl.lit(tag),
        )
        .select("ts", "symbol", "target_weight", "type", "tif", "tag")
        .sort("ts", "symbol")
    )
