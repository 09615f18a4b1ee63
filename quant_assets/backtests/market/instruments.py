"""What a backtest needs to know of each instrument, from the platform's table of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import polars as pl

from quant_assets.backtests.market.bar_frames import schema_of
from resources.errors import BarSchemaError
from resources.exchange.terms import Listing
from resources.market_data.base import ASSET_CLASSES

TRADED = tuple(kind for kind in ASSET_CLASSES if kind != "index")
RIGHTS = ("call", "put")
NUMBERS = {"lot": 1e-9, "tick": 0.0, "multiplier": 0.0, "minimum_notional": 0.0, "margin_per_unit": 0.0}
"""The smallest value of each number: quantities below 1e-9 are nothing to the exchange."""

OPTIONAL = (
    "lot",
    "tick",
    "multiplier",
    "currency",
    "asset_class",
    "strike",
    "right",
    "underlying",
    "expiry",
    "calendar",
    "minimum_notional",
    "margin_per_unit",
    "sector",
)


def listings_of(symbols: Sequence[str], instruments: pl.LazyFrame | pl.DataFrame | None) -> list[Listing]:
    """A Listing for each symbol. Symbols without a row, and columns that are absent or null, have the defaults.

    Raises BarSchemaError for columns of a wrong kind, a symbol with two rows, a class that cannot be traded, a lot or
    multiplier that is not positive, or an option without strike, right, underlying or expiry.
    """
    if instruments is None:
        return [Listing()] * len(symbols)
    if not isinstance(instruments, pl.LazyFrame | pl.DataFrame):
        raise BarSchemaError(
            f"instruments: a {type(instruments).__name__}; give a polars frame, of pandas with polars.from_pandas"
        )
    schema = schema_of(instruments.lazy(), "instruments")
    if "symbol" not in schema:
        raise BarSchemaError("instruments: missing column symbol; give market_data/instruments, or a frame like it")
    _check_kinds(schema)
    frame = instruments.lazy().collect().with_columns(pl.col("symbol").cast(pl.String))
    held = frame.filter(pl.col("symbol").is_in(list(symbols))).select(
        "symbol", *[name for name in OPTIONAL if name in frame.columns]
    )
    twice = held.filter(pl.col("symbol").is_duplicated())
    if twice.height:
        raise BarSchemaError(f"instruments: {twice['symbol'][0]} has more than one row; keep one a symbol")
    known = {row["symbol"]: _listing(row) for row in held.iter_rows(named=True)}
    return [known.get(symbol, Listing()) for symbol in symbols]


def _check_kinds(schema: pl.Schema) -> None:
    """Refuse columns of another kind than what they mean; one that is null throughout says nothing."""
    for name in ("symbol", *OPTIONAL):
        kind = schema.get(name, pl.Null)
        if kind == pl.Null:
            continue
        if name == "expiry":
            fine, wanted = kind == pl.Date, "a Date, the last session"
        elif name in (*NUMBERS, "strike"):
            fine, wanted = kind.is_numeric(), "a number"
        else:
            fine, wanted = kind in (pl.String, pl.Categorical, pl.Enum), "text"
        if not fine:
            raise BarSchemaError(f"instruments: column {name} is {kind}; it must be {wanted}")


def _listing(row: dict[str, Any]) -> Listing:
    given = {name: value for name, value in row.items() if value is not None and name not in ("symbol", "expiry")}
    kind = given.get("asset_class", "equity")
    if kind not in TRADED:
        raise BarSchemaError(
            f"instruments: {row['symbol']}: asset_class is {kind}; what can be traded is {list(TRADED)}"
        )
    wrong: dict[str, Any] = {}
    for name, smallest in NUMBERS.items():
        if name in given:
            value = given[name]
            fine = isinstance(value, int | float) and math.isfinite(value) and value >= smallest
            if not fine or (value == 0 and name in ("lot", "multiplier", "margin_per_unit")):
                wrong[name] = value
    if kind == "option":
        needed = {"strike": lambda value: value > 0, "right": RIGHTS.__contains__, "underlying": bool}
        wrong |= {name: given.get(name) for name, fine in needed.items() if not (name in given and fine(given[name]))}
        wrong |= {} if row.get("expiry") else {"expiry": None}
    for name, value in wrong.items():
        mend = "it must be call or put" if name == "right" else "it must be given, and positive where it is a number"
        raise BarSchemaError(f"instruments: {row['symbol']}: {name} is {value}; {mend}")
    if kind != "option":
        given = {name: value for name, value in given.items() if name not in ("strike", "right", "underlying")}
    return Listing(**given, expires=row.get("expiry"))
