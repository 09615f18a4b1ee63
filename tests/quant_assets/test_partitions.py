"""How the graph is cut: sessions by the exchange calendar, history by grain, and what each partition reads."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import polars as pl
import pytest
import yaml

from quant_assets import partitions
from quant_assets.definitions import defs
from quant_assets.partitions import (
    CUTOFFS,
    HISTORY,
    REPORTS,
    SESSIONS,
    SETTINGS,
    SYMBOLS,
    HistoryOfSessions,
    build,
    check_size,
)
from resources.calendars import sessions
from resources.config import Settings
from resources.errors import ConfigError


def settings(**changes: Any) -> Settings:
    """The small settings with other fields."""
    return Settings.model_validate(yaml.safe_load(Path("tests/small.yaml").read_text()) | changes)


def test_sessions_are_those_of_the_calendar() -> None:
    expected = sessions("XNYS", date(2010, 6, 1), date(2012, 3, 30))["session"]
    assert SESSIONS.get_partition_keys() == [str(day) for day in expected]


VENUES = [  # calendar, a day it trades, a day it does not
    ("XNYS", "2011-11-25", "2011-11-24"),  # a half day; Thanksgiving
    ("XLON", "2011-11-24", "2011-04-29"),  # the royal wedding
    ("XTKS", "2011-05-06", "2011-05-05"),
    ("24/7", "2011-12-25", None),
    ("24/5", "2011-12-26", "2011-12-25"),
]


@pytest.mark.parametrize(("calendar", "trades", "rests"), VENUES)
def test_sessions_of_other_venues(calendar: str, trades: str, rests: str | None) -> None:
    keys = build(settings(calendar=calendar)).sessions.get_partition_keys()
    assert keys == [str(day) for day in sessions(calendar, date(2010, 6, 1), date(2012, 3, 30))["session"]]
    assert trades in keys
    assert rests not in keys


GRAINS = [
    ("year", ["2010", "2011", "2012"]),
    ("month", [f"{year}-{month:02d}" for year in (2010, 2011, 2012) for month in range(1, 13)][5:27]),
]


@pytest.mark.parametrize(("grain", "keys"), GRAINS)
def test_history_by_grain(grain: str, keys: list[str]) -> None:
    made = build(settings(grain=grain))
    assert made.history.get_partitions_def_for_dimension("date").get_partition_keys() == keys
    assert made.date_key(date(2011, 2, 3)) in keys


def test_a_history_without_end_has_todays_partition(monkeypatch: pytest.MonkeyPatch) -> None:
    made = build(settings(dates={"start": date(2010, 6, 1)}))
    today = datetime(2025, 7, 3, 18, 0, tzinfo=UTC)  # a session in New York
    history = made.history.get_partitions_def_for_dimension("date")
    assert history.get_partition_keys(current_time=today)[-1] == "2025"
    assert made.sessions.get_partition_keys(current_time=today)[-1] == "2025-07-03"
    assert made.cutoffs.get_partition_keys(current_time=today)[-1] == "2025-07-01"


def test_cutoffs_and_reports() -> None:
    assert CUTOFFS.get_partition_keys() == ["2011-07-01", "2012-01-01"]
    assert "2012-03|model_score" in REPORTS.get_partition_keys()
    assert "2011-06|model_score" not in REPORTS.get_partition_keys(), "before backtest.start"


def test_the_model_must_start_within_the_history() -> None:
    outside = settings().model_copy(update={"model": settings().model.model_copy(update={"start": date(2013, 1, 1)})})
    with pytest.raises(ConfigError, match=r"model\.start: 2013-01-01 must be before dates\.end 2012-03-30"):
        build(outside)


SIZES = [  # grain, symbols, fits, what to take instead
    ("year", 5000, True, ""),
    ("month", 3000, True, ""),
    ("month", 6000, False, "grain: year fits"),
    ("day", 100, True, ""),
    ("day", 500, False, "grain: month fits"),
    ("year", 60_000, False, "no grain fits"),
]


@pytest.mark.parametrize(("grain", "symbols", "fits", "mend"), SIZES)
def test_a_history_of_too_many_partitions_is_refused(grain: str, symbols: int, fits: bool, mend: str) -> None:
    asked = settings(grain=grain)
    if fits:
        check_size(asked, symbols, date(2012, 3, 30))
    else:
        with pytest.raises(ConfigError, match=f"grain: {grain} makes .* partitions of {symbols} symbols.*{mend}"):
            check_size(asked, symbols, date(2012, 3, 30))


def test_the_quick_mapping_gives_the_edges_that_dagster_infers() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions(SYMBOLS, ["AAPL", "IBM"])
        inferred = dg.MultiToSingleDimensionPartitionMapping(partition_dimension_name="date")
        for asked in (["2010-06-01"], ["2010-12-31", "2011-01-03"], SESSIONS.get_partition_keys()[:300]):
            subset = SESSIONS.empty_subset().with_partition_keys(asked)
            quick, slow = (
                mapping.get_upstream_mapped_partitions_result_for_partitions(
                    subset, SESSIONS, HISTORY, dynamic_partitions_store=instance
                ).partitions_subset.get_partition_keys()
                for mapping in (HistoryOfSessions(), inferred)
            )
            assert set(quick) == set(slow), asked[-1]


def upstream(asset: str, parent: str, keys: list[str]) -> set[str]:
    """The partitions of `parent` that a run of `asset` over `keys` reads, as Dagster maps them."""
    graph = defs.resolve_asset_graph()
    child, above = dg.AssetKey.from_user_string(asset), dg.AssetKey.from_user_string(parent)
    definition, parents = graph.get(child).partitions_def, graph.get(above).partitions_def
    assert definition is not None
    assert parents is not None
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions(SYMBOLS, ["AAPL", "IBM"])
        mapping = graph.get_partition_mapping(child, above)
        result = mapping.get_upstream_mapped_partitions_result_for_partitions(
            definition.empty_subset().with_partition_keys(keys), definition, parents, dynamic_partitions_store=instance
        )
        return set(result.partitions_subset.get_partition_keys())


READS = [
    ("cleaned/bars", "market_data/bars", ["2011|AAPL"], {"2010|AAPL", "2011|AAPL"}),
    ("cleaned/bars", "market_data/bars", ["2010|IBM"], {"2010|IBM"}),
    ("features/technical", "cleaned/bars", ["2012|IBM"], None),
    ("features/alpha158", "cleaned/bars", ["2012|IBM"], {"2011|IBM", "2012|IBM"}),
    (
        "features/cross_section",
        "cleaned/bars",
        ["2011-01-03"],
        {f"{y}|{s}" for y in (2010, 2011) for s in ("AAPL", "IBM")},
    ),
    ("features/panel", "features/technical", ["2011-01-03"], {"2011|AAPL", "2011|IBM"}),
    ("models/lightgbm", "features/panel", ["2011-07-01"], None),
    ("signals/daily", "features/panel", ["2011-07-01"], None),
]


@pytest.mark.parametrize(("asset", "parent", "keys", "expected"), READS)
def test_nothing_reads_a_later_partition(asset: str, parent: str, keys: list[str], expected: set[str] | None) -> None:
    found = upstream(asset, parent, keys)
    assert found
    if expected is not None:
        assert found == expected
    day = next(key.split("|")[0] for key in keys)
    assert max(key.split("|")[0] for key in found) <= day
    if asset == "models/lightgbm":
        assert max(found) < day, "a model sees sessions before its cut-off only"


@pytest.mark.parametrize(("sessions", "windows"), [(0, 0), (1, 1), (248, 1), (249, 2), (500, 2), (501, 3), (10**6, 12)])
def test_as_many_windows_as_surely_hold_the_look_back(
    monkeypatch: pytest.MonkeyPatch, sessions: int, windows: int
) -> None:
    """New York's 2001 had 248 sessions, and 2001 and 2002 had 500; a look-back beyond the history is all of it."""
    monkeypatch.setattr(partitions, "_HELD", [248, 252, 252, 252, 252, 251, 251, 253, 252, 252, 252])
    assert partitions.windows_before(sessions) == windows


