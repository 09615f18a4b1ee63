"""python -m resources.warehouse."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from resources.lake import Lake
from resources.warehouse.__main__ import main
from resources.warehouse.duckdb import DuckDB
from resources.warehouse.files import LakeFiles
from tests.conftest import SMALL
from tests.resources.warehouse import worlds
from tests.resources.warehouse.conftest import Front


@pytest.fixture
def lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lake:
    monkeypatch.setenv("QUANT_LAKE", str(tmp_path / "lake"))
    return worlds.make(Lake(str(tmp_path / "lake")), *worlds.drawn(1, 5), "%Y")


def configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, warehouse: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(f"{SMALL.read_text()}\nwarehouse: {warehouse}\n")
    monkeypatch.setenv("QUANT_CONFIG", str(path))


def test_load_and_list(
    front: Front, lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    configured(tmp_path, monkeypatch, f"{{engine: clickhouse, port: {front.port}, database: commands}}")
    assert main(["load"]) == 0
    told = capsys.readouterr().out.splitlines()
    assert [line for line in told if "loaded" in line] == [
        "market_data/trades: 1 dates, 3 partitions, 5 rows loaded",
        "market_data/quotes: 1 dates, 3 partitions, 5 rows loaded",
    ]
    assert main(["load", "market_data/trades", "--dates", "2024"]) == 0
    assert capsys.readouterr().out == "market_data/trades: 0 dates, 0 partitions, 0 rows loaded\n"
    assert main(["list"]) == 0
    assert capsys.readouterr().out.split() == ["market_data/quotes", "market_data/trades"]


def test_what_goes_wrong_is_one_line(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["list"]) == 0
    assert capsys.readouterr().out.split() == ["market_data/quotes", "market_data/trades"]
    assert main(["load"]) == 1
    assert capsys.readouterr().err == "warehouse.engine: duckdb reads the lake itself; load is for engine: clickhouse\n"
    pytest.importorskip("clickhouse_connect")
    configured(tmp_path, monkeypatch, "{engine: clickhouse, port: 9}")
    assert main(["load"]) == 1
    assert capsys.readouterr().err.startswith("ClickHouse at http://127.0.0.1:9 did not answer: ")


def test_no_server_is_one_line_on_the_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The driver's own log of it is not shown."""
    pytest.importorskip("clickhouse_connect")
    configured(tmp_path, monkeypatch, "{engine: clickhouse, port: 9}")
    command = [sys.executable, "-m", "resources.warehouse", "list"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[3])
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1, done.stderr


def test_folders_without_rows_and_stray_files_name_no_dimension(lake: Lake) -> None:
    table = Path(lake.folder(["market_data", "trades"]))
    (table / "symbol=ZZZ").mkdir()
    (table / "x=1.txt").touch()
    assert LakeFiles(lake).dimensions("market_data/trades") == ["symbol", "date"]
    with DuckDB(lake) as catalog:
        assert catalog.sql("SELECT count(*) AS n FROM market_data_trades")["n"].to_list() == [5]
