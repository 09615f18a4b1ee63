"""Spot pairs and USD-margined futures of Binance, through python-binance.

Symbols: BTCUSDT is a spot pair, BTCUSDT.P the perpetual future, BTCUSDT.240628 the future delivered on that day.
No keys are needed; BINANCE_API_KEY and BINANCE_API_SECRET are used where they are set.

Whether a candle is finished is judged by Binance's clock, not this machine's, as of before the request.
Candles are asked for in pages by their start, trades by their number. Where the exchange was down there are no
candles, and none are made up. Orders and streams will be modules of their own.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Any

import polars as pl

from resources.calendars import UTC_MICROS
from resources.config import ExcludedRow
from resources.errors import ConfigError, NotOfferedError
from resources.market_data import ticks
from resources.market_data.base import ACTION_SCHEMA, Partial, asked, daily_bars, exclude_rows, no_rows
from resources.market_data.binance import translate
from resources.market_data.binance.client import FUNDING, INFO, KLINES, TRADES, Venue, buckets
from resources.market_data.binance.translate import CALENDAR, FUNDING_SCHEMA, FUTURES, venue_symbol
from resources.market_data.pacing import TokenBucket
from resources.market_data.progress import Progress
from resources.market_data.timeframes import INTRADAY, check_timeframe, intraday_bars

LENGTHS = {**INTRADAY, "1d": timedelta(days=1)}
PAGE = 1000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND = timedelta(milliseconds=1)


class Binance(Partial):
    """Provider of Binance.

    `timeout_seconds`: how long one request may take. `threads`: how many symbols are downloaded at once.
    `client`: a subclass of python-binance's Client, for another address (its class attributes API_URL and
    FUTURES_URL). `exclude`: rows of bars to leave out. `paces`: token buckets by name, as `buckets` makes them.

    Memory: the rows of the result, and one page a thread.

    >>> from datetime import date
    >>> Binance().bars(["BTCUSDT"], date(2024, 1, 1), date(2024, 1, 31), "1h").collect()  # doctest: +SKIP
    """

    name = "binance"
    offers = (
        f"bars of {', '.join(LENGTHS)}, trades, instruments, dated futures and funding rates of spot pairs (BTCUSDT) "
        "and USD-margined futures (BTCUSDT.P, BTCUSDT.240628)"
    )

    def __init__(
        self,
        timeout_seconds: float = 30.0,
        client: Callable[..., Any] | None = None,
        *,
        exclude: Sequence[ExcludedRow] = (),
        threads: int = 4,
        paces: Mapping[str, TokenBucket] | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._exclude = tuple(exclude)
        self._threads = threads
        self._venue = Venue(client, timeout_seconds, paces or buckets(), sleep)

    def bars(self, symbols: Sequence[str], start: date, end: date, timeframe: str = "1d") -> pl.LazyFrame:
        """Bars of finished candles in BAR_SCHEMA; days are of UTC, volume in units of the base asset.

        A symbol without rows in the range is absent. Raises UnknownSymbolError; NoDataError if no symbol has a row;
        NotOfferedError for another timeframe; RateLimitedError, ProviderTimeoutError and BadAnswerError after the
        last try; ProviderError where Binance cannot be reached; BarSchemaError on rows that are not market data.
        """
        names = asked(self.name, symbols, symbols)
        length = LENGTHS[check_timeframe(self.name, timeframe, LENGTHS)]
        now = self._venue.now()  # before the first request: what ends later is still being built
        first, last = _midnight(start), min(now, _midnight(end + timedelta(days=1)) - MILLISECOND)
        found = self._each(names, start, end, lambda symbol: self._candles(symbol, timeframe, first, last))
        finished = found.filter(pl.col("ts") + length <= pl.lit(now, dtype=UTC_MICROS))
        dated = finished.with_columns(session=pl.col("ts").dt.date()).drop("trades")
        rows = exclude_rows(dated, self._exclude).collect()
        if rows.is_empty():
            raise no_rows(self.name, names, start, end)
        if timeframe == "1d":
            return daily_bars(
                rows.lazy().drop("ts"), calendar=CALENDAR, start=start, end=end, provider=self.name, fetched_at=now,
                source="Binance",
            )  # fmt: skip
        return intraday_bars(
            rows.lazy(), timeframe=timeframe, provider=self.name, fetched_at=now, source=f"Binance, {timeframe}"
        )

    def trades(self, symbols: Sequence[str], start: datetime, end: datetime) -> pl.LazyFrame:
        """Aggregate trades in TRADE_SCHEMA: what one order took at one price and time is one row. Raises as `bars`."""
        names = asked(self.name, symbols, symbols)
        if start.tzinfo is None or end.tzinfo is None:
            raise ConfigError(
                f"trades: {start} and {end} need a time zone; for example datetime(2024, 1, 1, tzinfo=UTC)"
            )
        now = self._venue.now()
        first, last = start.astimezone(UTC), min(end.astimezone(UTC), now)
        rows = self._each(names, start.date(), end.date(), lambda symbol: self._trade_pages(symbol, first, last))
        text = rows.with_columns(pl.col("trade_id").cast(pl.String))
        return ticks.trades(text, provider=self.name, fetched_at=now, source="Binance")

    def quotes(self, symbols: Sequence[str], start: datetime, end: datetime) -> pl.LazyFrame:
        """Raises NotOfferedError: Binance tells the best bid and offer of the moment, and keeps no history of them."""
        raise self.not_offered("history of quotes")

    def corporate_actions(self, symbols: Sequence[str], start: date, end: date) -> pl.LazyFrame:
        """No rows, in ACTION_SCHEMA, for symbols that Binance lists; UnknownSymbolError for others.

        Coins neither split nor pay dividends: one that is re-denominated or swapped comes back as another symbol, and
        what perpetual futures pay is funding (`funding_rates`).
        """
        self.instruments(symbols)
        return pl.LazyFrame(schema=ACTION_SCHEMA)

    def instruments(self, symbols: Sequence[str]) -> pl.DataFrame:
        """One row a symbol in INSTRUMENT_SCHEMA, sorted by symbol, from the exchange's own filters.

        tick is PRICE_FILTER's, lot LOT_SIZE's, minimum_notional NOTIONAL's (futures and old rows: MIN_NOTIONAL's);
        currency is the quote asset, underlying the base asset. Spot pairs are crypto; perpetual and dated contracts
        are futures of one unit. Binance tells of futures alone since when they are listed.
        """
        markets = {venue_symbol(symbol)[0] for symbol in asked(self.name, symbols, symbols)}
        listed = pl.concat(self._listed(market) for market in sorted(markets)).sort("symbol")
        names = asked(self.name, symbols, listed["symbol"].to_list())
        return listed.filter(pl.col("symbol").is_in(names))

    def futures(self, root: str, on: date) -> pl.DataFrame:
        """The dated futures of a pair (BTCUSDT) listed on a day, in INSTRUMENT_SCHEMA, sorted by expiry.

        Binance tells of contracts that are still listed, so a day before the last delivery raises NotOfferedError;
        a pair without dated contracts NoDataError.
        """
        listed = self._listed(FUTURES)
        asked(self.name, [root], {symbol.partition(".")[0] for symbol in listed["symbol"]})
        dates = listed.filter(pl.col("expiry").is_not_null() & pl.col("symbol").str.starts_with(f"{root}."))
        gone = translate.delivered_between(on, self._venue.now().date())
        if gone is not None:
            raise NotOfferedError(
                f"binance has no futures of {root} as of {on}: those delivered on {gone} are no longer listed. Ask for "
                f"{gone + timedelta(days=1)} or later."
            )
        open_then = dates.filter((pl.col("expiry") >= on) & (pl.col("listed").is_null() | (pl.col("listed") <= on)))
        if open_then.is_empty():
            raise no_rows(self.name, [root], on, on, held="no dated futures of it for that day")
        return open_then.sort("expiry")

    def funding_rates(self, symbols: Sequence[str], start: date, end: date) -> pl.LazyFrame:
        """Funding payments of perpetual futures in FUNDING_SCHEMA, sorted by symbol and ts. Raises as `bars`."""
        names = asked(self.name, symbols, symbols)
        others = [symbol for symbol in names if not symbol.endswith(".P")]
        if others:
            pair = others[0].partition(".")[0]
            raise NotOfferedError(f"binance has no funding rates of {', '.join(others)}: only perpetuals, {pair}.P")
        now = self._venue.now()
        first, last = _midnight(start), min(now, _midnight(end + timedelta(days=1)) - MILLISECOND)
        rows = self._each(names, start, end, lambda symbol: self._funding_pages(symbol, first, last))
        stamped = rows.with_columns(
            provider=pl.lit(self.name), fetched_at=pl.lit(now, dtype=UTC_MICROS), known_at=pl.col("ts")
        )
        return stamped.select(FUNDING_SCHEMA.names()).sort("symbol", "ts")

    def _listed(self, market: str) -> pl.DataFrame:
        return self._venue.ask(INFO[market], f"instruments of {market}", partial(translate.instruments, market))

    def _candles(self, symbol: str, timeframe: str, first: datetime, last: datetime) -> Iterator[pl.DataFrame]:
        """Pages of candles that begin from `first` to `last`."""
        market, wire = venue_symbol(symbol)
        length = LENGTHS[timeframe]
        while first <= last:
            begin = _millis(first)
            page = self._venue.ask(
                KLINES[market], symbol,
                partial(translate.klines, symbol, first=begin, step=length // MILLISECOND),
                symbol=wire, interval=timeframe, startTime=begin, endTime=_millis(last), limit=PAGE,
            )  # fmt: skip
            # A short page is no proof of the end: only an empty one, or having come to the end.
            if page.is_empty():
                return
            yield page
            first = page["ts"][-1] + length

    def _trade_pages(self, symbol: str, start: datetime, end: datetime) -> Iterator[pl.DataFrame]:
        """Pages of trades from `start` to before `end`: the first by time, the others by the number that follows."""
        market, wire = venue_symbol(symbol)
        page = self._first_trades(symbol, start, end)
        while not page.is_empty():
            yield page.filter((pl.col("ts") >= start) & (pl.col("ts") < end))
            if page["ts"][-1] >= end:
                return
            following = page["trade_id"][-1] + 1
            page = self._venue.ask(
                TRADES[market], symbol, partial(translate.agg_trades, symbol, first_id=following),
                symbol=wire, fromId=following, limit=PAGE,
            )  # fmt: skip

    def _first_trades(self, symbol: str, start: datetime, end: datetime) -> pl.DataFrame:
        """The first page with a trade; empty if there is none before `end`.

        Binance wants its two times less than an hour apart; in which hours there were trades is seen from candles.
        """
        market, wire = venue_symbol(symbol)
        candles = self._candles(symbol, "1h", start.replace(minute=0, second=0, microsecond=0), end)
        for hour in (at for page in candles for at in page.filter(pl.col("trades") > 0)["ts"]):
            page = self._venue.ask(
                TRADES[market], symbol, partial(translate.agg_trades, symbol), symbol=wire, limit=PAGE,
                startTime=_millis(max(hour, start)), endTime=_millis(hour + LENGTHS["1h"] - MILLISECOND),
            )  # fmt: skip
            if not page.is_empty():
                return page
        return translate.agg_trades(symbol, [])

    def _funding_pages(self, symbol: str, first: datetime, last: datetime) -> Iterator[pl.DataFrame]:
        _, wire = venue_symbol(symbol)
        while first <= last:
            begin = _millis(first)
            page = self._venue.ask(
                FUNDING, symbol, partial(translate.funding, symbol, first=begin),
                symbol=wire, startTime=begin, endTime=_millis(last), limit=PAGE,
            )  # fmt: skip
            if page.is_empty():
                return
            yield page
            first = page["ts"][-1] + MILLISECOND

    def _each(
        self, symbols: Sequence[str], start: date, end: date, pages: Callable[[str], Iterator[pl.DataFrame]]
    ) -> pl.LazyFrame:
        """All symbols' pages, several symbols at once; the first failure stops the others at their next page.

        Raises NoDataError if there is no row at all.
        """
        stop = threading.Event()

        def download(symbol: str) -> list[pl.DataFrame]:
            return list(itertools.takewhile(lambda _: not stop.is_set(), pages(symbol)))

        with (
            ThreadPoolExecutor(min(self._threads, len(symbols)), thread_name_prefix="binance") as pool,
            Progress("binance", len(symbols)) as progress,
        ):
            running = [pool.submit(download, symbol) for symbol in symbols]
            try:
                for done in as_completed(running):
                    progress.done(sum(page.height for page in done.result()))
            except BaseException:
                stop.set()
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        found = [page for future in running for page in future.result() if page.height]
        if not found:
            raise no_rows(self.name, symbols, start, end)
        return pl.concat(found).lazy()


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def _millis(instant: datetime) -> int:
    return (instant - EPOCH) // MILLISECOND
