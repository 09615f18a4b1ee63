"""Records brought onto bars by the instant each was known, never by its event date.

A bar holds what was known when it ended: of every record the last version with `known_at` at or before the bar's
known_at, without those taken back. Later corrections change later bars only.

A level is the value of the latest event among these: a correction of an old event does not replace a newer one, and
where the newest is taken back, the one before is in force again. A flow is a count or sum of these over the records
that FIRST became known within a number of days before the bar's end; a correction changes it from its own known_at on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import numpy as np
import polars as pl

from quant_assets.features.alternative import replay
from quant_assets.features.alternative.records import KINDS, checked
from quant_assets.features.precision import NOTHING
from resources.calendars import UTC_MICROS
from resources.errors import BarSchemaError, ConfigError

DAY = 86_400_000_000
"""Microseconds."""


@dataclass(frozen=True, slots=True)
class _Level:
    """Columns of the latest value of a field: itself, the one before it, its age in days."""

    value: str
    before: str = ""
    age: str = ""
    over: Literal["price", "volume", ""] = ""
    """price: an amount per share, over the close; volume: shares, under the volume."""


LEVELS = {
    ("fundamentals", "earnings_per_share"): _Level("alt_earnings", "alt_earnings_before", "alt_earnings_age", "price"),
    ("fundamentals", "book_value_per_share"): _Level("alt_book_value", over="price"),
    ("fundamentals", "sales_per_share"): _Level("alt_sales", over="price"),
    ("fundamentals", "cash_flow_per_share"): _Level("alt_cash_flow", over="price"),
    ("fundamentals", "dividends_per_share"): _Level("alt_dividends", over="price"),
    ("fundamentals", "shares_outstanding"): _Level("alt_turnover", over="volume"),
    ("esg", "score"): _Level("alt_esg", "alt_esg_before", "alt_esg_age"),
    ("sentiment", "score"): _Level("alt_sentiment"),
}

FLOWS: dict[tuple[str, str], dict[int, dict[str, str]]] = {
    ("news", "sentiment"): {
        1: {"count": "alt_news_1d"},
        7: {"count": "alt_news_7d", "mean": "alt_news_mean_7d"},
        90: {"count": "alt_news_90d", "mean": "alt_news_mean_90d"},
    },
    ("social", "mentions"): {1: {"sum": "alt_mentions_1d"}, 30: {"sum": "alt_mentions_30d"}},
    ("insider", "shares"): {
        90: {"count": "alt_insider_count_90d", "over_volume": "alt_insider_net_90d", "above": "alt_insider_bought_90d"}
    },
}
"""By kind and field: days, and the columns of what is counted over them."""


@dataclass(frozen=True, slots=True)
class _Bars:
    """One symbol's bars in the order of their ends: places in the frame, microseconds, and what values relate to."""

    rows: np.ndarray
    start: np.ndarray
    end: np.ndarray
    close: np.ndarray
    volume: np.ndarray
    factor: np.ndarray
    """Shares now for one at the first bar."""

    def factor_at(self, known: np.ndarray) -> np.ndarray:
        """The factor when records became known: that of the last bar begun by then."""
        return self.factor[np.maximum(np.searchsorted(self.start, known, side="right") - 1, 0)]


Versions = Mapping[str, np.ndarray]


