"""Downloads of a run that was killed: there for the next one, whole or not at all, and not for ever."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path

import polars as pl
import pytest

from resources.errors import LakeError
from resources.market_data.downloads import KEPT_SECONDS, Downloads

ROWS = pl.DataFrame({"symbol": ["AAPL"], "close": [185.6]})


def test_what_was_kept_is_held_by_whoever_asks_the_same(tmp_path: Path) -> None:
    Downloads(tmp_path, "yahoo bars 1d").keep("AAPL 2024", ROWS)
    later = Downloads(tmp_path, "yahoo bars 1d").held("AAPL 2024", ROWS.schema)
    assert later is not None
    assert later.equals(ROWS)


def test_another_question_or_part_holds_nothing(tmp_path: Path) -> None:
    Downloads(tmp_path, "yahoo bars 1d").keep("AAPL 2024", ROWS)
    assert Downloads(tmp_path, "alpaca bars 1d").held("AAPL 2024", ROWS.schema) is None
    assert Downloads(tmp_path, "yahoo bars 1d").held("MSFT 2024", ROWS.schema) is None


def test_no_rows_are_an_answer_too(tmp_path: Path) -> None:
    downloads = Downloads(tmp_path, "q")
    downloads.keep("AAPL", ROWS.clear())
    held = downloads.held("AAPL", ROWS.schema)
    assert held is not None
    assert (held.height, held.schema) == (0, ROWS.schema)


def test_forgetting_removes_its_own_and_leaves_those_of_others(tmp_path: Path) -> None:
    Downloads(tmp_path, "mine").keep("AAPL", ROWS)
    other = Downloads(tmp_path, "another run's")
    other.keep("AAPL", ROWS)
    mine = Downloads(tmp_path, "mine")
    mine.held("AAPL", ROWS.schema)  # kept by the run that was killed, used by this one
    mine.keep("MSFT", ROWS)
    mine.forget()
    assert mine.held("AAPL", ROWS.schema) is None
    assert mine.held("MSFT", ROWS.schema) is None
    assert other.held("AAPL", ROWS.schema) is not None


def test_what_is_older_than_a_day_counts_no_more_and_is_swept(tmp_path: Path) -> None:
    downloads = Downloads(tmp_path, "q")
    downloads.keep("AAPL", ROWS)
    [file] = tmp_path.iterdir()
    long_ago = time.time() - KEPT_SECONDS - 60
    os.utime(file, (long_ago, long_ago))
    assert downloads.held("AAPL", ROWS.schema) is None
    Downloads(tmp_path, "other").forget()
    assert not list(tmp_path.iterdir())


def test_a_damaged_file_is_asked_for_again(tmp_path: Path) -> None:
    downloads = Downloads(tmp_path, "q")
    downloads.keep("AAPL", ROWS)
    [file] = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:50])
    assert downloads.held("AAPL", ROWS.schema) is None
    downloads.keep("AAPL", ROWS)
    assert downloads.held("AAPL", ROWS.schema) is not None


def test_forgetting_before_anything_was_kept_is_no_error(tmp_path: Path) -> None:
    Downloads(tmp_path / "never made", "q").forget()


def test_rows_of_another_schema_are_asked_for_again(tmp_path: Path) -> None:
    downloads = Downloads(tmp_path, "q")
    downloads.keep("AAPL", ROWS)
    assert downloads.held("AAPL", pl.Schema({**ROWS.schema, "volume": pl.Float64})) is None


def test_a_folder_that_cannot_be_written_is_one_clear_error_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(frame: pl.DataFrame, path: Path, **_: object) -> None:
        path.write_bytes(b"half of it")
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(pl.DataFrame, "write_parquet", full)
        with pytest.raises(LakeError, match=r"downloads: .* cannot be written .*No space left.*Free some space"):
            Downloads(tmp_path / "d", "q").keep("AAPL", ROWS)
    assert not list((tmp_path / "d").iterdir())
    (tmp_path / "file").write_text("")
    with pytest.raises(LakeError, match="cannot be written"):
        Downloads(tmp_path / "file", "q").keep("AAPL", ROWS)
