"""What a strategy is, and the few moves that strategies share.

A strategy is a pure function of features known at each session's close. It never looks at a later row, and it counts
rebalance days by the calendar instead of from the frame's first row: run on a short window that ends today or on the
whole history, it says the same about today. Research and the daily signals can therefore share one code path.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import polars as pl
import polars.selectors as cs
from pydantic import BaseModel, ConfigDict

from resources.calendars import UTC_MICROS
from resources.errors import ConfigError

INTENT_SCHEMA = pl.Schema(
    {
        "symbol": pl.String(),
        "ts": UTC_MICROS,
        "session": pl.Date(),
        "known_at": UTC_MICROS,
        "target_weight": pl.Float64(),
        "score": pl.Float64(),
        "confidence": pl.Float64(),
        "rebalance": pl.Boolean(),
        "take_profit_fraction": pl.Float64(),
        "stop_loss_fraction": pl.Float64(),
        "reason": pl.String(),
    }
)
"""What a strategy wants, one row for each tradable symbol and session, sorted by symbol and ts.

target_weight is a fraction of equity (0.0 is flat), decided with what was known at `known_at`. score is the quantity
the strategy judges by, -1 or more; confidence lies in [0, 1], null where the rule has none. rebalance marks the
sessions on which an unchanged target is sent again, to bring drifted holdings back to it.

take_profit_fraction and stop_loss_fraction (null for none) are positive distances of a bracket's exits, as fractions of
the last close known when the entry is submitted. A target with either is sent when it opens and when it ends, and not
in between: what its bracket closed is not bought again before the rule has been flat.
"""

BRACKET = ("take_profit_fraction", "stop_loss_fraction")

KEYS = ("symbol", "ts", "session", "known_at")


class Strategy(BaseModel, ABC):
    """A rule that turns features into target weights. Fields are its parameters, checked when it is made.

    >>> MovingAverageCross(fast=20, slow=100).intents(features)  # doctest: +SKIP
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: ClassVar[str]
    """The name used in the configuration's `strategies`."""

    needs_predictions: ClassVar[bool] = False
    """True where the features must be joined with the model's score and confidence."""

    @property
    @abstractmethod
    def required_features(self) -> tuple[str, ...]:
        """Columns that `intents` reads beside symbol, ts, session, known_at and tradable."""

    @property
    @abstractmethod
    def history(self) -> int:
        """Sessions of features needed BEFORE the first session whose intents are wanted."""

    @abstractmethod
    def intents(self, features: pl.LazyFrame) -> pl.LazyFrame:
        """Target weights in INTENT_SCHEMA, from features with one row for each symbol and session."""


def universe(strategy: Strategy, features: pl.LazyFrame, period: pl.Expr) -> pl.LazyFrame:
    """The tradable rows with the columns that the strategy reads and those of `decisions`, sorted by symbol and ts.

    A feature that is NaN or infinite is null, for every strategy: polars ranks NaN above all numbers, so that what
    nobody knows would be the best of all. Raises ConfigError naming the strategy and the columns that are missing.
    """
    wanted = [*KEYS, "tradable", *strategy.required_features]
    held = features.collect_schema().names()
    missing = [name for name in wanted if name not in held]
    if missing:
        join = " Join the predictions to the panel first." if strategy.needs_predictions else ""
        raise ConfigError(f"strategy {strategy.name}: the features lack {missing}; they hold {held}.{join}")
    # Sessions count as such even where nothing is tradable, so the calendar is read before the rows are filtered.
    rows = features.select(wanted).filter(pl.col("tradable")).drop("tradable")
    rows = rows.with_columns(pl.when(cs.float().is_finite()).then(cs.float()))
    return rows.join(decisions(features, period), on="session").sort("symbol", "ts")


def weekly() -> pl.Expr:
    """The period of a session: its ISO week, as that week's Monday."""
    return pl.col("session").dt.truncate("1w")


def monthly() -> pl.Expr:
    """The period of a session: its calendar month."""
    return pl.col("session").dt.truncate("1mo")


