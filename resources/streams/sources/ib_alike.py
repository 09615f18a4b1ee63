"""Ticks of Interactive Brokers that are alike, told apart: they are stamped with whole seconds and have no number.

The stream and the history count the same way, so that the second of two trades that are alike in one second is known
again. Each counts from the beginning of what it was told of a second: where a stream was cut in the middle of one, the
history has all of it, and of trades that are alike there are as many as it says.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from datetime import date, datetime

import polars as pl

from resources.market_data.base import Partial, Provider


class Alike:
    """The ticks of one line, in the order in which they come."""

    def __init__(self) -> None:
        self._second = -1
        self._last: Hashable = None
        self._seen: dict[Hashable, int] = {}
        self._highest = 0

    def trade(self, second: int, row: Hashable) -> str:
        """A trade's id: "" for the first of its kind in a second, then #2, #3 and so on."""
        self._begin(second)
        self._seen[row] = count = self._seen.get(row, 0) + 1
        return "" if count == 1 else f"#{count}"

    def quote(self, second: int, row: Hashable) -> int | None:
        """A quote's number within its second, never lower than the one before; None where it says nothing new."""
        self._begin(second)
        if row == self._last:
            return None
        before = self._seen.get(row)
        number = self._highest if before is None else max(self._highest, before + 1)
        self._seen[row] = self._highest = number
        self._last = row
        return number

    def _begin(self, second: int) -> None:
        if second != self._second:
            self._second, self._last, self._seen, self._highest = second, None, {}, 0


class Counted(Partial):
    """The provider of Interactive Brokers, whose trades have the ids and whose quotes the numbers of `Alike`."""

    name, offers = "ib", "what Interactive Brokers has"

    def __init__(self, provider: Provider) -> None:
        self._provider = provider

    def trades(self, symbols: Sequence[str], start: datetime, end: datetime) -> pl.LazyFrame:
        """As the provider's; column trade_id is filled."""
        rows = self._provider.trades(symbols, start, end).collect()
        lines: dict[str, Alike] = {}
        ids = [
            lines.setdefault(symbol, Alike()).trade(ts, (price, size))
            for symbol, ts, price, size in rows.select("symbol", "ts", "price", "size").iter_rows()
        ]
        return rows.with_columns(trade_id=pl.Series(ids, dtype=pl.String)).lazy()

    def quotes(self, symbols: Sequence[str], start: datetime, end: datetime) -> pl.LazyFrame:
        """As the provider's, without those that say nothing new; column sequence is added."""
        rows = self._provider.quotes(symbols, start, end).collect()
        lines: dict[str, Alike] = {}
        told = rows.select("symbol", "ts", "bid", "bid_size", "ask", "ask_size").iter_rows()
        numbers = [lines.setdefault(symbol, Alike()).quote(ts, tuple(row)) for symbol, ts, *row in told]
        return rows.with_columns(sequence=pl.Series(numbers, dtype=pl.Int64)).drop_nulls("sequence").lazy()

    def bars(self, symbols: Sequence[str], start: date, end: date, timeframe: str = "1d") -> pl.LazyFrame:
        """As the provider's."""
        return self._provider.bars(symbols, start, end, timeframe)

    def corporate_actions(self, symbols: Sequence[str], start: date, end: date) -> pl.LazyFrame:
        """As the provider's."""
        return self._provider.corporate_actions(symbols, start, end)

    def instruments(self, symbols: Sequence[str]) -> pl.DataFrame:
        """As the provider's."""
        return self._provider.instruments(symbols)
