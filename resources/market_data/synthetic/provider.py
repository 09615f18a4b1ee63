"""A seeded market for load tests and experiments: any number of shares, bars, quotes, trades and an order book.

It needs no network and no file, and the same seed gives the same numbers on every machine. Shares are called SYN0001,
SYN0002 and so on; a name gives a share of its own. All scales agree with one another: minute bars add up to the
session's bar, trades and quotes lie within its range. What it is not is a market: nothing learned on it holds outside.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from datetime import date, datetime, timedelta

import numpy as np
import polars as pl

from resources.calendars import UTC_MICROS
from resources.config import ExcludedRow
from resources.errors import UnknownSymbolError
from resources.market_data.base import (
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
from resources.market_data.synthetic.paths import (
    CALENDAR,
    EPOCH,
    TICK,
    Floats,
    Path,
    calendar,
    generator,
    minutes,
    path,
    sector_of,
)
from resources.market_data.ticks import quotes, trades
from resources.market_data.timeframes import INTRADAY, check_timeframe, intraday_bars

BOOK_SCHEMA = pl.Schema(
    {
        "symbol": pl.String(),
        "ts": UTC_MICROS,
        "side": pl.String(),
        "level": pl.Int64(),
        "price": pl.Float64(),
        "size": pl.Float64(),
    }
)
"""One row a level of a snapshot: side is bid or ask, level 1 is the best."""

SOURCE = "the synthetic market"

_NAME = re.compile(r"SYN\d{4,9}")
_MINUTES = pl.Schema(
    {"symbol": pl.String(), "opens": UTC_MICROS, "ts": UTC_MICROS}
    | dict.fromkeys(("open", "high", "low", "close", "volume"), pl.Float64())
)
_Draw = Callable[[str, int, Path, datetime, int], pl.DataFrame]
_Moments = tuple[np.random.Generator, pl.Series, Floats]


class Synthetic(Partial):
    """Provider of the synthetic market.

    `ticks`: trades (and quotes) of a share in one session. `exclude`: sessions whose bars to leave out.

    >>> from datetime import date
    >>> Synthetic(seed=7).bars(["SYN0001"], date(2020, 3, 9), date(2020, 3, 13)).collect().height
    5
    """

    name = "synthetic"
    offers = "bars from 1m to 1d, splits, dividends, instruments, quotes, trades and order books of SYN0001 and so on"

    def __init__(
        self, seed: int = 7, ticks: int = 2_000, *, exclude: Sequence[ExcludedRow] = (), clock: Clock = utc_now
    ) -> None:
        self._exclude = tuple(exclude)
        self._seed = seed
        self._ticks = ticks
        self._clock = clock

    def bars(self, symbols: Sequence[str], start: date, end: date, timeframe: str = "1d") -> pl.LazyFrame:
        """Raw bars of finished sessions in BAR_SCHEMA.

        Raises UnknownSymbolError, NotOfferedError for a timeframe it does not have, and NoDataError if no symbol has
        a row in the range.
        """
        check_timeframe(self.name, timeframe, [*INTRADAY, "1d"])
        names, now = self._known(symbols), self._clock()
        parts = [self._daily(name, start, end) for name in names]
        if all(part.is_empty() for part in parts):
            raise no_rows(self.name, names, start, end, f"sessions of {CALENDAR} from {EPOCH} on")
        if timeframe == "1d":
            return daily_bars(
                pl.concat(parts).lazy(), calendar=CALENDAR, start=start, end=end, provider=self.name, fetched_at=now,
                source=SOURCE,
            )  # fmt: skip
        rows = pl.concat(self._minutely(name, start, end) for name in names)
        return intraday_bars(
            _by(rows, timeframe).lazy(), timeframe=timeframe, provider=self.name, fetched_at=now, source=SOURCE
        )

    def corporate_actions(self, symbols: Sequence[str], start: date, end: date) -> pl.LazyFrame:
        """Splits and dividends in ACTION_SCHEMA. Raises UnknownSymbolError."""
        rows = pl.concat(self._actions(name, start, end) for name in self._known(symbols))
        return daily_actions(
            rows.lazy(), calendar=CALENDAR, start=start, end=end, provider=self.name, fetched_at=self._clock(),
            source=SOURCE,
        )  # fmt: skip

    def instruments(self, symbols: Sequence[str]) -> pl.DataFrame:
        """One row a symbol in INSTRUMENT_SCHEMA. Raises UnknownSymbolError."""
        end = self._clock().date()
        days = calendar(end)["session"]
        rows = [
            {"symbol": name, "asset_class": "equity", "venue": "SYNTH", "calendar": CALENDAR, "currency": "USD",
             "tick": TICK, "lot": 1.0, "multiplier": 1.0, "sector": sector_of(self._seed, name),
             "listed": days[path(self._seed, name, end).first], "perpetual": False}
            for name in self._known(symbols)
        ]  # fmt: skip
        return pl.DataFrame(rows, schema=INSTRUMENT_SCHEMA).sort("symbol")

    def quotes(self, symbols: Sequence[str], start: datetime, end: datetime) -> pl.LazyFrame:
        """Best bids and offers in QUOTE_SCHEMA. Raises UnknownSymbolError and NoDataError."""
        rows = self._ticks_of(symbols, start, end, self._quotes_of)
        return quotes(rows.lazy(), provider=self.name, fetched_at=self._clock(), source=SOURCE)

    def trades(self, symbols: Sequence[str], start: datetime, end: datetime) -> pl.LazyFrame:
        """Trades in TRADE_SCHEMA. Raises UnknownSymbolError and NoDataError."""
        rows = self._ticks_of(symbols, start, end, self._trades_of)
        return trades(rows.lazy(), provider=self.name, fetched_at=self._clock(), source=SOURCE)

    def order_book(self, symbols: Sequence[str], start: datetime, end: datetime, levels: int = 10) -> pl.LazyFrame:
        """A snapshot of the book at each full minute, in BOOK_SCHEMA. Raises UnknownSymbolError and NoDataError."""

        def of(symbol: str, day: int, held: Path, opens: datetime, count: int) -> pl.DataFrame:
            return self._book_of(symbol, day, held, opens, count, levels)

        rows = self._ticks_of(symbols, start, end, of)
        return rows.select(BOOK_SCHEMA.names()).cast(dict(BOOK_SCHEMA)).lazy()  # type: ignore[arg-type]

    def _known(self, symbols: Sequence[str]) -> list[str]:
        unknown = [symbol for symbol in symbols if not _NAME.fullmatch(symbol)]
        if unknown:
            raise UnknownSymbolError(
                f"synthetic has no {', '.join(unknown[:5])}; its shares are SYN and four digits or more: SYN0001"
            )
        return sorted(asked(self.name, symbols, symbols))

    def _days(self, symbol: str, start: date, end: date) -> tuple[Path, pl.DataFrame]:
        """The path, and its sessions in the range: day (from EPOCH), session, open and close (UTC)."""
        now = self._clock()
        # Paths are drawn to the end of the asked year, so that neighbouring requests share one.
        until = date(max(end.year, EPOCH.year), 12, 31)
        held = path(self._seed, symbol, until)
        days = calendar(until).with_row_index("day").filter(
            pl.col("session").is_between(start, end), pl.col("day") >= held.first, pl.col("close") <= now
        )  # fmt: skip
        return held, days

    def _daily(self, symbol: str, start: date, end: date) -> pl.DataFrame:
        held, days = self._days(symbol, start, end)
        at = days["day"].to_numpy().astype(np.int64) - held.first
        values = {name: getattr(held, name)[at] for name in ("open", "high", "low", "close", "volume")}
        rows = pl.DataFrame({"symbol": [symbol] * len(at), "session": days["session"], **values})
        return exclude_rows(rows.lazy(), self._exclude).collect()

    def _actions(self, symbol: str, start: date, end: date) -> pl.DataFrame:
        held, days = self._days(symbol, start, end)
        at = days["day"].to_numpy().astype(np.int64) - held.first
        kinds = {"split": held.split[at], "dividend": held.dividend[at]}
        told = pl.DataFrame({"symbol": [symbol] * len(at), "session": days["session"], **kinds})
        long = told.unpivot(["split", "dividend"], index=["symbol", "session"], variable_name="kind")
        return long.filter(pl.when(pl.col("kind") == "split").then(pl.col("value") != 1).otherwise(pl.col("value") > 0))

    def _minutely(self, symbol: str, start: date, end: date) -> pl.DataFrame:
        held, days = self._days(symbol, start, end)
        kept = exclude_rows(days.lazy().with_columns(symbol=pl.lit(symbol)), self._exclude).collect()
        parts = [pl.DataFrame(schema=_MINUTES)]
        for day, opens, count in _opened(kept):
            prices, at = minutes(self._seed, symbol, day, held, count), day - held.first
            # Trading is thick after the open and before the close; whole shares, and the day's volume in all.
            crowd = 1.0 + 3.0 * (np.linspace(-1.0, 1.0, count) ** 2)
            edges = np.round(np.concatenate([[0.0], np.cumsum(crowd) / crowd.sum()]) * held.volume[at])
            parts.append(
                pl.DataFrame(
                    {
                        "symbol": [symbol] * count,
                        "opens": [opens] * count,
                        "ts": _stamps(opens, count),
                        "open": prices[:-1],
                        "high": np.maximum(prices[:-1], prices[1:]),
                        "low": np.minimum(prices[:-1], prices[1:]),
                        "close": prices[1:],
                        "volume": np.diff(edges),
                    },
                    schema=_MINUTES,
                )
            )
        return pl.concat(parts)

    def _ticks_of(self, symbols: Sequence[str], start: datetime, end: datetime, of: _Draw) -> pl.DataFrame:
        names = self._known(symbols)
        parts = [
            of(name, day, held, opens, count).filter(pl.col("ts").is_between(start, end, closed="left"))
            for name in names
            for held, days in [self._days(name, start.date(), end.date())]
            for day, opens, count in _opened(days)
        ]
        rows = pl.concat(parts) if parts else pl.DataFrame()
        if rows.is_empty():
            raise no_rows(self.name, names, start.date(), end.date(), f"sessions of {CALENDAR} from {EPOCH} on")
        return rows

    def _moments(self, symbol: str, day: int, held: Path, opens: datetime, count: int, kind: str) -> _Moments:
        """`ticks` instants of a session in order, with the price at each."""
        chance = generator(self._seed, symbol, kind, day)
        share = np.sort(chance.random(self._ticks))
        prices = minutes(self._seed, symbol, day, held, count)
        mid = np.interp(share * count, np.arange(count + 1), prices)
        elapsed = pl.Series((share * count * 60e6).astype(np.int64)).cast(pl.Duration("us"))
        return chance, pl.Series("ts", [opens] * self._ticks, dtype=UTC_MICROS) + elapsed, mid

    def _trades_of(self, symbol: str, day: int, held: Path, opens: datetime, count: int) -> pl.DataFrame:
        chance, ts, mid = self._moments(symbol, day, held, opens, count, "trades")
        buys, at = chance.random(self._ticks) < 0.5, day - held.first
        price = np.clip(np.round(mid + np.where(buys, TICK, -TICK) / 2, 2), held.low[at], held.high[at])
        return pl.DataFrame(
            {
                "symbol": [symbol] * self._ticks,
                "ts": ts,
                "price": price,
                "size": np.ceil(np.exp(chance.normal(4.0, 1.0, self._ticks))),
                "side": np.where(buys, "buy", "sell"),
                "trade_id": [f"{day}-{number}" for number in range(self._ticks)],
            }
        )

    def _quotes_of(self, symbol: str, day: int, held: Path, opens: datetime, count: int) -> pl.DataFrame:
        chance, ts, mid = self._moments(symbol, day, held, opens, count, "quotes")
        spread = TICK * (1 + chance.poisson(0.5, self._ticks))
        bid = np.maximum(np.round(mid - spread / 2, 2), TICK)
        return pl.DataFrame(
            {
                "symbol": [symbol] * self._ticks,
                "ts": ts,
                "bid": bid,
                "bid_size": 100.0 * (1 + chance.poisson(4.0, self._ticks)),
                "ask": np.round(bid + spread, 2),
                "ask_size": 100.0 * (1 + chance.poisson(4.0, self._ticks)),
            }
        )

    def _book_of(self, symbol: str, day: int, held: Path, opens: datetime, count: int, levels: int) -> pl.DataFrame:
        chance = generator(self._seed, symbol, "book", day)
        mid = minutes(self._seed, symbol, day, held, count)[:-1]
        level = np.tile(np.arange(1, levels + 1), 2 * count)
        buys = np.tile(np.repeat([True, False], levels), count)
        centre = np.repeat(np.round(mid, 2), 2 * levels)
        frame = pl.DataFrame(
            {
                "symbol": [symbol] * len(level),
                "ts": _stamps(opens, count).gather(np.repeat(np.arange(count), 2 * levels)),
                "side": np.where(buys, "bid", "ask"),
                "level": level,
                "price": np.round(centre + np.where(buys, -level, level) * TICK, 2),
                # Deeper levels hold more: what is far from the market can wait.
                "size": 100.0 * (1 + chance.poisson(3.0 + level)),
            }
        )
        return frame.filter(pl.col("price") > 0)


def _opened(days: pl.DataFrame) -> Iterator[tuple[int, datetime, int]]:
    """Number, opening instant and count of minutes of each session."""
    for day, opens, closes in days.select("day", "open", "close").iter_rows():
        yield day, opens, int((closes - opens).total_seconds() // 60)


def _stamps(opens: datetime, count: int) -> pl.Series:
    """The starts of a session's minutes."""
    return pl.datetime_range(opens, opens + timedelta(minutes=count - 1), "1m", time_unit="us", eager=True)


def _by(rows: pl.DataFrame, timeframe: str) -> pl.DataFrame:
    """Minute bars put together to longer ones, each counted from its session's open."""
    length = INTRADAY[timeframe]
    whole = (pl.col("ts") - pl.col("opens")).dt.total_seconds() // int(length.total_seconds())
    start = pl.col("opens") + pl.duration(seconds=whole * int(length.total_seconds()))
    return rows.group_by("symbol", ts=start, maintain_order=True).agg(
        pl.col("open").first(), pl.col("high").max(), pl.col("low").min(), pl.col("close").last(),
        pl.col("volume").sum(),
    )  # fmt: skip
