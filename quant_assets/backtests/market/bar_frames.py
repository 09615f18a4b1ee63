"""The frames that a backtest takes: bars, quotes or trades, checked before anything runs, and when each bar is over."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import numpy as np
import polars as pl

from resources.calendars import UTC_MICROS
from resources.errors import BarSchemaError
from resources.exchange.layout import BAR_COLUMNS, QUOTE_COLUMNS
from resources.exchange.terms import Listing

Frame = pl.LazyFrame | pl.DataFrame

LONG = timedelta(days=6)
"""From this spacing on bars are weeks or months, whose lengths differ."""

ACTS = ("split", "dividend", "funding")
"""What takes effect as a bar opens."""

COVERED = 1e-3
"""Share of a price up to which finer bars may miss the prices of theirs: another print of the close is no gap."""

HALF = 0.5
"""Share of a bar's volume below which its finer bars are not the whole of it."""

ALONE = timedelta(days=1)
"""How long a bar is taken to last where nothing shows it: no known_at, and no second bar of any symbol."""


def check_frame(bars: object) -> None:
    """Refuse what is no frame of polars."""
    if not isinstance(bars, pl.LazyFrame | pl.DataFrame):
        raise BarSchemaError(f"bars: a {type(bars).__name__}; give a polars frame, of pandas with polars.from_pandas")


def checked(bars: Frame) -> tuple[pl.DataFrame, str]:
    """The frame with every column that is needed, its values in order, and whether it holds bars, quotes or trades."""
    check_frame(bars)
    lazy = bars.lazy()
    schema = schema_of(lazy, "bars")
    kind = _kind(schema)
    flags = schema.get("flags", pl.List(pl.String))
    if not isinstance(flags, pl.List) or flags.inner not in (pl.String, pl.Null):
        raise BarSchemaError(f"bars: column flags is {flags}; it must be a list of words, as cleaning leaves it")
    if "session" in schema and schema["session"] != pl.Date:
        raise BarSchemaError(f"bars: column session is {schema['session']}; it must be a Date")
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
    wanted = lazy.select(
        pl.col("symbol").cast(pl.String), *instants, *more, *floats, *[pl.col(name).cast(pl.Float64) for name in others]
    )
    try:
        frame = wanted.collect()
    except pl.exceptions.PolarsError as error:
        raise BarSchemaError(f"bars: a column holds what is no number: {error}") from error
    if frame.is_empty():
        raise BarSchemaError("bars: no rows; a backtest needs at least one session")
    _check_values(frame)
    return frame, kind


def schema_of(lazy: pl.LazyFrame, what: str) -> pl.Schema:
    """The columns of a lazy frame. Raises BarSchemaError where its own plan names columns or files that are not."""
    try:
        return lazy.collect_schema()
    except (pl.exceptions.PolarsError, OSError) as error:
        raise BarSchemaError(f"{what}: the lazy frame cannot be read: {error}") from error


