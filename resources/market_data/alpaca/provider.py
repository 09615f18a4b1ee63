"""Bars, quotes, trades, corporate actions, instruments and option chains of Alpaca, through alpaca-py.

`client` is the connection, `translate` the words. What Alpaca says and what it means:

- Bars are asked for raw, with no adjustment. Daily ones are stamped with midnight of the exchange's zone (crypto:
  midnight UTC), and taken of settled sessions only: 16 minutes after the close, since the free plan lags by 15.
- Intraday bars include trading before the open and after the close.
- A symbol that it does not know has no rows, like one that did not trade; so those without rows are looked up.
- feed sip is all US exchanges, on the free plan without the last 15 minutes, which therefore are not asked for unless
  `delay_minutes` says so; iex is one of the exchanges, some 3% of the volume, without delay.
- Corporate actions are found by the day on which they were processed, which may be months after the ex-date.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any
from urllib.parse import quote as quoted
from zoneinfo import ZoneInfo

import polars as pl

from resources.calendars import sessions, timezone
from resources.config import ExcludedRow
from resources.errors import BarSchemaError, ConfigError, NoDataError, NotOfferedError, UnknownSymbolError
from resources.market_data import ticks
from resources.market_data.alpaca import translate
from resources.market_data.alpaca.client import GROUP, JOB_ROWS, Connection, Job, NotFoundError, chunks, jobs
from resources.market_data.base import (
    INSTRUMENT_SCHEMA,
    MEND,
    Clock,
    Partial,
    asked,
    daily_actions,
    daily_bars,
    exclude_rows,
    no_rows,
    utc_now,
)
from resources.market_data.timeframes import check_timeframe, intraday_bars

TIMEFRAMES = {  # ours: Alpaca's amount and unit, and the most bars that a day can have
    "1m": (1, "Min", 1440),
    "5m": (5, "Min", 288),
    "15m": (15, "Min", 96),
    "30m": (30, "Min", 48),
    "1h": (1, "Hour", 24),
    "1d": (1, "Day", 1),
}
SETTLED = timedelta(minutes=16)
"""How long after a close, or a tick, the free plan has it."""
FEW = 20
"""Up to so many shares are looked up one by one; more, and crypto, by the list of all."""
PROCESSED_BEFORE, PROCESSED_AFTER = timedelta(days=30), timedelta(days=180)
FARTHEST_EXPIRY = timedelta(days=5 * 366)
CHAIN_BACK = timedelta(days=7)


class Alpaca(Partial):
    """Provider of Alpaca. Shares are written BRK.B, crypto BTC/USD; both may be asked for together.

    The keys stand in the environment: ALPACA_API_KEY and ALPACA_SECRET_KEY; `paper` says that they are those of the
    paper account. `feed`: sip or iex. `delay_minutes`: how long ago intraday data of shares must be (16 for sip, 0 for
    iex; 0 with a paid plan). `requests_per_minute`: 200 on the free plan. `workers`: downloads at once. `page_rows`:
    rows a request, 10,000 at most. `data_url`, `trading_url`: other addresses, for tests.

    Raises MissingSecretError without the keys, ConfigError on an unknown feed.

    >>> from datetime import date
    >>> Alpaca().bars(["AAPL", "BTC/USD"], date(2024, 1, 2), date(2024, 1, 31), "1h").collect()  # doctest: +SKIP
    """

    name = "alpaca"
    offers = "bars of 1m to 1d, quotes, trades, splits, dividends, instruments and option chains"

    def __init__(
        self,
        feed: str = "sip",
        paper: bool = True,
        *,
        exclude: Sequence[ExcludedRow] = (),
        calendar: str = "XNYS",
        crypto_calendar: str = "24/7",
        delay_minutes: float | None = None,
        timeout_seconds: float = 30.0,
        requests_per_minute: float = 200.0,
        workers: int = 4,
        page_rows: int = 10_000,
        data_url: str | None = None,
        trading_url: str | None = None,
        clock: Clock = utc_now,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if feed not in ("sip", "iex"):
            raise ConfigError(f"provider.feed: alpaca has no {feed!r}; use sip (all exchanges) or iex (one)")
        self._connection = Connection(
            paper=paper, timeout_seconds=timeout_seconds, requests_per_minute=requests_per_minute, workers=workers,
            page_rows=page_rows, data_url=data_url, trading_url=trading_url, clock=clock, sleep=sleep,
        )  # fmt: skip
        self._feed = feed
        shares = SETTLED if delay_minutes is None and feed == "sip" else timedelta(minutes=delay_minutes or 0.0)
        self._delay = {False: shares, True: timedelta(0)}
        self._exclude = tuple(exclude)
        self._calendars = {False: calendar, True: crypto_calendar}
        self._clock = clock

    def bars(self, symbols: Sequence[str], start: date, end: date, timeframe: str = "1d") -> pl.LazyFrame:
        """Raw bars in BAR_SCHEMA; those still being built are left out, and daily ones until they have settled.

        Raises NotOfferedError for another timeframe, UnknownSymbolError, NoDataError if no symbol has a row;
        AccessDeniedError; RateLimitedError, ProviderTimeoutError and BadAnswerError after the last try; BarSchemaError
        on rows that are not market data.
        """
        check_timeframe(self.name, timeframe, TIMEFRAMES)
        names, now = asked(self.name, symbols, symbols), self._now(end)
        found = {
            crypto: self._bars(group, crypto, start, end, timeframe, now) for crypto, group in _by_class(names).items()
        }
        self._refuse_unknown(names, *found.values())
        frames = [
            checked
            for crypto, rows in found.items()
            if rows.height and (checked := self._checked(rows, crypto, start, end, timeframe, now).collect()).height
        ]
        if not frames:
            raise no_rows(self.name, names, start, end)
        return (frames[0] if len(frames) == 1 else pl.concat(frames).sort("symbol", "ts")).lazy()

    def quotes(self, symbols: Sequence[str], start: datetime, end: datetime) -> pl.LazyFrame:
        """Best bids and offers in QUOTE_SCHEMA, sizes in shares. Raises as `bars` does."""
        rows, now = self._ticks("quotes", symbols, start, end)
        return ticks.quotes(rows.lazy(), provider=self.name, fetched_at=now, source="Alpaca")

    def trades(self, symbols: Sequence[str], start: datetime, end: datetime) -> pl.LazyFrame:
        """Trades in TRADE_SCHEMA, without those that were cancelled or corrected since. Raises as `bars` does."""
        rows, now = self._ticks("trades", symbols, start, end)
        return ticks.trades(rows.lazy(), provider=self.name, fetched_at=now, source="Alpaca")

    def corporate_actions(self, symbols: Sequence[str], start: date, end: date) -> pl.LazyFrame:
        """Splits, stock dividends (as splits) and cash dividends in ACTION_SCHEMA; crypto has none.

        Spin-offs, mergers and rights are not given. Raises as `bars` does, but for NoDataError.
        """
        names, now = asked(self.name, symbols, symbols), self._clock()
        found = []
        for group in chunks(_by_class(names).get(False, []), GROUP):
            params = {
                "symbols": ",".join(group),
                "types": ",".join(translate.ACTION_TYPES),
                "start": (start - PROCESSED_BEFORE).isoformat(),
                "end": (end + PROCESSED_AFTER).isoformat(),
                "limit": 1000,  # the most that this endpoint gives
            }
            for content in self._connection.documents("actions", "/corporate-actions", params, "corporate_actions"):
                found += translate.actions(content["corporate_actions"] or {})
        self._refuse_unknown(names, pl.DataFrame({"symbol": [row[1] for row in found]}, schema={"symbol": pl.String}))
        return daily_actions(
            exclude_rows(translate.action_rows(found, start, end).lazy(), self._exclude),
            calendar=self._calendars[False], start=start, end=end, provider=self.name, fetched_at=now, source="Alpaca",
        )  # fmt: skip

    def instruments(self, symbols: Sequence[str]) -> pl.DataFrame:
        """One row a symbol in INSTRUMENT_SCHEMA, from Alpaca's assets; they say nothing of sectors and listing dates.

        lot is 1e-9 where Alpaca trades fractions of a share. Crypto's minimum_notional is the smallest order at the
        last price. Raises UnknownSymbolError, and as `bars` does.
        """
        names = sorted(asked(self.name, symbols, symbols))
        assets = self._assets(names)
        _refuse_missing(names, assets)
        crypto = _by_class(names).get(True, [])
        last: Mapping[str, Any] = {}
        if crypto:
            asks = {"symbols": ",".join(crypto)}
            last = self._connection.document("crypto", "/crypto/us/latest/trades", asks, "trades")["trades"] or {}
        rows = [
            translate.instrument(assets[name], self._calendars["/" in name], last.get(name, {}).get("p"))
            for name in names
        ]
        return pl.DataFrame(rows, schema=INSTRUMENT_SCHEMA)

    def option_chain(self, underlying: str, on: date) -> pl.DataFrame:
        """The options of an underlying in INSTRUMENT_SCHEMA, sorted by expiry, strike and right.

        Alpaca keeps no date of listing: a day further back than a week raises NotOfferedError. Raises
        UnknownSymbolError, NoDataError, and as `bars` does.
        """
        from alpaca.trading.enums import AssetStatus
        from alpaca.trading.requests import GetOptionContractsRequest

        today = self._clock().astimezone(ZoneInfo(timezone(self._calendars[False]))).date()
        if on < today - CHAIN_BACK:
            raise NotOfferedError(
                f"option chains: alpaca has those of today, not of {on}; it does not say when a contract was listed"
            )
        # What expired since is inactive by now.
        statuses = (AssetStatus.ACTIVE, AssetStatus.INACTIVE) if on < today else (AssetStatus.ACTIVE,)
        rows: dict[str, dict[str, Any]] = {}
        for status in statuses:
            request = GetOptionContractsRequest(
                underlying_symbols=[underlying], status=status, expiration_date_gte=on,
                expiration_date_lte=on + FARTHEST_EXPIRY,  # without it, no further than this week
            )  # fmt: skip
            params = request.to_request_fields() | {"underlying_symbols": underlying}
            for content in self._connection.documents("trading", "/options/contracts", params, "option_contracts"):
                options = content["option_contracts"] or []
                found = [translate.contract(option, self._calendars[False]) for option in options]
                rows |= {row["symbol"]: row for row in found}
        if not rows:
            _refuse_missing([underlying], self._assets([underlying]))
            raise NoDataError(f"alpaca has no options of {underlying} that expire on {on} or later")
        return pl.DataFrame(list(rows.values()), schema=INSTRUMENT_SCHEMA).sort("expiry", "strike", "right", "symbol")

    def _bars(
        self, names: list[str], crypto: bool, start: date, end: date, timeframe: str, now: datetime
    ) -> pl.DataFrame:
        """Rows as Alpaca gives them, of the sessions from `start` to `end`."""
        from alpaca.data.enums import Adjustment, DataFeed
        from alpaca.data.requests import CryptoBarsRequest, StockBarsRequest
        from alpaca.data.timeframe import TimeFrame, TimeFrameUnit

        zone = ZoneInfo(timezone(self._calendars[crypto]))
        since, until = _midnight(start, zone), min(now - self._delay[crypto], _midnight(end + timedelta(days=1), zone))
        if timeframe == "1d":
            settled = self._settled(crypto, start, end, now)
            # Of shares up to the stamp of the last settled session: that lies further back than 15 minutes.
            reach = timedelta(days=1) if crypto else timedelta(microseconds=1)
            until = _midnight(settled, zone) + reach if settled else since
        amount, unit, a_day = TIMEFRAMES[timeframe]
        frame = TimeFrame(amount, TimeFrameUnit(unit))

        def params(job: Job) -> dict[str, Any]:
            window: dict[str, Any] = {"symbol_or_symbols": list(job[0]), "start": job[1], "end": job[2]}
            if crypto:
                return CryptoBarsRequest(**window, timeframe=frame).to_request_fields()
            stock = StockBarsRequest(**window, timeframe=frame, adjustment=Adjustment.RAW, feed=DataFeed(self._feed))
            return stock.to_request_fields()

        return self._connection.download("bars", crypto, jobs(names, since, until, a_day), params)

    def _now(self, end: date) -> datetime:
        """The time; by Alpaca's clock where bars may be unfinished, since one that runs ahead would let those in."""
        now = self._clock()
        if end < now.date() - timedelta(days=2):
            return now
        told = self._connection.document("trading", "/clock", {}, "timestamp")["timestamp"]
        return min(now, translate.instant(told))

    def _settled(self, crypto: bool, start: date, end: date, now: datetime) -> date | None:
        """The last session from `start` to `end` whose daily bar is final."""
        closed = sessions(self._calendars[crypto], start, end).filter(pl.col("close") <= now - SETTLED)["session"]
        return closed[-1] if closed.len() else None

    def _checked(
        self, rows: pl.DataFrame, crypto: bool, start: date, end: date, timeframe: str, now: datetime
    ) -> pl.LazyFrame:
        calendar = self._calendars[crypto]
        local = pl.col("ts").dt.convert_time_zone(timezone(calendar))
        kept = exclude_rows(rows.lazy().with_columns(session=local.dt.date()), self._exclude)
        if timeframe != "1d":
            bars = intraday_bars(
                kept.drop("session"), timeframe=timeframe, provider=self.name, fetched_at=now, source="Alpaca"
            )
            return bars.filter(pl.col("known_at") <= now - self._delay[crypto])
        odd = kept.filter(local.dt.time() != pl.time(0)).head(1).collect()
        if odd.height:
            symbol, stamp = odd.select("symbol", "ts").row(0)
            raise BarSchemaError(f"{symbol} {stamp}: a daily bar must begin at midnight of {calendar} (Alpaca). {MEND}")
        return daily_bars(
            kept.drop("ts"), calendar=calendar, start=start, end=end, provider=self.name, fetched_at=now,
            source="Alpaca",
        )  # fmt: skip

    def _ticks(
        self, kind: str, symbols: Sequence[str], start: datetime, end: datetime
    ) -> tuple[pl.DataFrame, datetime]:
        """Quotes or trades as Alpaca gives them, and when they were asked for."""
        from alpaca.data.enums import DataFeed
        from alpaca.data.requests import BaseTimeseriesDataRequest

        names, now = asked(self.name, symbols, symbols), self._now(end.date())
        found = []
        for crypto, group in _by_class(names).items():

            def params(job: Job, crypto: bool = crypto) -> dict[str, Any]:
                request = BaseTimeseriesDataRequest(symbol_or_symbols=list(job[0]), start=job[1], end=job[2])
                return request.to_request_fields() | ({} if crypto else {"feed": DataFeed(self._feed).value})

            # A symbol's day of quotes may be millions: each is a chain of pages of its own.
            until = min(end, now - self._delay[crypto])
            found.append(self._connection.download(kind, crypto, jobs(group, start, until, JOB_ROWS), params))
        self._refuse_unknown(names, *found)
        rows = pl.concat(found)
        if rows.is_empty():
            raise NoDataError(f"alpaca has no {kind} of {', '.join(names[:12])} from {start} to {end}")
        return rows, now

    def _refuse_unknown(self, names: Sequence[str], *found: pl.DataFrame) -> None:
        """Raise UnknownSymbolError for symbols without rows that Alpaca does not know either."""
        seen = {name for rows in found for name in rows["symbol"].unique()}
        missing = [name for name in names if name not in seen]
        if missing:
            _refuse_missing(missing, self._assets(missing))

    def _assets(self, names: Sequence[str]) -> dict[str, Any]:
        """Alpaca's assets by symbol; those that it does not know are absent."""
        held: dict[str, Any] = {}
        for crypto, group in _by_class(names).items():
            if not crypto and len(group) <= FEW:
                for name in group:
                    with contextlib.suppress(NotFoundError):
                        held[name] = self._connection.document("trading", f"/assets/{quoted(name)}", {}, "symbol")
                continue
            every = self._connection.document(
                "trading", "/assets", {"asset_class": "crypto" if crypto else "us_equity"}
            )
            held |= {asset["symbol"]: asset for asset in every if isinstance(asset, dict) and "symbol" in asset}
        return {name: held[name] for name in names if name in held}


def _by_class(names: Sequence[str]) -> dict[bool, list[str]]:
    """The symbols of shares (False) and of crypto (True), where there are any."""
    split = {crypto: [name for name in names if ("/" in name) == crypto] for crypto in (False, True)}
    return {crypto: group for crypto, group in split.items() if group}


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC)


def _refuse_missing(names: Sequence[str], assets: Mapping[str, Any]) -> None:
    unknown = [name for name in names if name not in assets]
    if unknown:
        raise UnknownSymbolError(
            f"alpaca has no {', '.join(unknown[:12])}; crypto is written BTC/USD, shares BRK.B: see app.alpaca.markets"
        )
