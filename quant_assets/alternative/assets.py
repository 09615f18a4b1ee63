"""Records by symbol as their sources said them, every version kept, and the sentiment of their texts.

There is an asset for each kind that a configured source has, and none for the others.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import dagster as dg
import polars as pl

from quant_assets.alternative import askings, mapping, sentiment
from quant_assets.alternative.fetch import Asked, Brought, Elsewhere, bring
from quant_assets.alternative.guard import Guard
from quant_assets.alternative.mapping import TEXTS
from quant_assets.alternative.sentiment import SENTIMENT_SCHEMA, scored, scorer
from quant_assets.metadata import columns, preview, watched
from quant_assets.partitions import HISTORY, PARTITIONS, SETTINGS, date_keys, symbol_keys
from quant_assets.versions import code_version
from resources.alternative import entities as entities_module
from resources.alternative.base import Kind, schema
from resources.alternative.entities import (
    ENTITY_SCHEMA,
    Matcher,
    Named,
    entities,
    from_instruments,
    read_names,
    while_listed,
    with_short_forms,
)
from resources.errors import LakeError
from resources.lake_io import BATCH_SYMBOLS, Frames, Table, date_key
from resources.market_data import universe

KINDS = SETTINGS.alternative.kinds
SPOKEN = tuple(kind for kind in KINDS if kind in TEXTS)
"""The configured kinds that have texts."""

ENTITIES = ("alternative", "entities")
_INSTRUMENTS = ("market_data", "instruments")

_COMMON: dict[str, Any] = {"key_prefix": "alternative", "group_name": "alternative", "owners": ["team:data"]}
# A type of its own name: Dagster takes no two of one name.
_TABLE = dg.PythonObjectDagsterType(Table, name="Texts")
_DATE_KEY = date_key(PARTITIONS.grain_format, SETTINGS.calendar)

_TOLD: dict[Kind, str] = {
    "news": "Articles, by the symbols that they concern.",
    "social": "Posts, by the symbols that they mention.",
    "fundamentals": "Facts of company reports, each as first filed and as restated.",
    "insider": "Transactions of directors, officers and large holders in their own company's shares.",
    "esg": "Ratings of environment, social matters and governance.",
    "activity": "What satellites see of a company's places.",
}
_COLUMNS = {
    "ts": "when it took place",
    "known_at": "from when on the public could know this version; nothing may use it earlier",
    "state": "new, corrected or withdrawn; each version stays in the log",
    "content": "hash of what the version says",
}


def entities_asset() -> dg.AssetsDefinition:
    """The asset of names."""

    @dg.asset(
        **_COMMON,
        name="entities",
        kinds={"polars"},
        required_resource_keys={"alternative"},
        ins={"instruments": dg.AssetIn(list(_INSTRUMENTS))},
        metadata=columns(ENTITY_SCHEMA, {"valid_until": "excluded", "kind": "legal, alias, ticker or cik"}),
    )
    def named(context: dg.AssetExecutionContext, instruments: pl.LazyFrame) -> pl.DataFrame:
        """What the symbols are called, and when: tickers, companies' names, those of your own."""
        table = _names(context.resources.alternative, instruments.collect())
        counts = dict(table["kind"].value_counts().iter_rows())
        context.add_output_metadata({"names": table.height, **counts, "preview": preview(table)})
        return table

    return named


def _names(sources: Mapping[Kind, Sequence[Any]], instruments: pl.DataFrame) -> pl.DataFrame:
    """The instruments' tickers, what the sources know of the universe's names, the user's own: each while listed."""
    parts = [from_instruments(instruments)]
    for source in {id(each): each for held in sources.values() for each in held}.values():
        if isinstance(source, Named):
            parts.append(with_short_forms(source.names(universe(SETTINGS))))
    if SETTINGS.alternative.entities is not None:
        parts.append(read_names(SETTINGS.alternative.entities))
    return while_listed(entities(parts), instruments)


