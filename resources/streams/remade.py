"""Bars made of trades that are stored: for a maker that goes on after another, and of times that it has let go.

    for symbol, found in before(recorder, "1m").items():    # after recorder.resume
        told += maker.resume(symbol, found)
    told += remade(recorder, "1m", maker.past, events)      # of events that are about to be stored

So a bar in the lake is never followed by one of fewer trades.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import groupby

import polars as pl

from resources.market_data.timeframes import INTRADAY
from resources.streams.aggregation import Before, Made
from resources.streams.base import ENDED, Bar, Event, Lost, Repaired, Trade
from resources.streams.clock import SECOND
from resources.streams.recording import SYMBOLS_AT_ONCE, Recorder, recorded, recorded_since
from resources.streams.repair import instant
from resources.streams.rows import GIVEN_UP, OPEN, REPAIRED, frames, gaps, made, settled

BACK = 900 * SECOND
"""Bars of so long before may have been told and not stored."""

_HOUR, _DAY = 3600 * SECOND, 86_400 * SECOND


def before(recorder: Recorder, timeframe: str) -> dict[str, Before]:
    """After `resume`: what is stored of each symbol's bars that may not be told yet, or will change."""
    stands = {line.symbol: stand for line, stand in recorder.stands.items() if line.kind == "trade"}
    begins = {symbol: (stand.since - BACK) // _HOUR * _HOUR for symbol, stand in stands.items()}
    names, now, found = list(stands), recorder.now(), dict[str, Before]()
    lost = _lost(recorder, min(begins.values(), default=now))
    owed: dict[str, list[tuple[int, int]]] = {}
    for one in recorder.missed:
        if one.kind == "trade":
            owed.setdefault(one.symbol, []).append((one.ts, one.until))
    for group in (names[at : at + SYMBOLS_AT_ONCE] for at in range(0, len(names), SYMBOLS_AT_ONCE)):
        since = min(begins[symbol] for symbol in group)
        trades, bars = (recorded_since(recorder.lake, table, group, since) for table in ("trades", "bars"))
        mades = _bars(timeframe, trades, bars)
        for symbol in group:
            stand = stands[symbol]
            # What is asked for again is missing until it has come, and with it the gaps that nobody closed. The gateway
            # tells it, too, by its own clock, and that then takes its place.
            missing = [(stand.since, now, True)] if stand.asked else []
            for ts, until, closed in lost.get(symbol, ()):
                # Of sessions that are over it is asked for apart, and may come yet.
                coming = not closed and any(first <= ts and until <= last for first, last in owed.get(symbol, ()))
                if ts <= now and (coming or closed or not stand.asked or ts < stand.since):
                    missing.append((ts, min(until, now), coming))
            mine = [made for made in mades.get(symbol, ()) if made.ts >= begins[symbol]]
            found[symbol] = Before(begins[symbol], stand.newest, mine, missing)
    return found


def remade(recorder: Recorder, timeframe: str, past: Collection[tuple[str, int]], events: Sequence[Event]) -> list[Bar]:
    """These bars (symbol, start) of all their trades, stored or among `events`, which are to be stored with them.

    Those that do not differ from what is stored of them are left out.
    """
    step = _step(timeframe)
    starts = sorted({start for _, start in past})
    symbols, days = sorted({symbol for symbol, _ in past}), sorted({f"{instant(start).date()}" for start in starts})
    at = pl.col("ts").to_physical()
    stored = [
        recorded(recorder.lake, table, symbols, days, only=(at - at % step).is_in(starts))
        for table in ("trades", "bars")
    ]
    mine = [event for event in events
            if event.__class__ in (Trade, Bar) and (event.symbol, event.ts - event.ts % step) in past]  # fmt: skip
    fresh = frames(mine, recorder.provider, recorder.now())
    trades, bars = (
        settled(table, pl.concat([rows, *([fresh[table].lazy()] if table in fresh else [])]))
        for table, rows in zip(("trades", "bars"), stored, strict=True)
    )
    lost = _lost(recorder, starts[0], [event for event in events if isinstance(event, Lost | Repaired)])
    told = []
    for symbol, mades in _bars(timeframe, trades, bars).items():
        for bar in mades:
            missing = any(ts < bar.ts + step and until >= bar.ts for ts, until, _ in lost.get(symbol, ()))
            differs = bar.trades > bar.stored or (bar.trades == bar.stored and bar.complete == missing)
            if (symbol, bar.ts) in past and (differs or not bar.told):
                told.append(Bar(symbol, *bar[:6], timeframe, bar.trades, bar.told, not missing, repaired=bar.told > 0))
    return told


def _bars(timeframe: str, trades: pl.LazyFrame, bars: pl.LazyFrame) -> dict[str, list[Made]]:
    """The bars of these rows of trades, as far as they were told as these rows of bars say, by symbol."""
    mine = bars.filter(pl.col("timeframe") == timeframe)
    columns = mine.select("symbol", pl.col("ts").to_physical(), "revision", "trades", "complete").collect()
    found = {(symbol, bar.ts): bar for symbol, bars_ in made(trades, _step(timeframe)).items() for bar in bars_}
    for symbol, ts, revision, count, complete in columns.iter_rows():
        bar = found.get((symbol, ts), Made(ts))
        found[symbol, ts] = bar._replace(told=revision + 1, stored=count, complete=complete)
    return {
        symbol: [bar for _, bar in group] for symbol, group in groupby(sorted(found.items()), key=lambda one: one[0][0])
    }


def _lost(recorder: Recorder, since: int, events: Sequence[Event] = ()) -> dict[str, list[tuple[int, int, bool]]]:
    """By symbol, the intervals of trades that reach beyond `since` and are not repaired; whether each is closed.

    They are told by what is stored, of the day before `since` too, and by these events.
    """
    found = recorded_since(recorder.lake, "findings", None, since - _DAY).collect()
    fresh = frames(events, recorder.provider, recorder.now()).get("findings")
    told = gaps(found if fresh is None else pl.concat([found, fresh]))
    left = told.filter(
        pl.col("kind") == "trade", pl.col("state") != REPAIRED, pl.col("until").to_physical() >= since
    ).select(
        "symbol", pl.col("ts").to_physical(), pl.col("until").to_physical(),
        ~((pl.col("state") == OPEN) | ((pl.col("state") == GIVEN_UP) & (pl.col("detail") == ENDED))),
    )  # fmt: skip
    lost: dict[str, list[tuple[int, int, bool]]] = {}
    for symbol, *interval in left.iter_rows():
        lost.setdefault(symbol, []).append(tuple(interval))
    return lost


def _step(timeframe: str) -> int:
    return int(INTRADAY[timeframe].total_seconds() * SECOND)