def _kind(schema: pl.Schema) -> str:
    needs = {
        "bar": ("ts", "symbol", "open", "high", "low", "close", "volume"),
        "quote": ("ts", "symbol", "bid", "ask"),
        "trade": ("ts", "symbol", "price"),
    }
    for kind, columns in needs.items():
        if set(columns) <= set(schema):
            if ("bid" in schema) != ("ask" in schema):
                given, other = ("bid", "ask") if "bid" in schema else ("ask", "bid")
                raise BarSchemaError(f"bars: there is a column {given} and no {other}; give both, or neither")
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
        **({"known_at": pl.col("known_at") >= pl.col("ts")} if "known_at" in frame.columns else {}),
        **({"session": pl.col("session").is_not_null()} if "session" in frame.columns else {}),
        **positive,
        "volume": (pl.col("volume") >= 0) & pl.col("volume").is_not_nan(),
        "dividend": pl.col("dividend").is_finite(),
    }
    if "funding" in frame.columns:
        fine["funding"] = pl.col("funding").fill_null(0.0).is_finite()
    if "bid" in frame.columns:
        quoted = (pl.col("bid") > 0) & (pl.col("ask") >= pl.col("bid")) & pl.col("ask").is_finite()
        fine |= {
            name: ((pl.col(name) >= 0) & pl.col(name).is_not_nan()) | pl.col(name).is_null()
            for name in ("bid_size", "ask_size")
        }
        fine["ask"] = quoted | pl.any_horizontal(pl.col("bid", "ask").is_null())
    whole = frame.select(well.fill_null(False).all().alias(name) for name, well in fine.items()).row(0, named=True)
    for name, well in whole.items():
        if not well:
            bad = frame.filter(~fine[name].fill_null(False)).head(1)
            raise BarSchemaError(
                f"{bad['symbol'][0]} {when(bad)}: {name} is {bad[name][0]}; prices and splits must be positive, "
                "sizes and volumes zero or more, an ask at least its bid, known_at not before ts. Clean the bars first."
            )
    high = pl.max_horizontal("open", "close", "low")
    crossed = frame.filter((pl.col("high") < high) | (pl.col("low") > pl.min_horizontal("open", "close")))
    if crossed.height:
        bad = crossed.head(1)
        shape = ", ".join(f"{name} {bad[name][0]}" for name in ("open", "high", "low", "close"))
        raise BarSchemaError(
            f"{bad['symbol'][0]} {when(bad)}: high and low do not bound the bar ({shape}). Clean the bars first."
        )


def refuse_adjusted(frame: pl.DataFrame, symbols: Sequence[str], known: Sequence[Listing]) -> None:
    """A split changes strike, multiplier and symbol of the options on it, and nothing here tells how: refuse them."""
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


def when(row: pl.DataFrame) -> object:
    return row["session"][0] if "session" in row.columns else row["ts"][0]


def refined(frame: pl.DataFrame, finer: pl.DataFrame) -> tuple[pl.DataFrame, int]:
    """Bars, each replaced by the finer ones that begin inside it; and how many stayed although there were some.

    Finer bars that do not cover theirs would lose a part of its day: it stays, and is decided by the rules of coarse
    bars. They cover it where their open, high, low and close are within COVERED of its own, and they hold at least
    half of its volume (HALF). A bar's split, dividend and funding go to the first of its finer bars.

    Raises BarSchemaError where a finer bar leaves the range of its own, or its symbol has no bars at all.
    """
    unknown = finer.join(frame, on="symbol", how="anti")
    if unknown.height:
        raise BarSchemaError(
            f"intrabar: {unknown['symbol'].sort()[0]} has finer bars but no bars; leave it out, or give its bars"
        )
    frame = with_ends(frame)
    inner = _within(frame, with_ends(finer))
    covered = _covered(frame, inner)
    found = inner.select("symbol", "coarse").n_unique()
    inner = inner.join(covered, on=["symbol", "coarse"], how="semi")
    start = pl.col("ts") == pl.col("ts").min().over("symbol", "coarse")
    taken = [name for name in ACTS if f"of_{name}" in inner.columns]
    inner = inner.with_columns(
        **{name: pl.when(start).then(f"of_{name}").otherwise(1.0 if name == "split" else 0.0) for name in taken}
    )
    if "session_coarse" in inner.columns:
        inner = inner.with_columns(session=pl.coalesce("session_coarse", "session"))
    rest = frame.join(covered.rename({"coarse": "ts"}), on=["symbol", "ts"], how="anti")
    columns = [name for name in frame.columns if name in inner.columns]
    whole = pl.concat([rest.select(columns), inner.select(columns)]).with_columns(known_at="until").drop("until")
    return whole, found - covered.height


