"""What foreign currencies are worth in a backtest's account: rates that are given, or pairs among its own bars."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from quant_assets.backtests.market.bar_frames import schema_of
from resources.calendars import UTC_MICROS
from resources.errors import BarSchemaError
from resources.exchange.layout import FOREVER, RATE, Integers, Market, Records
from resources.exchange.terms import Listing

SEPARATORS = ("", "/", ".", "-", "_")


def conversions(
    market: Market,
    opens: Integers,
    symbols: Sequence[str],
    known: Sequence[Listing],
    currency: str,
    given: pl.LazyFrame | pl.DataFrame | None,
) -> Records:
    """The market's rates; currencies are numbered as a Venue does: as symbols bring them.

    Raises BarSchemaError where a currency has no rate when the first bar in it opens, naming both.
    """
    needed: dict[str, int] = {}
    seen, rows = np.unique(market.rows["symbol"], return_index=True)
    first = dict(zip(seen.tolist(), rows.tolist(), strict=True))
    numbers: dict[str, int] = {}
    for number, (listing, place) in enumerate(zip(known, numbered(known, currency), strict=True)):
        code = listing.currency or currency
        numbers[code] = place
        if code != currency:
            needed[code] = min(needed.get(code, FOREVER), int(opens[first[number]]))
    told = _given(given)
    found: list[tuple[int, float, int]] = []
    for code, by in needed.items():
        series = told.get(code) or _pair(market, opens, symbols, code, currency)
        if not series or series[0][0] > by:
            raise BarSchemaError(
                f"currency {code}: no rate to {currency} is known on {np.datetime64(by, 'us')}, when its first bar "
                f"opens; give rates (ts, currency, rate: {currency} for one {code}), or bars of {code}{currency}"
            )
        found += [(at, rate, numbers[code]) for at, rate in series]
    return np.array(sorted(found, key=lambda row: row[0]), RATE)


def numbered(known: Sequence[Listing], currency: str) -> list[int]:
    """The number of each listing's currency: 0 is the account's, others count as symbols bring them."""
    numbers = {currency: 0}
    return [numbers.setdefault(listing.currency or currency, len(numbers)) for listing in known]


def _given(frame: pl.LazyFrame | pl.DataFrame | None) -> dict[str, list[tuple[int, float]]]:
    if frame is None:
        return {}
    if not isinstance(frame, pl.LazyFrame | pl.DataFrame):
        raise BarSchemaError(f"rates: a {type(frame).__name__}; give a polars frame, of pandas with polars.from_pandas")
    schema = schema_of(frame.lazy(), "rates")
    missing = [name for name in ("ts", "currency", "rate") if name not in schema]
    if missing:
        raise BarSchemaError(f"rates: missing columns {missing}; give ts, currency and rate")
    if getattr(schema["ts"], "time_zone", None) is None:
        raise BarSchemaError(f"rates: column ts is {schema['ts']}; it must be {UTC_MICROS}, when the rate was known")
    if schema["currency"] not in (pl.String, pl.Categorical, pl.Enum) or not schema["rate"].is_numeric():
        raise BarSchemaError(
            f"rates: columns currency and rate are {schema['currency']} and {schema['rate']}; give text and a number"
        )
    columns = (pl.col("ts").cast(UTC_MICROS), pl.col("currency").cast(pl.String), pl.col("rate").cast(pl.Float64))
    rows = frame.lazy().select(columns).collect()
    for name in ("ts", "currency"):
        if rows[name].null_count():
            row = rows.filter(pl.col(name).is_null()).row(0, named=True)
            raise BarSchemaError(f"rates: a row ({row['ts']} {row['currency']} {row['rate']}) without {name}; give it")
    bad = rows.filter(~(pl.col("rate").is_finite() & (pl.col("rate") > 0)).fill_null(False))
    if bad.height:
        raise BarSchemaError(
            f"rates: {bad['currency'][0]} {bad['ts'][0]}: rate is {bad['rate'][0]}; it must be positive"
        )
    told: dict[str, list[tuple[int, float]]] = {}
    for at, code, rate in rows.sort("ts").with_columns(pl.col("ts").to_physical()).iter_rows():
        told.setdefault(code, []).append((at, rate))
    return told


def _pair(market: Market, opens: Integers, symbols: Sequence[str], code: str, currency: str) -> list[tuple[int, float]]:
    """Rates from a pair among the symbols, either way round: its first open, then each close as it is known."""
    for pair, inverse in ((code, currency), False), ((currency, code), True):
        for separator in SEPARATORS:
            name = separator.join(pair)
            if name in symbols:
                held = market.rows["symbol"] == symbols.index(name)
                rows = market.rows[held]
                series = [(int(opens[held][0]), float(rows["open"][0]))]
                series += list(zip(rows["until"].tolist(), rows["close"].tolist(), strict=True))
                return [(at, 1.0 / price if inverse else price) for at, price in series]
    return []
