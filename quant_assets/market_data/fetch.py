"""Raw market data from a provider, a part at a time, checked before anything is written.

A part is a group of symbols over some sessions, sized so that memory follows the part and not the request. What a part
brought is kept on disk until the run has written everything (`Downloads`; None keeps nothing, where asking again costs
nothing): a killed run asks for nothing twice.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import TypeVar
from zoneinfo import ZoneInfo

import polars as pl

from resources.calendars import sessions, timezone
from resources.errors import ConfigError, NoDataError, NotOfferedError
from resources.lake_io import BATCH_SYMBOLS
from resources.market_data.base import ACTION_SCHEMA, BAR_SCHEMA, Provider, check_bars
from resources.market_data.downloads import Downloads
from resources.market_data.progress import Progress
from resources.market_data.timeframes import INTRADAY

PART_ROWS = 2_000_000
"""The most rows of a part, and of the symbols that are held together until they are written."""

ASK_ROWS = 50_000
"""About so many rows are asked for at once, and kept when they have come: what a killed run loses at the most."""

MOST_TICKS = 50_000_000
"""The most ticks of one partition: some 5 GB in memory."""

Say = Callable[[str], None]
When = TypeVar("When", date, datetime)
AskTicks = Callable[[Sequence[str], datetime, datetime], pl.LazyFrame]


def groups(symbols: Sequence[str], start: date, end: date, timeframe: str) -> list[list[str]]:
    """The symbols in groups whose bars from `start` to `end` are at most PART_ROWS, or a single symbol's."""
    return _cut(symbols, PART_ROWS, _rows(start, end, timeframe))


