"""Backtests of strategies that must see their own fills: a compiled `on_bar` in place of an orders frame."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl

from quant_assets.backtests.market.history import History
from quant_assets.backtests.simulation.book import Book
from resources.calendars import UTC_MICROS
from resources.config import BacktestSettings
from resources.errors import ConfigError
from resources.exchange.layout import Records
from resources.exchange.reaction import Reaction


@dataclass(frozen=True)
class OnBar:
    """What `run` takes in place of orders: a function called after each bar, which may submit orders for the next.

    function    of a view of the account; see resources/exchange/reaction.py, and reacting.py for what it may call
    features    a frame with ts and symbol (of the bars) and the columns of `reads`, known as the bar ends
    reads       the features' names; in the function they are numbered in this order
    parameters  numbers, `view.parameters`
    memory      how many numbers of its own the strategy keeps for each symbol, `view.memory[symbol]`
    """

    function: Callable[[Any], None]
    features: pl.LazyFrame | pl.DataFrame | None = None
    reads: Sequence[str] = ()
    parameters: Sequence[float] = ()
    memory: int = 0
    tag: str = field(default="")

    def reaction(self, past: History, settings: BacktestSettings) -> Reaction:
        """The function with its features laid beside the rows of a history.

        Raises ConfigError on features of a wrong kind or that are missing, and where there are limits: what compiled
        code submits is at the exchange before they could judge it.
        """
        if settings.limits is not None:
            raise ConfigError("limits: an on_bar keeps its own; leave them out, or give orders in place of a function")
        if not callable(self.function):
            raise ConfigError(f"on_bar: function is {self.function!r}; give a function of one view")
        memory = np.zeros((len(past.symbols), max(self.memory, 1)))
        delay = round(float(settings.latency.seconds(["on_bar"])[0]) * 1e6)
        return Reaction(self.function, self._values(past), np.array(self.parameters, float), memory, delay)

    def _values(self, past: History) -> np.ndarray:
        rows = past.market.rows.size
        if self.features is None or not self.reads:
            return np.full((rows, 1), np.nan)
        if not isinstance(self.features, pl.LazyFrame | pl.DataFrame):
            raise ConfigError(f"on_bar: features are a {type(self.features).__name__}; give a polars frame")
        held = self.features.lazy()
        schema = held.collect_schema()
        missing = [name for name in ("ts", "symbol", *self.reads) if name not in schema]
        if missing:
            raise ConfigError(f"on_bar: the features lack {missing}; give ts, symbol and {list(self.reads)}")
        if getattr(schema["ts"], "time_zone", None) is None:
            raise ConfigError(f"on_bar: the features' ts is {schema['ts']}; it must be {UTC_MICROS}, as of the bars")
        for name in self.reads:
            if not (schema[name].is_numeric() or schema[name] in (pl.Boolean, pl.Null)):
                raise ConfigError(f"on_bar: feature {name} is {schema[name]}; compiled code reads numbers only")
        keys = past.frame().select("ts", "symbol")
        wanted = held.select(pl.col("ts").cast(UTC_MICROS), pl.col("symbol").cast(pl.String), *self.reads)
        found = keys.lazy().join(wanted, on=["ts", "symbol"], how="left", maintain_order="left").collect()
        if found.height != rows:
            raise ConfigError("on_bar: the features hold a symbol twice at one ts; keep one row for each bar")
        return np.ascontiguousarray(found.select(pl.col(self.reads).cast(pl.Float64).fill_null(np.nan)).to_numpy())


def book_of(records: Records, tag: str) -> Book:
    """The book that a reaction has filled: ids are its rows' numbers."""
    rows = np.arange(records.size)
    return Book(records, pl.Series(rows).cast(pl.String), pl.Series([tag] * rows.size, dtype=pl.String), rows)
