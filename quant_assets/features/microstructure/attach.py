"""Trades, quotes and order books counted into the bars they fall in: the columns that features of this group read.

A bar holds the ticks from its `ts` on and before its `known_at`; one exactly at its start belongs to it, one exactly at
its end to the next. What stood at the start (the last quote, the book) counts from there on. No column of a bar changes
with ticks at or after its known_at. A tick that became known after its `ts` counts at the instant it was known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from itertools import pairwise

import numpy as np
import polars as pl

from quant_assets.features.microstructure import aggregate
from resources.calendars import UTC_MICROS
from resources.errors import BarSchemaError

BOOK_SCHEMA = pl.Schema(
    {
        "symbol": pl.String(),
        "ts": UTC_MICROS,
        "message": pl.Int64(),
        "type": pl.String(),
        "side": pl.String(),
        "price": pl.Float64(),
        "size": pl.Float64(),
    }
)
"""A level of an order book (L2) that is `size` large from `ts` on; a size of zero takes it away.

type: `snapshot` rows begin the book anew, `delta` rows change it. side: `bid` or `ask`. Rows of one `message` (a number
that grows within a symbol, whose rows stand together) take effect together: between them the book is in pieces."""

Ticks = pl.LazyFrame | pl.DataFrame
Columns = Mapping[str, np.ndarray]

_TRADE, _QUOTE = ("price", "size", "side"), ("bid", "ask", "bid_size", "ask_size")
_FROM_TRADES = ("tick_imbalance", "tick_count", "tick_vwap_gap", "tick_effective_spread")
_FROM_QUOTES = ("tick_quoted_spread", "quote_imbalance", "quote_flow", "quote_traffic")
_FROM_BOOK = ("book_imbalance", "book_depth")


def attach(
    bars: Ticks,
    trades: Ticks | None = None,
    quotes: Ticks | None = None,
    book: Ticks | None = None,
    *,
    lag: timedelta = timedelta(0),
    delay: timedelta = timedelta(minutes=5),
    stale: timedelta = timedelta(hours=1),
    levels: int = 5,
) -> pl.LazyFrame:
    """The bars, in their order, with a Float64 column for each thing the ticks tell (columns.ticks names them).

    `bars` of any size need symbol, ts and known_at. `trades` in TRADE_SCHEMA, `quotes` in QUOTE_SCHEMA
    (resources.market_data.ticks), `book` in BOOK_SCHEMA; ticks at fault are left out before (cleaned.ticks.without).

    Of trades: imbalance of signed volume, number, last price against VWAP; with quotes the effective spread, against
    the middle in force `lag` before the trade, and the realised spread. A trade is signed by the taker's side where
    it is told, else by Lee and Ready's rules. The realised spread is known when `delay` after the trade has passed:
    the trade counts in the bar in which that is. Of quotes, weighted by time: spread, imbalance of sizes; and the
    order flow at the best prices. Of the book, weighted by time: imbalance and worth of the best `levels` a side.

    A quote, a book or an earlier price older than `stale` says nothing, so ticks from `stale` + `delay` before a bar
    give what all ticks would; a book needs its last snapshot, too. Crossed and one-sided quotes have no middle. Null
    where a bar has nothing: without trades its count is null, not zero, for nobody may have listened.

    Raises BarSchemaError on missing columns, times that are not UTC and rows without symbol or time.

    Example: `compute(attach(bars, trades, quotes), ["spread_21", "vpin_50"])`
    """
    frame = bars.lazy().collect()
    _check("bars", frame, ("symbol", "ts", "known_at"))
    span = [_micros(each) for each in (lag, delay, stale)]
    made: dict[str, np.ndarray] = {}
    quoted = None if quotes is None else _by_symbol("quotes", quotes, _QUOTE)
    if quoted is not None:
        _fill(made, _FROM_QUOTES, frame, lambda name, start, end: _quotes(start, end, quoted.get(name), span[2]))
    if trades is not None:
        traded = _by_symbol("trades", trades, _TRADE)
        names = (*_FROM_TRADES, "tick_realised_spread")

        def count(name: str, start: np.ndarray, end: np.ndarray) -> np.ndarray:
            return _trades(start, end, traded.get(name), (quoted or {}).get(name), *span)

        _fill(made, names if quoted is not None else names[:3], frame, count)
    if book is not None:
        held = _by_symbol("book", book, ("message", "type", "side", "price", "size"))
        _fill(made, _FROM_BOOK, frame, lambda name, start, end: _books(start, end, held.get(name), levels, span[2]))
    return frame.with_columns(pl.Series(name, values, nan_to_null=True) for name, values in made.items()).lazy()


def both_sides(quotes: Ticks) -> pl.LazyFrame:
    """Quotes of a feed that tells one side at a time, the other null or zero, with the side that stood filled in.

    Example: `attach(bars, quotes=both_sides(rows))`
    """
    told = [
        pl.when(pl.col(side) > 0).then(name).alias(name) for side in ("bid", "ask") for name in (f"{side}_size", side)
    ]
    ordered = quotes.lazy().sort("symbol", "ts", maintain_order=True).with_columns(told)
    return ordered.with_columns(pl.col(_QUOTE).forward_fill().over("symbol"))


def _fill(
    made: dict[str, np.ndarray],
    names: tuple[str, ...],
    frame: pl.DataFrame,
    count: Callable[[str, np.ndarray, np.ndarray], np.ndarray],
) -> None:
    """Put the columns of each symbol's bars into `made`; `count` gives a row a name, a column a bar."""
    table = np.full((len(names), frame.height), np.nan)
    for symbol, rows, start, end in _spans(frame):
        table[:, rows] = count(symbol, start, end)[: len(names)]
    made.update(zip(names, table, strict=True))


