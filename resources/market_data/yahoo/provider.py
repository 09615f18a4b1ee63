"""Bars, splits, dividends, instruments and option chains of Yahoo Finance, through yfinance's connection.

Of yfinance this uses the connection (`client`), and asks Yahoo's endpoints itself. `Ticker.history` cannot do
the job honestly: it looks the time zone up first and takes every failure there, a server error as well as an HTML
page, for a symbol without a time zone; and it serves answers of the past, broken ones included, from a cache for as
long as the process lives. `yfinance.download` turns every failure into an empty frame.

What Yahoo calls raw is not. Its open, high, low, close and its dividends are divided, and its volumes multiplied,
by all splits up to today. They are restated here to what was traded and paid:

    raw price = price * f,  raw volume = volume / f,  cash dividend = dividend * f,
    f = the product of the ratios of all splits with an ex-date after the day

So each download runs from its start to today, whatever its end: the splits after the end are needed, and must come
with the same answers as the prices that they adjust. Yahoo sends 32-bit prices, so restated ones are rounded to 7
significant digits, volumes to whole shares, and dividends to 4 decimals. Where Yahoo misses a split, or has booked
one twice, the prices before it are off by its ratio; `cleaned/bars` flags such jumps.

Bars are given of what is over only: a session that is still trading, an intraday bar being built and the row that
Yahoo adds for the last trade are left out. What is over is judged by our clock or by that of Yahoo's answers (their
HTTP Date), whichever is behind: our own may run ahead of a session that still trades. What class an instrument is of,
and so whose calendar it keeps, Yahoo tells with the bars: shares and indices keep the provider's `calendar`, crypto
24/7, forex 24/5, futures CMES.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

import polars as pl

from resources.calendars import UTC_MICROS, session_date, sessions, timezone
from resources.config import ExcludedRow
from resources.errors import NoDataError, NotOfferedError
from resources.market_data.base import (
    ACTION_SCHEMA,
    INSTRUMENT_SCHEMA,
    Clock,
    Partial,
    asked,
    daily_actions,
    daily_bars,
    exclude_rows,
    no_rows,
    utc_now,
)
from resources.market_data.pacing import TokenBucket
from resources.market_data.progress import Progress
from resources.market_data.timeframes import INTRADAY, check_timeframe, intraday_bars
from resources.market_data.yahoo.chart import Chart, Part, expiries, join, option_rows, read
from resources.market_data.yahoo.client import Client

T = TypeVar("T")

SOURCE = "Yahoo Finance"
REACH = {"1m": 30, "5m": 60, "15m": 60, "30m": 60, "1h": 730}
"""Days that Yahoo's bars of a timeframe go back."""
SPAN = {"1m": timedelta(days=7)}
"""The longest range of one request, where that is less than the reach."""
EARLIEST_OPEN = timedelta(hours=14)  # before midnight UTC of its date, a session opens anywhere


