"""The sweep as an asset: what the report of the same strategy and month takes from it, and when it does not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import numpy as np
import polars as pl
import pytest

from quant_assets.backtests.engine import by_session
from quant_assets.backtests.sweeps.assets import resources
from quant_assets.backtests.sweeps.kept import Kept
from quant_assets.partitions import SETTINGS
from resources.config import SweepSettings
from resources.errors import ConfigError
from tests.quant_assets.backtests.sweeps.lake_world import (
    MONTH,
    NAME,
    OWN,
    START,
    Platform,
    Record,
    make_lake,
    write_bars,
)

OF_SWEEP = ("overfitting", "superiority", "surface")
SWEEP, REPORT = ("backtests", "sweep"), ("backtests", "report")


@pytest.fixture
def platform(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Platform]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield Platform(make_lake(tmp_path), tmp_path / "home", monkeypatch, instance)


def kept(platform: Platform) -> Kept:
    found = Kept.read(platform.lake, SWEEP, platform.partition)
    assert found is not None
    return found


def returns_of_report(platform: Platform) -> pl.DataFrame:
    equity = platform.lake.read(REPORT, platform.partition)
    return by_session(equity, SETTINGS.backtest.cash)


def metadata(run: dg.ExecuteInProcessResult) -> dict[str, object]:
    [event] = [one for one in run.get_asset_materialization_events() if one.asset_key == dg.AssetKey(SWEEP)]
    return {name: found.value for name, found in event.materialization.metadata.items()}


def test_the_report_is_judged_by_the_sweep(platform: Platform) -> None:
    shown = metadata(platform.run("sweep", "report"))
    assert (shown["runs"], shown["refused by the strategy"], shown["refused by the exchange"]) == (5, 1, 0)
    assert shown["configured"] == "fast 10, slow 50"
    assert shown["configured is in the grid"]
    best = kept(platform).results.sort("sharpe_ratio", descending=True, nulls_last=True).row(0, named=True)
    assert shown["best"] == f"fast {best['fast']}, slow {best['slow']}"
    assert str(shown["surface"]).startswith("![surface of moving_average_cross](data:image/png;base64,")
    for name in OF_SWEEP:
        assert platform.test(name)["passed"] is not None, name
    assert "the best of 5 runs in one half" in str(platform.test("overfitting")["words"])
    page = platform.lake.read_bytes(REPORT, platform.partition, "report.html").decode()
    assert 'id="surface"' in page
    assert f"The best, with a star: fast {best['fast']}, slow {best['slow']}" in page
    place = 1 + (kept(platform).results["sharpe_ratio"] > kept(platform).results["sharpe_ratio"][0]).sum()
    assert str(platform.test("surface")["words"]).endswith(
        f"The parameters of this report are in place {place} of 5 by Sharpe ratio."
    )


def test_the_sweep_repeats_the_report_and_both_count_as_one_trial(platform: Platform) -> None:
    """The features begin before the first session traded, so that both are warm by then, and alike."""
    platform.run("sweep", "report")
    found, own = kept(platform), returns_of_report(platform)
    assert found.sessions.to_list() == own["session"].to_list()
    assert found.sessions[0] >= START
    assert np.abs(found.returns[:, 0] - own["return"].to_numpy()).max() < 1e-7
    assert found.returns.std(axis=0).min() > 0
    assert len(Record.said) == 5, "five runs, of which the report is one"


def test_a_ratio_is_a_sessions_whoever_puts_it_on_record(platform: Platform) -> None:
    platform.run("sweep")
    before = dict(Record.said)
    platform.run("report")
    assert Record.said.keys() == before.keys()
    for text, ratio in before.items():
        assert Record.said[text] == pytest.approx(ratio, rel=1e-6)


def test_the_configured_set_runs_beside_a_grid_that_has_not_got_it(platform: Platform) -> None:
    platform.configure(parameters={"fast": 20, "slow": 100}, grid={"fast": [10, 50]})
    shown = metadata(platform.run("sweep", "report"))
    assert not shown["configured is in the grid"]
    assert kept(platform).results["fast"].to_list() == [10, 50, 20]
    assert "the best of 3 runs" in str(platform.test("overfitting")["words"])
    laid = pl.read_parquet(platform.lake.path(SWEEP, platform.partition, "surface.parquet"))
    assert laid["fast"].to_list() == [10, 50], "it would lie between neighbours"
    assert "one neighbouring run reaches" in str(platform.test("surface")["words"])


def test_without_a_sweep_the_report_says_how_to_get_one(platform: Platform) -> None:
    platform.run("report")
    for name in OF_SWEEP:
        said = platform.test(name)
        assert said["passed"] is None
        assert said["words"] == (
            f"No sweep of {NAME} as of {MONTH} was run, so the choice of its parameters was not tested: run the job "
            f"sweep, or quant_assets.launch.sweep('{NAME}', '{MONTH}')."
        )
    assert 'id="surface"' not in platform.lake.read_bytes(REPORT, platform.partition, "report.html").decode()


def test_without_a_grid_the_report_says_so(platform: Platform) -> None:
    platform.configure(grid=None)
    platform.run("report")
    assert platform.test("overfitting")["words"] == (
        f"{NAME} has no grid in the configuration (strategies), so the choice of its parameters was not tested: give "
        "it one, and run the job sweep."
    )


STALE = [
    ("bars", lambda on: write_bars(on.lake, seed=5), "other bars or instruments and features and benchmark"),
    ("settings", lambda on: on.configure(cash=2e6), "other settings of the backtest"),
    ("grid", lambda on: on.configure(grid={"fast": [10, 20]}), "other features and grid or parameters"),
    ("own", lambda on: on.configure({"fast": 20, "slow": 50}), "other grid or parameters"),
]


@pytest.mark.parametrize(("change", "says"), [row[1:] for row in STALE], ids=[row[0] for row in STALE])
def test_a_sweep_of_something_else_is_not_used_and_the_report_says_of_what(
    platform: Platform, change: object, says: str
) -> None:
    platform.run("sweep")
    change(platform)  # type: ignore[operator]
    platform.run("report")
    for name in OF_SWEEP:
        assert platform.test(name)["passed"] is None
        assert f"The sweep of {NAME} as of {MONTH} was made from {says}, so it was not used" in str(
            platform.test(name)["words"]
        )


def test_a_sweep_whose_own_run_is_another_is_not_used(platform: Platform) -> None:
    """The last guard: whatever a digest does not see."""
    platform.run("sweep")
    found = kept(platform)
    found.returns[3, 0] += 1e-3
    path = Path(platform.lake.path(SWEEP, platform.partition, "returns.npy"))
    path.write_bytes(found.files["returns.npy"])
    platform.run("report")
    words = "made from something else: its run of these parameters returned otherwise, so it was not used"
    assert words in str(platform.test("overfitting")["words"])


def test_the_same_sweep_again_reads_what_was_kept(platform: Platform) -> None:
    platform.run("sweep")
    [folder] = (platform.home / "sweeps" / NAME / MONTH).glob("*/sweep-*")
    batches = {path: path.stat().st_mtime_ns for path in folder.glob("batch-*")}
    before = kept(platform)
    platform.run("sweep")
    assert {path: path.stat().st_mtime_ns for path in folder.glob("batch-*")} == batches
    assert kept(platform).results.equals(before.results)


def test_ray_is_asked_for_only_where_it_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    assert resources(SweepSettings()) == {}
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"sweep\.executor is ray, and dagster-ray is not installed: pip install"):
        resources(SweepSettings(executor="ray"))


def test_a_strategy_without_a_grid_cannot_be_swept(platform: Platform) -> None:
    platform.configure(parameters=OWN, grid=None)
    with pytest.raises(Exception, match=r"strategies\.moving_average_cross: it has no grid to sweep"):
        platform.run("sweep")
