"""A small lake with what a sweep and a report read, and both assets over it as Dagster runs them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date
from functools import partial
from pathlib import Path

import dagster as dg
import numpy as np
import polars as pl
import pytest

from quant_assets.backtests import assets
from quant_assets.backtests.assets import report_asset
from quant_assets.backtests.sweeps import assets as sweeps_assets
from quant_assets.backtests.sweeps.assets import sweep_asset
from quant_assets.backtests.verdict.assess import assess
from quant_assets.evidence.trials import Counted
from quant_assets.partitions import HISTORY, SESSIONS, SETTINGS, SYMBOLS
from resources.calendars import sessions
from resources.config import Settings, StrategySettings, SweepSettings
from resources.lake import Lake
from resources.lake_io import LakeIOManager

NAME = "moving_average_cross"
OWN, GRID = {"fast": 10, "slow": 50}, {"fast": [10, 20, 50], "slow": [50, 100]}
FIRST = SETTINGS.dates.start
START = SETTINGS.backtest.start or FIRST
LAST = date(START.year, 12, 30)
MONTH = f"{LAST:%Y-%m}"
WINDOWS = (10, 20, 50, 100)
UPSTREAM = {"cleaned/bars": HISTORY, "features/panel": SESSIONS, "models/predictions": SESSIONS}


class Record:
    """Stands for the record of trials in MLflow: every configuration that was put on it, and its ratio."""

    said: dict[str, float | None] = {}  # noqa: RUF012  # shared by all that are made, as the record is

    def __init__(self, tracking: object) -> None: ...

    def lacking(self, family: str, configurations: Sequence[str]) -> list[str]:
        return [text for text in configurations if text not in self.said]

    def plan(self, family: str, configurations: Sequence[str], *, origin: str, symbols: str | None = None) -> str:
        assert family == NAME
        self.said.update(dict.fromkeys(configurations))
        return origin

    def results(self, plan: str, figures: pl.DataFrame) -> None:
        self.said.update(figures.select("configuration", "sharpe").iter_rows())

    def counted(self, family: str, beside: Iterable[str] = ()) -> Counted:
        known = [ratio for ratio in self.said.values() if ratio is not None]
        return Counted(len(self.said), len(known), float(np.var(known, ddof=1)) if len(known) > 1 else None, 1)


def cleaned(symbol: str, seed: int) -> pl.DataFrame:
    """Daily cleaned bars that swing, so that averages cross; they begin a year before the backtest."""
    days = sessions(SETTINGS.calendar, FIRST, LAST)
    number = np.arange(days.height)
    swings = 0.15 * np.sin(number / 9 + seed) + 0.3 * np.sin(number / 22 + 2 * seed)
    close = 50 * np.exp(swings + np.cumsum(np.random.default_rng(seed).normal(0.0, 0.01, days.height)))
    rows = days.select("session", symbol=pl.lit(symbol), ts="open", known_at="close").with_columns(
        open=close * 1.001, high=close * 1.01, low=close * 0.99, close=close, volume=1e6
    )
    adjusted = {f"adj_{name}": pl.col(name) for name in ("open", "high", "low", "close", "volume")}
    ones = dict.fromkeys(("split", "split_factor", "dividend_factor"), 1.0)
    return rows.with_columns(**adjusted, **ones, dividend=0.0, flags=pl.lit([], pl.List(pl.String)))


def write_bars(lake: Lake, seed: int = 1) -> None:
    frames = [cleaned(symbol, seed + number) for number, symbol in enumerate(("AAA", "BBB"))]
    with lake.writing(("cleaned", "bars")) as staging:
        staging.write(
            [
                ({"symbol": frame["symbol"][0], "date": str(year)}, frame.filter(pl.col("session").dt.year() == year))
                for frame in frames
                for year in frame["session"].dt.year().unique().sort()
            ]
        )
    ratios = (
        (pl.col("adj_close") / pl.col("adj_close").rolling_mean(window).over("symbol", order_by="ts") - 1).alias(
            f"sma_ratio_{window}"
        )
        for window in WINDOWS
    )
    panel = pl.concat(frames).with_columns(*ratios, tradable=pl.lit(True)).sort("session", "symbol")
    with lake.writing(("features", "panel")) as staging:
        parts = panel.partition_by("session", as_dict=True)
        staging.write([({"date": str(session)}, part) for (session,), part in parts.items()])


def make_lake(folder: Path) -> Lake:
    lake = Lake(str(folder / "lake"))
    write_bars(lake)
    with lake.writing(("market_data", "instruments")) as staging:
        staging.write([({}, pl.DataFrame({"symbol": ["AAA", "BBB"], "tick": [0.01, 0.01], "lot": [1.0, 1.0]}))])
    return lake


class Platform:
    """Sweep and report over a lake, in an instance of their own."""

    def __init__(self, lake: Lake, home: Path, patch: pytest.MonkeyPatch, instance: dg.DagsterInstance) -> None:
        self.lake, self.home, self._patch, self._instance = lake, home, patch, instance
        instance.add_dynamic_partitions(SYMBOLS, ["AAA", "BBB"])
        patch.setenv("QUANT_HOME", str(home))
        for module in (assets, sweeps_assets):
            patch.setattr(module, "Trials", Record)
        patch.setattr(Record, "said", {})
        patch.setattr(assets, "assess", partial(assess, samples=200))  # of the bootstrap: what they find is not asked
        self.configure()

    def configure(self, parameters: dict[str, int] = OWN, grid: object = GRID, **backtest: object) -> None:
        """Another configuration of the strategy, or of the backtest."""
        settings: Settings = SETTINGS.model_copy(
            update={"backtest": SETTINGS.backtest.model_copy(update={"start": START, **backtest})}
        )
        strategy = StrategySettings(name=NAME, parameters=parameters, grid=grid)
        for module in (assets, sweeps_assets):
            self._patch.setattr(module, "SETTINGS", settings)
            self._patch.setattr(module, "STRATEGIES", {NAME: strategy})

    def run(self, *names: str, executor: str = "local") -> dg.ExecuteInProcessResult:
        """Materialize assets of the month; the run must succeed."""
        settings = SweepSettings(executor=executor, workers=2)
        upstream = [dg.AssetSpec(key.split("/"), partitions_def=cut) for key, cut in UPSTREAM.items()]
        definitions = dg.Definitions(
            assets=[sweep_asset(settings), report_asset, dg.AssetSpec(["market_data", "instruments"]), *upstream],
            jobs=[dg.define_asset_job("job", dg.AssetSelection.assets(*(f"backtests/{name}" for name in names)))],
            resources={
                "io_manager": LakeIOManager(self.lake, SETTINGS.calendar),
                "lake": dg.ResourceDefinition.hardcoded_resource(self.lake),
                "tracking": dg.ResourceDefinition.hardcoded_resource(None),
                **sweeps_assets.resources(settings),
            },
            executor=dg.in_process_executor,
        )
        key = dg.MultiPartitionKey({"as_of": MONTH, "strategy": NAME})
        return definitions.resolve_job_def("job").execute_in_process(instance=self._instance, partition_key=key)

    @property
    def partition(self) -> dict[str, str]:
        return {"strategy": NAME, "as_of": MONTH}

    def test(self, name: str) -> dict[str, object]:
        """What the report's test of that name said."""
        path = self.lake.path(("backtests", "report"), self.partition, "tests.parquet")
        return pl.read_parquet(path).row(by_predicate=pl.col("name") == name, named=True)
