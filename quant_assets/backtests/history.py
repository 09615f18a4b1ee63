"""The market of a backtest, checked and turned into arrays: bars, quotes or trades in the order of time.

`history` is most of what a short backtest costs. A sweep prepares it once and gives it to every `run`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import numpy.typing as npt
import polars as pl

from quant_assets.backtests import leaving, rates
from quant_assets.backtests.instruments import listings_of
from resources.calendars import UTC_MICROS
from resources.calendars import sessions as calendar_sessions
from resources.errors import BarSchemaError
from resources.exchange.layout import (
    BAR_COLUMNS,
    FIRST,
    FOREVER,
    LAST,
    QUOTE,
    QUOTE_COLUMNS,
    ROW,
    TICK,
    Integers,
    Market,
    market_of,
)
from resources.exchange.terms import Listing

UNTRADED = ("missing_session", "stale")
"""Flags of bars that fill nothing (rule 11). Bars with volume 0 do so without a flag."""

ALONE = timedelta(days=1)
"""How long a bar is taken to last where nothing shows it: no known_at, and no second bar of any symbol."""

WHOLE_DAY = 6 * 3600 * 1_000_000
"""A symbol's only bar is a whole session if it lasts so long (microseconds)."""

TICK_RECORD = 60_000_000
"""Ticks are many: the account is written down once in so many microseconds."""

