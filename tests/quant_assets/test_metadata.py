"""What the UI shows beside an asset."""

import base64
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl

from quant_assets.metadata import columns, picture, preview, show, watched
from resources.lake import Lake
from resources.lake_io import Frames, LakeIOManager

DAYS = dg.DailyPartitionsDefinition("2010-01-04", end_date="2010-01-09")
RANGE = {"dagster/asset_partition_range_start": "2010-01-04", "dagster/asset_partition_range_end": "2010-01-08"}


def test_a_preview_is_a_table_of_the_last_rows() -> None:
    frame = pl.DataFrame({"symbol": ["A", "B", "C"], "price": [1.0, 2.5, 1234567.891], "flags": [[], ["a", "b"], []]})
    assert preview(frame, rows=2).value.splitlines() == [
        "| symbol | price | flags |",
        "|---|---|---|",
        "| B | 2.5 | a, b |",
        "| C | 1.23457e+06 |  |",
    ]


def test_cells_that_would_break_the_table() -> None:
    frame = pl.DataFrame({"text": ["a|b", None], "at": [datetime(2010, 1, 4, 21, tzinfo=UTC)] * 2})
    assert preview(frame).value.splitlines()[2:] == ["| a\\|b | 2010-01-04 21:00:00 |", "|  | 2010-01-04 21:00:00 |"]


def test_a_picture_is_in_the_metadata_itself() -> None:
    text = picture(b"\x89PNG", "equity").value
    assert text.startswith("![equity](data:image/png;base64,")
    assert base64.b64decode(text.partition("base64,")[2].rstrip(")")) == b"\x89PNG"


def test_columns_with_and_without_a_description() -> None:
    schema = columns({"score": pl.Float64, "session": pl.Date}, {"score": "expected return"})["dagster/column_schema"]
    assert [(column.name, column.type, column.description) for column in schema.columns] == [
        ("score", "Float64", "expected return"),
        ("session", "Date", None),
    ]


def rows(days: list[int]) -> pl.LazyFrame:
    held = {"session": [date(2010, 1, day) for day in days], "close": [float(day) for day in days]}
    return pl.LazyFrame(held, schema={"session": pl.Date, "close": pl.Float64})


def run(tmp_path: Path, asset: Any, **options: Any) -> dict[str | None, dict[str, Any]]:
    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize(
            [asset], instance=instance, resources={"io_manager": LakeIOManager(Lake(str(tmp_path)), "24/7")}, **options
        )
    return {
        event.partition: dict(event.materialization.metadata) for event in result.get_asset_materialization_events()
    }


def test_pictures_stand_on_the_last_partition_of_a_range_only(tmp_path: Path) -> None:
    @dg.asset(partitions_def=DAYS)
    def prices(context: dg.AssetExecutionContext) -> Frames:
        def parts() -> Iterator[pl.LazyFrame]:
            yield rows([4, 5, 6])
            yield rows([7, 8])

        return watched(context, parts(), lambda last, count: {"rows": count, "last close": last["close"][-1]})

    facts = run(tmp_path, prices, tags=RANGE)
    assert set(facts) == {f"2010-01-0{day}" for day in range(4, 9)}
    assert {key for key, fact in facts.items() if "rows" in fact} == {"2010-01-08"}
    assert (facts["2010-01-08"]["rows"].value, facts["2010-01-08"]["last close"].value) == (5, 8.0)
    assert {fact["dagster/partition_row_count"].value for fact in facts.values()} == {1}


def test_an_empty_last_frame_does_not_hide_the_one_that_held_rows(tmp_path: Path) -> None:
    @dg.asset(partitions_def=DAYS)
    def prices(context: dg.AssetExecutionContext) -> Frames:
        return watched(context, [rows([8]), rows([])], lambda last, count: {"height": last.height, "rows": count})

    facts = run(tmp_path, prices, partition_key="2010-01-08")
    assert (facts["2010-01-08"]["height"].value, facts["2010-01-08"]["rows"].value) == (1, 1)


def test_an_asset_without_partitions_is_described_too(tmp_path: Path) -> None:
    @dg.asset
    def table(context: dg.AssetExecutionContext) -> pl.LazyFrame:
        show(context, {"symbols": 3})
        return rows([4])

    facts = run(tmp_path, table)
    assert facts[None]["symbols"].value == 3
    assert facts[None]["dagster/row_count"].value == 1