def _within(frame: pl.DataFrame, finer: pl.DataFrame) -> pl.DataFrame:
    """Finer bars beside what is needed of the bar that each begins in: `coarse` is its ts."""
    outer = frame.sort("ts").select(
        "symbol",
        "ts",
        pl.col("until").alias("coarse_until"),
        "session" if "session" in frame.columns else pl.lit(None).alias("session"),
        pl.col("ts").alias("coarse"),
        pl.col("high").alias("above"),
        pl.col("low").alias("beneath"),
        *[pl.col(name).alias(f"of_{name}") for name in ACTS if name in frame.columns],
    )
    options: dict[str, Any] = {"strategy": "backward", "suffix": "_coarse", "check_sortedness": False}
    inner = finer.sort("ts").join_asof(outer, on="ts", by="symbol", **options)
    inner = inner.filter(pl.col("ts") < pl.col("coarse_until"))
    slack = 1 + 1e-6
    wrong = inner.filter((pl.col("high") > pl.col("above") * slack) | (pl.col("low") * slack < pl.col("beneath")))
    if wrong.height:
        bad = wrong.row(0, named=True)
        raise BarSchemaError(
            f"{bad['symbol']} {bad['ts']}: the finer bar ({bad['low']} to {bad['high']}) leaves the range of the bar "
            f"at {bad['coarse']} ({bad['beneath']} to {bad['above']}); give intrabar bars of the same source and "
            "adjustment"
        )
    return inner


def _covered(frame: pl.DataFrame, inner: pl.DataFrame) -> pl.DataFrame:
    """symbol and coarse (ts) of the bars that their finer ones cover."""
    within = inner.group_by("symbol", "coarse", maintain_order=True).agg(
        pl.col("open").first(),
        pl.col("high").max(),
        pl.col("low").min(),
        pl.col("close").last(),
        pl.col("volume").sum(),
    )
    beside = within.join(frame, left_on=["symbol", "coarse"], right_on=["symbol", "ts"], suffix="_whole")
    prices = [
        (pl.col(name) - pl.col(f"{name}_whole")).abs() <= COVERED * pl.col(f"{name}_whole")
        for name in ("open", "high", "low", "close")
    ]
    traded = pl.col("volume") >= HALF * pl.col("volume_whole")
    return beside.filter(*prices, traded).select("symbol", "coarse")


def with_ends(frame: pl.DataFrame) -> pl.DataFrame:
    """Add `until`, when each bar is over: known_at, else the symbol's smallest spacing so far after its start.

    Bars that are weeks apart or more are not alike in length: without known_at they end as the next begins. Those that
    are a few days apart are days: of a symbol whose first is a Friday, or that is not traded every day.

    Raises BarSchemaError for a bar that is known only after its symbol's next one has opened: what is sized and
    marked in between would need a price that nobody knew.
    """
    following = pl.col("ts").shift(-1).over("symbol", order_by="ts")
    if "known_at" in frame.columns:
        end = pl.col("known_at")
        # Two rows of one ts are refused as such, later.
        late = (end > following) & (following > pl.col("ts"))
    else:
        gap = pl.when(following > pl.col("ts")).then(following - pl.col("ts"))
        # Of gaps to come nothing may be known, or a cut would move the end of a bar.
        least = gap.cum_min().forward_fill().over("symbol", order_by="ts").fill_null(ALONE)
        whole = (least >= LONG) & following.is_not_null()
        lasting = pl.when((least > ALONE) & (least < LONG)).then(ALONE).otherwise(least)
        end = pl.when(whole).then(following).otherwise(pl.col("ts") + lasting)
        late = pl.lit(False)
    # A bar is over when the symbol's next one opens at the latest: daylight saving makes some days 23 hours long.
    until = pl.min_horizontal(end, following).clip(lower_bound=pl.col("ts"))
    ended = frame.with_columns(until=until, late=late)
    if ended["late"].any():
        bad = ended.filter("late").head(1)
        raise BarSchemaError(
            f"{bad['symbol'][0]} {bad['ts'][0]}: known_at is {bad['known_at'][0]}, after the symbol's next bar has "
            f"opened ({bad['until'][0]}); a bar must be known by then: correct known_at, or leave the bar out"
        )
    return ended.drop("late")
