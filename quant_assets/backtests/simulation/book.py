"""The orders of a backtest, checked and turned into the book that the exchange works through."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import polars as pl

from quant_assets.backtests.market.bar_frames import Frame
from quant_assets.backtests.market.history import History
from resources.brokers.base import TimeInForce
from resources.calendars import UTC_MICROS
from resources.exchange.layout import FOREVER, NOWHERE, Integers, Records
from resources.exchange.lifetimes import session_ends
from resources.exchange.models.latency import Latency
from resources.exchange.orders import CHILDREN, Columns, OrderError, entries, first_fault
from resources.exchange.words import (
    ACTIONS,
    KINDS,
    LIMIT,
    LIMIT_ON_CLOSE,
    LIMIT_ON_OPEN,
    MARKET,
    MARKET_ON_CLOSE,
    MARKET_ON_OPEN,
    NOTIONAL,
    STOP,
    STOP_LIMIT,
    SUBMIT,
    TARGET_POSITION,
    TARGET_WEIGHT,
    TIFS,
    TRAILING,
    TRAILING_PERCENT,
    UNITS,
)

FLOATS = (
    "quantity",
    "notional",
    "target_weight",
    "target_position",
    "limit_price",
    "stop_price",
    "trail",
    "take_profit",
    "stop_loss",
    "take_profit_fraction",
    "stop_loss_fraction",
)
TEXTS = ("symbol", "order_id", "side", "type", "tif", "oco_group", "parent", "tag", "action")
AMOUNTS = {"quantity": UNITS, "notional": NOTIONAL, "target_weight": TARGET_WEIGHT, "target_position": TARGET_POSITION}
AUCTIONS = {
    "opg": {MARKET: MARKET_ON_OPEN, LIMIT: LIMIT_ON_OPEN},
    "cls": {MARKET: MARKET_ON_CLOSE, LIMIT: LIMIT_ON_CLOSE},
}
"""Times in force that name an auction, as brokers write them: an order of another type."""

BRACKET = ("take_profit_fraction", "stop_loss_fraction")

PLAIN = pl.Schema(
    {"ts": UTC_MICROS, "symbol": pl.String(), "target_weight": pl.Float64(), "type": pl.String(), "tif": pl.String()}
    | dict.fromkeys(BRACKET, pl.Float64())
    | {"reduce_only": pl.Boolean(), "tag": pl.String()}
)
"""What quant_assets/strategies/orders.py gives."""

REPLACEABLE: dict[str, tuple[int, ...]] = {
    "limit_price": (LIMIT, STOP_LIMIT, LIMIT_ON_OPEN, LIMIT_ON_CLOSE),
    "stop_price": (STOP, STOP_LIMIT),
    "trail": (TRAILING, TRAILING_PERCENT),
    **dict.fromkeys(
        ("notional", "target_weight", "target_position", "take_profit", "stop_loss", "take_profit_fraction",
         "stop_loss_fraction"),
        (),
    ),
}  # fmt: skip
"""What a replace may change besides the quantity, and of which types of order."""

_NOT_REPLACED = "a replace changes quantity, limit_price, stop_price or trail; cancel the order and submit another"
_TAKEN = "each id once; a bracket's children are <id>:take_profit and <id>:stop_loss"


@dataclass(frozen=True, slots=True)
class Book:
    """Orders as the exchange takes them, by time of submission and then as given, each followed by its bracket."""

    records: Records
    ids: pl.Series
    tags: pl.Series
    """By row of the book."""
    origin: Integers
    """By row, the row of the order that it belongs to: a replacing order's is that of the order it replaced."""


def book(orders: Frame, past: History, latency: Latency) -> Book:
    """The orders frame (see `run`) as a book.

    Raises OrderError, naming row, symbol, field and mend, on: missing columns, naive timestamps, an unknown symbol,
    side, type, tif, parent or id, none or several of the amounts, an order submitted before the symbol's first bar,
    and whatever no exchange could take.
    """
    plain = _plain(orders, past, latency)
    if isinstance(plain, Book):
        return plain
    frame = _frame(plain)
    number = frame["symbol"].replace_strict(past.symbols, range(len(past.symbols)), default=None, return_dtype=pl.Int32)
    action = _index(frame, "action", ACTIONS)
    _check_fields(frame, number, action == SUBMIT)
    symbol = number.to_numpy().astype(np.int64)
    columns = _columns(frame, past, symbol, action)
    early = pl.Series(np.less(columns.submitted, past.first[symbol]))
    _refuse(frame, early, "ts", "there are no bars of it yet; submit it when they have begun")
    fault = first_fault(columns)
    if fault:
        raise OrderError(f"{_where(frame, fault[0])}: {fault[1]}")
    calendars = np.array([listing.calendar for listing in past.listings])
    columns.expires[:] = session_ends(columns, calendars[symbol])
    eligible = columns.submitted + np.round(latency.seconds(frame["order_id"].to_list()) * 1e6).astype(np.int64)
    made = entries(columns, symbol, eligible)
    return _linked(frame, made.records, made.source, made.child, action)