Frame = pl.LazyFrame | pl.DataFrame


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
                **{name: np.ascontiguousarray(rows[name]) for name in BAR_COLUMNS},
            }
        )

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
    same columns: where they cover a bar, they take its place. `conversion` (ts, currency, rate) says what a unit of each
    foreign currency is worth in `currency`; pairs among the bars are taken without being asked for.

    Raises BarSchemaError, naming symbol, instant and field, on missing columns, an empty frame, naive timestamps,
    prices or splits that are not positive, two rows of a symbol at one instant, or finer bars that contradict theirs.
    """
    frame, kind = _checked(bars)
    if intrabar is not None:
        frame = _refined(frame, _checked(intrabar)[0])
    symbols = frame["symbol"].unique().sort()
    known = listings_of(symbols.to_list(), instruments)
    frame = _in_order(frame, symbols, known, ticks=kind != "bar")
    _refuse_adjusted(frame, symbols.to_list(), known)
    market, session = _market(frame, kind)
    first = np.zeros(len(symbols), np.int64)
    seen, rows = np.unique(market.rows["symbol"], return_index=True)
    opens = np.repeat(market.opens, np.diff(market.start))
    first[seen] = opens[rows]
    market = market._replace(
        exits=leaving.exits(market, session, known),
        rates=rates.conversions(market, opens, symbols.to_list(), known, currency, conversion),
    )
    return History(market, symbols.to_list(), known, session, first, currency)


# ---- frames


def _checked(bars: Frame) -> tuple[pl.DataFrame, str]:
    """The frame with every column that is needed, its values in order, and whether it holds bars, quotes or trades."""
    lazy = bars.lazy()
    schema = lazy.collect_schema()
    kind = _kind(schema)
    for name in ("ts", "known_at"):
        if name in schema and (
            not isinstance(schema[name], pl.Datetime) or getattr(schema[name], "time_zone", None) is None
        ):
            raise BarSchemaError(f"bars: column {name} is {schema[name]}; it must be {UTC_MICROS}")
    lazy = _as_bars(lazy, schema, kind)
    floats = [pl.col(name).cast(pl.Float64) for name in BAR_COLUMNS]
    others = [name for name in (*QUOTE_COLUMNS, "funding") if name in lazy.collect_schema()]
    instants = [pl.col(name).cast(UTC_MICROS) for name in ("ts", "known_at") if name in schema]
    more = [name for name in ("session", "flags") if name in schema]
    frame = lazy.select(
        pl.col("symbol").cast(pl.String), *instants, *more, *floats, *[pl.col(name).cast(pl.Float64) for name in others]
    ).collect()
    if frame.is_empty():
        raise BarSchemaError("bars: no rows; a backtest needs at least one session")
    _check_values(frame)
    return frame, kind


def _kind(schema: pl.Schema) -> str:
    needs = {
        "bar": ("ts", "symbol", "open", "high", "low", "close", "volume"),
        "quote": ("ts", "symbol", "bid", "ask"),
        "trade": ("ts", "symbol", "price"),
    }
    for kind, columns in needs.items():
        if set(columns) <= set(schema):
            return kind
    missing = [name for name in needs["bar"] if name not in schema]
    raise BarSchemaError(
        f"bars: missing columns {missing}; a backtest takes bars with {list(needs['bar'])}, "
        f"quotes with {list(needs['quote'])} or trades with {list(needs['trade'])}"
    )


def _as_bars(lazy: pl.LazyFrame, schema: pl.Schema, kind: str) -> pl.LazyFrame:
    """The columns of bars: ticks are bars of one price, of an unlimited volume where no size is told."""
    if kind == "quote":
        middle = (pl.col("bid") + pl.col("ask")) / 2
        sizes = [pl.lit(np.inf).alias(name) for name in ("bid_size", "ask_size") if name not in schema]
        lazy = lazy.with_columns(*sizes, **dict.fromkeys(("open", "high", "low", "close"), middle), volume=np.inf)
    elif kind == "trade":
        size = pl.col("size") if "size" in schema else pl.lit(np.inf)
        lazy = lazy.with_columns(**dict.fromkeys(("open", "high", "low", "close"), pl.col("price")), volume=size)
    missing = {"split": 1.0, "dividend": 0.0}
    lazy = lazy.with_columns(**{name: pl.lit(value) for name, value in missing.items() if name not in schema})
    if kind == "bar" and {"bid", "ask"} <= set(schema):
        unknown = {name: pl.lit(None, pl.Float64) for name in ("bid_size", "ask_size") if name not in schema}
        lazy = lazy.with_columns(**unknown)
    elif kind == "bar":
        lazy = lazy.drop([name for name in QUOTE_COLUMNS if name in schema])
    return lazy


def _check_values(frame: pl.DataFrame) -> None:
    positive = {
        name: pl.col(name).is_finite() & (pl.col(name) > 0) for name in ("open", "high", "low", "close", "split")
    }
    fine: dict[str, pl.Expr] = {
        "ts": pl.col("ts").is_not_null(),
        "symbol": pl.col("symbol").is_not_null(),
        **positive,
        "volume": (pl.col("volume") >= 0) & pl.col("volume").is_not_nan(),
        "dividend": pl.col("dividend").is_finite(),
    }
    if "funding" in frame.columns:
        fine["funding"] = pl.col("funding").fill_null(0.0).is_finite()
    if "bid" in frame.columns:
        quoted = (pl.col("bid") > 0) & (pl.col("ask") >= pl.col("bid")) & pl.col("ask").is_finite()
        fine["ask"] = quoted | pl.any_horizontal(pl.col("bid", "ask").is_null())
    whole = frame.select(well.fill_null(False).all().alias(name) for name, well in fine.items()).row(0, named=True)
    for name, well in whole.items():
        if not well:
            bad = frame.filter(~fine[name].fill_null(False)).head(1)
            raise BarSchemaError(
                f"{bad['symbol'][0]} {_when(bad)}: {name} is {bad[name][0]}; prices and splits must be positive, "
                "volumes zero or more, an ask at least its bid. Clean the bars first."
            )
    high = pl.max_horizontal("open", "close", "low")
    crossed = frame.filter((pl.col("high") < high) | (pl.col("low") > pl.min_horizontal("open", "close")))
    if crossed.height:
        bad = crossed.head(1)
        shape = ", ".join(f"{name} {bad[name][0]}" for name in ("open", "high", "low", "close"))
        raise BarSchemaError(
            f"{bad['symbol'][0]} {_when(bad)}: high and low do not bound the bar ({shape}). Clean the bars first."
        )


def _refuse_adjusted(frame: pl.DataFrame, symbols: Sequence[str], known: Sequence[Listing]) -> None:
    """An option's strike and multiplier change with a split of its underlying, and its symbol: nothing here tells how."""
    splits = frame.filter(pl.col("split") != 1.0).select("symbol", "session")
    if not splits.height:
        return
    for symbol, listing in zip(symbols, known, strict=True):
        if listing.right:
            begin = frame.filter(pl.col("symbol") == symbol)["session"].min()
            within = pl.col("session").is_between(pl.lit(begin), pl.lit(listing.expires))
            found = splits.filter((pl.col("symbol") == listing.underlying) & within)
            if found.height:
                raise BarSchemaError(
                    f"{symbol}: the split of {listing.underlying} on {found['session'][0]} changes its strike and "
                    "multiplier; leave the option out, or end its bars (and give that expiry) before"
                )


