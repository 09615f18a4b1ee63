"""The market of a backtest, checked and turned into arrays: bars, quotes or trades in the order of time.

`history` is most of what a short backtest costs. A sweep prepares it once and gives it to every `run`.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import numpy.typing as npt
import polars as pl

from quant_assets.backtests.market import leaving, rates
from quant_assets.backtests.market.bar_frames import Frame, checked, refined, refuse_adjusted, when, with_ends
from quant_assets.backtests.market.instruments import listings_of
from resources.calendars import UTC_MICROS
from resources.calendars import sessions as calendar_sessions
from resources.errors import BarSchemaError
from resources.exchange.layout import EXTRA, NO_EXTRA, NOWHERE, ROW, Integers, Market, Records, market_of
from resources.exchange.lifetimes import LONGEST_CLOSURE
from resources.exchange.terms import Listing
from resources.exchange.words import FIRST, LAST, QUOTE, TICK

UNTRADED = ("missing_session", "stale")
"""Flags of bars that fill nothing (rule 11). Bars with volume 0 do so without a flag."""

WHOLE_DAY, HALF_A_DAY = 6 * 3600 * 1_000_000, 12 * 3600 * 1_000_000
"""A symbol's only bar is a whole session if it lasts so long (microseconds)."""

TICK_RECORD = 60_000_000
"""Ticks are many: the account is written down once in so many microseconds."""


@dataclass(frozen=True, slots=True)
class History:
    """Bars or ticks as a Market, with what its numbers mean. Instants in microseconds since 1970, UTC."""

    market: Market
    symbols: list[str]
    listings: list[Listing]
    session: npt.NDArray[np.datetime64]
    """The session of each step, as a day."""
    first: Integers
    """By symbol, when its first bar opens."""
    currency: str
    stayed_coarse: int = 0
    """Bars that finer ones were given for, which do not cover them: decided by the rules of coarse bars."""

    @property
    def sessions(self) -> list[date]:
        """The sessions, each once."""
        found: list[date] = np.unique(self.session).tolist()
        return found

    def frame(self) -> pl.DataFrame:
        """The bars as a frame again: ts, symbol, open, high, low, close, volume, split, dividend."""
        rows = self.market.rows
        opens = np.repeat(self.market.opens, np.diff(self.market.start))
        return pl.DataFrame(
            {
                "ts": pl.Series(opens).cast(UTC_MICROS),
                "symbol": pl.Series(self.symbols, dtype=pl.String).gather(rows["symbol"]),
                **{name: np.ascontiguousarray(rows[name]) for name in ("open", "high", "low", "close", "volume")},
                **{name: self._extra(name) for name in ("split", "dividend")},
            }
        )

    def _extra(self, name: str) -> npt.NDArray[np.float64]:
        """A column of the extras, by row."""
        number, extras = self.market.rows["extra"], self.market.extras
        values = np.full(number.size, NO_EXTRA[list(EXTRA.names or ()).index(name)])
        values[number != NOWHERE] = extras[name][number[number != NOWHERE]]
        return values

    def first_traded(self, start: date | None) -> int:
        """Number of the first step of a session from `start` on. Raises BarSchemaError if there is none."""
        if start is None:
            return 0
        number = int(np.searchsorted(self.session, np.datetime64(start)))
        if number == self.session.size:
            raise BarSchemaError(f"backtest.start is {start}, after the last session of the bars ({self.session[-1]})")
        return number


def history(
    bars: Frame,
    instruments: Frame | None = None,
    currency: str = "USD",
    intrabar: Frame | None = None,
    conversion: Frame | None = None,
) -> History:
    """Bars (ts, symbol, open, high, low, close, volume), quotes (ts, symbol, bid, ask) or trades (ts, symbol, price).

    Bars may have session and known_at (else worked out from their spacing), split, dividend, funding, bid and ask,
    and flags as cleaning leaves them; quotes bid_size and ask_size; trades size. `intrabar` are finer bars of the
    same columns: where they cover a bar (bar_frames.refined says when), they take its place. `conversion` (ts,
    currency, rate) says what a unit of a foreign currency is worth in `currency`; pairs among the bars are taken
    without being asked for.

    Raises BarSchemaError, naming symbol, instant and field, on missing columns, an empty frame, naive timestamps,
    prices or splits that are not positive, two rows of a symbol at one instant, or finer bars that contradict theirs.
    """
    frame, kind = checked(bars)
    stayed = 0
    if intrabar is not None:
        frame, stayed = refined(frame, checked(intrabar)[0])
        if stayed:
            warnings.warn(
                f"intrabar: {stayed} bars keep to the rules of coarse bars, because the finer bars given for them do "
                "not cover them (History.stayed_coarse)",
                stacklevel=2,
            )
    symbols = frame["symbol"].unique().sort()
    known = listings_of(symbols.to_list(), instruments)
    frame = _in_order(frame, symbols, known, ticks=kind != "bar")
    refuse_adjusted(frame, symbols.to_list(), known)
    market, session = _market(frame, kind)
    first = np.zeros(len(symbols), np.int64)
    seen, rows = np.unique(market.rows["symbol"], return_index=True)
    opens = np.repeat(market.opens, np.diff(market.start))
    first[seen] = opens[rows]
    market = market._replace(
        exits=leaving.exits(market, session, symbols.to_list(), known),
        rates=rates.conversions(market, opens, symbols.to_list(), known, currency, conversion),
    )
    return History(market, symbols.to_list(), known, session, first, currency, stayed)


