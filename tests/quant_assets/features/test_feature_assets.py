"""Feature assets for real, on a lake of their own: what a partition reads, its bytes, what the checks say."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, date, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest

from quant_assets.cleaned import clean
from quant_assets.definitions import defs
from quant_assets.features.assets import SETS, feature_assets, group_asset
from quant_assets.features.checks import QUESTIONS
from quant_assets.features.definition import FeatureSet
from quant_assets.features.panel import gathered
from quant_assets.features.sets import NamedSet
from quant_assets.features.stored import ACROSS, STORED
from quant_assets.partitions import SETTINGS, SYMBOLS, windows_before
from resources.alternative.sample import Synthetic
from resources.errors import LakeError
from resources.lake import Lake
from resources.lake_io import LakeIOManager
from resources.market_data.sample import Sample
from sensors.schedules import history_range

NAMES = ["AAPL", "IBM", "MSFT"]
YEARS = ["2010", "2011", "2012"]
SESSION = "2012-02-15"
HELD = SETS.stored
GROUP = [name for name in HELD if name != ACROSS]


pytestmark = pytest.mark.xdist_group("feature assets")  # what they share takes long to make


@pytest.fixture(scope="module")
def market() -> tuple[pl.DataFrame, pl.DataFrame]:
    """Cleaned bars and instruments of three symbols over the small installation's three years."""
    sample = Sample()
    first, last = SETTINGS.dates.start, SETTINGS.dates.end or date.max
    instruments = sample.instruments(NAMES)
    cleaned = clean(sample.bars(NAMES, first, last), sample.corporate_actions(NAMES, first, last), instruments)
    return cleaned.bars.collect(), instruments


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory, market: tuple[pl.DataFrame, pl.DataFrame]) -> Lake:
    """A lake with every group of every partition, made in one run. Leave it as it is."""
    lake = filled(tmp_path_factory.mktemp("held") / "lake", market)
    with dg.DagsterInstance.ephemeral() as made:
        made.add_dynamic_partitions(SYMBOLS, NAMES)
        assert run(made, lake, GROUP, tags=history_range(YEARS[0], YEARS[-1], NAMES)).success
    return lake


@pytest.fixture
def lake(tmp_path: Path, market: tuple[pl.DataFrame, pl.DataFrame]) -> Lake:
    return filled(tmp_path / "lake", market)


def filled(folder: Path, market: tuple[pl.DataFrame, pl.DataFrame], years: Iterable[str] = YEARS) -> Lake:
    lake = Lake(str(folder))
    bars, instruments = market
    parts = bars.with_columns(date=pl.col("session").dt.strftime("%Y")).partition_by(
        ["symbol", "date"], as_dict=True, include_key=True
    )
    with lake.writing(("cleaned", "bars")) as staging:
        staging.write(
            [
                ({"symbol": str(symbol), "date": str(year)}, part.drop("date"))
                for (symbol, year), part in parts.items()
                if year in years
            ]
        )
    with lake.writing(("market_data", "instruments")) as staging:
        staging.write([({}, instruments)])
    with lake.writing(("alternative", "sentiment")) as staging:
        staging.write([(dict(zip(("symbol", "date"), key, strict=True)), part) for key, part in said().items()])
    return lake


@lru_cache(maxsize=1)
def said() -> dict[tuple[str, str], pl.DataFrame]:
    """Made-up news with made-up scores, by symbol and year: what features of records read."""
    first, last = datetime(2010, 1, 1, tzinfo=UTC), datetime(2012, 12, 31, tzinfo=UTC)
    news = Synthetic().news(NAMES, first, last).collect()
    scores = news.select(
        *(
            pl.lit("news").alias("kind"),
            "source",
            "record_id",
            pl.col("record_id").str.split("-").list[0].alias("symbol"),
        ),
        *("ts", "known_at", "state", "content"),
        score=pl.when(pl.col("state") != "withdrawn").then(pl.col("headline").str.len_chars().mod(3) - 1.0),
        scorer=pl.lit("length"),
        date=pl.col("ts").dt.strftime("%Y"),
    )
    parts = scores.partition_by("symbol", "date", as_dict=True)
    return {(str(symbol), str(year)): part.drop("date") for (symbol, year), part in parts.items()}


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as made:
        made.add_dynamic_partitions(SYMBOLS, NAMES)
        yield made


def job(lake: Lake, selection: dg.AssetSelection) -> dg.JobDefinition:
    """A job of the graph as it is, on this lake."""
    here = {**(defs.resources or {}), "io_manager": LakeIOManager(lake, SETTINGS.calendar)}
    here["lake"] = dg.ResourceDefinition.hardcoded_resource(lake)
    graph = dg.Definitions(
        assets=defs.assets,
        asset_checks=defs.asset_checks,
        jobs=[dg.define_asset_job("here", selection)],
        resources=here,
    )
    return graph.resolve_job_def("here")