def _when(row: pl.DataFrame) -> object:
    return row["session"][0] if "session" in row.columns else row["ts"][0]


def _refined(frame: pl.DataFrame, finer: pl.DataFrame) -> pl.DataFrame:
    """Bars, each replaced by the finer ones that begin inside it, where there are any.

    A bar's split, dividend and funding go to the first of its finer bars. Raises BarSchemaError where a finer bar
    leaves the range of its own.
    """
    frame = _with_ends(frame)
    finer = _with_ends(finer)
    outer = frame.select(
        "symbol",
        "ts",
        "until",
        "session" if "session" in frame.columns else pl.lit(None).alias("session"),
        coarse="ts",
        above="high",
        beneath="low",
        *[pl.col(name).alias(f"of_{name}") for name in ("split", "dividend", "funding") if name in frame.columns],
    )
    inner = (
        finer.sort("ts")
        .join_asof(
            outer.sort("ts").rename({"until": "coarse_until"}),
            on="ts",
            by="symbol",
            strategy="backward",
            suffix="_coarse",
            check_sortedness=False,
        )
        .filter(pl.col("ts") < pl.col("coarse_until"))
    )
    slack = 1 + 1e-6
    wrong = inner.filter((pl.col("high") > pl.col("above") * slack) | (pl.col("low") * slack < pl.col("beneath")))
    if wrong.height:
        bad = wrong.row(0, named=True)
        raise BarSchemaError(
            f"{bad['symbol']} {bad['ts']}: the finer bar ({bad['low']} to {bad['high']}) leaves the range of the bar at "
            f"{bad['coarse']} ({bad['beneath']} to {bad['above']}); give intrabar bars of the same source and adjustment"
        )
    start = pl.col("ts") == pl.col("ts").min().over("symbol", "coarse")
    taken = [name for name in ("split", "dividend", "funding") if f"of_{name}" in inner.columns]
    inner = inner.with_columns(
        **{name: pl.when(start).then(f"of_{name}").otherwise(1.0 if name == "split" else 0.0) for name in taken}
    )
    if "session_coarse" in inner.columns:
        inner = inner.with_columns(session=pl.coalesce("session_coarse", "session"))
    covered = inner.select("symbol", ts="coarse").unique()
    rest = frame.join(covered, on=["symbol", "ts"], how="anti")
    columns = [name for name in frame.columns if name in inner.columns]
    return pl.concat([rest.select(columns), inner.select(columns)]).with_columns(known_at="until").drop("until")


def _with_ends(frame: pl.DataFrame) -> pl.DataFrame:
    """Add `until`, when each bar is over: known_at, else the symbol's usual spacing after its start."""
    following = pl.col("ts").shift(-1).over("symbol", order_by="ts")
    if "known_at" in frame.columns:
        end = pl.col("known_at")
    else:
        gap = (following - pl.col("ts")).filter(following > pl.col("ts"))
        usual = frame.select(gap.min()).item() if frame.height > 1 else None
        end = pl.col("ts") + gap.min().over("symbol").fill_null(usual or ALONE)
    # A bar is over when the symbol's next one opens at the latest: daylight saving makes some days 23 hours long.
    return frame.with_columns(until=pl.min_horizontal(end, following).clip(lower_bound=pl.col("ts")))