def _in_order(frame: pl.DataFrame, symbols: pl.Series, known: Sequence[Listing], ticks: bool) -> pl.DataFrame:
    """The rows by time and symbol, with number, until, session, and whether each is its session's first or last."""
    number = pl.col("symbol").cast(pl.Enum(symbols)).to_physical().cast(pl.Int32)
    frame = frame.with_columns(number=number)
    if ticks:
        frame = frame.sort("ts", maintain_order=True).with_columns(until=pl.col("ts"))
    else:
        frame = _closed(with_ends(frame), symbols, known).sort("ts", "number")
        again = (pl.col("ts") == pl.col("ts").shift()) & (pl.col("number") == pl.col("number").shift())
        twice = frame.filter(again.fill_null(False)).head(1)
        if twice.height:
            raise BarSchemaError(f"{twice['symbol'][0]} {when(twice)}: more than one bar; clean the bars first")
    if "session" not in frame.columns:
        frame = frame.with_columns(session=_session(frame, symbols, known))
    return frame.with_columns(**_edges(frame, symbols, known))


def _closed(frame: pl.DataFrame, symbols: pl.Series, known: Sequence[Listing]) -> pl.DataFrame:
    """Let days and weeks that do not say when they were known be over as the last session closes that they reach into.

    What is shorter lasts as long as it is: it may be of hours outside the session.
    """
    if "known_at" in frame.columns:
        return frame
    start, until = (frame[name].to_physical().to_numpy() for name in ("ts", "until"))
    until = until.copy()
    for calendar in sorted({listing.calendar for listing in known if listing.calendar}):
        members = symbols.filter(pl.Series([listing.calendar == calendar for listing in known]))
        rows = frame.select(pl.arg_where(pl.col("symbol").is_in(members.implode()))).to_series().to_numpy()
        day = timedelta(days=1)
        held = calendar_sessions(calendar, frame["ts"].min().date() - day, frame["until"].max().date() + day)  # type: ignore[union-attr]  # of a column of stamps
        closes = np.append(np.iinfo(np.int64).min, held["close"].to_physical().to_numpy())
        last = closes[np.searchsorted(closes, until[rows], side="right") - 1]
        days = until[rows] - start[rows] >= HALF_A_DAY
        until[rows] = np.where(days & (last > start[rows]), last, until[rows])
    return frame.with_columns(until=pl.Series(until).cast(UTC_MICROS))


def _session(frame: pl.DataFrame, symbols: pl.Series, known: Sequence[Listing]) -> pl.Series:
    """The session of each row where nobody says: by its instrument's calendar, else the UTC date of its start."""
    from resources.calendars import session_date

    plain = pl.col("ts").dt.date()
    by_calendar = plain
    for calendar in sorted({listing.calendar for listing in known if listing.calendar}):
        members = [symbol for symbol, listing in zip(symbols, known, strict=True) if listing.calendar == calendar]
        by_calendar = (
            pl.when(pl.col("symbol").is_in(members)).then(session_date(pl.col("ts"), calendar)).otherwise(by_calendar)
        )
    return frame.select(by_calendar).to_series()


def _edges(frame: pl.DataFrame, symbols: pl.Series, known: Sequence[Listing]) -> dict[str, pl.Series]:
    """Whether each row is the first, and the last, of its symbol's session.

    A row is the last if its calendar says that the session is over by its end: where the bar before the close is
    lacking, an order for the close does not fill, which is the careful side. Without a calendar the next row tells, and
    of a symbol's very last row what was known then: that the symbol has one bar a session, or that the session is as
    long by then as its longest before.
    """
    number, session = frame["number"].to_numpy(), frame["session"].to_physical().to_numpy()
    start, end = (frame[name].to_physical().to_numpy() for name in ("ts", "until"))
    by_symbol = np.argsort(number, kind="stable")
    number, session = number[by_symbol], session[by_symbol]
    earlier = np.flatnonzero((number[1:] == number[:-1]) & (session[1:] < session[:-1]))
    if earlier.size:
        before, bad = (frame.row(int(by_symbol[earlier[0] + place]), named=True) for place in (0, 1))
        raise BarSchemaError(
            f"{bad['symbol']} {bad['ts']}: session is {bad['session']}, and {before['session']} of the bar before it; "
            "sessions must not run backwards"
        )
    new = np.append(True, (number[1:] != number[:-1]) | (session[1:] != session[:-1]))
    over = np.append(new[1:], False)
    opened = start[by_symbol][np.maximum.accumulate(np.where(new, np.arange(new.size), 0))]
    length = end[by_symbol] - opened
    newest = np.flatnonzero(np.append(number[1:] != number[:-1], True))
    beginning = 0
    calendars: dict[str, tuple[Integers, Integers]] = {}
    for row in newest:
        part = slice(beginning, row + 1)
        ended = over[part] & (session[part] != session[row])
        longest = length[part][ended].max(initial=0)
        listing = known[number[row]]
        one_a_session = bool(new[part].all()) and (row > beginning or length[row] >= WHOLE_DAY)
        over[row] = one_a_session or (not listing.calendar and ended.any() and length[row] >= longest)
        if listing.calendar and not one_a_session:
            if listing.calendar not in calendars:
                calendars[listing.calendar] = _closes(listing.calendar, int(session.min()), int(session.max()))
            days, closes = calendars[listing.calendar]
            place = np.minimum(np.searchsorted(days, session[part]), days.size - 1)
            over[part] = np.where(days[place] == session[part], end[by_symbol[part]] >= closes[place], over[part])
        beginning = int(row) + 1
    back = np.empty_like(by_symbol)
    back[by_symbol] = np.arange(by_symbol.size)
    return {"first": pl.Series(new[back]), "last": pl.Series(over[back])}


