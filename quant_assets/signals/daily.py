"""What each strategy wants to do after a session's close: the table a trader reads and the live job trades."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from quant_assets.strategies import STRATEGIES
from quant_assets.strategies.orders import previous_target, wanted_change
from resources.calendars import UTC_MICROS
from resources.errors import ConfigError

SIGNAL_SCHEMA = pl.Schema(
    {
        "symbol": pl.String(),
        "session": pl.Date(),
        "ts": UTC_MICROS,
        "known_at": UTC_MICROS,
        "strategy": pl.String(),
        "score": pl.Float64(),
        "confidence": pl.Float64(),
        "target_weight": pl.Float64(),
        "previous_weight": pl.Float64(),
        "order_intent": pl.String(),
        "take_profit_fraction": pl.Float64(),
        "stop_loss_fraction": pl.Float64(),
        "model_version": pl.String(),
        "data_version": pl.String(),
        "reasons": pl.List(pl.String()),
    }
)
"""One row for each strategy, symbol and session, sorted by strategy, symbol and ts.

Weights are fractions of equity; order_intent is buy, sell or hold, by the change of the target since the symbol's row
before. take_profit_fraction and stop_loss_fraction are the exits of a bracket, as in INTENT_SCHEMA: such a target holds
until it ends, whatever its bracket has done. model_version is null for strategies that use no model. reasons begin with
the strategy's own, then the model's.
"""


def daily_signals(
    intents: Mapping[str, pl.LazyFrame], predictions: pl.LazyFrame | None, data_version: str
) -> pl.LazyFrame:
    """Signals in SIGNAL_SCHEMA from each strategy's intents (by strategy name), model predictions and versions.

    The first row of each symbol counts as coming from flat: give intents one session more than wanted and filter
    the result. `predictions` holds symbol, session, model_version and reasons; it may be None where no strategy of
    `intents` uses a model.

    Raises ConfigError for an unknown strategy, and for one that needs predictions where there are none.
    """
    if not intents:
        raise ConfigError("strategies: at least one is needed for signals; for example {name: moving_average_cross}")
    parts = [_of_strategy(name, intents[name], predictions, data_version) for name in sorted(intents)]
    return pl.concat(parts).sort("strategy", "symbol", "ts")


def _of_strategy(name: str, intents: pl.LazyFrame, predictions: pl.LazyFrame | None, data_version: str) -> pl.LazyFrame:
    if name not in STRATEGIES:
        raise ConfigError(f"strategies: {name!r} is not a strategy; use one of {sorted(STRATEGIES)}")
    own = pl.concat_list("reason")
    if not STRATEGIES[name].needs_predictions:
        frame = intents.with_columns(model_version=pl.lit(None, pl.String), reasons=own)
    elif predictions is None:
        raise ConfigError(f"strategies.{name}: needs the model's predictions; materialize models/predictions first")
    else:
        model = predictions.select("symbol", "session", "model_version", contributions="reasons")
        frame = intents.join(model, on=["symbol", "session"], how="left").with_columns(
            reasons=own.list.concat(pl.col("contributions").fill_null(pl.lit([], pl.List(pl.String))))
        )
    change = wanted_change()
    return frame.with_columns(
        strategy=pl.lit(name),
        data_version=pl.lit(data_version),
        previous_weight=previous_target(),
        order_intent=pl.when(change > 0)
        .then(pl.lit("buy"))
        .when(change < 0)
        .then(pl.lit("sell"))
        .otherwise(pl.lit("hold")),
    ).select(SIGNAL_SCHEMA.names())
