"""What is stored, as a frame that is kept: it holds what is there when it is collected, wherever the rows have gone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest

from resources.errors import LakeError
from resources.lake import Lake
from resources.streams import stored
from resources.streams.base import Bar, Event, Lost
from resources.streams.recording import Recorder
from resources.streams.stored import recorded, recorded_since
from tests.resources.streams.test_recording import NOW, VENUE, A, numbers, quote, recorder, trade


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "lake"))


@pytest.fixture
def writer(lake: Lake) -> Recorder:
    return recorder(lake)


TOLD: list[Event] = [
    trade(A, 1, 1),
    quote(1),
    Bar("AAA", NOW, 1, 2, 0.5, 1.5, 9),
    Lost("AAA", NOW, "trade", NOW + 9, None, "disconnected"),
]


@pytest.mark.parametrize("table", ["trades", "quotes", "bars", "findings"])
def test_a_frame_that_is_kept_over_rotations_holds_what_is_stored_when_it_is_collected(
    lake: Lake, writer: Recorder, table: str
) -> None:
    kept = recorded(lake, table)
    assert kept.collect().is_empty()
    for _ in range(3):
        writer.store(TOLD)
        for _ in range(2):
            now = recorded(lake, table).collect()
            assert kept.collect().equals(now)
            assert now.height
            writer.rotate()
    assert kept.collect().equals(recorded(lake, table).collect())


def test_frames_of_an_instant_on_are_kept_too(lake: Lake, writer: Recorder) -> None:
    kept = recorded_since(lake, "trades", ["AAA"], NOW + 3_000_000)
    writer.store(VENUE)
    writer.rotate()
    writer.store([trade(A, 50, 50)])
    assert kept.collect()["sequence"].to_list() == [*range(3, 13), 50]


@pytest.mark.parametrize("times", [1, stored.TRIES - 1, stored.TRIES])
def test_rows_that_are_moved_while_they_are_read_are_read_again(
    lake: Lake, writer: Recorder, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    """A rotation between the look for files and the reading, so often in a row."""
    writer.store(VENUE)
    writer.rotate()
    real, left = stored.settled, [times]

    def rotating(table: str, rows: pl.LazyFrame) -> pl.LazyFrame:
        if left[0]:
            left[0] -= 1
            monkeypatch.setattr("resources.streams.recording.settled", real)
            writer.store([trade(A, 60 + left[0], 60 + left[0])])
            writer.rotate()
        return real(table, rows)

    monkeypatch.setattr(stored, "settled", rotating)
    kept = recorded(lake, "trades", ["AAA"])
    if times == stored.TRIES:
        with pytest.raises((LakeError, pl.exceptions.PolarsError)):
            kept.collect()
    else:
        assert kept.collect()["sequence"].to_list() == [*range(1, 13), *range(60, 60 + times)]
    monkeypatch.undo()
    assert numbers(lake) == [*range(1, 13), *range(60, 60 + times)]


Ask = Callable[[pl.LazyFrame], pl.LazyFrame]
ASKS: list[tuple[str, Ask]] = [
    ("all", lambda rows: rows),
    ("some columns", lambda rows: rows.select("price", "symbol")),
    ("none of them", lambda rows: rows.select(pl.lit(1).alias("one"))),
    ("how many", lambda rows: rows.select(pl.len())),
    ("by what makes a row", lambda rows: rows.filter(pl.col("price") > 14, pl.col("symbol") == "AAA")),
    ("by what does not", lambda rows: rows.filter(~pl.col("repaired"), pl.col("provider") == "test").select("price")),
    ("the first", lambda rows: rows.head(3)),
    ("the first of those", lambda rows: rows.filter(pl.col("sequence") > 5).head(3).select("sequence")),
    ("those of the first", lambda rows: rows.head(8).filter(pl.col("sequence") > 5)),
    ("the last", lambda rows: rows.tail(3)),
    ("the middle", lambda rows: rows.slice(5, 4).select("ts")),
    ("sums", lambda rows: rows.group_by("symbol", maintain_order=True).agg(pl.col("size").sum())),
    ("numbered", lambda rows: rows.with_row_index().filter(pl.col("index") % 2 == 0)),
    ("with itself", lambda rows: rows.join(rows.select("symbol", "ts"), on=["symbol", "ts"], maintain_order="left")),
    ("a function", lambda rows: rows.filter(pl.col("price").map_elements(lambda one: one > 14, pl.Boolean))),
]


@pytest.mark.parametrize(("what", "ask"), ASKS, ids=[case[0] for case in ASKS])
@pytest.mark.parametrize("engine", ["in-memory", "streaming"])
def test_what_is_asked_of_the_frame_is_what_its_rows_say(
    lake: Lake, writer: Recorder, what: str, ask: Ask, engine: pl.lazyframe.frame.EngineType
) -> None:
    writer.store([*VENUE[:10], trade(A, 30, 30, repaired=True)])
    writer.rotate()
    writer.store([*VENUE[8:], *VENUE[:2]])
    rows = recorded(lake, "trades")
    assert ask(rows).collect(engine=engine).equals(ask(rows.collect().lazy()).collect())


def test_only_what_is_asked_for_is_read(lake: Lake, writer: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Columns and conditions reach the files, of partitions as of segments."""
    writer.store(VENUE[:10])
    writer.rotate()
    writer.store(VENUE[10:])
    plans: list[str] = []
    real = pl.LazyFrame.collect

    def collect(self: pl.LazyFrame, **options: object) -> object:
        plans.append(self.explain())
        return real(self, **options)  # type: ignore[call-overload]

    rows = recorded(lake, "trades", ["AAA"]).filter(pl.col("price") > 12).select("price")
    monkeypatch.setattr(pl.LazyFrame, "collect", collect)
    assert rows.collect()["price"].to_list() == [float(price) for price in range(13, 23)]
    outer, inner = plans
    assert "PROJECT 2/12 COLUMNS" in outer or "PROJECT 1/12 COLUMNS" in outer
    assert inner.count("Parquet SCAN") == 2
    assert inner.count("PROJECT 7/12 COLUMNS") == 1, "what makes a row, of the partition's"
    selections = [line for line in inner.splitlines() if "SELECTION" in line]
    assert len(selections) == 2
    assert all('col("price") > 12' in line for line in selections)


def test_a_column_that_nobody_asks_for_is_not_read(lake: Lake, writer: Recorder) -> None:
    writer.store(VENUE)
    writer.rotate()
    path = Path(lake.path(("streams", "trades"), {"symbol": "AAA", "date": "2024-03-08"}))
    columns = pq.ParquetFile(path).metadata.row_group(0)
    (column,) = [one for at in range(columns.num_columns) if (one := columns.column(at)).path_in_schema == "fetched_at"]
    content = bytearray(path.read_bytes())
    begin = column.dictionary_page_offset or column.data_page_offset
    content[begin : begin + column.total_compressed_size] = b"\xff" * column.total_compressed_size
    path.write_bytes(content)
    rows = recorded(lake, "trades", ["AAA"])
    assert rows.select("price").collect().height == 12
    with pytest.raises(pl.exceptions.PolarsError):
        rows.collect()
