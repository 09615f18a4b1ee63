"""How the graph is cut: history (date x symbol), sessions, training cut-offs, and strategy x as-of.

`build` makes the definitions from any settings; the constants at the end are those of the installation that
QUANT_CONFIG names, which every assets.py uses. Reasons and measurements: docs/architecture.md.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any
from weakref import WeakKeyDictionary

import dagster as dg
import polars as pl
from dagster._core.definitions.partitions.context import partition_loading_context
from dagster._core.definitions.partitions.mapping import UpstreamPartitionsResult
from dagster._core.definitions.partitions.subset import DefaultPartitionsSubset, PartitionsSubset

from resources.calendars import last_closed_session, sessions, timezone
from resources.config import Settings, load
from resources.errors import ConfigError
from resources.lake_io import date_key

# Mappings between unlike partitions are "beta" in Dagster 1.13; the version is pinned and tests hold them.
warnings.filterwarnings("ignore", category=dg.BetaWarning)

SYMBOLS = "symbols"
"""Name of the dynamic partitions that hold the universe. Symbols are added, never deleted."""

MAX_PARTITIONS = 100_000
_GRAINS = {"year": ("0 0 1 1 *", "%Y", 365), "month": ("0 0 1 * *", "%Y-%m", 30), "day": ("0 0 * * *", "%Y-%m-%d", 1)}


@dataclass(frozen=True)
class Partitions:
    """Every partitions definition of one installation."""

    history: dg.MultiPartitionsDefinition
    sessions: dg.TimeWindowPartitionsDefinition
    cutoffs: dg.TimeWindowPartitionsDefinition
    reports: dg.MultiPartitionsDefinition
    grain_format: str
    timezone: str

    def date_key(self, session: date) -> str:
        """The history partition that holds a session."""
        return session.strftime(self.grain_format)


def build(settings: Settings) -> Partitions:
    """The partitions definitions that the settings ask for.

    Raises ConfigError where the model's start lies outside the history.
    """
    zone = timezone(settings.calendar)
    first, end = settings.dates.start, settings.dates.end
    if end is not None and settings.model.start >= end:
        raise ConfigError(f"model.start: {settings.model.start} must be before dates.end {end}")
    cron, fmt, _ = _GRAINS[settings.grain]
    history_dates = _windows(
        cron,
        fmt,
        date(first.year, 1, 1)
        if settings.grain == "year"
        else first.replace(day=1)
        if settings.grain == "month"
        else first,
        end,
        zone,
    )
    months = settings.model.retrain_months
    cutoffs = _windows(
        f"0 0 1 */{months} *" if months < 12 else "0 0 1 1 *", "%Y-%m-%d", settings.model.start, end, zone
    )
    as_of = _windows("0 0 1 * *", "%Y-%m", (settings.backtest.start or first).replace(day=1), end, zone)
    return Partitions(
        history=dg.MultiPartitionsDefinition(
            {"date": history_dates, "symbol": dg.DynamicPartitionsDefinition(name=SYMBOLS)}
        ),
        sessions=_session_windows(settings, zone),
        cutoffs=cutoffs,
        reports=dg.MultiPartitionsDefinition(
            {
                "as_of": as_of,
                "strategy": dg.StaticPartitionsDefinition([strategy.name for strategy in settings.strategies]),
            }
        ),
        grain_format=fmt,
        timezone=zone,
    )


def check_size(settings: Settings, symbols: int, today: date) -> None:
    """Refuse a history of more than MAX_PARTITIONS, naming the grain that would fit.

    Beyond that the UI takes tens of seconds a page and an automation tick gigabytes.
    """
    days = ((settings.dates.end or today) - settings.dates.start).days + 1

    def count(grain: str) -> int:
        return symbols * (days // _GRAINS[grain][2] + 1)

    if count(settings.grain) > MAX_PARTITIONS:
        fitting = [grain for grain in ("day", "month", "year") if count(grain) <= MAX_PARTITIONS]
        mend = f"grain: {fitting[0]} fits" if fitting else "no grain fits; take fewer symbols or a shorter history"
        raise ConfigError(
            f"grain: {settings.grain} makes {count(settings.grain):,} partitions of {symbols} symbols; "
            f"at most {MAX_PARTITIONS:,} work well. {mend}"
        )


class HistoryOfSessions(dg.PartitionMapping):
    """A session reads the date x symbol partitions that hold it: what Dagster infers by itself, made quick.

    The inferred mapping walks cron windows and asks the database for the symbols once per session (about 3 ms
    each, 20 s for a full history); here each date key is worked out once. Other processes, such as the
    webserver, never see this class and go on inferring the same edges.
    """

    _inferred = dg.MultiToSingleDimensionPartitionMapping(partition_dimension_name="date")

    def __init__(self, before: int = 0) -> None:
        """`before`: windows of the history that are read before the one of the session."""
        self.before = before

    @property
    def description(self) -> str:
        further = f", and the {self.before} before it" if self.before else ""
        return f"Reads every symbol's history partition that holds the session{further}."

    def validate_partition_mapping(
        self,
        upstream_partitions_def: dg.PartitionsDefinition,
        downstream_partitions_def: dg.PartitionsDefinition | None,
    ) -> None:
        self._inferred.validate_partition_mapping(upstream_partitions_def, downstream_partitions_def)

    def get_downstream_partitions_for_partitions(
        self,
        upstream_partitions_subset: PartitionsSubset,
        upstream_partitions_def: dg.PartitionsDefinition,
        *args: Any,
        **kwargs: Any,
    ) -> PartitionsSubset:
        if self.before:
            assert isinstance(upstream_partitions_def, dg.MultiPartitionsDefinition)
            dates = upstream_partitions_def.get_partitions_def_for_dimension("date").get_partition_keys()
            read = {
                dg.MultiPartitionKey({**key.keys_by_dimension, "date": later})
                for key in map(
                    upstream_partitions_def.get_partition_key_from_str, upstream_partitions_subset.get_partition_keys()
                )
                for place in [dates.index(key.keys_by_dimension["date"])]
                for later in dates[place : place + self.before + 1]
            }
            upstream_partitions_subset = upstream_partitions_def.empty_subset().with_partition_keys(read)
        return self._inferred.get_downstream_partitions_for_partitions(
            upstream_partitions_subset, upstream_partitions_def, *args, **kwargs
        )

    def get_upstream_mapped_partitions_result_for_partitions(
        self,
        downstream_partitions_subset: PartitionsSubset | None,
        downstream_partitions_def: dg.PartitionsDefinition | None,
        upstream_partitions_def: dg.PartitionsDefinition,
        current_time: datetime | None = None,
        dynamic_partitions_store: Any = None,
    ) -> UpstreamPartitionsResult:
        assert downstream_partitions_subset is not None
        assert isinstance(upstream_partitions_def, dg.MultiPartitionsDefinition)
        with partition_loading_context(current_time, dynamic_partitions_store):
            dates = upstream_partitions_def.get_partitions_def_for_dimension("date")
            assert isinstance(dates, dg.TimeWindowPartitionsDefinition)
            symbols = upstream_partitions_def.get_partitions_def_for_dimension("symbol").get_partition_keys()
            sessions_asked = downstream_partitions_subset.get_partition_keys()
            keys = sorted({date.fromisoformat(session).strftime(dates.fmt) for session in sessions_asked})
            if self.before:
                every = dates.get_partition_keys()
                places = {every.index(key) - back for key in keys for back in range(self.before + 1)}
                keys = [every[place] for place in sorted(places) if place >= 0]
            mapped = upstream_partitions_def.empty_subset().with_partition_keys(
                [dg.MultiPartitionKey({"date": key, "symbol": symbol}) for key in keys for symbol in symbols]
            )
        return UpstreamPartitionsResult(
            partitions_subset=mapped, required_but_nonexistent_subset=DefaultPartitionsSubset()
        )


def _windows(cron: str, fmt: str, start: date, end: date | None, zone: str) -> dg.TimeWindowPartitionsDefinition:
    # The current window counts as there from its first day: a year's file grows with every session.
    return dg.TimeWindowPartitionsDefinition(
        cron_schedule=cron,
        fmt=fmt,
        start=start.strftime(fmt),
        end=_after(cron, end).strftime(fmt) if end else None,
        timezone=zone,
        end_offset=0 if end else 1,
    )


def _after(cron: str, day: date) -> date:
    """The first day after `day` on which a window of this cron begins: where the last window ends."""
    from dagster._utils.schedules import cron_string_iterator

    start = datetime(day.year, day.month, day.day) + timedelta(days=1)
    return next(cron_string_iterator(start.timestamp(), cron, "UTC")).date()


def _session_windows(settings: Settings, zone: str) -> dg.TimeWindowPartitionsDefinition:
    first, end = settings.dates.start, settings.dates.end
    horizon = end or date(date.today().year + 1, 12, 31)
    trading = set(sessions(settings.calendar, first, horizon)["session"])
    every_day = {first + timedelta(days=offset) for offset in range((horizon - first).days + 1)}
    weekdays = {day.isoweekday() % 7 for day in trading}
    holidays = sorted(day for day in every_day - trading if day.isoweekday() % 7 in weekdays)
    return dg.TimeWindowPartitionsDefinition(
        cron_schedule="0 0 * * *",
        fmt="%Y-%m-%d",
        start=min(trading).isoformat(),
        end=(end + timedelta(days=1)).isoformat() if end else None,
        timezone=zone,
        # With the offset a session's partition is there on its own day, so the after-close run can fill it.
        end_offset=0 if end else 1,
        exclusions=[
            *(f"0 0 * * {day}" for day in range(7) if day not in weekdays),
            *(datetime(day.year, day.month, day.day) for day in holidays),
        ]
        or None,
    )


def earlier(windows: int) -> dg.MultiPartitionMapping:
    """History partitions of the same symbol, this one and `windows` before it."""
    return dg.MultiPartitionMapping(
        {
            "date": dg.DimensionPartitionMapping("date", dg.TimeWindowPartitionMapping(start_offset=-windows)),
            "symbol": dg.DimensionPartitionMapping("symbol", dg.IdentityPartitionMapping()),
        }
    )


def since_start() -> dg.MultiPartitionMapping:
    """History partitions of the same symbol from the first one to this one."""
    end = SETTINGS.dates.end or date(date.today().year + 1, 12, 31)
    return earlier((end - SETTINGS.dates.start).days // _GRAINS[SETTINGS.grain][2] + 1)


def windows_before(count: int) -> int:
    """How many history windows in a row surely hold `count` sessions, wherever in the history they lie."""
    # A year of this venue may have fewer sessions than usual (New York: 248 in 2001), a month of holidays far fewer.
    return next(
        (windows for windows in range(len(_HELD) + 1) if _fewest(windows) >= count),
        len(_HELD) + 1,  # more than there is: all of the history
    )


def _fewest(windows: int) -> int:
    """The fewest sessions in so many whole windows in a row."""
    return min((sum(_HELD[at : at + windows]) for at in range(len(_HELD) - windows + 1)), default=0)


def _whole_windows() -> list[int]:
    """The sessions in each window of the history, in order, but for the first and the last, which may be cut short."""
    first, last = SETTINGS.dates.start, SETTINGS.dates.end or date.today()
    days = sessions(SETTINGS.calendar, first, last)["session"]
    counts = days.dt.strftime(PARTITIONS.grain_format).rle().struct.field("len").to_list()
    return counts[1:-1]


def lookback(count: int) -> dg.MultiPartitionMapping:
    """History partitions that surely hold `count` sessions before the first one of this partition."""
    return earlier(windows_before(count))


_SEPARATOR = "|"
"""Between the dimensions of a key; no date and no symbol has one in it."""

_KEYS: WeakKeyDictionary[dg.AssetExecutionContext, list[str]] = WeakKeyDictionary()


def partition_keys(context: dg.AssetExecutionContext) -> list[str]:
    """The run's partitions. Dagster works them out anew at each look, seconds for a long range: here it is once.

    A run that a client starts with a partition's tag alone comes with plain text for a date and a symbol, too.
    """
    if context not in _KEYS:
        _KEYS[context] = [
            HISTORY.get_partition_key_from_str(key)
            if _SEPARATOR in key and not isinstance(key, dg.MultiPartitionKey)
            else key
            for key in context.partition_keys
        ]
    return _KEYS[context]


def date_keys(context: dg.AssetExecutionContext) -> list[str]:
    """The date keys of this run's partitions, in order."""
    return sorted(
        {
            key.keys_by_dimension["date"] if isinstance(key, dg.MultiPartitionKey) else key
            for key in partition_keys(context)
        }
    )