def _matcher(context: dg.AssetExecutionContext) -> Matcher:
    """By alternative/entities; where that is not made yet (a history that begins), by the same names without it."""
    lake = context.resources.lake
    if lake.exists(ENTITIES):
        return Matcher(lake.read(ENTITIES))
    known = lake.read(_INSTRUMENTS) if lake.exists(_INSTRUMENTS) else pl.DataFrame({"symbol": universe(SETTINGS)})
    return Matcher(_names(context.resources.alternative, known))


def kind_asset(kind: Kind) -> dg.AssetsDefinition:
    """The asset of a kind of records."""

    @dg.asset(
        **_COMMON,
        name=kind,
        description=f"{_TOLD[kind]} Every version that a source gave, from when it was known.",
        kinds={"polars", "parquet"},
        tags={"sources": "_".join(source.name for source in SETTINGS.alternative.sources if kind in source.has)},
        partitions_def=HISTORY,
        backfill_policy=dg.BackfillPolicy.single_run(),
        required_resource_keys={"alternative", "lake"},
        deps=[dg.AssetKey(ENTITIES)] if kind in TEXTS else [],
        metadata=columns(schema(kind), _COLUMNS),
    )
    def records(context: dg.AssetExecutionContext) -> Frames:
        matcher = _matcher(context) if kind in TEXTS else None
        every, now = symbol_keys(context), datetime.now(UTC)
        told: list[Brought] = []
        before: askings.Memory = {}
        guard = Guard(kind, context.resources.lake, lambda there: askings.remembered(context, kind, there))
        written = _written(context, kind)

        def parts() -> Iterator[pl.LazyFrame]:
            for first in range(0, len(every), BATCH_SYMBOLS):
                symbols = every[first : first + BATCH_SYMBOLS]
                wanted = [{"symbol": symbol, "date": date} for symbol in symbols for date in date_keys(context)]
                guard.reading(wanted)
                there = [part for part in wanted if context.resources.lake.exists(("alternative", kind), part)]
                asked = guard.remembered(there)
                others = _elsewhere(context, kind, [part for part in written if part["symbol"] in symbols])
                told.append(_brought(context, kind, symbols, now, there, asked, matcher, others))
                before.update(asked)
                yield told[-1].records.lazy()
                context.log.info(f"fetched up to {symbols[-1]}: {told[-1].new} new versions")
            windows = {day: _window(day, now) for day in date_keys(context)}
            askings.note(context, kind, windows, [each.asked for each in told], before)

        return watched(context, parts(), lambda last, rows: _described(last, rows, told), committing=guard.committing)

    return records


def _brought(
    context: dg.AssetExecutionContext,
    kind: Kind,
    symbols: Sequence[str],
    now: datetime,
    there: Sequence[dict[str, str]],
    asked: Asked,
    matcher: Matcher | None,
    others: Elsewhere,
) -> Brought:
    """What the sources say of some symbols in this run's dates, added to the log; `there` is what the lake has."""
    held = _log(context, kind, there, pl.lit(True)) if there else schema(kind).to_frame()
    dates = date_keys(context)
    return bring(
        kind,
        context.resources.alternative[kind],
        symbols,
        (_window(dates[0], now)[0], _window(dates[-1], now)[1]),
        held,
        asked,
        matcher,
        _DATE_KEY,
        dates,
        lambda: datetime.now(UTC),
        others,
    )


def _written(context: dg.AssetExecutionContext, kind: Kind) -> list[dict[str, str]]:
    """The partitions of other dates than this run's that the lake has."""
    mine = date_keys(context)
    return [part for part in context.resources.lake.partitions(("alternative", kind)) if part["date"] not in mine]


def _elsewhere(context: dg.AssetExecutionContext, kind: Kind, written: Sequence[dict[str, str]]) -> Elsewhere:
    """What partitions that this run leaves as they are hold of some records, a date at a time, and their askings."""

    def log(records: pl.Series) -> pl.DataFrame:
        found = [schema(kind).to_frame()]
        for day in sorted({part["date"] for part in written}):
            there = [part for part in written if part["date"] == day]
            found.append(_log(context, kind, there, pl.col("record_id").is_in(records.implode())))
        return pl.concat(found)

    def asked(spots: Collection[tuple[str, str]]) -> Asked:
        there = [part for part in written if (part["date"], part["symbol"]) in spots]
        return askings.remembered(context, kind, there)

    return Elsewhere(log, asked)