def attach_records(
    bars: pl.LazyFrame | pl.DataFrame,
    records: Mapping[str, pl.LazyFrame | pl.DataFrame],
    *,
    since: Mapping[str, datetime] | None = None,
) -> pl.LazyFrame:
    """The bars, in their order, with a Float64 column for each thing known of them (columns.records names them).

    `bars` of any size need symbol, ts and known_at; with fundamentals close, with insider trades and shares
    outstanding volume, as traded, and split_factor where they have splits. `records` maps a kind (records.KINDS) to its
    records in RECORD_SCHEMA, all versions, in any order. Amounts per share and shares are as of their known_at: later
    splits of the bars are taken into account, so bars must reach back to the records in force.

    A flow without records is zero once its feed is as old as the window, and null before: `since` says when the feed
    of a kind began, by default with its first record of any symbol. Levels are null where nothing is known.

    Raises as `records.checked` does, BarSchemaError on missing columns of the bars and times that are not UTC, and
    ConfigError on an unknown kind or a time without zone in `since`.

    Example: `compute(attach_records(bars, {"news": news}), ["news_sentiment_7d"])`
    """
    frame = bars.lazy().collect()
    given = {kind: rows.lazy().collect() for kind, rows in records.items()}
    versions = _numbered(checked(given))
    _check(frame, given)
    began = _beginnings(versions, since or {}, list(given))
    made = {name: np.full(frame.height, np.nan) for name in _columns(given)}
    held = _by_symbol(versions)
    for symbol, own in _spans(frame):
        for (kind, field), level in LEVELS.items():
            if (symbol, kind, field) in held:
                _level(made, level, own, held[symbol, kind, field])
        for (kind, field), windows in FLOWS.items():
            if kind in began:
                _flow(made, windows, own, held.get((symbol, kind, field)), began[kind])
    return frame.with_columns(pl.Series(name, values, nan_to_null=True) for name, values in made.items()).lazy()


def _level(made: dict[str, np.ndarray], level: _Level, bars: _Bars, own: Versions) -> None:
    out = np.full((2, bars.end.size), np.nan)
    places = replay.levels(bars.end, own["known"], own["event"], own["value"], own["record"], out)
    known = own["known"][np.maximum(places, 0)]
    if level.over:
        with np.errstate(divide="ignore", invalid="ignore"):
            grown = bars.factor / bars.factor_at(known)
            out = out / grown / bars.close if level.over == "price" else bars.volume / (out * grown)
        out[~np.isfinite(out)] = np.nan
    made[level.value][bars.rows] = out[0]
    if level.before:
        made[level.before][bars.rows] = out[1]
    if level.age:
        made[level.age][bars.rows] = np.where(places[0] >= 0, (bars.end - known[0]) / DAY, np.nan)


def _flow(
    made: dict[str, np.ndarray], windows: dict[int, dict[str, str]], bars: _Bars, own: Versions | None, began: int
) -> None:
    for days, columns in windows.items():
        out = np.zeros((3, bars.end.size))
        if own is not None:
            per_bar = "over_volume" in columns
            value = own["value"] / bars.factor_at(own["known"]) if per_bar else own["value"]
            replay.flows(bars.end, own["first"], own["known"], value, own["flowing"], days * DAY, out)
        out[:, bars.end - days * DAY < began] = np.nan
        with np.errstate(divide="ignore", invalid="ignore"):
            found = {"count": out[0], "sum": out[1], "mean": out[1] / out[0], "above": out[2] / out[0]}
            if "over_volume" in columns:
                found["over_volume"] = out[1] / _traded(bars, days * DAY)
        for what, name in columns.items():
            made[name][bars.rows] = found[what]


def _traded(bars: _Bars, window: int) -> np.ndarray:
    """Volume of the bars that ended within the window, in shares of the first bar; NaN where bars do not reach back."""
    so_far = np.concatenate([[0.0], np.nancumsum(bars.volume / bars.factor)])
    low = np.searchsorted(bars.end, bars.end - window, side="right")
    # What was traded in the window is a difference of long sums: below their rounding there is none.
    sums = so_far[1:] - so_far[low]
    return np.where((low > 0) & (sums > NOTHING * so_far[1:]), sums, np.nan)


def _columns(given: Mapping[str, pl.DataFrame]) -> list[str]:
    found = [
        name
        for (kind, _), level in LEVELS.items()
        if kind in given
        for name in (level.value, level.before, level.age)
        if name
    ]
    for (kind, _), windows in FLOWS.items():
        found += [name for columns in windows.values() for name in columns.values()] if kind in given else []
    return found


