"""Bars made of ticks: of trades, and of the middle of quotes."""

from __future__ import annotations

from datetime import timedelta

import polars as pl

from resources.calendars import sessions, timezone
from resources.errors import BarSchemaError, ConfigError
from resources.market_data.base import BAR_SCHEMA
from resources.market_data.timeframes import INTRADAY


def bars_of_trades(trades: pl.LazyFrame, timeframe: str, calendars: pl.DataFrame | None = None) -> pl.LazyFrame:
    """Bars in BAR_SCHEMA from trades in TRADE_SCHEMA: first, highest, lowest and last price, sizes summed.

    Trades of one instant count in their order; those at fault are left out before (`cleaned.ticks.without`). A bar
    begins on a multiple of the timeframe by the exchange's clock, or in UTC for symbols that `calendars` (symbol,
    calendar) does not have; it is known at its end, where the next multiple is: one of 4h in which the clock changes
    lasts 3 or 5 hours. Slots without a tick have no bar: cleaning fills them. Bars of
    `1d` are sessions: ts is the open, known_at the close; they need `calendars`, and leave out what lies outside the
    sessions. The last bar may be half built: fetched_at is the latest of its ticks', and cleaning tells.

    Raises ConfigError on an unknown timeframe, and BarSchemaError on a symbol without the calendar that 1d needs.

    Example: `bars_of_trades(provider.trades(["SPY"], start, end), "1m")`
    """
    return _bars(trades.select("symbol", "ts", "provider", "fetched_at", "price", "size"), timeframe, calendars)


def bars_of_quotes(quotes: pl.LazyFrame, timeframe: str, calendars: pl.DataFrame | None = None) -> pl.LazyFrame:
    """Bars in BAR_SCHEMA from quotes in QUOTE_SCHEMA: of the middle of bid and ask, where both sides have a price.

    volume is 0.0: nothing was traded. Otherwise as `bars_of_trades`.

    Example: `bars_of_quotes(ticks.without(quotes, ticks.faults(quotes, instruments)), "1h")`
    """
    sided = quotes.filter((pl.col("bid") > 0) & (pl.col("ask") > 0))
    middle = sided.select(
        "symbol", "ts", "provider", "fetched_at", price=(pl.col("bid") + pl.col("ask")) / 2, size=pl.lit(0.0)
    )
    return _bars(middle, timeframe, calendars)


def _bars(ticks: pl.LazyFrame, timeframe: str, calendars: pl.DataFrame | None) -> pl.LazyFrame:
    """Bars from symbol, ts, provider, fetched_at, price, size."""
    frame = ticks.collect()
    symbol, ts = pl.col("symbol"), pl.col("ts")
    back = (symbol < symbol.shift()) | ((symbol == symbol.shift()) & (ts < ts.shift()))
    if frame.select(back.any()).item():
        frame = frame.sort("symbol", "ts", maintain_order=True)
    if timeframe == "1d":
        placed = _by_session(frame, calendars)
    elif timeframe in INTRADAY:
        placed = _by_slot(frame, calendars, INTRADAY[timeframe])
    else:
        raise ConfigError(f"timeframe: no bars of {timeframe!r} from ticks; for example 1d, {', '.join(INTRADAY)}")
    # The rows are in order: a bar is a run of one symbol and start, found without hashing every tick.
    begins = (pl.col("symbol") != pl.col("symbol").shift()) | (pl.col("begin") != pl.col("begin").shift())
    price = pl.col("price")
    made = (
        placed.lazy()
        .with_columns(run=begins.fill_null(True).cum_sum())
        .group_by("run", maintain_order=True)
        .agg(
            pl.col("symbol", "begin", "end", "provider").first(),
            open=price.first(),
            high=price.max(),
            low=price.min(),
            close=price.last(),
            volume=pl.col("size").sum(),
            fetched_at=pl.col("fetched_at").max(),
        )
    )
    return made.rename({"begin": "ts", "end": "known_at"}).select(BAR_SCHEMA.names()).cast(dict(BAR_SCHEMA))  # type: ignore[arg-type]


def _by_slot(frame: pl.DataFrame, calendars: pl.DataFrame | None, step: timedelta) -> pl.DataFrame:
    """The ticks with begin and end of their bar."""
    zones = _zones(calendars)
    return pl.concat(
        part.with_columns(begin=_begin(step, zones.get(symbol))).with_columns(end=_end(step, zones.get(symbol)))
        for symbol, part in _by_symbol(frame, set(zones))
    )


def _begin(step: timedelta, zone: str | None) -> pl.Expr:
    """Where the bar of a tick begins: a multiple of the step since midnight, local or UTC."""
    ts = pl.col("ts")
    if zone is None:
        return ts.dt.truncate(step)
    local = ts.dt.convert_time_zone(zone).dt.replace_time_zone(None)
    begin = ts - (local - local.dt.truncate(step))
    # Where the clock has changed since, it was by the clock of before.
    return begin + (_offset(ts, zone) - _offset(begin, zone))


def _end(step: timedelta, zone: str | None) -> pl.Expr:
    """Where a bar of `begin` ends. A clock changes by an hour: no longer one is there twice, or left out."""
    begin = pl.col("begin")
    if zone is None or step <= timedelta(hours=1):
        return begin + step
    return begin + step + (_offset(begin, zone) - _offset(begin + step, zone))


def _offset(instant: pl.Expr, zone: str) -> pl.Expr:
    """By how much the zone's clock is ahead of UTC."""
    return instant.dt.convert_time_zone(zone).dt.replace_time_zone(None) - instant.dt.replace_time_zone(None)


def _zones(calendars: pl.DataFrame | None) -> dict[str, str]:
    """Symbols and their exchanges' time zones, without those that live by UTC."""
    if calendars is None:
        return {}
    named = {str(symbol): timezone(str(name)) for symbol, name in calendars.select("symbol", "calendar").iter_rows()}
    return {symbol: zone for symbol, zone in named.items() if zone != "UTC"}


def _by_symbol(frame: pl.DataFrame, apart: set[str]) -> list[tuple[str, pl.DataFrame]]:
    """The rows of each symbol, in order; all together, under no name, where none has to be told apart."""
    if not apart or frame.is_empty():
        return [("", frame)]
    return [(str(symbol), part) for (symbol,), part in frame.group_by("symbol", maintain_order=True)]


def _by_session(frame: pl.DataFrame, calendars: pl.DataFrame | None) -> pl.DataFrame:
    """The ticks of sessions, their close included, with the session's open and close as begin and end of their bar."""
    calendar_of = dict(calendars.select("symbol", "calendar").iter_rows()) if calendars is not None else {}
    parts = []
    for (symbol,), part in frame.group_by("symbol", maintain_order=True):
        if symbol not in calendar_of:
            raise BarSchemaError(
                f"{symbol}: bars of 1d are sessions, and no calendar is known. Give the symbol a row with a calendar, "
                "such as XNYS, in `calendars`."
            )
        first, last = part["ts"][0].date(), part["ts"][-1].date()
        slots = sessions(str(calendar_of[symbol]), first - timedelta(days=4), last + timedelta(days=1))
        at = slots["open"].search_sorted(part["ts"], side="right").cast(pl.Int64) - 1
        found = slots[at.clip(lower_bound=0)].select(begin="open", end="close")
        inside = (pl.col("ts") <= pl.col("end")) & (pl.col("ts") >= pl.col("begin"))
        parts.append(pl.concat([part, found], how="horizontal").filter(inside))
    if not parts:
        return frame.with_columns(begin="ts", end="ts")
    return pl.concat(parts)