def _rows(start: date, end: date, timeframe: str) -> int:
    """The most rows that a symbol can have."""
    days = (end - start).days + 1
    return days if timeframe == "1d" else days * (timedelta(days=1) // INTRADAY[timeframe])


def _cut(symbols: Sequence[str], most: int, rows: int) -> list[list[str]]:
    """The symbols in groups of at most BATCH_SYMBOLS, and of `most` rows where each has `rows`."""
    size = max(1, min(BATCH_SYMBOLS, most // max(rows, 1)))
    return [list(symbols[first : first + size]) for first in range(0, len(symbols), size)]


def bars(
    provider: Provider, symbols: Sequence[str], start: date, end: date, timeframe: str, kept: Downloads | None, say: Say
) -> Iterator[pl.LazyFrame]:
    """Bars between two sessions, both included, in BAR_SCHEMA: a frame a group of symbols.

    A group without a single row yields an empty frame: a listing may begin later. An unknown symbol, a
    refusal or a broken answer is the provider's error. Raises BarSchemaError on rows that are not market data.
    """

    def ask(names: Sequence[str], first: date, last: date) -> pl.LazyFrame:
        return check_bars(provider.bars(names, first, last, timeframe), provider.name)

    windows = [(start, end)] if timeframe == "1d" else _months(start, end)
    grouped = groups(symbols, start, end, timeframe)
    yield from _fetch(ask, grouped, windows, BAR_SCHEMA, kept, say, timeframe, _at_once(provider, kept))


def corporate_actions(
    provider: Provider, symbols: Sequence[str], start: date, end: date, kept: Downloads | None, say: Say
) -> Iterator[pl.LazyFrame]:
    """Splits and dividends between two sessions, in ACTION_SCHEMA; none, and a word, where the provider keeps none."""

    def ask(names: Sequence[str], first: date, last: date) -> pl.LazyFrame:
        try:
            return provider.corporate_actions(names, first, last)
        except NotOfferedError as error:
            raise NoDataError(f"{error}. Nothing will be adjusted") from error

    grouped = groups(symbols, start, end, "1d")
    yield from _fetch(ask, grouped, [(start, end)], ACTION_SCHEMA, kept, say, "1d", _at_once(provider, kept))


def ticks(
    ask: AskTicks,
    symbols: Sequence[str],
    windows: Sequence[Sequence[date]],
    calendar: str,
    schema: pl.Schema,
    kept: Downloads | None,
    say: Say,
) -> Iterator[pl.LazyFrame]:
    """Quotes or trades: a frame a symbol and window of sessions (one partition each), asked for session by session.

    `ask` is a provider's `quotes` or `trades`. Raises ConfigError where a partition would hold more than MOST_TICKS.
    """
    with Progress("ticks", len(symbols) * sum(len(window) for window in windows)) as progress:
        for symbol, window in itertools.product(symbols, windows):
            held: list[pl.DataFrame] = []
            for session in window:
                held.append(_part(ask, [symbol], _venue_day(calendar, session), schema, kept, say))
                progress.done(held[-1].height)
                if sum(part.height for part in held) > MOST_TICKS:
                    raise ConfigError(
                        f"{symbol} {session}: more than {MOST_TICKS:,} ticks since {window[0]} in one partition; "
                        "grain: day in the configuration makes partitions of a session"
                    )
            say(str(progress))
            yield pl.concat(held).lazy()


def _at_once(provider: Provider, kept: Downloads | None) -> int:
    """About how many rows are asked for at once: all of a group where nothing is kept."""
    if kept is None:
        return PART_ROWS
    # A gateway that takes minutes for a symbol is asked for one at a time.
    return 1 if provider.name == "ib" else ASK_ROWS


def _fetch(
    ask: Callable[[Sequence[str], date, date], pl.LazyFrame],
    grouped: Sequence[Sequence[str]],
    windows: Sequence[tuple[date, date]],
    schema: pl.Schema,
    kept: Downloads | None,
    say: Say,
    timeframe: str,
    most: int,
) -> Iterator[pl.LazyFrame]:
    """A frame a group: of windows, and of symbols so many that about `most` rows are asked for at once."""
    asks = [
        [(names, window) for window in windows for names in _cut(group, most, _rows(*window, timeframe))]
        for group in grouped
    ]
    with Progress("fetched", sum(map(len, asks))) as progress:
        for group, parts in zip(grouped, asks, strict=True):
            held = []
            for names, window in parts:
                held.append(_part(ask, names, window, schema, kept, say))
                progress.done(held[-1].height)
                if names[-1] != group[-1] or window != windows[-1]:
                    say(str(progress))
            yield pl.concat(held).sort("symbol", "ts", maintain_order=True).lazy()
            say(f"{progress}, up to {group[-1]}")


def _part(
    ask: Callable[[Sequence[str], When, When], pl.LazyFrame],
    symbols: Sequence[str],
    window: tuple[When, When],
    schema: pl.Schema,
    kept: Downloads | None,
    say: Say,
) -> pl.DataFrame:
    """The rows of some symbols in a window: those kept by a run that was killed, and the others from the provider."""
    if kept is None:
        return _asked(ask, symbols, window, schema, say)
    names = {symbol: f"{symbol} {window[0]} {window[1]}" for symbol in symbols}
    before = [(symbol, kept.held(name, schema)) for symbol, name in names.items()]
    found: dict[str, pl.DataFrame] = {symbol: frame for symbol, frame in before if frame is not None}
    if found:
        say(f"{len(found)} symbols from {window[0]} to {window[1]} were downloaded before: not asked for again")
    left = [symbol for symbol in symbols if symbol not in found]
    fresh = _asked(ask, left, window, schema, say) if left else schema.to_frame()
    parts = fresh.partition_by("symbol", as_dict=True)
    for symbol in left:
        kept.keep(names[symbol], parts.get((symbol,), fresh.clear()))
    return pl.concat([*found.values(), fresh])


def _asked(
    ask: Callable[[Sequence[str], When, When], pl.LazyFrame],
    symbols: Sequence[str],
    window: tuple[When, When],
    schema: pl.Schema,
    say: Say,
) -> pl.DataFrame:
    try:
        return ask(symbols, *window).collect()
    except NoDataError as error:
        say(f"no rows: {error}")
        return schema.to_frame()


def _venue_day(calendar: str, session: date) -> tuple[datetime, datetime]:
    """From the venue's midnight to the next, or from the evening on which the session opens to the same hour after."""
    zone = ZoneInfo(timezone(calendar))
    midnight = datetime.combine(session, time(), zone)
    opens = sessions(calendar, session, session)["open"][0].astimezone(zone)
    start = min(midnight, opens)
    # Wall time, so that the day on which the clock changes has 23 or 25 hours.
    return start.astimezone(UTC), (start + timedelta(days=1)).astimezone(UTC)


def _months(start: date, end: date) -> list[tuple[date, date]]:
    """The range cut at the first day of each month."""
    cuts = pl.date_range(start.replace(day=1), end, "1mo", eager=True).to_list()[1:]
    return list(zip([start, *cuts], [cut - timedelta(days=1) for cut in cuts] + [end], strict=True))
