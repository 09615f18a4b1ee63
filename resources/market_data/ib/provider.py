"""Market data of Interactive Brokers, through a running Trader Workstation or IB Gateway and ib_insync or ib_async.

No keys: the gateway is logged in by a person, and this talks to it on this machine. Symbols are spelled as
`resources.market_data.ib.translate` says: AAPL, ES.202412, EUR.USD, AAPL240315C00170000.

What IB's history is, and what it is not:
- Bars of stocks and options are of trades in regular hours, of futures of trades around the clock, of forex the
  midpoint around the clock, without volume. Prices of stocks are adjusted for splits, not for dividends.
- Ticks are stamped with whole seconds: a tick is up to a second later than its `ts` says.
- Of expired contracts there are futures of the last two years, and no options. When a contract was listed IB does not
  say, so that `futures` of a day in the past also names contracts listed since.
- About 60 historical requests are allowed in 10 minutes. A request brings a day of 1-minute bars at most: ten years
  of them take days to download.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl

from resources.calendars import UTC_MICROS, session_date, sessions, timezone
from resources.config import ExcludedRow
from resources.errors import ConfigError, NoDataError, NotOfferedError, RateLimitedError
from resources.market_data import ticks
from resources.market_data.base import (
    INSTRUMENT_SCHEMA,
    Clock,
    Continuous,
    Partial,
    daily_bars,
    exclude_rows,
    no_rows,
    utc_now,
)
from resources.market_data.continuous import back_adjusted, held
from resources.market_data.ib import translate
from resources.market_data.ib.connection import Connection, library
from resources.market_data.ib.translate import PAGE, STEPS, Window
from resources.market_data.pacing import TokenBucket, retried
from resources.market_data.progress import Progress
from resources.market_data.timeframes import check_timeframe, intraday_bars

SOURCE = "Interactive Brokers"
MANY_WINDOWS = 3
"""From more windows than these on, one request for the beginning of the history may spare several empty ones."""

Request = Callable[[Any], Awaitable[Any]]


class InteractiveBrokers(Partial):
    """Provider of Interactive Brokers. Safe for threads, which share one connection.

    `client_id`: any number that no other program gives this gateway. `timeout_seconds`: how long an answer may take;
    `connect_seconds`: how long the gateway may take to let us in. `exclude`: sessions whose bars to leave out. `tries`:
    how often one request is asked before its error is raised; waits between them outlast the gateway's nightly restart.
    `bucket`: the pace of historical requests; the default stays under 60 in any 10 minutes, and under 6 in 2 seconds.

    Each call connects and disconnects; `with` keeps the connection for several calls:

    >>> from datetime import date
    >>> with InteractiveBrokers() as ib:  # doctest: +SKIP
    ...     ib.bars(["AAPL", "EUR.USD"], date(2024, 1, 2), date(2024, 1, 31), "1h").collect()
    """

    name = "ib"
    offers = "bars, quotes, trades, instruments, option chains, futures and their continuous series"

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 4002,
        client_id: int = 17,
        *,
        timeout_seconds: float = 60.0,
        connect_seconds: float = 10.0,
        tries: int = 8,
        exclude: Sequence[ExcludedRow] = (),
        bucket: TokenBucket | None = None,
        clock: Clock = utc_now,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._connection = Connection(host, port, client_id, connect_seconds, timeout_seconds)
        self._tries = tries
        self._exclude = tuple(exclude)
        self._bucket = bucket or TokenBucket(per_second=55 / 600, burst=5, sleep=sleep)
        self._clock = clock
        self._sleep = sleep
        self._known: dict[str, Any] = {}  # ContractDetails by symbol: they do not change while we run

    def __enter__(self) -> InteractiveBrokers:
        self._connection.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._connection.__exit__(*error)

    def bars(self, symbols: Sequence[str], start: date, end: date, timeframe: str = "1d") -> pl.LazyFrame:
        """Bars in BAR_SCHEMA at 1m, 5m, 15m, 30m, 1h, 4h or 1d; those still being built are left out.

        Raises ConfigError on a malformed symbol; UnknownSymbolError; NoDataError if no symbol has a row in the range;
        AccessDeniedError without the market data subscription; RateLimitedError, ProviderTimeoutError and
        BadAnswerError after the last try; ProviderError if the gateway cannot be reached; NotOfferedError on other
        timeframes and on exchanges without a calendar; BarSchemaError on rows that are not market data.
        """
        check_timeframe(self.name, timeframe, STEPS)
        names = self._named(symbols)
        with self._connection:
            now = self._now()
            found = [(self._calendar(name), self._bars(name, start, end, timeframe, now)) for name in names]
        told = [(calendar, rows) for calendar, rows in found if rows.height]
        if not told:
            raise no_rows(self.name, names, start, end)
        if timeframe != "1d":
            rows = pl.concat(rows for _, rows in told)
            return intraday_bars(
                rows.lazy(), timeframe=timeframe, provider=self.name, fetched_at=now, source=SOURCE
            )  # fmt: skip
        stamped = [
            daily_bars(
                rows.lazy(), calendar=calendar, start=start, end=end, provider=self.name, fetched_at=now, source=SOURCE
            )
            for calendar, rows in told
        ]
        return pl.concat(stamped).sort("symbol", "ts")

    def corporate_actions(self, symbols: Sequence[str], start: date, end: date) -> pl.LazyFrame:
        """Raises NotOfferedError: IB's interface tells dividends to come, and no history of splits and dividends."""
        raise self.not_offered("history of splits and dividends")

    def quotes(self, symbols: Sequence[str], start: datetime, end: datetime) -> pl.LazyFrame:
        """Best bids and offers in QUOTE_SCHEMA, of all hours. Raises as `bars` does."""
        rows, now = self._ticks(symbols, start, end, "BID_ASK", translate.quote_rows)
        return ticks.quotes(rows.lazy(), provider=self.name, fetched_at=now, source=SOURCE)

    def trades(self, symbols: Sequence[str], start: datetime, end: datetime) -> pl.LazyFrame:
        """Trades in TRADE_SCHEMA, of all hours. Raises as `bars` does, and NotOfferedError for forex pairs."""
        pairs = [name for name in self._named(symbols) if translate.parse(name).asset_class == "forex"]
        if pairs:
            raise NotOfferedError(f"ib has no trades of forex pairs ({', '.join(pairs)}); it has their quotes")
        rows, now = self._ticks(symbols, start, end, "TRADES", translate.trade_rows)
        return ticks.trades(rows.lazy(), provider=self.name, fetched_at=now, source=SOURCE)

    def instruments(self, symbols: Sequence[str]) -> pl.DataFrame:
        """One row a symbol in INSTRUMENT_SCHEMA. Raises as `bars` does."""
        with self._connection:
            rows = [translate.instrument(name, self._details(name)) for name in sorted(self._named(symbols))]
        return pl.DataFrame(rows, schema=INSTRUMENT_SCHEMA)

    def option_chain(self, underlying: str, on: date) -> pl.DataFrame:
        """The options listed today that are still alive `on` a day, by expiry, strike and right.

        Raises NotOfferedError for a day in the past, NoDataError for an underlying without options, else as `bars`.
        """
        with self._connection:
            stock = self._details(underlying)
            today = self._now().astimezone(ZoneInfo(timezone(self._calendar(underlying)))).date()
            if on < today:
                raise self.not_offered(f"option chains of the past ({on}); it has today's ({today}); besides")
            contract = stock.contract
            chains = self._retried(
                underlying,
                lambda ib: ib.reqSecDefOptParamsAsync(contract.symbol, "", contract.secType, contract.conId),
            )
            # The chain's expiries and strikes do not all meet: what is listed, the contracts of each expiry tell.
            expiries = sorted({expiry for chain in chains for expiry in chain.expirations})
            found = [
                each
                for expiry in expiries
                if translate.last_day(expiry) >= on
                for each in self._contracts(underlying, self._options(contract, expiry))
            ]
        if not found:
            raise NoDataError(f"ib has no options on {underlying} that are alive on {on}; try another underlying.")
        rows = [translate.instrument(each.contract.localSymbol.replace(" ", ""), each) for each in found]
        return pl.DataFrame(rows, schema=INSTRUMENT_SCHEMA).sort("expiry", "strike", "right")

    def futures(self, root: str, on: date) -> pl.DataFrame:
        """The futures of a root (ES, or ES.CME) that had not expired on a day, by expiry.

        Raises UnknownSymbolError for a root without any, NoDataError if all had expired, else as `bars` does.
        """
        with self._connection:
            listed = self._futures(root)
        found = [row for row in listed if row["expiry"] >= on]
        if not found:
            raise NoDataError(f"ib has no futures of {root} alive on {on}; the last expired {listed[-1]['expiry']}")
        return pl.DataFrame(found, schema=INSTRUMENT_SCHEMA)

    def continuous(self, root: str, start: date, end: date, *, ahead: int = 5) -> Continuous:
        """Daily bars of a root's contracts one after the other, back-adjusted, as ROOT.CONT, with the roll dates.

        A contract is left `ahead` sessions before its last. IB holds two years of expired contracts. Raises as `bars`
        does, NoDataError if no contract covers a part of the range, and ConfigError on `ahead` out of its bounds.
        """
        if not isinstance(ahead, int) or ahead < 0:
            raise ConfigError(f"ahead is {ahead}; it must be a whole number of sessions, 0 or more; for example 5")
        with self._connection:
            listed = [row for row in self._futures(root) if row["expiry"] >= start]
            if not listed:
                raise NoDataError(f"ib has no futures of {root} alive on {start}; it keeps expired ones two years")
            calendar = listed[0]["calendar"]
            days = sessions(calendar, start - timedelta(days=30), listed[-1]["expiry"])["session"].to_list()
            parts = held([(row["symbol"], row["expiry"]) for row in listed], days, start, end, ahead)
            before = [days[days.index(part.first) - 1] for part in parts]
            bars = {
                part.symbol: self.bars([part.symbol], day, part.last).collect()
                for part, day in zip(parts, before, strict=True)
            }
        return back_adjusted(f"{root}.CONT", parts, bars, timezone(calendar))

    def _futures(self, root: str) -> list[dict[str, Any]]:
        symbol, _, exchange = root.partition(".")
        fields = {"secType": "FUT", "symbol": symbol, "exchange": exchange, "includeExpired": True}
        found = [each for each in self._contracts(root, fields) if each.contract.exchange != translate.BACKTEST_ONLY]
        places = sorted({each.contract.exchange for each in found})
        if not found:
            raise translate.unknown(root)
        if len(places) > 1:
            raise ConfigError(f"root: {root} has futures on {', '.join(places)}; name one: {symbol}.{places[0]}")
        place = f".{exchange}" if exchange else ""
        rows = [
            translate.instrument(name + place, each)
            for name, each in zip(translate.future_names(found), found, strict=True)
        ]
        return sorted(rows, key=lambda row: row["expiry"])

    def _named(self, symbols: Sequence[str]) -> list[str]:
        """The symbols, each once, in our spelling."""
        if not symbols:
            raise ConfigError(f"{self.name}: no symbols asked for; for example universe.symbols: [AAPL, EUR.USD]")
        return list(dict.fromkeys(translate.parse(symbol).symbol for symbol in symbols))

    def _now(self) -> datetime:
        """Our clock, or the gateway's where ours is ahead: else bars still being built would look finished."""
        return min(self._clock(), self._connection.now() + timedelta(seconds=1))

    def _calendar(self, symbol: str) -> str:
        return translate.venue(self._details(symbol))[1]

    def _details(self, symbol: str) -> Any:
        """The ContractDetails of a symbol."""
        asked = translate.parse(symbol)
        if asked.symbol not in self._known:
            self._known[asked.symbol] = translate.one(asked, self._contracts(symbol, asked.fields))
        return self._known[asked.symbol]

    def _contracts(self, symbol: str, fields: dict[str, Any]) -> list[Any]:
        found: list[Any] = self._retried(
            symbol, lambda ib: ib.reqContractDetailsAsync(library().Contract(**fields))
        )  # fmt: skip
        return found

    @staticmethod
    def _options(underlying: Any, expiry: str) -> dict[str, Any]:
        return {
            "secType": "OPT", "symbol": underlying.symbol, "lastTradeDateOrContractMonth": expiry, "exchange": "SMART",
            "currency": underlying.currency,
        }  # fmt: skip

    def _contract(self, symbol: str) -> Any:
        """The contract that history is asked of."""
        contract = self._details(symbol).contract
        contract.includeExpired = contract.secType == "FUT"
        return contract

    def _bars(self, symbol: str, start: date, end: date, timeframe: str, now: datetime) -> pl.DataFrame:
        """All bars of a symbol, window by window: a window counts once it has come whole, so a loss of the connection
        in the middle of one costs nothing and doubles nothing."""
        kind, calendar = translate.parse(symbol).asset_class, self._calendar(symbol)
        contract, daily = self._contract(symbol), timeframe == "1d"
        shows, regular = ("MIDPOINT" if kind == "forex" else "TRADES"), kind in ("equity", "option")
        asked = [each for each in translate.windows(calendar, start, end, timeframe) if each[0] < now]
        if len(asked) > MANY_WINDOWS:
            asked = self._since_listed(symbol, contract, shows, regular, asked)
        step = STEPS[timeframe]
        parts = [pl.DataFrame(schema=translate.bar_schema(daily))]
        with Progress(f"ib {symbol}", len(asked)) as progress:
            for window in asked:
                until = min(window[1], now)

                def request(ib: Any, until: datetime = until) -> Awaitable[Any]:
                    answer: Awaitable[Any] = ib.reqHistoricalDataAsync(
                        contract, until, step.duration, step.size, shows, regular, formatDate=2, timeout=0
                    )
                    return answer

                try:
                    answer = self._history(symbol, request, cancel="cancelHistoricalData")
                except NoDataError:
                    progress.done(rows=0)
                    continue
                parts.append(translate.bar_rows(symbol, answer, window, daily=daily, midpoint=shows == "MIDPOINT"))
                progress.done(parts[-1].height)
        rows = pl.concat(parts)
        if not daily:
            dated = rows.lazy().with_columns(session=session_date(pl.col("ts"), calendar))
            return exclude_rows(dated, self._exclude).drop("session").collect()
        return self._closed(rows, calendar, start, end, now)

    def _closed(self, rows: pl.DataFrame, calendar: str, start: date, end: date, now: datetime) -> pl.DataFrame:
        """Daily rows without those excluded, and without a last one that is still trading."""
        trading = sessions(calendar, start, end).filter(pl.col("close") > now)["session"]
        kept = exclude_rows(rows.lazy(), self._exclude)
        return kept.filter(~pl.col("session").is_in(trading.implode())).collect()

    def _since_listed(self, symbol: str, contract: Any, shows: str, regular: bool, asked: list[Window]) -> list[Window]:
        """The windows that reach beyond the first instant of which IB has data."""
        try:
            first = self._history(
                symbol,
                lambda ib: ib.reqHeadTimeStampAsync(contract, shows, regular, 2),
                cancel="cancelHeadTimeStamp",
            )
        except NoDataError:  # told of some contracts that have data: then all windows are asked
            return asked
        return [each for each in asked if each[1] > first.astimezone(UTC)]

    def _ticks(
        self, symbols: Sequence[str], start: datetime, end: datetime, shows: str, rows: Callable[..., pl.DataFrame]
    ) -> tuple[pl.DataFrame, datetime]:
        names = self._named(symbols)
        with self._connection:
            now = self._now()
            parts = [page for name in names for page in self._pages(name, start, min(end, now), shows, rows)]
        found = pl.concat(parts) if parts else pl.DataFrame()
        if found.is_empty():
            raise no_rows(self.name, names, start.date(), end.date())
        return found, now

    def _pages(
        self, symbol: str, start: datetime, end: datetime, shows: str, rows: Callable[..., pl.DataFrame]
    ) -> list[pl.DataFrame]:
        """The ticks of a symbol in [start, end), a frame a page."""
        contract, parts = self._contract(symbol), []
        since: datetime | None = start.astimezone(UTC).replace(microsecond=0)
        within = (pl.col("ts") >= pl.lit(start, dtype=UTC_MICROS)) & (pl.col("ts") < pl.lit(end, dtype=UTC_MICROS))
        while since is not None and since < end:

            def request(ib: Any, since: datetime = since) -> Awaitable[Any]:
                answer: Awaitable[Any] = ib.reqHistoricalTicksAsync(contract, since, "", PAGE, shows, useRth=False)
                return answer

            try:
                # Bids and asks count as two requests.
                page = self._history(symbol, request, tokens=2.0 if shows == "BID_ASK" else 1.0)
            except NoDataError:
                break
            kept, since = translate.settled(symbol, page, since)
            parts.append(rows(symbol, kept).filter(within))
        return parts

    def _history(self, symbol: str, request: Request, *, cancel: str = "", tokens: float = 1.0) -> Any:
        """The answer to a historical request, at IB's pace."""

        def ask() -> Any:
            self._bucket.take(tokens)
            try:
                return self._connection.ask(symbol, request, cancel)
            except RateLimitedError as error:
                self._bucket.drain(error.retry_after)  # the other threads of this provider wait as well
                raise

        return retried(ask, tries=self._tries, sleep=self._sleep)

    def _retried(self, symbol: str, request: Request) -> Any:
        return retried(lambda: self._connection.ask(symbol, request), tries=self._tries, sleep=self._sleep)
