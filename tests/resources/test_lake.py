"""The lake: what is written is read back, all of it or nothing is replaced, and versions follow the content."""

from __future__ import annotations

import errno
import math
import os
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resources.errors import LakeError
from resources.lake import Lake, content_version

ASSET = ("cleaned", "bars")
KEYS = [{"symbol": symbol, "date": year} for symbol in ("AAPL", "BRK.B") for year in ("2010", "2011")]


def frame(symbol: str, close: float, rows: int = 3) -> pl.DataFrame:
    start = datetime(2010, 1, 4, 14, 30, tzinfo=UTC)
    return pl.DataFrame(
        {
            "symbol": [symbol] * rows,
            "ts": [start + timedelta(days=day) for day in range(rows)],
            "close": [close + day for day in range(rows)],
        },
        schema={"symbol": pl.String, "ts": pl.Datetime("us", "UTC"), "close": pl.Float64},
    )


def fill(lake: Lake, close: float = 1.0) -> None:
    with lake.writing(ASSET) as staging:
        staging.write([(key, frame(key["symbol"], close)) for key in KEYS])


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(params=["folder", "memory"])
def lake(request: pytest.FixtureRequest, tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "lake") if request.param == "folder" else f"memory://{tmp_path.name}")


def test_what_is_written_is_read_back(lake: Lake) -> None:
    fill(lake)
    assert lake.read(ASSET, KEYS[0]).equals(frame("AAPL", 1.0))
    assert lake.partitions(ASSET) == KEYS
    assert lake.exists(ASSET, KEYS[0])
    assert not lake.exists(ASSET, {"symbol": "AAPL", "date": "2012"})


def test_a_scan_reads_exactly_the_asked_partitions_and_leaves_out_those_never_written(lake: Lake) -> None:
    fill(lake)
    asked = [KEYS[0], KEYS[2], {"symbol": "AAPL", "date": "1999"}]
    assert lake.scan(ASSET, asked).collect()["symbol"].to_list() == ["AAPL"] * 3 + ["BRK.B"] * 3


def test_an_asset_without_partitions_is_one_file(lake: Lake) -> None:
    with lake.writing(["market_data", "instruments"]) as staging:
        staging.write([({}, frame("AAPL", 1.0))])
    assert lake.read(["market_data", "instruments"]).height == 3
    assert lake.partitions(["market_data", "instruments"]) == [{}]
    assert lake.partitions(["never", "written"]) == []


def test_keys_with_odd_characters_keep_apart(lake: Lake) -> None:
    keys = [{"symbol": symbol, "date": "2010"} for symbol in ("A/B", "A=B", "A B", "^GSPC", "EURUSD=X")]
    with lake.writing(ASSET) as staging:
        staging.write([(key, frame(key["symbol"], 1.0)) for key in keys])
    assert sorted(key["symbol"] for key in lake.partitions(ASSET)) == sorted(key["symbol"] for key in keys)
    assert [lake.read(ASSET, key)["symbol"][0] for key in keys] == [key["symbol"] for key in keys]


def test_nothing_written_says_what_and_how_to_mend(lake: Lake) -> None:
    with pytest.raises(LakeError, match=r"cleaned/bars: nothing .* symbol=AAPL date=2010 .*materialize it first"):
        lake.scan(ASSET, [KEYS[0]])
    with pytest.raises(LakeError, match=r"backtests/report as_of=2012-03: report\.html was never written"):
        lake.read_bytes(("backtests", "report"), {"as_of": "2012-03"}, "report.html")


def test_files_beside_the_rows(lake: Lake) -> None:
    with lake.writing(ASSET) as staging:
        staging.write([(KEYS[0], frame("AAPL", 1.0))])
        staging.write_extra(KEYS[0], "fills", frame("AAPL", 9.0))
        staging.write_bytes(KEYS[0], "page.html", b"<p>")
    assert lake.read_bytes(ASSET, KEYS[0], "page.html") == b"<p>"
    assert lake.partitions(ASSET) == [KEYS[0]]