def _plain(orders: Frame, past: History, latency: Latency) -> Book | Frame:
    """The book of what strategies' orders() makes, where each row is a plain target; else the orders, collected.

    The long way does about a hundred things to a frame, which a sweep of thousands of small books would feel. Here only
    what a target's row may have wrong is looked at, and a frame with anything wrong, or more, goes the long way.
    """
    if not isinstance(orders, pl.LazyFrame | pl.DataFrame) or orders.collect_schema() != PLAIN:
        return orders
    frame = orders.collect() if isinstance(orders, pl.LazyFrame) else orders
    missing, weights = frame.null_count().row(0, named=True), frame["target_weight"]
    if any(missing[name] != (frame.height if name in BRACKET else 0) for name in PLAIN):
        return frame
    if (frame["type"] != "market").any() or (frame["tif"] != "gtc").any() or not np.isfinite(weights.to_numpy()).all():
        return frame
    number = frame["symbol"].cast(_numbers(tuple(past.symbols)), strict=False).to_physical().cast(pl.Int64)
    if number.null_count():
        return frame
    symbol, submitted = number.to_numpy(), frame["ts"].to_physical().to_numpy()
    if (submitted < past.first[symbol]).any():
        return frame
    ids = pl.Series(np.arange(frame.height)).cast(pl.String)
    given = Columns.blank(frame.height) | {
        "tif": np.full(frame.height, TIFS.index(TimeInForce.GTC)),
        "sizing": np.full(frame.height, TARGET_WEIGHT),
        "submitted": submitted,
        "wanted": weights.to_numpy(),
        "reduce": frame["reduce_only"].to_numpy(),
    }
    delay = latency.seconds(ids)  # type: ignore[arg-type]  # what it asks of a list, a Series can do
    eligible = submitted + np.round(delay * 1e6).astype(np.int64)
    made = entries(Columns(**given), symbol, eligible)
    order = np.argsort(submitted, kind="stable")
    return _sorted(made.records, ids, frame["tag"], made.source, order)


@lru_cache(maxsize=4)
def _numbers(symbols: tuple[str, ...]) -> pl.Enum:
    """The symbols of a history as a type whose values are their numbers."""
    return pl.Enum(symbols)


def _linked(
    frame: pl.DataFrame, records: Records, source: Integers, child: npt.NDArray[np.int8], action: Integers
) -> Book:
    """Resolve parents, OCO groups and the ids that cancels and replaces name, all of them ids of the frame."""
    new, ids, tags = action == SUBMIT, frame["order_id"], frame["tag"]
    own = np.flatnonzero(child == 0)
    origin = np.arange(source.size)
    if own.size < source.size:
        ids, tags = ids.gather(source) + pl.Series(CHILDREN).gather(child), tags.gather(source)
        children = ids.filter(pl.Series(child != 0))
        _refuse(frame, pl.Series(new) & frame["order_id"].is_in(children.implode()), "order_id", _TAKEN)
    groups: dict[str, int] = {}
    for place in frame.select(pl.arg_where(pl.col("oco_group").is_not_null())).to_series():
        leader = groups.setdefault(frame["oco_group"][place], int(own[place]))
        records["group"][own[place]] = NOWHERE - 1 - leader
    parents = frame.select(pl.arg_where(pl.col("parent").is_not_null())).to_series().to_list()
    named = np.flatnonzero(~new).tolist()
    if parents or named:
        rows = (
            dict(zip(ids.to_list(), range(source.size), strict=True))
            if not named
            else {order_id: row for row, order_id in enumerate(ids.to_list()) if new[source[row]]}
        )
        for place in parents:
            records["parent"][own[place]] = _known(frame, place, "parent", rows)
        _refuse_circles(frame, records["parent"], own)
        given = frame["order_id"].to_list()
        for place in named:
            row = own[place]
            first = _known(frame, place, "order_id", rows)
            if records["symbol"][row] != records["symbol"][first]:
                raise OrderError(
                    f"{_where(frame, place)}: symbol is not that of order {given[place]}; give the order's own"
                )
            if frame["side"][place] is not None and (frame["side"][place] == "buy") != (records["side"][first] > 0):
                raise OrderError(f"{_where(frame, place)}: side is {frame['side'][place]}; a side cannot be replaced")
            _check_replaceable(frame, place, int(records["kind"][first]))
            records["names"][row] = origin[row] = first
    order = np.argsort(records["submitted"], kind="stable")
    return _sorted(records, ids, tags, origin, order)


