"""The vocabulary of market data: schemas of bars, corporate actions and instruments, and the provider protocol."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import ClassVar, Protocol

import polars as pl

from resources.calendars import UTC_MICROS, sessions
from resources.config import ExcludedRow
from resources.errors import BarSchemaError, ConfigError, NoDataError, NotOfferedError, UnknownSymbolError

BAR_SCHEMA = pl.Schema(
    {
        "symbol": pl.String(),
        "ts": UTC_MICROS,
        "open": pl.Float64(),
        "high": pl.Float64(),
        "low": pl.Float64(),
        "close": pl.Float64(),
        "volume": pl.Float64(),
        "provider": pl.String(),
        "fetched_at": UTC_MICROS,
        "known_at": UTC_MICROS,
    }
)
"""A bar as the provider gave it: raw prices, `ts` is its START, `known_at` its END (the session's close)."""

ACTION_SCHEMA = pl.Schema(
    {
        "symbol": pl.String(),
        "ts": UTC_MICROS,
        "kind": pl.String(),
        "value": pl.Float64(),
        "provider": pl.String(),
        "fetched_at": UTC_MICROS,
        "known_at": UTC_MICROS,
    }
)
"""A corporate action on its ex-date (`ts` is that session's open).

kind is `split` (value = new shares per old share) or `dividend` (value = cash per share as paid, unadjusted;
on the day of a split, per new share). An action is announced before its ex-date and changes the price from the
first trade on, so `known_at` is that same open.
"""

INSTRUMENT_SCHEMA = pl.Schema(
    {
        "symbol": pl.String,
        "asset_class": pl.String,
        "venue": pl.String,
        "calendar": pl.String,
        "currency": pl.String,
        "tick": pl.Float64,
        "lot": pl.Float64,
        "multiplier": pl.Float64,
        "expiry": pl.Date,
        "strike": pl.Float64,
        "right": pl.String,
        "underlying": pl.String,
        "sector": pl.String,
        "listed": pl.Date,
        "delisted": pl.Date,
        "minimum_notional": pl.Float64,
        "perpetual": pl.Boolean,
        "pip": pl.Float64,
    }
)
"""One row an instrument of any class; null where a field does not apply or the provider does not say.

asset_class: equity, option, future, crypto, forex (and index, which cannot be traded). tick is the smallest price
step, lot the smallest step of quantity, minimum_notional the least worth of an order in `currency`, multiplier the
units of the underlying a contract stands for. expiry is a contract's last trading day, right is call or put,
perpetual marks a future without expiry, pip is the price step by which forex moves are counted.
"""

ASSET_CLASSES = ("equity", "option", "future", "crypto", "forex", "index")

PRICES = ("open", "high", "low", "close")
MEND = "Fix the source, or exclude the row in the configuration (cleaning.exclude)."

ROLLS = pl.Schema({"session": pl.Date, "old": pl.String, "new": pl.String, "factor": pl.Float64})


@dataclass(frozen=True, slots=True)
class Continuous:
    """`bars` in BAR_SCHEMA, and `rolls`: the last session in the old contract, old, new, factor of earlier prices."""

    bars: pl.LazyFrame
    rolls: pl.DataFrame


Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """The wall clock, aware."""
    return datetime.now(UTC)


class Provider(Protocol):
    """A source of market data. Dates are sessions, `start` and `end` both included; instants of quotes and trades
    are aware datetimes, `end` excluded.

    Every frame is sorted by symbol and ts. An unknown symbol, an empty answer, a refusal and a
    broken answer are told apart by the errors of `resources.errors`; an empty frame is never
    returned to mean any of them. What a provider does not have raises NotOfferedError, by name (`Partial`).
    Live streams are in `resources.streams`.
    """

    name: str

    def bars(self, symbols: Sequence[str], start: date, end: date, timeframe: str = "1d") -> pl.LazyFrame:
        """Raw bars in BAR_SCHEMA."""
        ...

    def corporate_actions(self, symbols: Sequence[str], start: date, end: date) -> pl.LazyFrame:
        """Splits and cash dividends in ACTION_SCHEMA; no rows where none took place."""
        ...

    def instruments(self, symbols: Sequence[str]) -> pl.DataFrame:
        """One row a symbol in INSTRUMENT_SCHEMA."""
        ...

    def quotes(self, symbols: Sequence[str], start: datetime, end: datetime) -> pl.LazyFrame:
        """Best bids and offers in QUOTE_SCHEMA (resources.market_data.ticks)."""
        ...

    def trades(self, symbols: Sequence[str], start: datetime, end: datetime) -> pl.LazyFrame:
        """Trades in TRADE_SCHEMA (resources.market_data.ticks)."""
        ...

    def option_chain(self, underlying: str, on: date) -> pl.DataFrame:
        """The options listed on a session, in INSTRUMENT_SCHEMA, sorted by expiry, strike and right."""
        ...

    def futures(self, root: str, on: date) -> pl.DataFrame:
        """The futures of a root (ES) listed on a session, in INSTRUMENT_SCHEMA, sorted by expiry."""
        ...

    def continuous(self, root: str, start: date, end: date, *, ahead: int = 5) -> Continuous:
        """Daily bars of a root's contracts one after the other, back-adjusted, with the roll dates.

        A contract is left `ahead` sessions before its last; ConfigError where that is not a whole number, 0 or more.
        """
        ...


class Partial:
    """The methods of Provider that a source may lack: each says so by name until a provider has its own."""

    name: str
    offers: ClassVar[str]
    """What it does have, for the message; for example "daily bars, splits and dividends"."""

    def quotes(self, symbols: Sequence[str], start: datetime, end: datetime) -> pl.LazyFrame:
        raise self.not_offered("quotes")

    def trades(self, symbols: Sequence[str], start: datetime, end: datetime) -> pl.LazyFrame:
        raise self.not_offered("trades")

    def option_chain(self, underlying: str, on: date) -> pl.DataFrame:
        raise self.not_offered("option chains")

    def futures(self, root: str, on: date) -> pl.DataFrame:
        raise self.not_offered("futures")

    def continuous(self, root: str, start: date, end: date, *, ahead: int = 5) -> Continuous:
        raise self.not_offered("continuous series")

    def not_offered(self, what: str) -> NotOfferedError:
        return NotOfferedError(f"{self.name} has no {what}; it has {self.offers}")


def asked(provider: str, symbols: Sequence[str], held: Collection[str], timeframe: str = "1d") -> list[str]:
    """The symbols asked for, each once, in their order.

    Raises UnknownSymbolError naming those not in `held`, and ConfigError on no symbols or bars other than daily.
    """
    if timeframe != "1d":
        raise ConfigError(f"timeframe: {provider} gives daily bars only, not {timeframe!r}; for example timeframe: 1d")
    if not symbols:
        raise ConfigError(f"{provider}: no symbols asked for; for example universe.symbols: [AAPL, MSFT]")
    unknown = [symbol for symbol in dict.fromkeys(symbols) if symbol not in held]
    if unknown:
        raise UnknownSymbolError(f"{provider} has no {', '.join(unknown)}; it has {_some(sorted(held))}")
    return list(dict.fromkeys(symbols))


def _some(names: Sequence[str], most: int = 12) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def no_rows(provider: str, symbols: Sequence[str], start: date, end: date, held: str = "") -> NoDataError:
    """The error of a request that found nothing at all; `held` may say what there is instead."""
    return NoDataError(
        f"{provider} has no rows of {_some(symbols)} from {start} to {end}" + (f"; it holds {held}" if held else "")
    )


def check_calendars(instruments: pl.DataFrame, calendar: str) -> pl.DataFrame:
    """The instruments, if each trades in the sessions of `calendar`.

    An installation has one calendar, whose sessions are its rows. Raises ConfigError naming the first symbol that had
    other sessions last year.
    """
    last = utc_now().year - 1
    year = date(last, 1, 1), date(last, 12, 31)
    wanted = sessions(calendar, *year).select("session", "open")
    for name in instruments["calendar"].drop_nulls().unique().sort():
        if not sessions(name, *year).select("session", "open").equals(wanted):
            symbol = instruments.filter(pl.col("calendar") == name)["symbol"][0]
            raise ConfigError(
                f"calendar: {symbol} trades by {name}, this configuration by {calendar}. Take it out of the universe, "
                f"or give such symbols a configuration of their own with calendar: {name}"
            )
    return instruments


def exclude_rows(rows: pl.LazyFrame, exclude: Sequence[ExcludedRow]) -> pl.LazyFrame:
    """Leave out the rows that the configuration names: a symbol on a `session`, or its rows without a date."""
    for row in exclude:
        session = pl.col("session").eq_missing(pl.lit(row.session, dtype=pl.Date))
        rows = rows.filter(~(pl.col("symbol").eq_missing(pl.lit(row.symbol)) & session))
    return rows


def daily_bars(
    rows: pl.LazyFrame, *, calendar: str, start: date, end: date, provider: str, fetched_at: datetime, source: str
) -> pl.LazyFrame:
    """Checked bars from a provider's own rows: symbol, session (Date), open, high, low, close, volume.

    Raises BarSchemaError as `stamp_sessions` and `check_bars` do.
    """
    bars = stamp_sessions(rows, calendar, start, end, source).with_columns(
        provider=pl.lit(provider), fetched_at=pl.lit(fetched_at, dtype=UTC_MICROS)
    )
    return check_bars(bars.select(BAR_SCHEMA.names()).cast(BAR_SCHEMA).sort("symbol", "ts"), source)


def daily_actions(
    rows: pl.LazyFrame, *, calendar: str, start: date, end: date, provider: str, fetched_at: datetime, source: str
) -> pl.LazyFrame:
    """Corporate actions from a provider's own rows: symbol, session (the ex-date), kind, value.

    Raises BarSchemaError on an ex-date that is not a session, and on a value that is not a positive number.
    """
    stamped = stamp_sessions(rows, calendar, start, end, source).with_columns(
        provider=pl.lit(provider), fetched_at=pl.lit(fetched_at, dtype=UTC_MICROS), known_at=pl.col("ts")
    )
    frame = stamped.select(ACTION_SCHEMA.names()).cast(ACTION_SCHEMA).sort("symbol", "ts", "kind").collect()
    wrong = frame.filter(~(pl.col("value").is_finite() & (pl.col("value") > 0)).fill_null(False))
    if wrong.height:
        _refuse(wrong, f"{wrong['kind'][0]} is {wrong['value'][0]}; it must be a positive number", source)
    return frame.lazy()


def stamp_sessions(daily: pl.LazyFrame, calendar: str, start: date, end: date, source: str) -> pl.LazyFrame:
    """Turn a `session` date column into `ts` (the session's open) and `known_at` (its close), both UTC.

    Keeps the order of the rows. Raises BarSchemaError naming the symbol and date of the first row that is not
    a session.
    """
    frame = daily.collect()
    known = sessions(calendar, start, end).select("session", ts="open", known_at="close")
    stray = frame.join(known, on="session", how="anti").select("symbol", "session").sort("symbol", "session").head(1)
    if stray.height:
        symbol, session = stray.row(0)
        if session is None:
            raise BarSchemaError(f"{symbol}: a row has no date ({source}). {MEND}")
        raise BarSchemaError(
            f"{symbol} {session}: date is not a session of {calendar} between {start} and {end} ({source}). {MEND}"
        )
    return frame.lazy().join(known.lazy(), on="session", how="left", maintain_order="left").drop("session")


def check_bars(bars: pl.LazyFrame, source: str) -> pl.LazyFrame:
    """Return the bars unchanged if they are market data, in BAR_SCHEMA, sorted by symbol and ts.

    Raises BarSchemaError, naming the symbol, the date, the field and the mend, on: missing, extra or
    mistyped columns; rows without symbol or time; missing, infinite or non-positive prices; negative volume;
    high or low that do not bound the other prices; a bar known before it began; rows out of order; more than
    one row for a symbol and instant.
    """
    _check_columns(bars.collect_schema(), source)
    frame = bars.collect()
    rules = _row_rules()
    wrong = [(~right.fill_null(False)).any().alias(f"{at}") for at, (_, _, right) in enumerate(rules)]
    broken = frame.select(wrong).row(0)
    for (field, message, right), found in zip(rules, broken, strict=True):
        if found:
            bad = frame.filter(~right.fill_null(False)).head(1)
            _refuse(bad, f"{field} is {bad[field][0]}; {message}", source)
    same = pl.col("symbol") == pl.col("symbol").shift()
    twice = frame.filter(same & (pl.col("ts") == pl.col("ts").shift())).head(1)
    if twice.height:
        _refuse(twice, "more than one row for this symbol and date", source)
    back = frame.filter((same & (pl.col("ts") < pl.col("ts").shift())) | (pl.col("symbol") < pl.col("symbol").shift()))
    if back.height:
        _refuse(back.head(1), "row out of order; sort by symbol and ts", source)
    return frame.lazy()


def _row_rules() -> list[tuple[str, str, pl.Expr]]:
    """Field, what it must be, and the expression that is true where it is; null counts as false."""
    positive = [
        (name, "prices must be positive numbers", pl.col(name).is_finite() & (pl.col(name) > 0)) for name in PRICES
    ]
    return [
        ("symbol", "each row needs one", pl.col("symbol") != ""),
        ("ts", "each row needs a time", pl.col("ts").is_not_null()),
        *positive,
        ("volume", "it must be zero or more", pl.col("volume").is_finite() & (pl.col("volume") >= 0)),
        ("high", "it must be the bar's highest price", pl.col("high") >= pl.max_horizontal(PRICES)),
        ("low", "it must be the bar's lowest price", pl.col("low") <= pl.min_horizontal(PRICES)),
        ("known_at", "it must be later than the bar's start", pl.col("known_at") > pl.col("ts")),
        ("fetched_at", "it must say when the row was fetched", pl.col("fetched_at").is_not_null()),
        ("provider", "it must name the source", pl.col("provider") != ""),
    ]


def _check_columns(schema: pl.Schema, source: str) -> None:
    missing = [name for name in BAR_SCHEMA if name not in schema]
    extra = [name for name in schema if name not in BAR_SCHEMA]
    if missing or extra:
        parts = [f"missing columns {missing}"] * bool(missing) + [f"unknown columns {extra}"] * bool(extra)
        raise BarSchemaError(f"{source}: {' and '.join(parts)}; bars have {list(BAR_SCHEMA)}")
    for name, dtype in BAR_SCHEMA.items():
        if schema[name] != dtype:
            raise BarSchemaError(f"{source}: column {name} is {schema[name]}; it must be {dtype}")


def _refuse(row: pl.DataFrame, what: str, source: str) -> None:
    when = row["ts"][0]
    raise BarSchemaError(f"{row['symbol'][0]} {when.date() if when else 'without a date'}: {what} ({source}). {MEND}")