def test_unchanged_content_is_not_written_again(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    fill(lake)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.parquet")}
    with lake.writing(ASSET) as staging:
        same, other = staging.write([(KEYS[0], frame("AAPL", 1.0)), (KEYS[1], frame("AAPL", 2.0))])
    assert (same.changed, other.changed) == (False, True)
    rewritten = [path for path, stamp in before.items() if path.stat().st_mtime_ns != stamp]
    assert [path.parent.name for path in rewritten] == ["date=2011"]


# --- all or nothing


def test_an_error_among_many_partitions_replaces_none(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    fill(lake)
    before = snapshot(tmp_path)

    def fill_and_fail() -> None:
        with lake.writing(ASSET) as staging:
            staging.write([(KEYS[0], frame("AAPL", 5.0)), (KEYS[1], frame("AAPL", 6.0))])
            raise RuntimeError("the third symbol")

    with pytest.raises(RuntimeError, match="the third symbol"):
        fill_and_fail()
    assert snapshot(tmp_path) == before


def test_nothing_is_visible_before_the_end(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    fill(lake)
    with lake.writing(ASSET) as staging:
        staging.write([(KEYS[0], frame("AAPL", 5.0))])
        assert lake.read(ASSET, KEYS[0])["close"][0] == 1.0
        assert lake.partitions(ASSET) == KEYS
    assert lake.read(ASSET, KEYS[0])["close"][0] == 5.0


@pytest.mark.parametrize("failing", range(1, 5))
def test_a_full_disk_replaces_nothing_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    lake = Lake(str(tmp_path))
    fill(lake)
    before, written, put = snapshot(tmp_path), [], lake._put

    def full(path: str, content: bytes) -> None:
        written.append(path)
        if len(written) >= failing:
            Path(path).write_bytes(content[:10])
            raise OSError(errno.ENOSPC, "No space left on device")
        put(path, content)

    monkeypatch.setattr(lake, "_put", full)
    with pytest.raises(LakeError, match=r"cleaned/bars: cannot write to .*No space left.*Nothing was replaced.*Free"):
        fill(lake, close=7.0)
    assert snapshot(tmp_path) == before


def test_a_real_limit_on_file_size_replaces_nothing(tmp_path: Path) -> None:
    """The kernel's own refusal (EFBIG) instead of a pretended one."""
    resource = pytest.importorskip("resource")
    import signal

    lake = Lake(str(tmp_path))
    fill(lake)
    before = snapshot(tmp_path)
    big = pl.DataFrame({"symbol": ["AAPL"] * 5000, "close": [math.sin(number) for number in range(5000)]})
    held = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, held[1]))
        with pytest.raises(LakeError, match="cannot write to"), lake.writing(ASSET) as staging:
            staging.write([(KEYS[0], frame("AAPL", 5.0)), (KEYS[1], big)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, held)
        signal.signal(signal.SIGXFSZ, handler)
    assert snapshot(tmp_path) == before


DAMAGE = [
    ("cut off", lambda good: good[: len(good) // 2]),
    ("empty", lambda good: b""),
    ("not Parquet", lambda good: b"<html>" * 100),
]


@pytest.mark.parametrize(("name", "damage"), DAMAGE, ids=[name for name, _ in DAMAGE])
def test_a_damaged_file_is_named_and_can_be_replaced(lake: Lake, name: str, damage) -> None:  # type: ignore[no-untyped-def]
    fill(lake)
    path = lake.path(ASSET, KEYS[1])
    good = lake._files.cat_file(path)
    lake._files.pipe_file(path, damage(good))
    with pytest.raises(LakeError, match=r"cleaned/bars: .*symbol=AAPL/date=2011/part\.parquet is not readable"):
        lake.scan(ASSET, KEYS).collect()
    assert lake.read(ASSET, KEYS[0]).equals(frame("AAPL", 1.0)), "its neighbours stay readable"
    fill(lake)
    assert lake.read(ASSET, KEYS[1]).equals(frame("AAPL", 1.0))


def test_partitions_of_two_schemas_are_not_mixed(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    fill(lake)
    with lake.writing(ASSET) as staging:
        staging.write([(KEYS[1], frame("AAPL", 1.0).with_columns(pl.col("close").cast(pl.String)))])
    with pytest.raises((LakeError, pl.exceptions.PolarsError), match=r"close|schema"):
        lake.scan(ASSET, KEYS).collect()


# --- the version of a content

CELLS = {
    pl.Float64: st.none() | st.floats(allow_nan=True, allow_infinity=True),
    pl.Int64: st.none() | st.integers(-(2**60), 2**60),
    pl.String: st.none() | st.text(st.characters(exclude_characters="\x1e\x1f", exclude_categories=["Cs"]), max_size=6),
    pl.Boolean: st.none() | st.booleans(),
    pl.Date: st.none() | st.dates(date(1990, 1, 1), date(2030, 1, 1)),
    pl.List(pl.String): st.none() | st.lists(st.sampled_from(["stale", "jump", "missing_session"]), max_size=3),
}


@st.composite
def frames(draw: st.DrawFn) -> pl.DataFrame:
    dtypes = draw(st.lists(st.sampled_from(list(CELLS)), min_size=1, max_size=4))
    rows = draw(st.integers(1, 5))
    return pl.DataFrame(
        {f"c{at}": draw(st.lists(CELLS[dtype], min_size=rows, max_size=rows)) for at, dtype in enumerate(dtypes)},
        schema={f"c{at}": dtype for at, dtype in enumerate(dtypes)},
    )


@given(frames())
def test_a_version_survives_chunks_slices_and_the_file(rows: pl.DataFrame) -> None:
    version = content_version(rows)
    assert content_version(rows.clone()) == version
    assert content_version(pl.concat([rows.head(1), rows.slice(1)], rechunk=False)) == version
    assert content_version(pl.concat([rows, rows], rechunk=False).slice(rows.height)) == version
    import io

    buffer = io.BytesIO()
    rows.write_parquet(buffer)
    assert content_version(pl.read_parquet(io.BytesIO(buffer.getvalue()))) == version


@given(frames(), frames())
def test_different_contents_have_different_versions(one: pl.DataFrame, two: pl.DataFrame) -> None:
    assert (content_version(one) == content_version(two)) == (
        one.schema == two.schema and one.equals(two, null_equal=True)
    )


@given(frames(), st.data())
def test_one_changed_cell_is_a_new_version(rows: pl.DataFrame, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(rows.columns))
    at = data.draw(st.integers(0, rows.height - 1))
    held = rows[name].to_list()
    value = data.draw(
        CELLS[rows.schema[name]].filter(
            lambda value: value != held[at] and not (isinstance(value, float) and math.isnan(value))
        )
    )
    changed = rows.with_columns(pl.Series(name, [*held[:at], value, *held[at + 1 :]], dtype=rows.schema[name]))
    assert content_version(changed) != content_version(rows)


@given(frames())
def test_null_is_no_value(rows: pl.DataFrame) -> None:
    """A null and the value that stands in for it while hashing are told apart."""
    for name, dtype in rows.schema.items():
        if dtype not in (pl.Float64, pl.Int64):
            continue
        nulls = rows.with_columns(pl.lit(None, dtype=dtype).alias(name))
        zeros = rows.with_columns(pl.lit(0, dtype=dtype).alias(name))
        assert content_version(nulls) != content_version(zeros)


def test_order_names_and_types_count_and_the_time_of_fetching_does_not() -> None:
    rows = frame("AAPL", 1.0).with_columns(fetched_at=pl.lit(datetime(2020, 1, 1, tzinfo=UTC)))
    version = content_version(rows)
    assert content_version(rows.reverse()) != version
    assert content_version(rows.rename({"close": "adj_close"})) != version
    assert content_version(rows.with_columns(pl.col("close").cast(pl.Float32))) != version
    assert content_version(rows.with_columns(fetched_at=pl.lit(datetime(2021, 1, 1, tzinfo=UTC)))) == version


def test_a_version_is_the_same_in_every_process() -> None:
    """A stored version is compared years later: this one was computed when the function was written."""
    assert content_version(pl.DataFrame({"symbol": ["AAPL", None], "close": [1.5, None], "ok": [True, None]})) == PINNED


def test_a_version_of_categories_is_that_of_their_names() -> None:
    """Not of their numbers, which depend on what a process has met before."""
    first, second = (pl.DataFrame({"side": pl.Series([word], dtype=pl.Categorical)}) for word in ("up", "down"))
    again = pl.DataFrame({"side": pl.Series(["left", "up"], dtype=pl.Categorical).slice(1)})
    assert content_version(first) != content_version(second)
    assert content_version(first) == content_version(again)


@pytest.mark.parametrize(
    "values", [pl.Series([b"a", None]), pl.Series([[1, 2], None], dtype=pl.Array(pl.Int64, 2))], ids=["bytes", "arrays"]
)
def test_a_version_of_bytes_and_arrays(values: pl.Series) -> None:
    whole = pl.DataFrame({"held": values})
    assert content_version(whole) == content_version(whole.clone()) != content_version(whole.reverse())


PINNED = "edc52a6028a2474323442c72"


def test_what_a_killed_run_left_staged_goes_with_a_later_write(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    with lake.writing(ASSET) as staging:
        staging.write([(KEYS[0], frame("AAPL", 1.0))])
    old, new = (Path(lake.folder(ASSET, KEYS[0])) / f"part.parquet.staged-{name}" for name in ("0ld00000", "n3w00000"))
    old.write_bytes(b"half")
    new.write_bytes(b"half")
    os.utime(old, (0, 0))
    with lake.writing(ASSET) as staging:
        staging.write([(KEYS[0], frame("AAPL", 2.0))])
    assert not old.exists()
    assert new.exists(), "perhaps of a run that is still going"
