"""The vocabulary of alternative data: six kinds of records, each an append-only log of versions, and their sources.

A version is what a source said of a record at one instant. Nothing is ever changed or taken out of a log: a correction
is a further version, and so is a withdrawal. Two times belong to each version: `ts`, when the thing took place, and
`known_at`, from when on anyone of the public could know this version. Whatever computes with records asks `as_of`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from operator import itemgetter
from typing import Literal, Protocol

import polars as pl

from resources.alternative.histories import PLACE, Asking, Row, additions
from resources.calendars import UTC_MICROS
from resources.errors import BarSchemaError, ConfigError

Kind = Literal["news", "social", "fundamentals", "insider", "esg", "activity"]

State = Literal["new", "corrected", "withdrawn"]
STATES = ("new", "corrected", "withdrawn")

COMMON = pl.Schema(
    {
        "source": pl.String(),
        "record_id": pl.String(),
        "symbol": pl.String(),
        "ts": UTC_MICROS,
        "known_at": UTC_MICROS,
        "fetched_at": UTC_MICROS,
        "state": pl.String(),
        "content": pl.String(),
    }
)
"""Columns of every kind. `source` names who said it (alpaca_news, edgar); `record_id` is stable within the source;
`symbol` is null where the source does not know it (`quant_assets.alternative.mapping` gives it); `ts` is the time of
the event, `known_at` the source's own time of publication, update or acceptance of this version where it states one,
else `fetched_at`; `state` is one of STATES; `content` is a hash of what the version says."""

OWN: dict[Kind, pl.Schema] = {
    "news": pl.Schema(
        {
            "headline": pl.String(),
            "summary": pl.String(),
            "author": pl.String(),
            "url": pl.String(),
            "symbols_told": pl.List(pl.String()),
        }
    ),
    "social": pl.Schema(
        {
            "text": pl.String(),
            "author": pl.String(),
            "url": pl.String(),
            "followers": pl.Int64(),
            "likes": pl.Int64(),
            "symbols_told": pl.List(pl.String()),
        }
    ),
    "fundamentals": pl.Schema(
        {
            "concept": pl.String(),
            "unit": pl.String(),
            "value": pl.Float64(),
            "period_start": pl.Date(),
            "period_end": pl.Date(),
            "fiscal_year": pl.Int32(),
            "fiscal_period": pl.String(),
            "form": pl.String(),
            "accession": pl.String(),
        }
    ),
    "insider": pl.Schema(
        {
            "insider": pl.String(),
            "role": pl.String(),
            "security": pl.String(),
            "derivative": pl.Boolean(),
            "transaction_code": pl.String(),
            "shares": pl.Float64(),
            "price": pl.Float64(),
            "owned_after": pl.Float64(),
            "acquired_disposed": pl.String(),
            "accession": pl.String(),
            "filed": pl.Date(),
            "note": pl.String(),
        }
    ),
    "esg": pl.Schema(
        {
            "total": pl.Float64(),
            "environment": pl.Float64(),
            "social": pl.Float64(),
            "governance": pl.Float64(),
            "controversy": pl.Float64(),
            "percentile": pl.Float64(),
            "peer_group": pl.String(),
        }
    ),
    "activity": pl.Schema(
        {
            "area": pl.String(),
            "index": pl.String(),
            "value": pl.Float64(),
            "cloud_cover": pl.Float64(),
            "item_id": pl.String(),
            "collection": pl.String(),
        }
    ),
}
"""The columns that each kind adds to COMMON.