QUIETLY = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


def run(instance: dg.DagsterInstance, lake: Lake, assets: Iterable[str], **how: Any) -> dg.ExecuteInProcessResult:
    """Materialize features/<name> of these names, with their checks, in this lake."""
    chosen = dg.AssetSelection.assets(*(dg.AssetKey(["features", name]) for name in assets))
    return job(lake, chosen).execute_in_process(instance=instance, run_config=QUIETLY, **how)


def content(lake: Lake, asset: str, partition: Mapping[str, str]) -> bytes:
    return Path(lake.path(("features", asset), partition)).read_bytes()


# What a partition reads and gives


def test_a_partition_alone_has_the_bytes_of_the_whole_range(
    held: Lake, lake: Lake, instance: dg.DagsterInstance
) -> None:
    place = {"symbol": "IBM", "date": "2012"}
    assert run(instance, lake, GROUP, partition_key=dg.MultiPartitionKey(place)).success
    for asset in GROUP:
        assert content(lake, asset, place) == content(held, asset, place), asset
        assert lake.read(("features", asset), place).columns[4:] == list(HELD[asset].names)


def test_a_partition_needs_no_history_beyond_its_look_back(
    held: Lake, instance: dg.DagsterInstance, tmp_path: Path, market: tuple[pl.DataFrame, pl.DataFrame]
) -> None:
    """A year before is enough where no look-back is longer: without 2010 the values of 2012 are the same."""
    near = [name for name in GROUP if windows_before(HELD[name].lookback) == 1]
    assert near, "no group has a look-back of a year or less"
    place = {"symbol": "IBM", "date": "2012"}
    key = dg.MultiPartitionKey(place)
    short = filled(tmp_path / "short", market, YEARS[1:])
    assert run(instance, short, near, partition_key=key).success
    for asset in near:
        assert content(short, asset, place) == content(held, asset, place), asset


@pytest.mark.skipif(ACROSS not in STORED, reason="no feature looks across symbols")
def test_a_session_across_symbols_alone_has_the_bytes_of_a_range(
    lake: Lake, instance: dg.DagsterInstance, tmp_path: Path, market: tuple[pl.DataFrame, pl.DataFrame]
) -> None:
    ends = {"dagster/asset_partition_range_start": "2011-12-15", "dagster/asset_partition_range_end": SESSION}
    assert run(instance, lake, [ACROSS], tags=ends).success
    alone = filled(tmp_path / "alone", market)
    assert run(instance, alone, [ACROSS], partition_key=SESSION).success
    assert content(alone, ACROSS, {"date": SESSION}) == content(lake, ACROSS, {"date": SESSION})
    rows = lake.read(("features", ACROSS), {"date": SESSION})
    assert rows["symbol"].to_list() == NAMES
    assert set(HELD[ACROSS].names) <= set(rows.columns)


def test_every_group_reads_the_windows_that_hold_its_look_back() -> None:
    graph = defs.resolve_asset_graph()
    for name in GROUP:
        mapping = graph.get_partition_mapping(dg.AssetKey(["features", name]), dg.AssetKey(["cleaned", "bars"]))
        by_date = mapping.downstream_mappings_by_upstream_dimension["date"]  # type: ignore[attr-defined]
        offset = by_date.partition_mapping.start_offset
        assert -offset == windows_before(HELD[name].lookback), name


# Code versions


def test_a_changed_feature_changes_the_version_of_its_own_group_alone() -> None:
    first, *others = HELD["technical"]
    changed = FeatureSet("technical", (replace(first, lookback=first.lookback + 1), *others))
    key = dg.AssetKey(["features", "technical"])
    before = {asset.key: asset.code_versions_by_key[asset.key] for asset in feature_assets}
    assert before[key] == HELD["technical"].code_version
    assert group_asset(changed).code_versions_by_key[key] != before[key]
    assert len(set(before.values())) == len(before), "each group's version is of its own definitions"
    reworded = FeatureSet("technical", (replace(first, description="other words"), *others))
    assert group_asset(reworded).code_versions_by_key[key] == before[key]


def test_a_model_grows_stale_with_the_features_of_its_set_and_no_others() -> None:
    core = SETS.model
    first, *others = core.features
    changed = NamedSet(core.name, core.description, FeatureSet("core", (replace(first, lookback=99), *others)))
    assert changed.version != core.version
    outside = [name for name in STORED["technical"].names if name not in core.names]
    assert outside, "technical holds more than the model's set"
    assert set(core.names).isdisjoint(outside)


