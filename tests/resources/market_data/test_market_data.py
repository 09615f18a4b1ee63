"""The provider and the universe that a configuration names."""

from __future__ import annotations

import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from resources import market_data
from resources.config import PROJECT, Settings, load
from resources.errors import ConfigError, MissingSecretError
from resources.market_data import Files, Sample, Yahoo, create, universe


def settings(**changes: Any) -> Settings:
    plain = load().model_dump() | {"alternative": {}}  # made-up records go with made-up prices only
    return Settings.model_validate(plain | changes)


def bars(folder: Path, *symbols: str) -> Path:
    text = "symbol,date,open,high,low,close,volume\n"
    (folder / "bars.csv").write_text(text + "".join(f"{symbol},2014-06-09,10,12,9,11,100\n" for symbol in symbols))
    return folder


EXAMPLES = sorted(path.name for path in (PROJECT / "configs").glob("*.yaml") if path.name != "dagster.yaml")


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_example_configuration_makes_a_provider(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALPACA_API_KEY", "key")
    monkeypatch.setenv("ALPACA_SECRET_KEY", "secret")
    made = load(PROJECT / "configs" / name)
    assert create(made).name == made.provider.name


def test_a_provider_that_needs_keys_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ALPACA_API_KEY", raising=False)
    with pytest.raises(MissingSecretError, match="ALPACA_API_KEY and ALPACA_SECRET_KEY must both be set"):
        create(load(PROJECT / "configs" / "alpaca.yaml"))


def test_what_the_configuration_says_reaches_the_provider(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every field of a provider's settings changes the provider that is made."""
    made: dict[str, Any] = {}
    for name in ("Alpaca", "Binance", "InteractiveBrokers", "Yahoo", "Synthetic", "Files"):
        monkeypatch.setattr(
            market_data, name, lambda *given, _name=name, **named: made.update({_name: [*given, *named.values()]})
        )
    asked: list[tuple[str, dict[str, Any]]] = [
        ("Alpaca", {"name": "alpaca", "feed": "iex", "paper": False, "delay_minutes": 3.5,
                    "requests_per_minute": 1234.0, "timeout_seconds": 56.0}),
        ("Binance", {"name": "binance", "timeout_seconds": 56.0}),
        ("InteractiveBrokers", {"name": "ib", "host": "127.0.0.9", "port": 7497, "client_id": 99,
                                "timeout_seconds": 56.0}),
        ("Yahoo", {"name": "yahoo", "timeout_seconds": 56.0}),
        ("Synthetic", {"name": "synthetic", "seed": 99}),
        ("Files", {"name": "files", "path": Path("/a"), "sectors": Path("/b"), "instruments": Path("/c"),
                   "actions": Path("/d"), "quotes": Path("/e"), "trades": Path("/f")}),
    ]  # fmt: skip
    for name, provider in asked:
        create(settings(provider=provider, calendar="24/7"))
        missing = [field for field, value in provider.items() if field != "name" and value not in made[name]]
        assert not missing, f"{name}: {missing} never reached it"


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