def test_the_first_and_the_last_window_may_be_cut_short() -> None:
    assert partitions._whole_windows() == [252], "of 2010-06 to 2012-03, 2011 alone is whole"


def test_what_a_history_partition_is_read_for_across_symbols() -> None:
    """The mapping with windows before it is the inferred one of the later windows, too."""
    graph = defs.resolve_asset_graph()
    bars = graph.get(dg.AssetKey(["cleaned", "bars"])).partitions_def
    assert isinstance(bars, dg.MultiPartitionsDefinition)
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions(SYMBOLS, ["AAPL", "IBM"])
        found = {
            before: HistoryOfSessions(before)
            .get_downstream_partitions_for_partitions(
                bars.empty_subset().with_partition_keys(["2011|IBM"]), bars, partitions.SESSIONS,
                dynamic_partitions_store=instance,
            )
            .get_partition_keys()
            for before in (0, 1)
        }  # fmt: skip
    assert set(found[0]) < set(found[1])
    assert {key[:4] for key in set(found[1]) - set(found[0])} == {"2012"}


class Context(SimpleNamespace):
    """What `partition_keys` needs of a run's context: the keys, and to be hashable."""

    __hash__ = object.__hash__


def test_the_keys_of_a_run() -> None:
    run = Context(
        partition_keys=[
            dg.MultiPartitionKey({"date": d, "symbol": s}) for s in ("IBM", "AAPL") for d in ("2011", "2010")
        ]
    )
    assert partitions.date_keys(run) == ["2010", "2011"]  # type: ignore[arg-type]
    assert partitions.symbol_keys(run) == ["AAPL", "IBM"]  # type: ignore[arg-type]
    frame = pl.DataFrame({"session": [date(2010, 6, 1), date(2012, 6, 1)]})
    assert frame.filter(partitions.in_partitions(run))["session"].to_list() == [date(2010, 6, 1)]  # type: ignore[arg-type]


def test_a_key_that_came_as_plain_text_is_the_same_key() -> None:
    run = Context(partition_keys=["2011|IBM"])
    assert partitions.date_keys(run) == ["2011"]  # type: ignore[arg-type]
    assert partitions.symbol_keys(run) == ["IBM"]  # type: ignore[arg-type]


RANGES = [  # keys, now, first and last session fetched
    (["2010"], datetime(2020, 1, 1, tzinfo=UTC), date(2010, 6, 1), date(2010, 12, 31)),
    (["2010", "2011", "2012"], datetime(2020, 1, 1, tzinfo=UTC), date(2010, 6, 1), date(2012, 3, 30)),
    (["2011"], datetime(2011, 6, 1, 12, tzinfo=UTC), date(2011, 1, 1), date(2011, 5, 31)),  # before that day's close
    (["2011"], datetime(2011, 6, 1, 22, tzinfo=UTC), date(2011, 1, 1), date(2011, 6, 1)),
]


@pytest.mark.parametrize(("keys", "now", "first", "last"), RANGES)
def test_only_closed_sessions_within_the_history_are_fetched(
    keys: list[str], now: datetime, first: date, last: date
) -> None:
    run = Context(partition_keys=[dg.MultiPartitionKey({"date": key, "symbol": "IBM"}) for key in keys])
    assert partitions.session_range(run, now) == (first, last)  # type: ignore[arg-type]


def test_the_installation_is_the_small_one() -> None:
    assert SETTINGS.name == "small"
