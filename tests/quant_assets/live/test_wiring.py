"""The live world of a real installation: its lake in, its lake out, and a roof that loads nothing heavy."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from quant_assets.live.frames import EXECUTIONS
from quant_assets.live.job import live_job
from quant_assets.live.wiring import BARS, INSTRUMENTS, SIGNALS, materialized, wire
from quant_assets.live.world import SESSION_TAG
from resources.config import Settings, load
from resources.lake import Lake
from tests.quant_assets.live.stage import FRIDAY, MONDAY, SYMBOLS, WEIGHTS, bars, signals

PROJECT = Path(__file__).resolve().parents[3]


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("QUANT_HOME", str(tmp_path / "home"))
    sample = load(PROJECT / "configs" / "sample.yaml")
    live = sample.live.model_copy(update={"strategy": "test", "replay_seconds": 0.3})
    return sample.model_copy(update={"live": live, "dates": sample.dates.model_copy(update={"end": MONDAY})})


@pytest.fixture
def lake(settings: Settings) -> Lake:
    """Bars by symbol and year, and two strategies' signals, as the graph leaves them."""
    lake = Lake(settings.lake_url)
    with lake.writing(BARS) as staging:
        both = pl.concat([bars(FRIDAY), bars(MONDAY)])
        staging.write([({"symbol": name, "date": "2013"}, both.filter(pl.col("symbol") == name)) for name in SYMBOLS])
    wanted = signals(FRIDAY, WEIGHTS)
    with lake.writing(SIGNALS) as staging:
        other = wanted.with_columns(strategy=pl.lit("other"), target_weight=pl.lit(0.01))
        staging.write([({"date": FRIDAY.isoformat()}, pl.concat([wanted, other]))])
    return lake


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    home = tmp_path / "dagster"
    home.mkdir()
    with dg.DagsterInstance.local_temp(str(home), overrides={"telemetry": {"enabled": False}}) as instance:
        yield instance


def test_a_session_from_lake_to_lake(settings: Settings, lake: Lake, instance: dg.DagsterInstance) -> None:
    world = wire(settings, lake, lambda: [*SYMBOLS, "NEW"], lambda session: f"{session:%Y}")
    result = live_job(world).execute_in_process(instance=instance)
    assert result.success
    executions = lake.read(("live", "executions"), {"date": "2013-02-25"})
    assert executions.schema == EXECUTIONS
    assert dict(executions.select("symbol", "quantity").iter_rows()) == {"AAA": 594.0, "BBB": 297.0, "CCC": 100.0}
    assert lake.read(("live", "equity"), {"date": "2013-02-25"}).height >= 2
    (run,) = instance.get_runs()
    assert run.tags[SESSION_TAG] == "2013-02-25"
    assert sorted(path.name for path in (settings.home / "live").iterdir()) == ["journal.sqlite", "paper.sqlite"]


def test_the_venue_knows_the_instruments(settings: Settings, lake: Lake, instance: dg.DagsterInstance) -> None:
    table = pl.DataFrame(
        {"symbol": ["AAA", "BBB"], "tick": [0.25, None], "lot": [100.0, None], "currency": ["USD", "EUR"]}
    )
    with lake.writing(INSTRUMENTS) as staging:
        staging.write([({}, table)])
    world = wire(settings, lake, lambda: SYMBOLS, lambda session: f"{session:%Y}")
    assert live_job(world).execute_in_process(instance=instance).success
    executions = lake.read(("live", "executions"), {"date": "2013-02-25"})
    bought = executions.row(by_predicate=pl.col("symbol") == "AAA", named=True)
    assert bought["price"] == 53.25, "53 and its costs, in whole ticks"
    assert bought["quantity"] == 500.0, "594 shares would be the target, in whole lots"
    assert "BBB" not in executions["symbol"].to_list(), "no rates of euros here"


def test_a_session_that_is_not_recorded_has_no_rows(settings: Settings, lake: Lake) -> None:
    world = wire(settings, lake, lambda: SYMBOLS, lambda session: f"{session:%Y}")
    assert world.bars(MONDAY).height == len(SYMBOLS)
    assert world.bars(date(2013, 2, 26)).is_empty()
    assert world.bars(date(2014, 2, 26)).is_empty()


def test_only_the_traded_strategys_signals(settings: Settings, lake: Lake) -> None:
    world = wire(settings, lake, lambda: SYMBOLS, lambda session: f"{session:%Y}")
    assert world.signals(FRIDAY).select("strategy").unique().item() == "test"


def test_signals_are_there_once_materialized(instance: dg.DagsterInstance) -> None:
    assert not materialized(instance, FRIDAY)
    for key, partition in (("signals/other", "2013-02-22"), ("signals/daily", "2013-02-21")):
        instance.report_runless_asset_event(dg.AssetMaterialization(key.split("/"), partition=partition))
    assert not materialized(instance, FRIDAY)
    instance.report_runless_asset_event(dg.AssetMaterialization(list(SIGNALS), partition="2013-02-22"))
    assert materialized(instance, FRIDAY)


def test_the_roof_loads_nothing_heavy(tmp_path: Path) -> None:
    code = (
        "import sys; from quant_assets.live_definitions import WORLD, defs, live_trading\n"
        "assert defs.resolve_job_def('live_trading').name == live_trading.name\n"
        "assert [sensor.name for sensor in defs.sensors] == ['live_supervisor']\n"
        "heavy = {'torch', 'mlflow', 'great_expectations', 'ray', 'lightgbm', 'numba', 'matplotlib'}\n"
        "sys.exit(f'loaded {heavy & set(sys.modules)}' if heavy & set(sys.modules) else 0)"
    )
    environment = {**os.environ, "QUANT_HOME": str(tmp_path), "PYTHONPATH": str(PROJECT)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