def _closes(calendar: str, first: int, last: int) -> tuple[Integers, Integers]:
    """A calendar's sessions from one to another, counted in days since 1970, and when each is over."""
    start, end = (date(1970, 1, 1) + timedelta(days=day) for day in (first, last))
    held = calendar_sessions(calendar, start, end + LONGEST_CLOSURE)  # one session at least
    return held["session"].to_physical().to_numpy(), held["close"].to_physical().to_numpy()


def _market(frame: pl.DataFrame, kind: str) -> tuple[Market, npt.NDArray[np.datetime64]]:
    """The rows as arrays, in steps: of the rows of bars that open at one instant, or of one tick."""
    ts = frame["ts"].to_physical().to_numpy().astype(np.int64)
    rows = np.zeros(ts.size, ROW)
    for name in ("open", "high", "low", "close", "volume"):
        rows[name] = frame[name].to_numpy()
    if kind == "quote":
        rows["high"], rows["low"] = frame["ask"].to_numpy(), frame["bid"].to_numpy()
        rows["volume"] = frame["ask_size"].to_numpy()
    extras, rows["extra"] = _extras(frame, kind)
    rows["until"], rows["symbol"] = frame["until"].to_physical().to_numpy(), frame["number"].to_numpy()
    if "flags" in frame.columns:
        untraded = frame["flags"].list.eval(pl.element().is_in(UNTRADED)).list.any().fill_null(False).to_numpy()
        rows["volume"][untraded] = 0.0
    rows["flags"] = FIRST * frame["first"].to_numpy() | LAST * frame["last"].to_numpy()
    if kind != "bar":
        rows["flags"] |= TICK | (QUOTE if kind == "quote" else 0)
    new = np.ones(ts.size, bool) if kind != "bar" else np.concatenate([[True], ts[1:] != ts[:-1]])
    start = np.append(np.flatnonzero(new), ts.size).astype(np.int64)
    opens = ts[start[:-1]]
    session = frame["session"].to_numpy().astype("datetime64[D]")[start[:-1]]
    recorded = np.ones(opens.size, bool)
    if kind != "bar":
        bucket = opens // TICK_RECORD
        recorded[:-1] = (bucket[1:] != bucket[:-1]) | (session[1:] != session[:-1])
    return market_of(rows, extras, opens, start, recorded), session


def _extras(frame: pl.DataFrame, kind: str) -> tuple[Records, Integers]:
    """EXTRA rows of the rows that need one, and by row its number."""
    known = {"split": pl.col("split"), "dividend": pl.col("dividend")}
    if "funding" in frame.columns:
        known["funding"] = pl.col("funding").fill_null(0.0)
    if kind == "bar" and "bid" in frame.columns:
        known["half"] = ((pl.col("ask") - pl.col("bid")) / 2).cast(pl.Float64).fill_null(np.nan)
    if kind == "quote":
        known["bid_size"] = pl.col("bid_size").cast(pl.Float64).fill_null(0.0)
    default = dict(zip(EXTRA.names or (), NO_EXTRA, strict=True))
    needed = pl.any_horizontal(value.fill_nan(None).ne_missing(_given(default[name])) for name, value in known.items())
    row = frame.select(pl.arg_where(needed)).to_series().to_numpy()
    extras = np.repeat(np.array([NO_EXTRA], EXTRA), row.size)
    few = frame[row.tolist()] if row.size < frame.height else frame
    for name, value in known.items():
        extras[name] = few.select(value.alias(name))[name].to_numpy()
    number = np.full(frame.height, NOWHERE, np.int64)
    number[row] = np.arange(row.size)
    return extras, number


def _given(default: float) -> float | None:
    return None if np.isnan(default) else default