class Yahoo(Partial):
    """Provider of Yahoo Finance. Symbols are Yahoo's own: BRK-B, VOD.L, ^GSPC, EURUSD=X, BTC-USD, ES=F.

    `timeout_seconds`: how long one request for data may take (yfinance gives its cookie 30 s).
    `session`: a curl_cffi or requests session in place of one of our own.
    `exclude`: rows to leave out. `calendar`: of shares and indices. `threads`: how many symbols are downloaded at once.
    `bucket`: the pace of requests; the default is 2 a second, 20 at once. `chance`: the jitter between tries.

    Memory: the rows of the result, and one answer a thread.

    >>> from datetime import date
    >>> Yahoo().bars(["AAPL"], date(2024, 1, 2), date(2024, 1, 31)).collect()  # doctest: +SKIP
    """

    name = "yahoo"
    offers = (
        "bars of 1d, and of 1m (the last 30 days), 5m, 15m, 30m (60 days) and 1h (730 days), splits, dividends, "
        "instruments and today's option chains"
    )

    def __init__(
        self,
        timeout_seconds: float = 30.0,
        session: Any = None,
        *,
        exclude: Sequence[ExcludedRow] = (),
        calendar: str = "XNYS",
        threads: int = 4,
        bucket: TokenBucket | None = None,
        clock: Clock = utc_now,
        sleep: Callable[[float], None] = time.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        pace = bucket or TokenBucket(per_second=2.0, burst=20, sleep=sleep)
        self._client = Client(timeout_seconds, session, pace, sleep, chance)
        self._exclude = tuple(exclude)
        self._calendar = calendar
        self._threads = threads
        self._clock = clock

    def bars(self, symbols: Sequence[str], start: date, end: date, timeframe: str = "1d") -> pl.LazyFrame:
        """Raw bars in BAR_SCHEMA, of sessions and intraday bars that are over; intraday those of regular hours.

        Raises UnknownSymbolError; NoDataError if no symbol has a row in the range; NotOfferedError for another
        timeframe and for a range that begins before Yahoo's intraday bars do; RateLimitedError, ProviderTimeoutError
        and BadAnswerError after the last try; BarSchemaError on rows that are not market data.
        """
        check_timeframe(self.name, timeframe, ("1d", *REACH))
        names = asked(self.name, symbols, symbols)
        now = self._clock()
        if timeframe == "1d":
            charts = self._each(f"bars {timeframe}", names, lambda name: self._daily(name, start, end, now))
        else:
            _check_reach(timeframe, start, now)
            charts = self._each(
                f"bars {timeframe}", names, lambda name: self._intraday(name, start, end, timeframe, now)
            )
        frames = []
        for calendar, held in self._by_calendar(charts).items():
            rows = pl.concat(chart.bars for chart in held).lazy()
            if timeframe != "1d":
                rows = rows.with_columns(session=session_date(pl.col("ts"), calendar))
            rows = exclude_rows(rows, self._exclude)
            frames.append(_finished(rows, calendar, start, end, timeframe, _answered(charts, now)))
        found = pl.concat(frames).sort("symbol", "ts")
        if found.is_empty():
            raise no_rows(self.name, names, start, end)
        return found.lazy()

    def corporate_actions(self, symbols: Sequence[str], start: date, end: date) -> pl.LazyFrame:
        """Splits and dividends in ACTION_SCHEMA. Raises as `bars` does, but for NoDataError."""
        now = self._clock()
        names = asked(self.name, symbols, symbols)
        charts = self._each("actions", names, lambda name: self._daily(name, start, end, now))
        frames = [pl.LazyFrame(schema=ACTION_SCHEMA)]
        for calendar, held in self._by_calendar(charts).items():
            rows = exclude_rows(pl.concat(chart.actions for chart in held).lazy(), self._exclude)
            frames.append(
                daily_actions(
                    rows, calendar=calendar, start=start, end=end, provider=self.name, fetched_at=now, source=SOURCE
                )
            )
        return pl.concat(frames).sort("symbol", "ts", "kind")

    def instruments(self, symbols: Sequence[str]) -> pl.DataFrame:
        """One row a symbol in INSTRUMENT_SCHEMA, from what the chart says of it; Yahoo's charts know no sector.

        Raises as `bars` does, and NotOfferedError for a kind of instrument that we have no name for.
        """
        now = self._clock()
        names = sorted(asked(self.name, symbols, symbols))
        week = now.date() - timedelta(days=7)
        charts = self._each("instruments", names, lambda name: self._daily(name, week, now.date(), now))
        rows = [chart.instrument(self._calendar) for chart in charts]
        return pl.DataFrame(rows, schema=INSTRUMENT_SCHEMA)

    def option_chain(self, underlying: str, on: date) -> pl.DataFrame:
        """The options listed today that are still alive `on` a day, by expiry, strike and right.

        Raises NotOfferedError for a day in the past, NoDataError for an underlying without options, else as `bars`.
        """
        today = self._clock().astimezone(ZoneInfo(timezone(self._calendar))).date()
        if on < today:
            raise self.not_offered(f"option chains of the past ({on}); it has today's ({today}); besides")
        self.instruments([underlying])  # of an unknown symbol Yahoo's options say no more than of one without any
        days = self._client.options(underlying, None, lambda result: expiries(underlying, result)) or {}
        alive = {day: stamp for day, stamp in days.items() if day >= on}
        if not alive:
            raise NoDataError(f"yahoo has no options on {underlying} that are alive on {on}; try another underlying.")

        def chain(expiry: date) -> pl.DataFrame:
            rows = self._client.options(
                underlying, alive[expiry], lambda result: option_rows(underlying, self._calendar, result)
            )
            return pl.DataFrame(rows or [], schema=INSTRUMENT_SCHEMA)

        return pl.concat(self._each("options", list(alive), chain)).sort("expiry", "strike", "right")

    def _daily(self, symbol: str, start: date, end: date, now: datetime) -> Chart:
        """The days of one symbol from `start` to `end`."""
        since = _midnight(start) - timedelta(days=1)  # east of UTC the session opens a day earlier
        part = self._client.chart(symbol, since, now, "1d", lambda result, told: read(symbol, result, None, told))
        return join(symbol, [part] if part else []).within(start, end)

    def _intraday(self, symbol: str, start: date, end: date, timeframe: str, now: datetime) -> Chart:
        """The bars of one symbol in the sessions from `start` to `end`."""
        parts: list[Part] = []
        since = _midnight(start) - EARLIEST_OPEN
        while since < now:
            until = min(now, since + SPAN.get(timeframe, now - since))
            part = self._client.chart(
                symbol, since, until, timeframe, lambda result, told: read(symbol, result, INTRADAY[timeframe], told)
            )
            if part:
                parts.append(part.between(since, until))
            since = until
        chart = join(symbol, parts)
        hours = sessions(chart.calendar(self._calendar), start, end)
        inside = pl.col("ts").is_between(hours["open"].min(), hours["close"].max(), closed="left")
        bars = chart.bars.filter(inside) if hours.height else chart.bars.clear()
        return replace(chart, bars=bars)

    def _by_calendar(self, charts: Sequence[Chart]) -> Mapping[str, list[Chart]]:
        held: dict[str, list[Chart]] = {}
        for chart in charts:
            held.setdefault(chart.calendar(self._calendar), []).append(chart)
        return held

    def _each(self, what: str, asks: Sequence[Any], ask: Callable[[Any], T]) -> list[T]:
        """The answers in the order of `asks`, a few at a time.

        An error leaves the others unasked; of several, that of the first in order is raised.
        """
        with (
            ThreadPoolExecutor(min(self._threads, len(asks)), thread_name_prefix="yahoo") as pool,
            Progress(f"yahoo {what}", len(asks)) as progress,
        ):
            running = [pool.submit(ask, each) for each in asks]
            try:
                for done in as_completed(running):
                    if done.exception() is not None:
                        break
                    answer = done.result()
                    progress.done(answer.bars.height if isinstance(answer, Chart) else 0)
            finally:
                pool.shutdown(wait=False, cancel_futures=True)  # also when the user interrupts
        return [future.result() for future in running]  # started in order: whoever is before a failure has an answer


def _check_reach(timeframe: str, start: date, now: datetime) -> None:
    """Raise NotOfferedError for a range that begins before Yahoo's bars do.

    A part of the range would be worth having, but whoever keeps a partition as it was fetched would lose the rest.
    """
    first = (now - timedelta(days=REACH[timeframe]) + EARLIEST_OPEN).date() + timedelta(days=1)
    if start >= first:
        return
    longer = [each for each in REACH if REACH[each] > REACH[timeframe]]
    raise NotOfferedError(
        f"yahoo has bars of {timeframe} of the last {REACH[timeframe]} days only: from {first} on, not from {start}. "
        f"Ask from {first} on, or for {' or '.join([*longer, '1d'])}."
    )


def _answered(charts: Sequence[Chart], now: datetime) -> datetime:
    """Our clock, or Yahoo's where ours is ahead: else what still trades would look finished."""
    return min([now, *(chart.answered for chart in charts if chart.answered is not None)])


def _finished(rows: pl.LazyFrame, calendar: str, start: date, end: date, timeframe: str, now: datetime) -> pl.DataFrame:
    """Rows of charts as bars in BAR_SCHEMA, those that are over."""
    if timeframe != "1d":
        return intraday_bars(
            rows, timeframe=timeframe, provider=Yahoo.name, fetched_at=now, source=f"{SOURCE}, {timeframe}"
        ).collect()
    closed = sessions(calendar, start, end).filter(pl.col("close") <= pl.lit(now, dtype=UTC_MICROS))["session"]
    # A date that is no session is kept, so that it is refused by name; one that is still trading is not.
    last = closed[-1] if closed.len() else start - timedelta(days=1)
    return daily_bars(
        rows.filter(pl.col("session") <= last).drop("ts"), calendar=calendar, start=start, end=end,
        provider=Yahoo.name, fetched_at=now, source=SOURCE,
    ).collect()  # fmt: skip


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)