def _numbered(versions: pl.DataFrame) -> pl.DataFrame:
    """The versions by symbol, kind and field in order of known_at, each with the number of its record.

    record numbers them by id, flowing by when they first became known (`first`); both from 0 within symbol, kind and
    field.
    """
    group = ["symbol", "kind", "field"]
    same = pl.all_horizontal(pl.col(name) == pl.col(name).shift() for name in ("kind", "symbol", "field", "id"))
    micros = versions.with_columns(
        known=pl.col("known_at").dt.epoch("us"),
        event=pl.col("event_time").dt.epoch("us"),
        value=pl.col("value").fill_null(np.nan),
        run=(~same.fill_null(False)).cum_sum(),
    )
    first = micros.with_columns(
        first=pl.col("known").first().over("run"), record=pl.col("run") - pl.col("run").first().over(group)
    )
    # The place of each record among the firsts of its group.
    heads = first.unique("run", keep="first", maintain_order=True).sort(*group, "first", "run")
    places = heads.select("run", flowing=pl.int_range(pl.len()).over(group))
    return first.join(places, on="run", how="left").sort(*group, "known", "record").drop("run")


def _by_symbol(versions: pl.DataFrame) -> dict[tuple[str, str, str], dict[str, np.ndarray]]:
    """The arrays of each symbol, kind and field; `first` has one entry a record, the others one a version."""
    held = {}
    for (symbol, kind, field), part in versions.group_by("symbol", "kind", "field", maintain_order=True):
        arrays = {name: part[name].to_numpy().copy() for name in ("known", "event", "value")}
        arrays |= {name: part[name].cast(pl.Int64).to_numpy().copy() for name in ("record", "flowing")}
        first = np.empty(arrays["flowing"].max() + 1, np.int64)
        first[arrays["flowing"]] = part["first"].to_numpy()
        held[str(symbol), str(kind), str(field)] = {**arrays, "first": first}
    return held


def _beginnings(versions: pl.DataFrame, since: Mapping[str, datetime], kinds: list[str]) -> dict[str, int]:
    """When the feed of each kind given began, in microseconds. Raises ConfigError on what `since` cannot mean."""
    for kind, at in since.items():
        if kind not in KINDS:
            raise ConfigError(f"since: {kind!r} is no kind of record; the kinds are {', '.join(KINDS)}")
        if at.tzinfo is None:
            raise ConfigError(f"since: {kind} began at {at}, which has no time zone; for example {at}+00:00")
    found = dict(versions.group_by("kind").agg(pl.col("known").min()).iter_rows())
    found |= {kind: round(at.timestamp() * 1e6) for kind, at in since.items()}
    return {kind: found[kind] for kind in kinds if kind in found}


def _spans(frame: pl.DataFrame) -> list[tuple[str, _Bars]]:
    held = frame.columns
    numbers = frame.select(
        "symbol",
        start=pl.col("ts").dt.epoch("us"),
        end=pl.col("known_at").dt.epoch("us"),
        **{
            name: (pl.col(column).cast(pl.Float64).fill_null(np.nan) if column in held else pl.lit(other))
            for name, column, other in (
                ("close", "close", np.nan),
                ("volume", "volume", np.nan),
                ("factor", "split_factor", 1.0),
            )
        },
    ).with_row_index("rows")
    ordered = numbers.sort("symbol", "end", "start", maintain_order=True)
    return [
        (str(symbol), _Bars(**{name: part[name].to_numpy() for name in part.columns if name != "symbol"}))
        for (symbol,), part in ordered.group_by("symbol", maintain_order=True)
    ]


def _check(frame: pl.DataFrame, given: Mapping[str, pl.DataFrame]) -> None:
    """Raises BarSchemaError unless the bars have their keys, and what these kinds relate to."""
    wanted = ["symbol", "ts", "known_at"]
    wanted += ["close", "volume"] if "fundamentals" in given else ["volume"] if "insider" in given else []
    missing = [name for name in wanted if name not in frame.columns]
    if missing:
        raise BarSchemaError(f"bars have no column {', '.join(missing)}; they have {', '.join(frame.columns)}")
    for name in ("ts", "known_at"):
        if frame.schema[name] != UTC_MICROS:
            raise BarSchemaError(f"bars: {name} is {frame.schema[name]}; times are {UTC_MICROS}, UTC microseconds")
    bad = frame.filter(pl.any_horizontal(pl.col("symbol", "ts", "known_at").is_null())).head(1)
    if bad.height:
        raise BarSchemaError(
            f"bars: {bad['symbol'][0]} {bad['ts'][0]} has no symbol, ts or known_at; each row needs all"
        )