def symbol_keys(context: dg.AssetExecutionContext) -> list[str]:
    """The symbols of this run's partitions, in order."""
    return sorted(
        {key.keys_by_dimension["symbol"] for key in partition_keys(context) if isinstance(key, dg.MultiPartitionKey)}
    )


def in_partitions(context: dg.AssetExecutionContext, column: str = "session") -> pl.Expr:
    """Rows whose session lies in this run's date partitions."""
    fmt = PARTITIONS.grain_format if isinstance(partition_keys(context)[0], dg.MultiPartitionKey) else "%Y-%m-%d"
    return pl.col(column).dt.strftime(fmt).is_in(date_keys(context))


def session_range(context: dg.AssetExecutionContext, now: datetime) -> tuple[date, date]:
    """First and last session of this run's date partitions that are within the history and closed by `now`."""
    keys = date_keys(context)
    first = max(datetime.strptime(keys[0], PARTITIONS.grain_format).date(), SETTINGS.dates.start)
    last = _last_day(datetime.strptime(keys[-1], PARTITIONS.grain_format).date(), SETTINGS.grain)
    return first, min(last, SETTINGS.dates.end or last, last_closed_session(SETTINGS.calendar, now))


def session_windows(context: dg.AssetExecutionContext, now: datetime) -> list[list[date]]:
    """The sessions of each of this run's date partitions, as far as `session_range` reaches."""
    days = sessions(SETTINGS.calendar, *session_range(context, now))["session"]
    keyed = pl.DataFrame({"session": days, "key": days.dt.strftime(PARTITIONS.grain_format)})
    return keyed.group_by("key", maintain_order=True).agg("session")["session"].to_list()


def _last_day(first: date, grain: str) -> date:
    if grain == "year":
        return date(first.year, 12, 31)
    return (first.replace(day=28) + timedelta(days=4)).replace(day=1) - timedelta(days=1) if grain == "month" else first


SETTINGS = load()
PARTITIONS = build(SETTINGS)
HISTORY, SESSIONS, CUTOFFS, REPORTS = PARTITIONS.history, PARTITIONS.sessions, PARTITIONS.cutoffs, PARTITIONS.reports

_HELD = _whole_windows()

HISTORY_KEY = pl.concat_str(date_key(PARTITIONS.grain_format, SETTINGS.calendar), "symbol", separator="|")
"""A row's history partition as Dagster writes it, for example 2012|AAPL."""