news: `symbols_told` as the source tagged the article. social: `followers` and `likes` as counted when fetched.
fundamentals: one fact of a filing; `period_start` is null for a balance. insider: one transaction of an ownership form;
`shares` is unsigned, `acquired_disposed` is A or D, `derivative` tells options and the like (an exercise is two rows,
one of each), `note` holds the form's footnotes to it. esg: a rating, 0 to 100 as the source scales it. activity: an
`index` (night_lights, vegetation) of an `area` in one scene of a satellite.
"""

KINDS: tuple[Kind, ...] = tuple(OWN)

COUNTED = ("followers", "likes")
"""Columns that change by themselves from one fetch to the next: a change of nothing else makes no version."""

RECORD = ("source", "record_id", "symbol")
"""What tells a record: one that concerns several symbols is one record for each of them."""


def schema(kind: Kind) -> pl.Schema:
    """The columns of a kind, COMMON first. Raises ConfigError on an unknown kind."""
    if kind not in OWN:
        raise ConfigError(f"kind: {kind!r} is no kind of alternative data; there are {', '.join(KINDS)}")
    return pl.Schema({**COMMON, **OWN[kind]})


class Source(Protocol):
    """A source of one or more kinds. It has the methods of its `kinds` and no others.

    `start` and `end` are aware instants, `end` excluded; they bound `ts`. A frame holds, in `schema(kind)`, the newest
    version that the source has of each record, made by `versions`; no rows where nothing took place. A source that
    keeps all versions tells all those of a record that has one in the window, those that lie outside as well, so that
    the last one is what it says now. What the source no longer lists is not withdrawn: it says so, or nothing is known.
    Errors are those of the providers (resources.errors): UnknownSymbolError, AccessDeniedError, RateLimitedError,
    ProviderTimeoutError and BadAnswerError.
    """

    name: str
    kinds: tuple[Kind, ...]
    begins: datetime | None
    """Before this instant the source has nothing; None where it does not say."""

    def news(self, symbols: Sequence[str], start: datetime, end: datetime) -> pl.LazyFrame: ...
    def social(self, symbols: Sequence[str], start: datetime, end: datetime) -> pl.LazyFrame: ...
    def fundamentals(self, symbols: Sequence[str], start: datetime, end: datetime) -> pl.LazyFrame: ...
    def insider(self, symbols: Sequence[str], start: datetime, end: datetime) -> pl.LazyFrame: ...
    def esg(self, symbols: Sequence[str], start: datetime, end: datetime) -> pl.LazyFrame: ...
    def activity(self, symbols: Sequence[str], start: datetime, end: datetime) -> pl.LazyFrame: ...


def versions(kind: Kind, rows: pl.DataFrame, source: str, fetched_at: datetime) -> pl.DataFrame:
    """A source's rows as versions of records: in `schema(kind)`, with their content, sorted by record and known_at.

    `rows` need record_id and ts, and have what columns of the kind the source has; the others are null. Where a row has
    no known_at it is `fetched_at`; where it has no state it is new (`merge` knows whether it corrects another).

    Raises BarSchemaError on a column that the kind does not have, and as `checked` does.
    """
    wanted = schema(kind)
    unknown = [name for name in rows.columns if name not in wanted]
    if unknown:
        raise BarSchemaError(f"{kind} of {source}: no column {unknown[0]}; there are {', '.join(wanted)}")
    full = rows.with_columns(
        *(pl.lit(None, dtype).alias(name) for name, dtype in wanted.items() if name not in rows.columns)
    ).with_columns(
        source=pl.lit(source), fetched_at=pl.col("fetched_at").fill_null(pl.lit(fetched_at, dtype=UTC_MICROS))
    )
    stamped = full.with_columns(
        known_at=pl.col("known_at").fill_null(pl.col("fetched_at")), state=pl.col("state").fill_null("new")
    )
    try:
        cast = stamped.select(wanted.names()).cast(wanted)
    except pl.exceptions.PolarsError as error:
        raise BarSchemaError(
            f"{kind} of {source}: its rows are not of the kind's types: {str(error)[:200]}; resources.alternative.rows "
            "makes them so"
        ) from error
    return checked(kind, cast.with_columns(_content(kind, cast))).sort(*RECORD, "known_at", maintain_order=True)


def _content(kind: Kind, rows: pl.DataFrame) -> pl.Series:
    said = [name for name in OWN[kind] if name not in COUNTED]
    told = rows.select(
        pl.struct("ts", *said, withdrawn=pl.col("state") == "withdrawn").struct.json_encode().alias("content")
    )["content"]
    hashes = [hashlib.blake2b(text.encode(), digest_size=8).hexdigest() for text in told]
    return pl.Series("content", hashes, dtype=pl.String())


def checked(kind: Kind, rows: pl.DataFrame) -> pl.DataFrame:
    """The rows, if they are versions of records of this kind.

    Raises BarSchemaError naming the source, the record and what is wrong: missing or mistyped columns, no record_id,
    ts, known_at or content, a state that is none, a version known after it was fetched, or a number that is not finite.
    """
    wanted = schema(kind)
    wrong = [name for name, dtype in wanted.items() if rows.schema.get(name) != dtype]
    if wrong:
        raise BarSchemaError(
            f"{kind}: {wrong[0]} is {rows.schema.get(wrong[0], 'missing')}, not {wanted[wrong[0]]}; "
            "a source gives its rows through resources.alternative.base.versions"
        )
    for name in ("source", "record_id", "ts", "known_at", "fetched_at", "content"):
        _refuse(kind, rows, pl.col(name).is_null(), f"{name} is missing; each version needs one")
    _refuse(kind, rows, ~pl.col("state").is_in(STATES).fill_null(False), f"state must be one of {', '.join(STATES)}")
    late = pl.col("known_at") > pl.col("fetched_at")
    _refuse(kind, rows, late, "known_at is later than fetched_at; what was fetched was known")
    for name in (name for name, dtype in wanted.items() if dtype == pl.Float64):
        _refuse(
            kind, rows, ~pl.col(name).is_finite(), f"{name} is no finite number; null stands for one that is missing"
        )
    return rows


def _refuse(kind: Kind, rows: pl.DataFrame, bad: pl.Expr, message: str) -> None:
    found = rows.filter(bad).head(1)
    if found.height:
        row = found.row(0, named=True)
        raise BarSchemaError(
            f"{kind} record {row['record_id']} of {row['source']}, at {row['ts']}, known {row['known_at']}: {message}"
        )


def as_of(records: pl.LazyFrame, instant: datetime) -> pl.LazyFrame:
    """What was known at an instant: of each record the newest version with known_at <= instant, without withdrawn ones.

    `records` may be of any kind and in any order. Raises ConfigError on an instant without a time zone.
    """
    if instant.tzinfo is None:
        raise ConfigError(f"instant: {instant} has no time zone; for example {instant}+00:00")
    known = records.filter(pl.col("known_at") <= pl.lit(instant.astimezone(UTC), dtype=UTC_MICROS))
    newest = known.sort("known_at", maintain_order=True).unique(RECORD, keep="last", maintain_order=True)
    return newest.filter(pl.col("state") != "withdrawn").sort(*RECORD)


def merge(
    old: pl.DataFrame, fetched: pl.DataFrame, asked: Mapping[str, Iterable[Asking]] | None = None
) -> pl.DataFrame:
    """The log `old` with what a fetch brought: a version is added where it says something else than the last one held.

    `asked` says which windows each source was asked for, and when. What a source gives now of such a window, stamped
    before that asking, was not there then: it counts as known from `fetched_at` on, whatever the stamp says. So `as_of`
    any instant up to the last asking stays what it was. What lies in a window that was never asked for keeps its stamp.
    Rows of `old` that were fetched after every asking that is told of prove one of everything.

    The last row of a record is what the source says now; earlier ones, which the log has or which were superseded by
    its newest version, tell nothing, and neither does a stale answer: one that says again what the log has, stamped
    before its newest version. Rows of `old` come first, unchanged and in their order; new ones are sorted by record and
    known_at.

    Raises BarSchemaError where the frames are not of one kind.
    """
    return merge_partitions(old, fetched, {"": asked or {}}, pl.lit(""))


def merge_partitions(
    old: pl.DataFrame,
    fetched: pl.DataFrame,
    asked: Mapping[str, Mapping[str, Iterable[Asking]]],
    partition: pl.Expr,
) -> pl.DataFrame:
    """As `merge`, of a log in partitions, each of which was asked for by itself: `asked` is by partition and source.

    `partition` names that of a row by its ts. A record that moves from one to another is withdrawn from the first.
    """
    if old.schema != fetched.schema:
        raise BarSchemaError(
            f"records held have columns {', '.join(old.columns)}, those fetched {', '.join(fetched.columns)}; "
            "they must be of one kind"
        )
    placed = old.with_columns(partition.alias(PLACE)).with_row_index(_AT)
    askings = _askings(placed, asked)
    held: dict[Record, list[Row]] = {}
    for row in placed.select(*_TOLD, _AT).sort("known_at", maintain_order=True).iter_rows(named=True):
        held.setdefault(_record(row), []).append(row)
    # One answer that tells two things of one instant (a page read twice, while it changed): the later one counts.
    told = fetched.unique([*RECORD, "known_at"], keep="last", maintain_order=True).sort(*RECORD, "known_at")
    answers: dict[Record, list[Row]] = {}
    for row in told.with_columns(partition.alias(PLACE)).iter_rows(named=True):
        answers.setdefault(_record(row), []).append(row)
    found = [
        row
        for record in sorted({**held, **answers}, key=lambda record: [each or "" for each in record])
        for row in additions(held.get(record, []), answers.get(record, []), askings.get(record[0], {}))
    ]
    # Of a row held only what tells its history was read: the word of a record that moved has the rest of it.
    whole = [{**old.row(row[_AT], named=True), **row} if _AT in row else row for row in found]
    names = old.columns
    return pl.concat([old, pl.DataFrame([{name: row[name] for name in names} for row in whole], old.schema)])


Record = tuple[str, ...]

_TOLD = (*RECORD, PLACE, "ts", "known_at", "fetched_at", "state", "content")
_AT = "__at"


_record: Callable[[Row], Record] = itemgetter(*RECORD)


def _askings(
    old: pl.DataFrame, asked: Mapping[str, Mapping[str, Iterable[Asking]]]
) -> dict[str, dict[str, list[Asking]]]:
    """The askings of each source by partition, with one of everything where a run was cut."""
    # Rows that were fetched in no asking that is told of prove one.
    askings: dict[str, dict[str, list[Asking]]] = {}
    for place, sources in asked.items():
        for source, each in sources.items():
            askings.setdefault(source, {})[place] = list(each)
    for (source, place), rows in old.group_by("source", PLACE):
        told = askings.setdefault(str(source), {}).setdefault(str(place), [])
        noted = [
            pl.col("ts").is_between(each.start, each.end, closed="left") & (pl.col("fetched_at") <= each.at)
            for each in told
        ]
        unnoted = rows.filter(~pl.any_horizontal(pl.lit(False), *noted))["fetched_at"].max()
        if isinstance(unnoted, datetime):
            told.append(Asking.for_everything(unnoted))
    return askings
