"""The provider and the universe that a configuration names."""

from __future__ import annotations

import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from resources.config import PROJECT, Settings, load
from resources.errors import ConfigError
from resources.market_data import Files, Sample, Yahoo, create, universe


def settings(**changes: Any) -> Settings:
    plain = load().model_dump()
    return Settings.model_validate(plain | changes)


def bars(folder: Path, *symbols: str) -> Path:
    text = "symbol,date,open,high,low,close,volume\n"
    (folder / "bars.csv").write_text(text + "".join(f"{symbol},2014-06-09,10,12,9,11,100\n" for symbol in symbols))
    return folder


def test_each_name_makes_its_provider(tmp_path: Path) -> None:
    assert isinstance(create(settings(provider={"name": "sample"})), Sample)
    assert isinstance(create(settings(provider={"name": "yahoo"})), Yahoo)
    assert isinstance(create(settings(provider={"name": "files", "path": tmp_path})), Files)


def test_files_get_the_exclusions_and_the_calendar(tmp_path: Path) -> None:
    (tmp_path / "bars.csv").write_text("symbol,date,open,high,low,close,volume\nA,2014-06-08,1,1,1,1,1\nB,,1,1,1,1,1\n")
    exclude = [{"symbol": "B", "reason": "no date"}]
    made = create(
        settings(provider={"name": "files", "path": tmp_path}, cleaning={"exclude": exclude}, calendar="24/7")
    )
    sunday = date(2014, 6, 8)
    assert made.bars(["A"], sunday, sunday).collect().height == 1
    assert isinstance(made, Files)
    assert made.symbols() == ["A"]


def test_the_sample_gets_the_exclusions() -> None:
    exclude = [{"symbol": "IBM", "session": "2013-02-28", "reason": "a test"}]
    made = create(settings(provider={"name": "sample"}, cleaning={"exclude": exclude}))
    frame = made.bars(["IBM", "MSFT"], date(2013, 2, 28), date(2013, 3, 1)).collect()
    assert frame.select("symbol", pl.col("ts").dt.date()).rows() == [
        ("IBM", date(2013, 3, 1)),
        ("MSFT", date(2013, 2, 28)),
        ("MSFT", date(2013, 3, 1)),
    ]


def test_a_listed_universe_keeps_its_order() -> None:
    assert universe(settings(universe={"symbols": ["MSFT", "AAPL"]})) == ["MSFT", "AAPL"]


def test_a_universe_file_has_one_symbol_a_line_and_comments(tmp_path: Path) -> None:
    (tmp_path / "u.txt").write_text("# mine\nMSFT  # software\n\n  BRK.B\n")
    assert universe(settings(universe={"file": tmp_path / "u.txt"})) == ["MSFT", "BRK.B"]


def test_all_takes_what_the_files_hold(tmp_path: Path) -> None:
    config = settings(provider={"name": "files", "path": bars(tmp_path, "B", "A")}, universe={"symbols": "all"})
    assert universe(config) == ["A", "B"]


def test_a_symbol_of_the_files_that_is_none_is_named_with_its_file(tmp_path: Path) -> None:
    bars(tmp_path, "A", "a|b")
    (tmp_path / "bars.csv").rename(tmp_path / "theirs.csv")
    bars(tmp_path, "A", "B")
    says = r"^provider\.path: .*/theirs\.csv: 'a\|b' is not a symbol: .*Rename it there, or list .*universe\.symbols"
    for path in (tmp_path, tmp_path / "theirs.csv"):
        config = settings(provider={"name": "files", "path": path}, universe={"symbols": "all"})
        with pytest.raises(ConfigError, match=says):
            universe(config)


BAD_FILES = [
    ("", r"u\.txt has no symbol; put one on each line, for example AAPL"),
    ("# nothing\n\n", "has no symbol"),
    ("AAPL\naapl\n", r"u\.txt: 'aapl' is not a symbol: capitals.*for example BRK\.B"),
    ("AAPL, MSFT\n", "'AAPL, MSFT' is not a symbol"),
    ("AAPL\nMSFT\nAAPL # again\n", "AAPL stands there twice"),
    ("../X\n", r"'\.\./X' is not a symbol"),
]


@pytest.mark.parametrize(("text", "says"), BAD_FILES)
def test_a_bad_universe_file_is_refused(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "u.txt").write_text(text)
    with pytest.raises(ConfigError, match=rf"^universe\.file: .*{says}"):
        universe(settings(universe={"file": tmp_path / "u.txt"}))


def test_a_missing_universe_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"^universe\.file: .*u\.txt cannot be read.*for example configs/universe\.txt"
    ):
        universe(settings(universe={"file": tmp_path / "u.txt"}))


def test_loading_the_providers_loads_no_client() -> None:
    program = (
        "import sys, resources.market_data as m; m.Yahoo(); m.Sample();"
        "print([name for name in sys.argv[1:] if name in sys.modules])"
    )
    heavy = ["yfinance", "curl_cffi", "bokeh_sampledata", "pandas", "exchange_calendars", "requests"]
    command = [sys.executable, "-c", program, *heavy]
    out = subprocess.run(command, capture_output=True, text=True, check=True, cwd=PROJECT)
    assert out.stdout.strip() == "[]"