def _refuse_circles(frame: pl.DataFrame, parent: Integers, own: Integers) -> None:
    """An order that waits for itself, or for one that waits for it, would never wake."""
    above = parent.copy()
    while (above >= 0).any():
        circle = pl.Series(above[own] == own)
        _refuse(frame, circle, "parent", "an order cannot wait for itself, or for one that waits for it")
        above = np.where(above >= 0, parent[above], NOWHERE)


def _check_replaceable(frame: pl.DataFrame, place: int, kind: int) -> None:
    """Refuse a replace that changes what the order does not have: only quantity and its own prices can be changed."""
    if frame["action"][place] != "replace":
        return
    for name, kinds in REPLACEABLE.items():
        if frame[name][place] is not None and kind not in kinds:
            only = f"the order is of type {KINDS[kind].value}, which has none to replace" if kinds else _NOT_REPLACED
            raise OrderError(f"{_where(frame, place)}: {name} is {frame[name][place]}; {only}")


def _sorted(records: Records, ids: pl.Series, tags: pl.Series, origin: Integers, order: Integers) -> Book:
    """The book by time of submission, with the rows that it refers to renumbered."""
    if np.array_equal(order, np.arange(order.size)):
        return Book(records, ids, tags, origin)
    place = np.empty_like(order)
    place[order] = np.arange(order.size)
    moved = records[order]
    for name in ("parent", "group", "names"):
        refers = moved[name] >= 0
        moved[name][refers] = place[moved[name][refers]]
    named = moved["group"] < NOWHERE
    moved["group"][named] = NOWHERE - 1 - place[NOWHERE - 1 - moved["group"][named]]
    return Book(moved, ids.gather(order), tags.gather(order), place[origin[order]])


def _known(frame: pl.DataFrame, place: int, field: str, rows: dict[str, int]) -> int:
    row = rows.get(frame[field][place])
    if row is None:
        raise OrderError(
            f"{_where(frame, place)}: {field} is {frame[field][place]}; it must be the id of another order"
        )
    return row


def _frame(orders: Frame) -> pl.DataFrame:
    """The orders with every column there is, typed, words in place of what is left out."""
    if not isinstance(orders, pl.LazyFrame | pl.DataFrame):
        raise OrderError(f"orders: a {type(orders).__name__}; give a polars frame, of pandas with polars.from_pandas")
    lazy = orders.lazy()
    schema = lazy.collect_schema()
    known = {*FLOATS, *TEXTS, "ts", "expire_at", "reduce_only"}
    for name in schema:
        meant = [] if name in known else get_close_matches(name, known, n=1, cutoff=0.85)
        if meant:
            raise OrderError(f"orders: column {name} is not read; {meant[0]} is: rename it, or drop it")
    missing = [name for name in ("ts", "symbol") if name not in schema]
    if missing or not (set(AMOUNTS) | {"action"}) & set(schema):
        missing += [] if set(AMOUNTS) & set(schema) else ["quantity or target_weight"]
        raise OrderError(f"orders: missing columns {missing}; give ts, symbol, and side and quantity or target_weight")
    for name in ("ts", "expire_at"):
        if name in schema and (
            not isinstance(schema[name], pl.Datetime) or getattr(schema[name], "time_zone", None) is None
        ):
            raise OrderError(f"orders: column {name} is {schema[name]}; it must be {UTC_MICROS}, an instant")
    blank: dict[str, pl.Expr] = {name: pl.lit(None, pl.Float64) for name in FLOATS}
    blank |= {name: pl.lit(None, pl.String) for name in TEXTS}
    blank |= {"reduce_only": pl.lit(False), "expire_at": pl.lit(None, UTC_MICROS)}
    given = lazy.with_columns(**{name: value for name, value in blank.items() if name not in schema})
    words = {"type": "market", "tif": "gtc", "action": "submit", "tag": ""}
    wanted = (
        given.select(
            pl.col(FLOATS).cast(pl.Float64),
            pl.col(TEXTS).cast(pl.String),
            pl.col("ts", "expire_at").cast(UTC_MICROS),
            pl.col("reduce_only").cast(pl.Boolean).fill_null(False),
        )
        .with_columns(pl.col(name).fill_null(word) for name, word in words.items())
        .with_columns(order_id=pl.coalesce("order_id", pl.int_range(pl.len()).cast(pl.String)))
    )
    try:
        frame = wanted.collect()
    except pl.exceptions.InvalidOperationError as error:
        raise OrderError(f"orders: a column holds what is not of its type: {error}") from error
    for name in FLOATS:
        _refuse(frame, frame[name].is_nan().fill_null(False), name, "leave it out (null), or give a number")
    again = frame.select((pl.col("action") == "submit") & pl.struct("order_id", "action").is_duplicated()).to_series()
    _refuse(frame, again, "order_id", "each id once")
    return frame