def _spans(frame: pl.DataFrame) -> Iterator[tuple[str, np.ndarray, np.ndarray, np.ndarray]]:
    """Symbol, places of its bars, and their starts and ends in microseconds."""
    numbered = frame.select("symbol", pl.col("ts", "known_at").dt.epoch("us")).with_row_index("row")
    for (symbol,), part in numbered.group_by("symbol", maintain_order=True):
        yield str(symbol), *(part[name].to_numpy() for name in ("row", "ts", "known_at"))  # type: ignore[misc]


def _by_symbol(what: str, ticks: Ticks, names: tuple[str, ...]) -> dict[str, dict[str, np.ndarray]]:
    """The columns of each symbol's ticks as arrays, in order of the instant (`at`) that they were known."""
    held = ticks.lazy().collect_schema()
    told = [name for name in names if name in held or name != "side"]
    frame = ticks.lazy().select("symbol", "ts", *told, *(["known_at"] if "known_at" in held else [])).collect()
    _check(what, frame, ("symbol", "ts"))
    sided = (
        pl.when(pl.col("side").is_in(["buy", "bid"])).then(1.0).when(pl.col("side").is_in(["sell", "ask"])).then(-1.0)
        if "side" in told
        else pl.lit(0.0)
    )
    stamps = [name for name in ("ts", "known_at") if name in frame.columns]
    numbers = frame.select(
        "symbol",
        *[pl.col(name).cast(pl.Float64).fill_null(np.nan) for name in told if name not in ("side", "type", "message")],
        *[pl.col(name) for name in told if name == "message"],
        *[(pl.col(name) == "snapshot").alias("fresh") for name in told if name == "type"],
        at=pl.max_horizontal(stamps).dt.epoch("us"),
        side=sided.fill_null(0.0),
    )
    symbol, at = pl.col("symbol"), pl.col("at")
    back = (symbol < symbol.shift()) | ((symbol == symbol.shift()) & (at < at.shift()))
    if numbers.select(back.any()).item():
        numbers = numbers.sort("symbol", "at", maintain_order=True)
    ends = [0, *numbers["symbol"].rle().struct.field("len").cum_sum().to_list()]
    arrays = {name: numbers[name].to_numpy() for name in numbers.columns if name != "symbol"}
    return {
        numbers["symbol"][first]: {name: np.ascontiguousarray(each[first:last]) for name, each in arrays.items()}
        for first, last in pairwise(ends)
    }


def _trades(
    start: np.ndarray,
    end: np.ndarray,
    traded: Columns | None,
    quoted: Columns | None,
    lag: int,
    delay: int,
    stale: int,
) -> np.ndarray:
    """Rows: what _FROM_TRADES names, and the realised spread."""
    out = np.full((5, start.size), np.nan)
    if traded is None:
        return out
    t, price, size = traded["at"], traded["price"], traded["size"]
    middle = later = np.full(t.size, np.nan)
    if quoted is not None:
        of_quotes = aggregate.middles(quoted["bid"], quoted["ask"])
        middle = aggregate.standing(t - lag, quoted["at"], of_quotes, stale)
        later = aggregate.standing(t + delay, quoted["at"], of_quotes, stale)
    sign = aggregate.signs(t, price, traded["side"], middle, stale)
    aggregate.of_trades(start, end, t, price, size, sign, middle, out)
    out[4] = aggregate.realised(start, end, t, price, size, sign, middle, later, delay)
    return out


def _quotes(start: np.ndarray, end: np.ndarray, quoted: Columns | None, stale: int) -> np.ndarray:
    """Rows: what _FROM_QUOTES names."""
    out = np.full((len(_FROM_QUOTES), start.size), np.nan)
    if quoted is not None:
        bid, ask, bid_size, ask_size = (quoted[name] for name in _QUOTE)
        middle = aggregate.middles(bid, ask)
        aggregate.of_quotes(start, end, quoted["at"], bid, ask, bid_size, ask_size, middle, stale, out)
    return out


def _books(start: np.ndarray, end: np.ndarray, book: Columns | None, levels: int, stale: int) -> np.ndarray:
    """Rows: what _FROM_BOOK names."""
    out = np.full((len(_FROM_BOOK), start.size), np.nan)
    if book is not None:
        message = book["message"].astype(np.int64)
        told = aggregate.books(message, book["fresh"], book["side"] > 0, book["price"], book["size"], levels)
        whole = np.append(message[1:] != message[:-1], True)
        aggregate.time_weighted(start, end, book["at"][whole], np.ascontiguousarray(told[:, whole]), stale, out)
    return out


def _check(what: str, frame: pl.DataFrame, needed: tuple[str, ...]) -> None:
    """Raises BarSchemaError unless the keys are there, filled, and their times UTC."""
    missing = [name for name in needed if name not in frame.columns]
    if missing:
        raise BarSchemaError(f"{what} have no column {', '.join(missing)}; they have {', '.join(frame.columns)}")
    for name in needed:
        kind = frame.schema[name]
        if name != "symbol" and kind != UTC_MICROS:
            raise BarSchemaError(f"{what}: {name} is {kind}; it must be {UTC_MICROS}, UTC microseconds")
        bad = frame.filter(pl.col(name).is_null()).head(1)
        if bad.height:
            raise BarSchemaError(f"{what}: {bad['symbol'][0]} {bad['ts'][0]} has no {name}; each row needs one")


def _micros(span: timedelta) -> int:
    return span // timedelta(microseconds=1)