def blocks(weekdays: int) -> pl.Expr:
    """The period of a session: blocks of `weekdays` weekdays counted from a fixed Monday (5 is the ISO week).

    A weekend session, where a market has one, belongs to the Friday before it.
    """
    days = pl.col("session").to_physical().cast(pl.Int64) + 3  # 1969-12-29, a Monday, is day 0
    return (days // 7 * 5 + pl.min_horizontal(days % 7, pl.lit(4))) // weekdays


def decisions(features: pl.LazyFrame, period: pl.Expr) -> pl.LazyFrame:
    """Which session's decision holds on each session: session, decided, decided_before, rebalance and number.

    A decision is taken on the first session of each period. A frame's first session never counts as one, because
    nothing shows that it opens its period: `decided` is null until the first session that provably does.
    `decided_before` is what held on the session before: on a rebalance day, the decision that ends. `rebalance` is true
    on the day of a decision. `number` counts the frame's sessions: only differences between two mean anything.
    """
    opens = (pl.col("period") != pl.col("period").shift()).fill_null(False)
    return (
        features.select("session")
        .unique()
        .sort("session")
        .with_columns(period=period)
        .select("session", decided=pl.when(opens).then("session").forward_fill(), rebalance=opens)
        .with_columns(decided_before=pl.col("decided").shift(), number=pl.int_range(pl.len()))
    )


def equal_shares(frame: pl.LazyFrame) -> pl.LazyFrame:
    """Add share: 1/(tradable names), counted on the day of the last decision; more names than then share the whole.

    Counting anew each day would resize every holding whenever one name is halted. Null before the first decision.
    """
    names = frame.filter(pl.col("rebalance")).group_by("decided").agg(names=pl.len())
    share = 1.0 / pl.max_horizontal("names", pl.len().over("session"))
    return frame.join(names, on="decided", how="left").with_columns(
        share=pl.when(pl.col("names").is_not_null()).then(share)
    )


def entered(enter: pl.Expr, leave: pl.Expr, patience: int) -> pl.Expr:
    """True while a symbol's latest event is an entry less than `patience` sessions old. Both at once is leaving.

    The bound is what lets a short window agree with the whole history: without it, whether a position is open today
    could hang on a day years ago. An entry that repeats renews it. For a frame of `universe`; `patience` - 1 earlier
    sessions decide.
    """
    event = pl.when(leave).then(False).when(enter).then(True)
    latest = event.forward_fill().over("symbol", order_by="ts")
    since = pl.when(event.is_not_null()).then("number").forward_fill().over("symbol", order_by="ts")
    return (latest & (pl.col("number") - since < patience)).fill_null(False)


def to_intents(frame: pl.LazyFrame) -> pl.LazyFrame:
    """The columns of INTENT_SCHEMA, in its order, sorted by symbol and ts; bracket columns that it lacks are null."""
    held = frame.collect_schema().names()
    whole = frame.with_columns(pl.lit(None).alias(name) for name in BRACKET if name not in held)
    return whole.select(pl.col(name).cast(dtype) for name, dtype in INTENT_SCHEMA.items()).sort("symbol", "ts")


def symbols_of(text: str) -> list[str]:
    """The symbols of a list in a parameter: "SPY, TLT" is SPY and TLT, each once."""
    return list(dict.fromkeys(name for part in text.split(",") if (name := part.strip())))


def absent(features: pl.LazyFrame, names: list[str]) -> list[str]:
    """Those of a parameter's symbols that no row of the features has."""
    if not names:
        return []
    held = set(features.select(pl.col("symbol").cast(pl.String)).unique().collect()["symbol"])
    return [name for name in dict.fromkeys(names) if name not in held] if held else []


def told_of(strategy: Strategy, lost: list[str], nothing_left: bool) -> str:
    """What reasons add about the symbols of a parameter that the features lack; "" where they lack none.

    One of them is no error: of a window that ends today, what was delisted before is gone. Raises ConfigError where
    nothing is left that could ever be traded.
    """
    if lost and nothing_left:
        raise ConfigError(
            f"strategy {strategy.name}: the features have no rows of {lost}, and nothing is left to trade; "
            "a list of symbols is separated by commas"
        )
    return f"; not in the features: {', '.join(lost)}" if lost else ""


def percent(value: pl.Expr) -> pl.Expr:
    """A fraction as signed text with one decimal: 0.031 becomes +3.1%."""
    rounded = (value * 100).round(1)
    sign = pl.when(rounded > 0).then(pl.lit("+")).when(rounded < 0).then(pl.lit("-")).otherwise(pl.lit(""))
    return pl.format("{}{}%", sign, rounded.abs())