def _check_fields(frame: pl.DataFrame, number: pl.Series, new: npt.NDArray[np.bool_]) -> None:
    submitted = pl.Series(new)
    amounts = frame.select(pl.sum_horizontal(pl.col(list(AMOUNTS)).is_not_null())).to_series()
    targeted = frame["target_weight"].is_not_null() | frame["target_position"].is_not_null()
    way = frame["side"].is_in(["buy", "sell"]).fill_null(False)
    _refuse(frame, frame["ts"].is_null(), "ts", "give the instant of submission")
    _refuse(frame, number.is_null(), "symbol", "there are no bars of it")
    for name in ("target_weight", "target_position"):
        infinite = frame[name].is_not_null() & ~frame[name].is_finite().fill_null(False)
        _refuse(frame, infinite, name, "a target must be a finite number")
    one = f"an order has exactly one of {', '.join(AMOUNTS)}"
    _refuse(frame, submitted & (amounts > 1), "quantity", one)
    _refuse(frame, submitted & (amounts == 0), "quantity", one)
    _refuse(frame, submitted & ~targeted & ~way, "side", "an order with a quantity needs buy or sell")
    _refuse(frame, targeted & frame["side"].is_not_null(), "side", "a target implies the side; leave it empty")


def _columns(frame: pl.DataFrame, past: History, symbol: Integers, action: Integers) -> Columns:
    tif_words = frame["tif"]
    auction = tif_words.is_in(list(AUCTIONS))
    kind = _index(frame, "type", [kind.value for kind in KINDS])
    for word, kinds in AUCTIONS.items():
        named = (tif_words == word).to_numpy()
        wrong = pl.Series(named & ~np.isin(kind, list(kinds)))
        _refuse(frame, wrong, "type", f"tif {word} goes with market and limit")
        for plain, other in kinds.items():
            kind[named & (kind == plain)] = other
    in_force = frame.with_columns(tif=pl.when(auction).then(pl.lit("gtc")).otherwise("tif"))
    sizing, wanted = np.zeros(frame.height, np.int64), np.full(frame.height, np.nan)
    for name, number in AMOUNTS.items():
        held = frame[name].is_not_null().to_numpy()
        sizing[held], wanted[held] = number, frame[name].fill_null(np.nan).to_numpy()[held]
    side = np.select(
        [(frame["side"] == "buy").fill_null(False), (frame["side"] == "sell").fill_null(False)], [1, -1], 0
    )
    lots = np.array([listing.lot for listing in past.listings])

    def number_of(name: str) -> npt.NDArray[np.float64]:
        return frame[name].fill_null(np.nan).to_numpy()

    return Columns(
        action=action,
        kind=kind,
        tif=_index(in_force, "tif", [tif.value for tif in TIFS]),
        sizing=sizing,
        side=side.astype(np.int64),
        submitted=frame["ts"].to_physical().to_numpy().astype(np.int64),
        expires=frame["expire_at"].to_physical().fill_null(FOREVER).to_numpy().astype(np.int64),
        wanted=wanted,
        limit=number_of("limit_price"),
        stop=number_of("stop_price"),
        trail=number_of("trail"),
        take=number_of("take_profit"),
        loss=number_of("stop_loss"),
        take_fraction=number_of("take_profit_fraction"),
        loss_fraction=number_of("stop_loss_fraction"),
        lot=lots[symbol],
        reduce=frame["reduce_only"].to_numpy(),
    )


def _index(frame: pl.DataFrame, field: str, words: Sequence[str]) -> npt.NDArray[np.int64]:
    found = frame[field].replace_strict(words, range(len(words)), default=None, return_dtype=pl.Int64)
    _refuse(frame, found.is_null(), field, f"use one of {list(words)}")
    return np.array(found.to_numpy(), np.int64)


def _refuse(frame: pl.DataFrame, wrong: pl.Series, field: str, mend: str) -> None:
    row = wrong.arg_max() if wrong.any() else None
    if row is not None:
        value = frame[field][row]
        raise OrderError(f"{_where(frame, row)}: {field} is {'missing' if value is None else value}; {mend}")


def _where(frame: pl.DataFrame, row: int) -> str:
    return f"orders row {row} ({frame['symbol'][row]} {frame['ts'][row]})"
