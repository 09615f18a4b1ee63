"""Dagster's door to the lake, through real runs of small assets."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest

from resources.lake import Lake
from resources.lake_io import PARTITION_COLUMN, Bundle, Frames, LakeIOManager, Table, date_key, partition_of

YEARS = dg.TimeWindowPartitionsDefinition(cron_schedule="0 0 1 1 *", fmt="%Y", start="2010", end="2013")
HISTORY = dg.MultiPartitionsDefinition({"date": YEARS, "symbol": dg.StaticPartitionsDefinition(["AAPL", "IBM"])})
DAYS = dg.DailyPartitionsDefinition("2010-01-04", end_date="2010-01-09")
RANGE = {"dagster/asset_partition_range_start": "2010|AAPL", "dagster/asset_partition_range_end": "2011|IBM"}


def rows(symbols: list[str], years: list[int], close: float = 1.0) -> pl.DataFrame:
    found = [(symbol, date(year, 6, 1), close + year) for symbol in symbols for year in years]
    return pl.DataFrame(found, schema={"symbol": pl.String, "session": pl.Date, "close": pl.Float64}, orient="row")


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "lake"))


def run(
    lake: Lake, *assets: Any, key: str | None = None, tags: dict[str, str] | None = None, succeed: bool = True
) -> dg.ExecuteInProcessResult:
    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize(
            list(assets),
            partition_key=key,
            tags=tags,
            instance=instance,
            resources={"io_manager": LakeIOManager(lake, "XNYS")},
            raise_on_error=False,
        )
    assert result.success == succeed
    return result


def cause(result: dg.ExecuteInProcessResult) -> str:
    [event] = [event for event in result.all_events if event.is_step_failure]
    error = event.step_failure_data.error
    while error.cause is not None:
        error = error.cause
    return error.message


def asset(returned: Any, definition: dg.PartitionsDefinition | None = HISTORY, **metadata: Any) -> dg.AssetsDefinition:
    @dg.asset(name="made", partitions_def=definition, metadata=metadata)
    def made() -> Any:
        return returned() if callable(returned) else returned

    return made


def test_a_range_run_writes_one_file_a_partition_and_empty_ones_where_no_row_fell(lake: Lake) -> None:
    run(lake, asset(rows(["AAPL", "IBM"], [2010]).lazy()), tags=RANGE)
    heights = {tuple(part.values()): lake.read(["made"], part).height for part in lake.partitions(["made"])}
    assert heights == {("AAPL", "2010"): 1, ("AAPL", "2011"): 0, ("IBM", "2010"): 1, ("IBM", "2011"): 0}
    assert lake.read(["made"], {"symbol": "IBM", "date": "2011"}).schema == rows([], []).schema


def test_frames_are_written_as_they_come(lake: Lake) -> None:
    made: list[str] = []

    def parts() -> Iterator[pl.DataFrame]:
        for symbol in ("AAPL", "IBM"):
            made.append(symbol)
            yield rows([symbol], [2010, 2011])

    result = run(lake, asset(lambda: Frames(parts())), tags=RANGE)
    assert made == ["AAPL", "IBM"]
    facts = {
        event.partition: {name: value.value for name, value in event.materialization.metadata.items()}
        for event in result.get_asset_materialization_events()
    }
    assert set(facts) == {"2010|AAPL", "2010|IBM", "2011|AAPL", "2011|IBM"}
    for key, fact in facts.items():
        year, symbol = key.split("|")
        assert fact["dagster/partition_row_count"] == 1
        assert fact["data_version"] == lake.stored_version(lake.path(["made"], {"symbol": symbol, "date": year}))
    assert len({fact["data_version"] for fact in facts.values()}) == 4


REFUSED = [
    (
        "rows of another year",
        lambda: rows(["AAPL"], [2012]),
        r"made: rows of .*2012.* are outside this run's partitions",
    ),
    ("rows of another symbol", lambda: rows(["MSFT"], [2010]), r"made: rows of .*MSFT.* are outside"),
    ("the same partition twice", lambda: Frames([rows(["AAPL"], [2010])] * 2), r"made: .*came twice"),
    ("no frame at all", lambda: Frames([]), r"made: the asset returned no frame"),
    ("a number", lambda: 7, r"int.*must return polars frames|not iterable"),
    ("no session", lambda: rows(["AAPL"], [2010]).drop("session"), r"made: rows need a session or ts column"),
]


@pytest.mark.parametrize(("returned", "message"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_what_does_not_fit_is_refused_before_anything_is_replaced(
    lake: Lake, tmp_path: Path, returned: Any, message: str
) -> None:
    run(lake, asset(rows(["AAPL", "IBM"], [2010, 2011])), tags=RANGE)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert re.search(message, cause(run(lake, asset(returned), tags=RANGE, succeed=False)))
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_an_error_after_some_frames_leaves_the_last_good_version(lake: Lake, tmp_path: Path) -> None:
    def parts() -> Iterator[pl.DataFrame]:
        yield rows(["AAPL"], [2010, 2011], close=50.0)
        raise ValueError("IBM has no price")

    run(lake, asset(rows(["AAPL", "IBM"], [2010, 2011])), tags=RANGE)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    result = run(lake, asset(lambda: Frames(parts())), tags=RANGE, succeed=False)
    assert "IBM has no price" in cause(result)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_bundle_keeps_its_frames_and_files_together(lake: Lake) -> None:
    months = dg.MultiPartitionsDefinition(
        {"as_of": dg.StaticPartitionsDefinition(["2012-03"]), "strategy": dg.StaticPartitionsDefinition(["trend"])}
    )
    bundle = Bundle(rows(["AAPL"], [2010]), frames={"fills": rows(["IBM"], [2010])}, files={"report.html": b"<p>"})
    run(lake, asset(bundle, months), key="2012-03|trend")
    [partition] = lake.partitions(["made"])
    assert partition == {"strategy": "trend", "as_of": "2012-03"}
    assert lake.read_bytes(["made"], partition, "report.html") == b"<p>"
    assert pl.read_parquet(lake.path(["made"], partition, "fills.parquet"))["symbol"].to_list() == ["IBM"]


def test_a_column_of_the_assets_choice_places_its_rows(lake: Lake) -> None:
    labels = pl.DataFrame({"session": [date(2010, 1, 4)], "known_session": [date(2010, 1, 7)]})
    run(lake, asset(labels, DAYS, **{PARTITION_COLUMN: "known_session"}), key="2010-01-07")
    assert lake.partitions(["made"]) == [{"date": "2010-01-07"}]


def test_an_asset_without_partitions(lake: Lake) -> None:
    run(lake, asset(rows(["AAPL"], [2010]), None))
    assert lake.read(["made"]).height == 1


def test_inputs_are_the_mapped_partitions_in_an_order_of_their_own(lake: Lake) -> None:
    seen: dict[str, Any] = {}
    both_years = dg.MultiPartitionMapping(
        {
            "date": dg.DimensionPartitionMapping("date", dg.TimeWindowPartitionMapping(start_offset=-1)),
            "symbol": dg.DimensionPartitionMapping("symbol", dg.IdentityPartitionMapping()),
        }
    )

    @dg.asset(partitions_def=HISTORY, ins={"made": dg.AssetIn(partition_mapping=both_years)})
    def as_frame(made: pl.LazyFrame) -> pl.LazyFrame:
        seen["frame"] = made.collect()
        return seen["frame"].lazy().filter(pl.col("session").dt.year() == 2011)

    @dg.asset(partitions_def=HISTORY, ins={"made": dg.AssetIn(partition_mapping=both_years)})
    def as_table(made: Table) -> pl.DataFrame:
        seen["dates"], seen["symbols"], seen["groups"] = made.dates, made.symbols, made.symbol_groups(1)
        seen["slice"] = made.scan(["IBM"], ["2010"]).collect()
        return made.scan(dates=["2011"]).collect()

    source = asset(rows(["AAPL", "IBM"], [2010, 2011]))
    run(lake, source, tags=RANGE)
    only_2011 = {"dagster/asset_partition_range_start": "2011|AAPL", "dagster/asset_partition_range_end": "2011|IBM"}
    run(lake, source.to_source_asset(), as_frame, as_table, tags=only_2011)
    assert seen["frame"].rows() == rows(["AAPL", "IBM"], [2010, 2011]).rows(), "by symbol, then date"
    assert (seen["dates"], seen["symbols"], seen["groups"]) == (["2010", "2011"], ["AAPL", "IBM"], [["AAPL"], ["IBM"]])
    assert seen["slice"].rows() == [("IBM", date(2010, 6, 1), 2011.0)]


def test_an_input_never_written_names_itself_and_the_mend(lake: Lake) -> None:
    @dg.asset(partitions_def=HISTORY)
    def below(made: pl.LazyFrame) -> pl.LazyFrame:
        return made

    result = run(lake, asset(None).to_source_asset(), below, key="2010|AAPL", succeed=False)
    assert "made: nothing was ever written for partitions symbol=AAPL date=2010" in cause(result)
    assert "materialize it first" in cause(result)


def test_a_timestamp_falls_on_the_venues_own_day() -> None:
    late = datetime(2011, 1, 1, 2, 0, tzinfo=UTC)  # the evening of 2010-12-31 in New York
    frame = pl.DataFrame({"ts": [late]}, schema={"ts": pl.Datetime("us", "UTC")})
    assert frame.select(date_key("%Y", "XNYS")).item() == "2010"
    assert frame.select(date_key("%Y", "24/7")).item() == "2011"
    session = frame.with_columns(session=pl.lit(date(2012, 1, 3)))
    assert session.select(date_key("%Y", "24/7")).item() == "2012"


def test_partitions_of_dagster_are_partitions_of_the_lake() -> None:
    assert partition_of(HISTORY, "2010|AAPL") == {"symbol": "AAPL", "date": "2010"}
    assert list(partition_of(HISTORY, "2010|AAPL")) == ["symbol", "date"], "the folder's order"
    assert partition_of(DAYS, "2010-01-04") == {"date": "2010-01-04"}
