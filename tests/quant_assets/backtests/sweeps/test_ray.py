"""The same sweep on a Ray cluster, started here for the purpose."""

from __future__ import annotations

import importlib.util
import sys

import dagster as dg
import numpy as np
import pytest

from quant_assets.backtests import sweep
from quant_assets.backtests.sweeps.kept import Kept
from tests.quant_assets.backtests.sweeps.lake_world import Platform, make_lake
from tests.quant_assets.backtests.sweeps.world import GRID, SETTINGS, Cross, averages, market


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="ray is not installed")
def test_a_cluster_gives_what_threads_give(monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    bars = market()
    local, cluster = (
        sweep(
            bars,
            Cross,
            GRID,
            SETTINGS,
            executor,
            features=averages(bars),
            workers=2,
            batch=4,
            progress=False,
            trials=None,
        )
        for executor in ("local", "ray")
    )
    assert cluster.results.equals(local.results)
    assert cluster.failed.equals(local.failed)
    assert np.array_equal(cluster.returns, local.returns)
    assert not sys.modules["ray"].is_initialized(), "a cluster that the sweep started ends with it"


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("dagster_ray") is None, reason="dagster-ray is not installed")
def test_the_asset_on_a_cluster_holds_what_it_holds_on_threads(tmp_path, monkeypatch):
    """A run of the graph, through dagster-ray's resource, on a cluster that it starts and ends."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    held = []
    for executor in ("local", "ray"):
        with dg.DagsterInstance.ephemeral() as instance, pytest.MonkeyPatch.context() as patch:
            folder = tmp_path / executor
            platform = Platform(make_lake(folder), folder / "home", patch, instance)
            run = platform.run("sweep", executor=executor)
            held.append(Kept.read(platform.lake, ("backtests", "sweep"), platform.partition))
            connected = "LocalRay" in " ".join(event.message or "" for event in logged(instance, run.run_id))
            assert connected == (executor == "ray")
    local, cluster = held
    assert cluster.results.equals(local.results)
    assert np.array_equal(cluster.returns, local.returns)
    assert cluster.made_from == local.made_from, "a report takes either"
    assert not sys.modules["ray"].is_initialized(), "a cluster that the run started ends with it"


def logged(instance, run_id):
    return [entry.event_log_entry for entry in instance.get_records_for_run(run_id).records]