def _log(
    context: dg.AssetExecutionContext, kind: Kind, there: Sequence[dict[str, str]], picked: pl.Expr
) -> pl.DataFrame:
    """Versions in some partitions. Raises LakeError where one cannot be read: fetching again cannot mend a log."""
    try:
        return context.resources.lake.scan(("alternative", kind), there).filter(picked).collect()
    except (LakeError, pl.exceptions.PolarsError) as error:
        raise LakeError(
            f"alternative/{kind}: what was known of {there[0]['symbol']} to {there[-1]['symbol']} cannot be read, and "
            f"nothing was fetched ({error}). Restore the damaged file from a backup, or remove it: its history is lost "
            "then, and the next fetch takes the source's stamps as they are"
        ) from error


def _window(key: str, now: datetime) -> tuple[datetime, datetime]:
    """The instants that a date key may hold, and a day more on either side, for the sake of time zones.

    Up to now while the history grows, else to the end of its last day.
    """
    cut = HISTORY.get_partitions_def_for_dimension("date")
    assert isinstance(cut, dg.TimeWindowPartitionsDefinition)
    whole = cut.time_window_for_partition_key(key)
    start, end = max(whole.start.astimezone(UTC), _midnight(SETTINGS.dates.start)), whole.end.astimezone(UTC)
    if SETTINGS.dates.end is not None:
        end = min(end, _midnight(SETTINGS.dates.end) + _DAY)
    return start - _DAY, min(end + _DAY, now)


_DAY = timedelta(days=1)


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(PARTITIONS.timezone)).astimezone(UTC)


def _described(last: pl.DataFrame, rows: int, told: Sequence[Brought]) -> Mapping[str, object]:
    ambiguous: dict[str, int] = {}
    for each in told:
        ambiguous |= {name: ambiguous.get(name, 0) + count for name, count in each.ambiguous.items()}
    worst = sorted(ambiguous.items(), key=lambda item: -item[1])[:10]
    return {
        "versions": rows,
        "new versions": sum(each.new for each in told),
        "states": dict(last["state"].value_counts().iter_rows()),
        "mapped by tag": sum(each.by_tag for each in told),
        "mapped by name": sum(each.by_name for each in told),
        "mapped nowhere": sum(each.nowhere for each in told),
        "ambiguous names": dict(worst),
        "preview": preview(last),
    }


def sentiment_asset() -> dg.AssetsDefinition:
    """The asset of the sentiment of texts."""

    @dg.asset(
        **_COMMON,
        name="sentiment",
        kinds={"polars"},
        partitions_def=HISTORY,
        backfill_policy=dg.BackfillPolicy.single_run(),
        ins={kind: dg.AssetIn(["alternative", kind], dagster_type=_TABLE) for kind in SPOKEN},
        code_version=code_version(sentiment, mapping, entities_module, SETTINGS.alternative.sentiment),
        metadata=columns(SENTIMENT_SCHEMA, {**_COLUMNS, "score": "-1 bad news to 1 good news; null where withdrawn"}),
    )
    def judged(context: dg.AssetExecutionContext, **inputs: Any) -> Frames:
        """How every version of a text speaks of its subject; known when the version is."""
        judge = scorer(SETTINGS.alternative.sentiment.scorer, SETTINGS.alternative.sentiment.parameters)
        every = symbol_keys(context)

        def parts() -> Iterator[pl.LazyFrame]:
            for first in range(0, len(every), BATCH_SYMBOLS):
                symbols = every[first : first + BATCH_SYMBOLS]
                yield scored({kind: inputs[kind].scan(symbols).collect() for kind in SPOKEN}, judge).lazy()

        return watched(
            context,
            parts(),
            lambda last, rows: {
                "texts": rows,
                "scorer": judge.version,
                "mean score": last["score"].mean(),
                "without a word of either side": int((last["score"] == 0).sum()),
                "preview": preview(last),
            },
        )

    return judged


alternative_assets = [
    *([entities_asset(), sentiment_asset()] if SPOKEN else []),
    *map(kind_asset, KINDS),
]
