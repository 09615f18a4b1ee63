"""Bars made of trades that are stored: for a maker that goes on after another, and of times that it has let go.

    for symbol, found in before(recorder, "1m").items():    # after recorder.resume
        told += maker.resume(symbol, found)
    for mark in begun(recorder, "1m", ended, connected):    # what of the first bars nobody followed
        told += [mark, *maker.unfollowed(mark.symbol, mark.ts, mark.until)]
    told += remade(recorder, "1m", maker.past, events)      # of events that are about to be stored

So a bar in the lake is never followed by one of fewer trades.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import groupby

import polars as pl

from resources.market_data.timeframes import INTRADAY
from resources.streams.aggregation import Before, Made
from resources.streams.base import ENDED, Bar, Event, Lost, Repaired, Trade
from resources.streams.clock import SECOND
from resources.streams.intervals import LATE, Interval, edges, without
from resources.streams.recording import SYMBOLS_AT_ONCE, Recorder, Stand, recorded, recorded_since
from resources.streams.repair import instant
from resources.streams.rows import GIVEN_UP, LOST, OPEN, REPAIRED, UNFOLLOWED, Mark, frames, gaps, made, settled
from resources.streams.track import DISCONNECTED

BACK = 900 * SECOND
"""Bars of so long before may have been told and not stored."""

_HOUR, _DAY = 3600 * SECOND, 86_400 * SECOND


def before(recorder: Recorder, timeframe: str) -> dict[str, Before]:
    """After `resume`: what is stored of each symbol's bars that may not be told yet, or will change."""
    stands = {line.symbol: stand for line, stand in recorder.stands.items() if line.kind == "trade"}
    begins = {symbol: (stand.since - BACK) // _HOUR * _HOUR for symbol, stand in stands.items()}
    names, now, found = list(stands), recorder.now(), dict[str, Before]()
    findings = _findings(recorder, min(begins.values(), default=now))
    lost, unfollowed = _lost(findings, min(begins.values(), default=now)), _unfollowed(findings)
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
            ended = stand.ended if stand.ended >= 0 else _followed_until(mine, now, _step(timeframe))
            ends = _ends(recorder, symbol, stand, ended, _step(timeframe))
            known = unfollowed.get(symbol, [])
            fresh = [one for one in ends if one not in known]
            found[symbol] = Before(begins[symbol], stand.newest, mine, missing, [*known, *fresh], fresh, ended)
    return found


def _followed_until(bars: Sequence[Made], now: int, step: int) -> int:
    """Until when a symbol was followed for sure, by what is stored of it; -1 where nothing is."""
    ends = [max(bar.last[0], bar.ts + step if bar.told else -1) for bar in bars]
    return min(max(ends, default=-1), now)


def _ends(recorder: Recorder, symbol: str, stand: Stand, ended: int, step: int) -> list[Interval]:
    """What of bars that were followed before nobody followed any more, up to what is asked for now."""
    if ended < 0:
        return []
    until = stand.since if stand.asked else ended + -ended % step
    return [part for one in _untold(recorder, symbol, ended, until - 1) for part in edges(*one, step)]


def _untold(recorder: Recorder, symbol: str, since: int, until: int) -> list[Interval]:
    """What of an interval is not told as lost of sessions that are over."""
    told = [(one.ts, one.until) for one in recorder.missed if (one.symbol, one.kind) == (symbol, "trade")]
    return without([(since, until)] if since <= until else [], told)


def begun(recorder: Recorder, timeframe: str, found: Mapping[str, Before], at: int) -> list[Mark]:
    """After `before`, when the lines are followed `at` last: what of the bars that began earlier nobody followed."""
    step, marks = _step(timeframe), list[Mark]()
    for line, stand in recorder.stands.items():
        if line.kind != "trade":
            continue
        ended = found[line.symbol].ended
        begins = min(stand.since, at) if stand.asked else at
        if ended < 0 or not stand.asked:  # else what is between was told by `before`
            since = max(ended, begins - begins % step - LATE)
            parts = _untold(recorder, line.symbol, since, begins - 1)
            marks += [Mark(line.symbol, ts, "trade", until, UNFOLLOWED) for ts, until in parts]
    return marks


def remade(
    recorder: Recorder, timeframe: str, past: Collection[tuple[str, int]], events: Sequence[Event | Mark]
) -> list[Bar]:
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
    findings = _findings(recorder, starts[0], [event for event in events if isinstance(event, Lost | Repaired | Mark)])
    lost, unfollowed = _lost(findings, starts[0]), _unfollowed(findings)
    told = []
    for symbol, mades in _bars(timeframe, trades, bars).items():
        intervals = [*((ts, until) for ts, until, _ in lost.get(symbol, ())), *unfollowed.get(symbol, ())]
        for bar in mades:
            missing = any(ts < bar.ts + step and until >= bar.ts for ts, until in intervals)
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


def _findings(recorder: Recorder, since: int, events: Iterable[Event | Mark] = ()) -> pl.DataFrame:
    """What is stored, of the day before `since` too, and what these events tell."""
    found = recorded_since(recorder.lake, "findings", None, since - _DAY).collect()
    fresh = frames(events, recorder.provider, recorder.now()).get("findings")
    return found if fresh is None else pl.concat([found, fresh])


def _lost(findings: pl.DataFrame, since: int) -> dict[str, list[tuple[int, int, bool]]]:
    """By symbol, the intervals of trades that reach beyond `since` and are not repaired; whether each is closed."""
    left = gaps(findings).filter(
        pl.col("kind") == "trade", pl.col("state") != REPAIRED, pl.col("until").to_physical() >= since
    ).select(
        "symbol", pl.col("ts").to_physical(), pl.col("until").to_physical(),
        ~((pl.col("state") == OPEN) | ((pl.col("state") == GIVEN_UP) & (pl.col("detail") == ENDED))),
    )  # fmt: skip
    lost: dict[str, list[tuple[int, int, bool]]] = {}
    for symbol, *interval in left.iter_rows():
        lost.setdefault(symbol, []).append(tuple(interval))
    return lost


def _unfollowed(findings: pl.DataFrame) -> dict[str, list[Interval]]:
    """Of each symbol's trades, what is marked as not followed and was not told as lost since."""
    trades = findings.filter(pl.col("kind") == "trade").sort("told_at", maintain_order=True)
    stamps = pl.col("ts", "until").to_physical()
    found: dict[str, list[Interval]] = {}
    missed = (pl.col("what") == LOST) & (pl.col("detail") == DISCONNECTED)
    marked = trades.filter(pl.col("what") == UNFOLLOWED)["symbol"].unique().to_list()
    mine = trades.filter(pl.col("symbol").is_in(marked), missed | (pl.col("what") == UNFOLLOWED))
    for symbol, what, ts, until in mine.select("symbol", "what", stamps).iter_rows():
        mark = what == UNFOLLOWED
        before = found.get(symbol, [])
        found[symbol] = [*before, (ts, until)] if mark else without(before, [(ts, until)])
    return found


def _step(timeframe: str) -> int:
    return int(INTRADAY[timeframe].total_seconds() * SECOND)
