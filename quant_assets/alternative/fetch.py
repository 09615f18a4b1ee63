"""Records from their sources, brought to symbols and added to what is held, partition by partition."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import polars as pl

from quant_assets.alternative.mapping import TEXTS, mapped
from resources.alternative.base import RECORD, Asking, Kind, checked, merge
from resources.alternative.entities import Matcher
from resources.market_data.base import Clock

Asked = Mapping[tuple[str, str], Mapping[str, Sequence[Asking]]]
"""By date key and symbol: which windows of that partition each source was asked for, and when."""


@dataclass(frozen=True, slots=True)
class Brought:
    """What a fetch made of the log: `records` are all versions of these partitions.

    `asked` says, by source, when it had answered; no version held of it was fetched later. `new` counts the versions
    that were added; the others are as in `mapping.Mapped`.
    """

    records: pl.DataFrame
    asked: dict[str, datetime]
    new: int
    by_tag: int
    by_name: int
    nowhere: int
    ambiguous: dict[str, int]


def bring(
    kind: Kind,
    sources: Sequence[Any],
    symbols: Collection[str],
    window: tuple[datetime, datetime],
    held: pl.DataFrame,
    asked: Asked,
    matcher: Matcher | None,
    date_key: pl.Expr,
    dates: Collection[str],
    clock: Clock,
) -> Brought:
    """The log of these symbols and date keys with what the sources say now, sorted by symbol, record and known_at.

    `held` is the log as it is, `date_key` gives a row's date key from its ts; rows of other dates are left out.
    `matcher` finds symbols in texts (kinds of TEXTS). Raises what the sources raise, before anything is changed.
    """
    answered: dict[str, datetime] = {}
    found: list[pl.DataFrame] = [held.clear()]
    counts = {"by_tag": 0, "by_name": 0, "nowhere": 0}
    ambiguous: dict[str, int] = {}
    for source in sources:
        rows = checked(kind, getattr(source, kind)(list(symbols), *window).collect())
        answered[source.name] = clock()
        if kind in TEXTS:
            assert matcher is not None
            told = mapped(kind, rows, matcher, symbols, held.filter(pl.col("source") == source.name))
            rows = told.records
            counts = {name: count + getattr(told, name) for name, count in counts.items()}
            ambiguous |= {name: ambiguous.get(name, 0) + count for name, count in told.ambiguous.items()}
        found.append(rows.filter(pl.col("symbol").is_in(list(symbols))))
    fetched = pl.concat(found)
    records = _merged(held, fetched, asked, date_key, dates)
    # The log may be ahead of the clock: by a moment, to keep versions apart, or more, where the clock was set back.
    for name, newest in records.group_by("source").agg(pl.col("fetched_at").max()).iter_rows():
        if name in answered:
            answered[name] = max(answered[name], newest)
    return Brought(records, answered, records.height - held.height, ambiguous=ambiguous, **counts)


def _merged(
    held: pl.DataFrame, fetched: pl.DataFrame, asked: Asked, date_key: pl.Expr, dates: Collection[str]
) -> pl.DataFrame:
    """Each partition's log merged with its rows: its sources were asked at instants of its own."""
    keyed = [frame.with_columns(date_key.alias(_DATE)) for frame in (held, fetched)]
    old, new = ({key: part for key, part in frame.group_by(_DATE, "symbol")} for frame in keyed)  # noqa: C416
    parts = [held.clear()]
    for key in sorted({*old, *new}):
        if key[0] in dates:
            empty = keyed[0].clear()
            merged = merge(old.get(key, empty).drop(_DATE), new.get(key, empty).drop(_DATE), dict(asked.get(key, {})))
            parts.append(merged)
    return pl.concat(parts).sort("symbol", *RECORD[:2], "known_at")


_DATE = "__date"
