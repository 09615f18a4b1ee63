"""The configuration: what a file becomes, and that each mistake is refused at load, naming field and example."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from resources.config import DEFAULT_CONFIG, PROJECT, Settings, check_symbols, load
from resources.config_providers import FilesSettings
from resources.errors import ConfigError, MissingSecretError

GOOD: dict[str, Any] = {
    "name": "mine",
    "provider": {"name": "sample"},
    "universe": {"symbols": ["AAPL", "MSFT"]},
    "dates": {"start": "2000-03-01", "end": "2013-03-01"},
    "model": {"start": "2005-01-01"},
    "strategies": [{"name": "model_score"}],
    "live": {"strategy": "model_score"},
}


@pytest.fixture
def write(tmp_path: Path) -> Callable[[object], Path]:
    """Write a configuration, given as data or as text, to a file of its own."""

    def write_file(content: object) -> Path:
        path = tmp_path / "mine.yaml"
        path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
        return path

    return write_file


def changed(where: str, value: object) -> dict[str, Any]:
    """GOOD with one field set, `a.b` for field b of section a; None takes it away."""
    config = {name: dict(part) if isinstance(part, dict) else part for name, part in GOOD.items()}
    section, _, field = where.rpartition(".")
    part = config.setdefault(section, {}) if section else config
    if value is None:
        del part[field]
    else:
        part[field] = value
    return config


def test_the_default_configuration_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("QUANT_CONFIG")
    settings = load()
    assert (settings.name, settings.provider.name, settings.grain) == ("sample", "sample", "year")
    assert load() == load(DEFAULT_CONFIG)


def test_a_file_becomes_typed_settings(write: Callable[[object], Path]) -> None:
    settings = load(write(GOOD))
    assert settings.dates.end == date(2013, 3, 1)
    assert settings.universe.symbols == ["AAPL", "MSFT"]
    assert settings.backtest.cash == 1_000_000.0


def test_settings_cannot_be_changed(write: Callable[[object], Path]) -> None:
    with pytest.raises(ValidationError, match="frozen"):
        load(write(GOOD)).name = "other"  # type: ignore[misc]


def test_a_changed_file_is_read_again(write: Callable[[object], Path]) -> None:
    assert load(write(GOOD)).name == "mine"
    assert load(write(changed("name", "other"))).name == "other"


def test_relative_paths_are_taken_from_the_project(write: Callable[[object], Path], tmp_path: Path) -> None:
    config = changed("provider", {"name": "files", "path": "data/bars", "sectors": str(tmp_path / "s.csv")})
    config["universe"] = {"file": "configs/universe.txt"}
    settings = load(write(config))
    assert isinstance(settings.provider, FilesSettings)
    assert settings.provider.path == PROJECT / "data/bars"
    assert settings.provider.sectors == tmp_path / "s.csv"
    assert settings.provider.quotes is None
    assert settings.universe.file == PROJECT / "configs/universe.txt"


def test_the_environment_names_file_home_and_lake(
    write: Callable[[object], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUANT_CONFIG", str(write(GOOD)))
    monkeypatch.delenv("QUANT_HOME")
    assert load().name == "mine"
    assert load().home == PROJECT / ".quant" / "mine"
    monkeypatch.setenv("QUANT_HOME", str(tmp_path))
    assert (load().home, load().lake_url) == (tmp_path, str(tmp_path / "lake"))
    monkeypatch.setenv("QUANT_LAKE", "memory://lake")
    assert load().lake_url == "memory://lake"


def test_a_grid_is_no_part_of_what_a_strategy_is(write: Callable[[object], Path]) -> None:
    """Code versions are made of dumps: signals must not be made anew because another grid is looked at."""
    one = {"name": "model_score", "parameters": {"hold": 2}}
    plain, swept = (load(write(changed("strategies", [one | more]))) for more in ({}, {"grid": {"hold": [1, 2]}}))
    assert swept.strategies[0].grid == {"hold": [1, 2]}
    assert swept.strategies[0].model_dump_json() == plain.strategies[0].model_dump_json()


PROVIDERS = "'sample', 'synthetic', 'files', 'yahoo', 'alpaca', 'binance', 'ib'"
YAHOO = {"name": "yahoo"}

MISTAKES = [  # field, value, what the message says
    (
        "backtest",
        {"start": "1999-12-31"},
        r"backtest\.start 1999-12-31 must not be earlier than dates\.start 2000-03-01",
    ),
    ("name", "My Lake", r"name: .*pattern.*for example name: sample"),
    ("name", None, "name: Field required; for example name: sample"),
    ("provider", None, r"provider: Field required; for example provider: \{name: sample\}"),
    ("provider.name", "bloomberg", rf"provider\.name: Input should be {PROVIDERS}; for example name: sample"),
    ("provider", {"nmae": "sample"}, rf"provider\.name: Input should be {PROVIDERS}; for example name: sample"),
    ("provider", "sample", r"provider: Input should be .*; for example provider: \{name: sample\}"),
    ("provider.nmae", "sample", r"provider\.nmae: no such field here; there are name$"),
    ("provider.path", "data/bars", r"provider\.path: no such field here; there are name$"),
    ("provider", {"name": "files"}, r"provider\.path: Field required; for example path: data/bars"),
    (
        "provider",
        {"name": "files", "path": ""},
        r"provider\.path: it names no file and no folder; for example path",
    ),
    ("provider", {"name": "yahoo", "seed": 7}, r"provider\.seed: no such field here; there are name, timeout_seconds$"),
    (
        "provider",
        YAHOO | {"timeout_seconds": 0},
        r"provider\.timeout_seconds: .*than 0; for example timeout_seconds: 30",
    ),
    ("provider", YAHOO | {"timeout_seconds": float("inf")}, r"provider\.timeout_seconds: .*finite"),
    ("provider", {"name": "alpaca", "feed": "otc"}, r"provider\.feed: Input should be 'sip' or 'iex'; for example"),
    ("provider", {"name": "alpaca", "key": "x"}, r"provider\.key: no such field here; there are name, feed, paper"),
    ("provider", {"name": "ib", "port": 70000}, r"provider\.port: .*65535; for example port: 4002"),
    ("provider", {"name": "binance"}, r"calendar 'XNYS': Binance never closes; for example calendar: 24/7"),
    ("universe", {}, r"universe: give symbols or file, not both; for example symbols: \[AAPL, MSFT\]"),
    ("universe", {"symbols": ["A"], "file": "u.txt"}, "universe: give symbols or file, not both"),
    ("universe.symbols", [], r"universe\.symbols: at least one symbol; for example symbols: \['AAPL', 'MSFT'\]"),
    ("universe.symbols", "AAPL", r"universe\.symbols: 'AAPL' is neither a list nor all; for example symbols"),
    ("universe.symbols", ["AAPL", "aapl"], r"universe\.symbols: 'aapl' is not a symbol.*for example BRK\.B"),
    ("universe.symbols", ["A|B"], r"universe\.symbols: 'A\|B' is not a symbol"),
    (
        "universe.symbols",
        ["AAPL", "AAPL"],
        r"universe\.symbols: AAPL stands there twice; keep one; for example symbols",
    ),
    ("universe.symbols", [True], r'universe\.symbols: True is not text: YAML reads ON.*"ON"'),
    (
        "universe.symbols",
        "all",
        r"universe\.symbols: all works with provider files only; list the symbols, for example",
    ),
    ("dates.start", None, r"dates\.start: Field required; for example start: 2000-01-03"),
    ("dates.start", "first of May", r"dates\.start: .*date.*for example start: 2000-01-03"),
    ("dates.end", "1999-01-01", "dates: end 1999-01-01 must be later than start 2000-03-01"),
    ("calendar", "XNYZ", "calendar: 'XNYZ' is not an exchange calendar like XNYS.*for example calendar: XNYS"),
    ("timeframe", "2h", "timeframe: Input should be '1m', .* or '1d'; for example timeframe: 1d"),
    ("timeframe", "1h", "timeframe '1h': the sample has daily bars only; for example timeframe: 1d"),
    ("timeframe", "5m", "timeframe '5m': the sample has daily bars only"),
    ("grain", "week", "grain: Input should be 'year', 'month' or 'day'; for example grain: year"),
    ("benchmark", "spy", "benchmark: 'spy' is not a symbol"),
    ("cleaning.exclude", [{"symbol": "BF.B"}], r"cleaning\.exclude\.0\.reason: Field required; for example reason"),
    ("cleaning.jump_sigmas", 1, r"cleaning\.jump_sigmas: .*greater than 3; for example jump_sigmas: 12"),
    ("model.start", "2000-01-01", r"model\.start 2000-01-01 must be later than dates\.start 2000-03-01"),
    ("model.start", "2014-01-01", r"model\.start 2014-01-01 must be earlier than dates\.end 2013-03-01"),
    ("model.retrain_months", 5, r"model\.retrain_months: Input should be 1, 2, 3, 4, 6 or 12; for example"),
    ("model.trees", 1.5, r"model\.trees: .*integer.*for example trees: 80"),
    ("strategies", [], r"strategies: .*at least 1 item.*for example strategies: \[\{name: model_score\}\]"),
    ("strategies", [{"name": "a"}, {"name": "a"}], r"strategies: each strategy once; got \['a', 'a'\]"),
    (
        "strategies",
        [{"name": "a", "nmae": 1}],
        r"strategies\.0\.nmae: no such field here; there are name, parameters, grid$",
    ),
    (
        "strategies",
        [{"name": "model_score", "grid": {"hold": []}}],
        r"strategies\.0\.grid: hold has no values; give some, or leave it out; for example grid: \{'fast': \[20, 50\]",
    ),
    ("strategies", [{"name": "a", "grid": {"hold": [1]}}], r"strategies\.0\.grid: it makes 1 runs; a sweep has from 2"),
    ("strategies", [{"name": "a", "grid": {"hold": [1, 2, 1]}}], r"strategies\.0\.grid: hold has a value twice"),
    (
        "strategies",
        [{"name": "a", "grid": {"hold": list(range(400)), "top": list(range(400))}}],
        r".*makes 160,000 runs",
    ),
    ("strategies", [{"name": "a", "grid": {"hold": 3}}], r"strategies\.0\.grid\.hold: Input should be a valid list"),
    ("sweep", {"executor": "dask"}, r"sweep\.executor: Input should be 'local' or 'ray'; for example executor: ray"),
    ("sweep", {"workers": 0}, r"sweep\.workers: .*greater than or equal to 1; for example workers: 4"),
    ("backtest.cash", -5, r"backtest\.cash: .*greater than 0; for example cash: 1000000"),
    ("backtest.start", "2013-03-01", r"backtest\.start 2013-03-01 must be earlier than dates\.end 2013-03-01"),
    ("backtest.participation", 2, r"backtest\.participation: .*less than or equal to 1"),
    ("live.strategy", "other", r"live\.strategy 'other' is not one of the strategies listed"),
    ("live.broker", "alpaca", r"live\.broker: Input should be 'paper'; for example broker: paper"),
    ("live.limits", {"gross": -1}, r"live\.limits\.gross: .*greater than 0; for example gross: 1\.0"),
    ("secrets", {"key": "x"}, "secrets: no such field here; there are name, provider, universe, dates"),
]


@pytest.mark.parametrize(("field", "value", "says"), MISTAKES)
def test_a_mistake_is_refused_naming_file_field_and_mend(
    write: Callable[[object], Path], field: str, value: object, says: str
) -> None:
    with pytest.raises(ConfigError, match=rf"^mine\.yaml: {says}"):
        load(write(changed(field, value)))


def test_all_mistakes_are_named_at_once(write: Callable[[object], Path]) -> None:
    with pytest.raises(ConfigError, match=r"^mine\.yaml: grain: .* \| colour: no such field here"):
        load(write(changed("grain", "week") | {"colour": "red"}))


TEXTS = [
    ("name: [", "not readable as YAML"),
    ("dates: {start: 2000-13-01}", "not readable as YAML: month must be in 1..12"),
    ("", "expected fields such as name, provider and universe; see configs/sample.yaml"),
    ("- name", "expected fields such as name"),
]


@pytest.mark.parametrize(("text", "says"), TEXTS)
def test_a_file_that_is_no_configuration_is_refused(write: Callable[[object], Path], text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=rf"mine\.yaml: {says}"):
        load(write(text))


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yaml: cannot be read .*QUANT_CONFIG"):
        load(tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path)
    (tmp_path / "latin.yaml").write_bytes("name: é".encode("latin-1"))
    with pytest.raises(ConfigError, match=r"latin\.yaml: not readable as YAML"):
        load(tmp_path / "latin.yaml")


@pytest.mark.parametrize(
    "symbol", ["A", "BRK.B", "BRK-B", "^GSPC", "EURUSD=X", "7203.T", "VOD.L", "BTC/USD", "AAPL240315C00170000"]
)
def test_symbols_of_many_venues_pass(symbol: str) -> None:
    assert check_symbols([symbol]) == [symbol]


def test_every_field_has_an_example_that_passes() -> None:
    """An example shown for a mistake must not be one itself."""
    for name, field in Settings.model_fields.items():
        if not field.examples:
            continue
        example = field.examples[0]
        value = yaml.safe_load(example) if isinstance(example, str) and example[0] in "{[" else example
        Settings.model_validate(GOOD | {name: value})


def test_a_place_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (PROJECT / "configs" / "sp500.yaml").read_text()
    file = tmp_path / "mine.yaml"
    file.write_text(text.replace("../shared/data/sp500_daily.parquet", '"${MY_BARS}/daily.parquet"'))
    monkeypatch.setenv("MY_BARS", "/data/bars")
    provider = load(file).provider
    assert isinstance(provider, FilesSettings)
    assert provider.path == Path("/data/bars/daily.parquet")


def test_a_variable_that_is_missing_is_named_with_its_field(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MY_BARS", raising=False)
    file = tmp_path / "mine.yaml"
    file.write_text(
        (PROJECT / "configs" / "sp500.yaml").read_text().replace("../shared/data/sp500_daily.parquet", '"${MY_BARS}"')
    )
    with pytest.raises(MissingSecretError, match=r"mine.yaml: provider.path needs MY_BARS.*export MY_BARS="):
        load(file)


TWICE = [  # text, what the message says
    ("name: a\nuniverse: {symbols: [A]}\nname: b\n", "line 3: name stands there twice, first in line 1; keep one"),
    ("dates:\n  start: 2000-01-03\n  start: 2001-01-03\n", "line 3: start stands there twice, first in line 2"),
    ("provider: {name: sample, name: yahoo}\n", "line 1: name stands there twice"),
    ("strategies:\n  - name: a\n    name: b\n", "line 3: name stands there twice"),
]


@pytest.mark.parametrize(("text", "says"), TWICE)
def test_a_key_that_stands_twice_is_refused(write: Callable[[object], Path], text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=rf"mine\.yaml: .*{says}"):
        load(write(text))


def test_a_merged_key_may_be_set_anew(write: Callable[[object], Path]) -> None:
    text = yaml.safe_dump({**GOOD, "dates": None}).replace("dates: null\n", "")
    dates = "dates: {<<: &held {start: 2000-03-01, end: 2013-03-01}, end: 2012-03-01}\n"
    assert load(write(text + dates)).dates.end == date(2012, 3, 1)


def test_intraday_bars_of_yahoo_are_kept_by_the_day(write: Callable[[object], Path]) -> None:
    config = changed("provider", {"name": "yahoo"}) | {"timeframe": "5m"}
    with pytest.raises(ConfigError, match=r"grain 'year': a partition is fetched whole.*for example grain: day"):
        load(write(config))
    assert load(write(config | {"grain": "day"})).timeframe == "5m"
