"""From target weights to orders for the simulated exchange."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl

from quant_assets.strategies.base import BRACKET, INTENT_SCHEMA
from quant_assets.strategies.keys import Keys, beginnings
from resources.calendars import UTC_MICROS
from resources.errors import ConfigError

Floats = npt.NDArray[np.float64]

SMALLEST_CHANGE = 1e-9
"""Targets nearer to each other than this (as a fraction of equity) are the same target."""

ORDER_SCHEMA = pl.Schema(
    {
        "ts": UTC_MICROS,
        "symbol": pl.String(),
        "target_weight": pl.Float64(),
        "type": pl.String(),
        "tif": pl.String(),
        **dict.fromkeys(BRACKET, pl.Float64()),
        "reduce_only": pl.Boolean(),
        "tag": pl.String(),
    }
)
"""What `orders` gives."""

_READ = ("symbol", "ts", "known_at", "target_weight", *BRACKET, "rebalance")


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

    Raises ConfigError, as it is collected, on a target that is null: nobody could say whether it means to be flat.
    """
    return read(intents).map_batches(
        lambda frame: sent(frame, tag),
        schema=ORDER_SCHEMA,
        predicate_pushdown=False,
        projection_pushdown=False,
        slice_pushdown=False,
    )


def read(intents: pl.LazyFrame) -> pl.LazyFrame:
    """What `sent` reads of intents."""
    return intents.select(pl.col(name).cast(INTENT_SCHEMA[name]) for name in _READ)


def sent(frame: pl.DataFrame, tag: str = "", keys: Keys | None = None) -> pl.DataFrame:
    """`orders` of intents that are collected (`read`). `keys`: those of a frame that most of them have the rows of.

    A sweep does this in every run: only the few rows at which anything can happen are looked at closely, and on arrays,
    because each operation on a Series is a query of its own.
    """
    if frame["target_weight"].null_count():
        symbol, ts = frame.filter(pl.col("target_weight").is_null()).select("symbol", "ts").row(0)
        raise ConfigError(
            f"intents: {symbol} {ts}: target_weight is null; a target is a number, 0.0 to be flat: fill nulls, or give "
            "pl.when() an otherwise()"
        )
    new = beginnings(frame) if keys is None else keys.beginnings(frame)
    if new is None:
        frame = frame.sort("symbol", "ts")
        new = beginnings(frame)
        assert new is not None, "sorted just now"
    weights, again = frame["target_weight"].to_numpy(), frame["rebalance"]
    asked = new.copy()
    asked[1:] |= weights[1:] != weights[:-1]
    if again.any():
        asked |= again.fill_null(False).to_numpy()
    places = np.flatnonzero(asked)
    target = weights[places]
    before = np.where(new[places], 0.0, np.nan_to_num(weights[places - 1]))
    rows = frame[_index(places)]
    chosen, exits = _chosen(rows, target, before)
    # Stable, so that symbols stay in order within an instant.
    chosen = chosen[np.argsort(rows["known_at"].to_physical().to_numpy()[chosen], kind="stable")]
    sent = rows[_index(chosen)]
    return pl.DataFrame(
        {
            "ts": sent["known_at"],
            "symbol": sent["symbol"],
            "target_weight": sent["target_weight"],
            "type": _same("market", chosen.size),
            "tif": _same("gtc", chosen.size),
            **{name: values[_index(chosen)] for name, values in exits.items()},
            "reduce_only": np.abs(target[chosen]) <= SMALLEST_CHANGE,
            "tag": _same(tag, chosen.size),
        }
    )


def _chosen(rows: pl.DataFrame, target: Floats, before: Floats) -> tuple[npt.NDArray[np.intp], dict[str, pl.Series]]:
    """Which of the rows are sent, and the bracket that comes with each of them."""
    moved, held = np.abs(target - before) > SMALLEST_CHANGE, np.abs(target) > SMALLEST_CHANGE
    sent = moved | (rows["rebalance"].fill_null(False).to_numpy() & held)
    exits = {name: rows[name] for name in BRACKET}
    if any(values.null_count() < rows.height for values in exits.values()):
        bracketed = np.logical_or(*(values.is_not_null().to_numpy() for values in exits.values()))
        turned = _direction(target) != _direction(before)
        sent = np.where(bracketed, moved & turned, sent)
        opens = np.abs(target) > np.where(turned, SMALLEST_CHANGE, np.abs(before))
        exits = {name: values.set(pl.Series(~opens), None) for name, values in exits.items()}
    # What is no number is sent as well, for the exchange to refuse: left out, it would be hidden.
    if np.isnan(target).any():
        sent |= np.isnan(target)
    return np.flatnonzero(sent), exits


def _index(rows: npt.NDArray[np.integer]) -> pl.Series:
    """Rows as polars counts them: other types it checks and copies at every look-up."""
    return pl.Series(rows.astype(np.uint32))


def _same(text: str, count: int) -> pl.Series:
    return pl.Series([text], dtype=pl.String).new_from_index(0, count)


def _direction(weight: Floats) -> Floats:
    """1.0 long, -1.0 short, 0.0 flat."""
    return np.where(np.abs(weight) > SMALLEST_CHANGE, np.sign(weight), 0.0)


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
