"""What a backtest is given, checked and turned into arrays: cleaned bars into a dense history, orders into a book."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import numpy as np
import numpy.typing as npt
import polars as pl

from resources.calendars import UTC_MICROS
from resources.errors import BarSchemaError
from resources.exchange.layout import BAR_COLUMNS, KINDS, ORDER, TIFS, VOLUME, Floats, Integers, Records
from resources.exchange.orders import Columns, OrderError, first_fault
from resources.exchange.terms import Listing

BAR_NEEDS = ("symbol", "ts", "session", "known_at", *BAR_COLUMNS)
UNTRADED = ("missing_session", "stale")
"""Flags of bars that fill nothing (rule 11). Bars with volume 0 do so without a flag."""

ORDER_DEFAULTS = {
    "order_id": pl.lit(None, pl.String),
    "side": pl.lit(None, pl.String),
    "quantity": pl.lit(None, pl.Float64),
    "target_weight": pl.lit(None, pl.Float64),
    "type": pl.lit("market"),
    "limit_price": pl.lit(None, pl.Float64),
    "stop_price": pl.lit(None, pl.Float64),
    "tif": pl.lit("gtc"),
}


@dataclass(frozen=True, slots=True)
class History:
    """Bars as dense arrays: sessions in order, symbols sorted. Instants in microseconds since 1970, UTC."""

    sessions: list[date]
    opens: Integers
    closes: Integers
    symbols: list[str]
    bars: Floats
    """sessions x symbols x BAR_COLUMNS; NaN where a symbol has no bar, volume 0 where the bar fills nothing."""
    last: Integers
    """By symbol, the number of its last session."""

    def first_traded(self, start: date | None) -> int:
        """Number of the first session from `start`. Raises BarSchemaError if there is none."""
        if start is None:
            return 0
        number = int(np.searchsorted(np.array(self.sessions, "datetime64[D]"), np.datetime64(start)))
        if number == len(self.sessions):
            raise BarSchemaError(f"backtest.start is {start}, after the last session of the bars ({self.sessions[-1]})")
        return number


def history(bars: pl.LazyFrame | pl.DataFrame) -> History:
    """Cleaned bars as arrays.

    Raises BarSchemaError, naming symbol, date and field, on missing columns, an empty frame, naive timestamps,
    prices or splits that are not positive, two rows of a symbol in a session, or sessions that open at
    different instants for different symbols (daily bars of one calendar only).
    """
    frame = _bar_frame(bars)
    symbols = frame["symbol"].unique().sort()
    grid = frame.select("ts", "session", "known_at").unique().sort("ts", "session", "known_at")
    if grid["ts"].n_unique() != grid.height or grid["session"].n_unique() != grid.height:
        twice = grid.filter(pl.col("session").is_duplicated() | pl.col("ts").is_duplicated())["session"][0]
        raise BarSchemaError(f"session {twice}: opens or closes at several instants; backtest one calendar at a time")
    opens = grid["ts"].to_physical().to_numpy().astype(np.int64)
    row = np.searchsorted(opens, frame["ts"].to_physical().to_numpy())
    column = frame["symbol"].cast(pl.Enum(symbols)).to_physical().to_numpy().astype(np.int64)
    place = row * len(symbols) + column
    seen = np.zeros(len(opens) * len(symbols), bool)
    seen[place] = True
    if np.count_nonzero(seen) != place.size:
        again = frame.filter(pl.struct("symbol", "ts").is_duplicated()).row(0, named=True)
        raise BarSchemaError(f"{again['symbol']} {again['session']}: more than one bar; clean the bars first")
    dense = np.full((len(opens) * len(symbols), len(BAR_COLUMNS)), np.nan)
    for number, name in enumerate(BAR_COLUMNS):
        dense[place, number] = frame[name].to_numpy()
    if "flags" in frame.columns:
        untraded = frame["flags"].list.eval(pl.element().is_in(UNTRADED)).list.any().fill_null(False).to_numpy()
        dense[place[untraded], VOLUME] = 0.0
    last = np.zeros(len(symbols), np.int64)
    np.maximum.at(last, column, row)
    return History(
        sessions=grid["session"].to_list(),
        opens=opens,
        closes=grid["known_at"].to_physical().to_numpy().astype(np.int64),
        symbols=symbols.to_list(),
        bars=dense.reshape(len(opens), len(symbols), len(BAR_COLUMNS)),
        last=last,
    )


def _bar_frame(bars: pl.LazyFrame | pl.DataFrame) -> pl.DataFrame:
    lazy = bars.lazy()
    schema = lazy.collect_schema()
    missing = [name for name in BAR_NEEDS if name not in schema]
    if missing:
        raise BarSchemaError(f"bars: missing columns {missing}; a backtest takes cleaned bars, with {list(BAR_NEEDS)}")
    for name in ("ts", "known_at"):
        if not isinstance(schema[name], pl.Datetime) or getattr(schema[name], "time_zone", None) is None:
            raise BarSchemaError(f"bars: column {name} is {schema[name]}; it must be {UTC_MICROS}")
    columns = [*BAR_NEEDS, *(["flags"] if "flags" in schema else [])]
    floats = [pl.col(name).cast(pl.Float64) for name in BAR_COLUMNS]
    instants = [pl.col(name).cast(UTC_MICROS) for name in ("ts", "known_at")]
    frame = lazy.select(columns).with_columns(*floats, *instants).collect()
    if frame.is_empty():
        raise BarSchemaError("bars: no rows; a backtest needs at least one session")
    _check_values(frame)
    return frame


def _check_values(frame: pl.DataFrame) -> None:
    possible = {"volume": pl.col("volume") >= 0, "dividend": pl.lit(True)}
    fine = {name: pl.col(name).is_finite() & possible.get(name, pl.col(name) > 0) for name in BAR_COLUMNS}
    whole = frame.select(well.fill_null(False).all().alias(name) for name, well in fine.items()).row(0, named=True)
    for name, well in whole.items():
        if not well:
            bad = frame.filter(~fine[name].fill_null(False)).head(1)
            raise BarSchemaError(
                f"{bad['symbol'][0]} {bad['session'][0]}: {name} is {bad[name][0]}; prices and splits must be "
                "positive, volumes zero or more. Clean the bars first."
            )


@dataclass(frozen=True, slots=True)
class Book:
    """Orders as the exchange takes them, sorted by time of submission and then as given."""

    records: Records
    """ORDER rows; side and quantity of those with a target weight are still 0."""
    weight: Floats
    """Target weight, NaN where the order has a quantity."""
    ids: pl.Series


def book(
    orders: pl.LazyFrame | pl.DataFrame, history: History, listings: list[Listing], latency_seconds: float
) -> Book:
    """The orders frame as a book.

    Raises OrderError, naming row, symbol, field and mend, on: missing columns, naive timestamps, an unknown symbol,
    side, type or tif, both or neither of quantity and target_weight, and whatever no exchange could take.
    """
    frame = _order_frame(orders)
    symbols = history.symbols
    number = frame["symbol"].replace_strict(symbols, range(len(symbols)), default=None, return_dtype=pl.Int32)
    _check_fields(frame, number)
    kind = _index(frame, "type", [kind.value for kind in KINDS])
    tif = _index(frame, "tif", [tif.value for tif in TIFS])
    weight, quantity = frame["target_weight"], frame["quantity"]
    records = np.zeros(frame.height, ORDER)
    symbol = number.to_numpy().astype(np.int64)
    records["symbol"], records["kind"], records["tif"] = symbol, kind, tif
    records["submitted"] = frame["ts"].to_physical().to_numpy()
    records["eligible"] = records["submitted"] + round(latency_seconds * 1e6)
    records["quantity"] = quantity.fill_null(0.0).to_numpy()
    records["side"] = np.where(frame["side"].fill_null("") == "buy", 1, -1) * weight.is_null().to_numpy()
    records["limit"] = frame["limit_price"].fill_null(np.nan).to_numpy()
    records["stop"] = frame["stop_price"].fill_null(np.nan).to_numpy()
    lots = np.array([listing.lot for listing in listings])
    sized = weight.is_null().to_numpy()
    fault = first_fault(Columns(kind, tif, records["quantity"], records["limit"], records["stop"], lots[symbol], sized))
    if fault:
        raise OrderError(f"{_where(frame, fault[0])}: {fault[1]}")
    order = np.argsort(records["submitted"], kind="stable")
    return Book(records[order], weight.fill_null(np.nan).to_numpy()[order], frame["order_id"].gather(order))


def _order_frame(orders: pl.LazyFrame | pl.DataFrame) -> pl.DataFrame:
    lazy = orders.lazy()
    schema = lazy.collect_schema()
    missing = [name for name in ("ts", "symbol") if name not in schema]
    if missing or not {"quantity", "target_weight"} & set(schema):
        missing += [] if {"quantity", "target_weight"} & set(schema) else ["quantity or target_weight"]
        raise OrderError(f"orders: missing columns {missing}; give ts, symbol, and side and quantity or target_weight")
    if not isinstance(schema["ts"], pl.Datetime) or getattr(schema["ts"], "time_zone", None) is None:
        raise OrderError(f"orders: column ts is {schema['ts']}; it must be {UTC_MICROS}, the instant of submission")
    given = lazy.with_columns(**{name: default for name, default in ORDER_DEFAULTS.items() if name not in schema})
    floats = [pl.col(name).cast(pl.Float64) for name in ("quantity", "target_weight", "limit_price", "stop_price")]
    texts = [pl.col(name).cast(pl.String) for name in ("symbol", "side", "type", "tif", "order_id")]
    frame = (
        given.select(*floats, *texts, pl.col("ts").cast(UTC_MICROS))
        .with_columns(type=pl.col("type").fill_null("market"), tif=pl.col("tif").fill_null("gtc"))
        .with_columns(order_id=pl.coalesce("order_id", pl.int_range(pl.len()).cast(pl.String)))
        .collect()
    )
    _refuse(frame, frame["order_id"].is_duplicated(), "order_id", "each id once")
    return frame


def _check_fields(frame: pl.DataFrame, number: pl.Series) -> None:
    weight, quantity, side = frame["target_weight"], frame["quantity"], frame["side"]
    targeted, sized = weight.is_not_null(), quantity.is_not_null()
    infinite = targeted & ~weight.is_finite().fill_null(False)
    way = side.is_in(["buy", "sell"]).fill_null(False)
    _refuse(frame, frame["ts"].is_null(), "ts", "give the instant of submission")
    _refuse(frame, number.is_null(), "symbol", "there are no bars of it")
    _refuse(frame, infinite, "target_weight", "a target must be a finite number")
    _refuse(frame, targeted & sized, "quantity", "an order has a quantity or a target_weight, not both")
    _refuse(frame, ~targeted & ~sized, "quantity", "an order needs a quantity or a target_weight")
    _refuse(frame, ~targeted & ~way, "side", "an order with a quantity needs buy or sell")
    _refuse(frame, targeted & side.is_not_null(), "side", "a target_weight implies the side; leave it empty")


def _index(frame: pl.DataFrame, field: str, words: list[str]) -> npt.NDArray[np.int64]:
    found = frame[field].replace_strict(words, range(len(words)), default=None, return_dtype=pl.Int64)
    _refuse(frame, found.is_null(), field, f"use one of {words}")
    return found.to_numpy()


def _refuse(frame: pl.DataFrame, wrong: pl.Series, field: str, mend: str) -> None:
    row = wrong.arg_max() if wrong.any() else None
    if row is not None:
        value = frame[field][row]
        raise OrderError(f"{_where(frame, row)}: {field} is {'missing' if value is None else value}; {mend}")


def _where(frame: pl.DataFrame, row: int) -> str:
    return f"orders row {row} ({frame['symbol'][row]} {frame['ts'][row]})"