# Checks and what the page shows


def checked(result: dg.ExecuteInProcessResult) -> dict[str, dg.AssetCheckEvaluation]:
    return {found.check_name: found for found in result.get_asset_check_evaluations() if found.partition is None}


def judge(instance: dg.DagsterInstance, lake: Lake) -> dict[str, dg.AssetCheckEvaluation]:
    """The checks of features/technical alone, over the whole range."""
    chosen = dg.AssetSelection.checks_for_assets(dg.AssetKey(["features", "technical"]))
    result = job(lake, chosen).execute_in_process(instance=instance, run_config=QUIETLY, raise_on_error=False)
    return checked(result)


def test_good_features_pass_every_check(held: Lake, instance: dg.DagsterInstance) -> None:
    found = judge(instance, held)
    assert set(found) == {question.name for question in QUESTIONS} | {"features_expectations", "point_in_time"}
    assert [name for name, each in found.items() if not each.passed and name != "drift"] == []
    assert found["coverage"].metadata["bars"].value == found["coverage"].metadata["rows"].value > 1300


def test_each_check_finds_what_it_is_for(held: Lake, lake: Lake, instance: dg.DagsterInstance) -> None:
    """IBM's 2011 is spoilt in one way for each of them; drift is judged by the latest sessions, and is spoilt there."""
    shutil.copytree(held.folder(("features", "technical")), lake.folder(("features", "technical")))
    with lake.writing(("features", "technical")) as staging:
        spoilt = lake.read(("features", "technical"), place := {"symbol": "IBM", "date": "2011"}).with_columns(
            return_1=pl.lit(math.inf), rsi_14=pl.lit(-5.0), gap=pl.lit(None, pl.Float64)
        )
        staging.write([(place, spoilt.filter(pl.col("session") != date(2011, 6, 1)))])
    with lake.writing(("features", "technical")) as staging:
        moved = [
            (part, lake.read(("features", "technical"), part)) for part in lake.partitions(("features", "technical"))
        ]
        later = [
            (part, rows.with_columns(pl.col("intraday_return") + 3.0)) for part, rows in moved if part["date"] == "2012"
        ]
        staging.write(later)
    found = judge(instance, lake)
    assert {name: each.severity.value for name, each in found.items() if not each.passed} == {
        "infinities": "ERROR",
        "features_expectations": "ERROR",
        "coverage": "ERROR",
        "point_in_time": "ERROR",
        "nulls_after_warmup": "WARN",
        "drift": "WARN",
    }
    assert found["coverage"].metadata["symbol with most missing"].value == "IBM"
    assert found["coverage"].metadata["session with most missing"].value == "2011-06-01"
    assert found["nulls_after_warmup"].metadata["feature with most nulls"].value == "gap"
    assert found["drift"].metadata["feature that moved most"].value == "intraday_return"


def test_the_page_shows_the_worst_features_and_a_picture(lake: Lake, instance: dg.DagsterInstance) -> None:
    result = run(
        instance, lake, ["microstructure"], partition_key=dg.MultiPartitionKey({"symbol": "IBM", "date": "2011"})
    )
    [made] = result.get_asset_materialization_events()
    shown = made.materialization.metadata
    assert "| feature | rows | null_share | psi | by_chance |" in str(shown["worst features"].value)
    for name in ("nulls and drift", "spread"):
        assert str(shown[name].value).startswith("![")
    assert "picture" in checked(result)["nulls_after_warmup"].metadata


# The panel


def test_tables_are_put_side_by_side_and_a_row_that_one_lacks_is_named(
    market: tuple[pl.DataFrame, pl.DataFrame],
) -> None:
    keys = market[0].select("symbol", "ts", "session", "known_at")
    one, two = keys.with_columns(a=pl.lit(1.0)), keys.reverse().with_columns(b=pl.lit(2.0), c=pl.lit(3.0))
    wanted = {"one": ["a"], "two": ["b", "c"]}
    whole = gathered({"one": one.lazy(), "two": two.lazy()}, wanted, ["c", "a", "b"]).collect()
    assert whole.equals(keys.with_columns(c=pl.lit(3.0), a=pl.lit(1.0), b=pl.lit(2.0)))
    with pytest.raises(LakeError, match=r"AAPL 2010-06-01: features/two has no such row; materialize it"):
        gathered({"one": one.lazy(), "two": two.filter(pl.col("symbol") != "AAPL").lazy()}, wanted, ["a", "b"])
    with pytest.raises(LakeError, match=r"IBM 2010-06-01: features/one has no such row"):
        gathered({"one": one.filter(pl.col("symbol") == "AAPL").lazy(), "two": two.lazy()}, wanted, ["a", "b"])