# ---- arrays


def _in_order(frame: pl.DataFrame, symbols: pl.Series, known: Sequence[Listing], ticks: bool) -> pl.DataFrame:
    """The rows by time and symbol, with number, until, session, and whether each is its session's first or last."""
    number = pl.col("symbol").cast(pl.Enum(symbols)).to_physical().cast(pl.Int32)
    frame = frame.with_columns(number=number)
    if ticks:
        frame = frame.sort("ts", maintain_order=True).with_columns(until=pl.col("ts"))
    else:
        frame = _with_ends(frame).sort("ts", "number")
        again = (pl.col("ts") == pl.col("ts").shift()) & (pl.col("number") == pl.col("number").shift())
        twice = frame.filter(again.fill_null(False)).head(1)
        if twice.height:
            raise BarSchemaError(f"{twice['symbol'][0]} {_when(twice)}: more than one bar; clean the bars first")
    if "session" not in frame.columns:
        frame = frame.with_columns(session=_session(frame, symbols, known))
    return frame.with_columns(**_edges(frame, symbols, known))


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

    Of a symbol's very last row only what was known then may tell: it is the last of its session if its calendar says
    that the session is over, if the symbol has one bar a session, or if the session is as long by then as its longest
    before. Else an order for the close does not fill, which is the careful side.
    """
    number, session = frame["number"].to_numpy(), frame["session"].to_physical().to_numpy()
    start, end = (frame[name].to_physical().to_numpy() for name in ("ts", "until"))
    by_symbol = np.argsort(number, kind="stable")
    number, session = number[by_symbol], session[by_symbol]
    new = np.append(True, (number[1:] != number[:-1]) | (session[1:] != session[:-1]))
    over = np.append(new[1:], False)
    opened = start[by_symbol][np.maximum.accumulate(np.where(new, np.arange(new.size), 0))]
    length = end[by_symbol] - opened
    newest = np.flatnonzero(np.append(number[1:] != number[:-1], True))
    closes = _last_closes(frame, known)
    beginning = 0
    for row in newest:
        part = slice(beginning, row + 1)
        ended = over[part] & (session[part] != session[row])
        longest = length[part][ended].max(initial=0)
        listing = known[number[row]]
        over[row] = (
            (bool(new[part].all()) and row > beginning)
            or (ended.any() and length[row] >= longest)
            or (listing.calendar != "" and end[by_symbol[row]] >= closes[listing.calendar])
            or (row == beginning and length[row] >= WHOLE_DAY)
        )
        beginning = row + 1
    back = np.empty_like(by_symbol)
    back[by_symbol] = np.arange(by_symbol.size)
    return {"first": pl.Series(new[back]), "last": pl.Series(over[back])}


def _last_closes(frame: pl.DataFrame, known: Sequence[Listing]) -> dict[str, int]:
    """By calendar, when the newest session of the frame is over."""
    newest = frame["session"].max()
    assert isinstance(newest, date), "sessions are dates"
    closes = {}
    for calendar in sorted({listing.calendar for listing in known if listing.calendar}):
        held = calendar_sessions(calendar, newest - timedelta(days=14), newest)["close"].to_physical()
        closes[calendar] = int(held[-1]) if len(held) else FOREVER
    return closes


def _market(frame: pl.DataFrame, kind: str) -> tuple[Market, npt.NDArray[np.datetime64]]:
    """The rows as arrays, in steps: of the rows of bars that open at one instant, or of one tick."""
    ts = frame["ts"].to_physical().to_numpy().astype(np.int64)
    rows = np.zeros(ts.size, ROW)
    for name in (*BAR_COLUMNS, *QUOTE_COLUMNS, "funding"):
        if name in frame.columns:
            rows[name] = frame[name].fill_null(0.0 if name == "funding" else np.nan).to_numpy()
        elif name in QUOTE_COLUMNS:
            rows[name] = np.nan
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
    return market_of(rows, opens, start, recorded), session
