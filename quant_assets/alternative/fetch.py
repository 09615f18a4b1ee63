"""Records from their sources, brought to symbols and added to what is held, partition by partition."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import polars as pl

from quant_assets.alternative.mapping import TEXTS, mapped
from resources.alternative.base import RECORD, Kind, checked, merge_partitions, schema
from resources.alternative.entities import Matcher
from resources.alternative.histories import Asking
from resources.market_data.base import Clock

Asked = Mapping[tuple[str, str], Mapping[str, Sequence[Asking]]]
"""By date key and symbol: which windows of that partition each source was asked for, and when."""


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """The partitions of the symbols that a run leaves as they are: a record may have been there, or be there now.

    `log` gives all versions that they hold of some record_ids, `asked` the askings for some of them, by date key and
    symbol.
    """

    log: Callable[[pl.Series], pl.DataFrame]
    asked: Callable[[Collection[tuple[str, str]]], Asked]

    @classmethod
    def nothing(cls, kind: Kind) -> Elsewhere:
        """There are none."""
        return cls(lambda _: schema(kind).to_frame(), lambda _: {})


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
    elsewhere: Elsewhere | None = None,
) -> Brought:
    """The log of these symbols and date keys with what the sources say now, sorted by symbol, record and known_at.

    `held` is the log as it is, `date_key` gives a row's date key from its ts; rows of other dates are left out, after
    they told where a record has gone. `matcher` finds symbols in texts (kinds of TEXTS). Raises what the sources raise,
    before anything is changed.
    """
    answered: dict[str, datetime] = {}
    answers: dict[str, pl.DataFrame] = {}
    for source in sources:
        answers[source.name] = checked(kind, getattr(source, kind)(list(symbols), *window).collect())
        answered[source.name] = clock()
    others = elsewhere or Elsewhere.nothing(kind)
    met = pl.concat([held["record_id"], *(rows["record_id"] for rows in answers.values())]).unique()
    every = pl.concat([held, others.log(met).filter(~date_key.is_in(list(dates)))])

    found: list[pl.DataFrame] = [held.clear()]
    counts = {"by_tag": 0, "by_name": 0, "nowhere": 0}
    ambiguous: dict[str, int] = {}
    for name, rows in answers.items():
        if kind not in TEXTS:
            found.append(rows)
        else:
            assert matcher is not None
            told = mapped(kind, rows, matcher, symbols, every.filter(pl.col("source") == name))
            found.append(told.records)
            counts = {each: count + getattr(told, each) for each, count in counts.items()}
            ambiguous |= {each: ambiguous.get(each, 0) + count for each, count in told.ambiguous.items()}
    fetched = pl.concat(found).filter(pl.col("symbol").is_in(list(symbols)))
    records = _merged(held, every, fetched, asked, others, date_key, dates)
    # The log may be ahead of the clock: by a moment, to keep versions apart, or more, where the clock was set back.
    for name, newest in records.group_by("source").agg(pl.col("fetched_at").max()).iter_rows():
        if name in answered:
            answered[name] = max(answered[name], newest)
    return Brought(records, answered, records.height - held.height, ambiguous=ambiguous, **counts)


def _merged(
    held: pl.DataFrame,
    every: pl.DataFrame,
    fetched: pl.DataFrame,
    asked: Asked,
    others: Elsewhere,
    date_key: pl.Expr,
    dates: Collection[str],
) -> pl.DataFrame:
    """The log of these dates with what was fetched: each partition was asked at instants of its own."""
    mine = date_key.is_in(list(dates))
    # What never touched these dates is for other runs to tell.
    concerned = pl.concat([frame.filter(mine).select(RECORD) for frame in (held, fetched)]).unique()
    old, new = (frame.join(concerned, on=RECORD, how="semi") for frame in (every, fetched))
    spots = pl.concat([frame.filter(~mine).select(date_key.alias(_DATE), "symbol") for frame in (old, new)])
    asked = {**others.asked(set(spots.iter_rows())), **asked}
    places = {f"{date}|{symbol}": sources for (date, symbol), sources in asked.items()}
    merged = merge_partitions(old, new, places, pl.concat_str(date_key, pl.lit("|"), "symbol"))
    return merged.filter(mine).sort("symbol", *RECORD[:2], "known_at")


_DATE = "__date"
