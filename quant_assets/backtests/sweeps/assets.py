"""How each strategy would have done with other parameters: the sweep of its grid, which its report is judged by."""

import importlib.util
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import dagster as dg
import numpy as np
import polars as pl

from quant_assets import strategies
from quant_assets.backtests import as_of
from quant_assets.backtests.sweeps import configured, kept
from quant_assets.backtests.sweeps.configured import Plan, check_grid, planned
from quant_assets.backtests.sweeps.executors import init_options
from quant_assets.backtests.sweeps.kept import Kept, made_from
from quant_assets.backtests.sweeps.picture import surface_picture
from quant_assets.backtests.sweeps.runs import BESIDE, FIGURES
from quant_assets.backtests.sweeps.store import RUN
from quant_assets.backtests.sweeps.sweep import SweepResult, sweep
from quant_assets.evidence.trials import Trials
from quant_assets.features.panel import panel_schema
from quant_assets.features.sets import configured as feature_sets
from quant_assets.metadata import columns, picture, preview, show
from quant_assets.partitions import REPORTS, SETTINGS
from quant_assets.versions import code_version
from resources.config import SweepSettings
from resources.errors import ConfigError
from resources.lake_io import Bundle, Table, partition_of

SWEEP = ("backtests", "sweep")
STRATEGIES = {settings.name: settings for settings in SETTINGS.strategies}

_PANEL = panel_schema(feature_sets(SETTINGS).panel.names)
for _settings in SETTINGS.strategies:
    check_grid(_settings, _PANEL)

_EVERY = dg.AllPartitionMapping()
INPUTS: Mapping[str, dg.AssetIn] = {
    "bars": dg.AssetIn(["cleaned", "bars"], partition_mapping=_EVERY),
    "panel": dg.AssetIn(["features", "panel"], partition_mapping=_EVERY),
    "predictions": dg.AssetIn(["models", "predictions"], partition_mapping=_EVERY),
    "instruments": dg.AssetIn(["market_data", "instruments"]),
}
"""What a backtest reads; its report and its sweep alike."""


def parameters_beside(strategy: strategies.Strategy) -> dict[str, object]:
    """What was chosen for a strategy and is no parameter of it."""
    return {"model": SETTINGS.model} if strategy.needs_predictions else {}


@contextmanager
def _cluster(context: dg.InitResourceContext) -> Iterator[Any]:
    """dagster-ray's connection to the cluster of RAY_ADDRESS, else to one that is started for the run."""
    options = {name: value for name, value in init_options(SETTINGS.sweep.workers).items() if value is not None}

    from dagster_ray import LocalRay  # after the environment, which ray reads when it is imported

    with LocalRay(ray_init_options=options).yield_for_execution(context) as connected:
        yield connected


def resources(settings: SweepSettings) -> dict[str, dg.ResourceDefinition]:
    """What the sweep needs to run: nothing by itself, `ray` with that executor.

    Raises ConfigError where it is asked for and not installed. It is imported by the run that needs it.
    """
    if settings.executor == "local":
        return {}
    if importlib.util.find_spec("dagster_ray") is None:
        raise ConfigError("sweep.executor is ray, and dagster-ray is not installed: pip install 'quant-assets[ray]'")
    made = dg.resource(description="A Ray cluster, through dagster-ray: that of RAY_ADDRESS, else one of its own.")
    return {"ray": made(_cluster)}


def sweep_asset(settings: SweepSettings) -> dg.AssetsDefinition:
    """The asset for one executor."""

    @dg.asset(
        name="sweep",
        key_prefix="backtests",
        group_name="backtests",
        owners=["team:research"],
        kinds={"numba", *resources(settings)},
        partitions_def=REPORTS,
        # A sweep is a run of its own: each has its folder, from which it goes on after a kill.
        backfill_policy=dg.BackfillPolicy.multi_run(1),
        ins=INPUTS,
        required_resource_keys={"tracking", *resources(settings)},
        code_version=code_version(
            *(as_of, configured, kept, *kept.CODE, SETTINGS.backtest, *SETTINGS.backtest.code(), SETTINGS.benchmark),
            *(part for one in SETTINGS.strategies if one.grid for part in (one, one.grid)),
            *(module for one in SETTINGS.strategies if one.grid for module in strategies.code(strategies.create(one))),
        ),
        metadata=columns(
            {RUN: pl.Int64(), **FIGURES, **BESIDE},
            {RUN: "number of the parameter set; its parameters stand beside it", "sharpe": "of one session"},
        ),
    )
    def made(
        context: dg.AssetExecutionContext, bars: Table, panel: Table, predictions: Table, instruments: pl.LazyFrame
    ) -> Bundle:
        """A strategy's grid of parameters, each set traded like the report: figures, and returns beside them."""
        keys = partition_of(REPORTS, context.partition_key)
        plan = planned(STRATEGIES[keys["strategy"]])
        world = as_of.world(SETTINGS, keys["as_of"], plan.readers, bars, panel, predictions, instruments)
        folder = SETTINGS.home / "sweeps" / keys["strategy"] / keys["as_of"]
        context.log.info(f"{len(plan.sets)} runs, kept in {folder}: after a kill the same sweep goes on there")
        versions = made_from(world, plan, SETTINGS.backtest)
        found = sweep(
            world.past,
            plan.kind,
            plan.sets,
            SETTINGS.backtest,
            settings.executor,
            features=world.features,
            benchmark=world.benchmark,
            trials=Trials(context.resources.tracking),
            family=keys["strategy"],
            chosen=parameters_beside(plan.strategy),
            # The folder's own name covers the market and the strategy; the code in between is added to it.
            folder=folder / versions["code"],
            workers=settings.workers,
            progress=False,
        )
        swept = Kept(found.results, np.nan_to_num(found.returns, nan=0.0), found.sessions, versions)
        show(context, _shown(keys["strategy"], plan, found, swept))
        return Bundle(found.results, {kept.FAILED: found.failed, **_surface(swept, plan), **swept.frames}, swept.files)

    return made


def _surface(swept: Kept, plan: Plan) -> dict[str, pl.DataFrame]:
    """The surface as rows, one a pair of values of the first two parameters."""
    found = swept.surface(plan)
    if found is None:
        return {}
    rows = [
        ({found.y: down} if found.y else {}) | {found.x: across, found.figure: value if np.isfinite(value) else None}
        for down, line in zip(found.y_values or (None,), found.values.tolist(), strict=True)
        for across, value in zip(found.x_values, line, strict=True)
    ]
    return {kept.SURFACE: pl.DataFrame(rows, infer_schema_length=None)}


def _shown(name: str, plan: Plan, found: SweepResult, swept: Kept) -> dict[str, Any]:
    """What the asset's page says."""
    ranked = found.results.sort("sharpe_ratio", descending=True, nulls_last=True)
    parameters = list(plan.sets[0])
    best, place = ranked.row(0, named=True), swept.place(plan)
    surface = swept.surface(plan)
    figures = ["sharpe_ratio", "cagr", "max_drawdown", "turnover", "fills"]
    refused = found.failed.filter(pl.col("stage") == "parameters").height
    return {
        "runs": found.results.height,
        "refused by the strategy": refused,
        "refused by the exchange": found.failed.height - refused,
        "best": ", ".join(f"{parameter} {best[parameter]}" for parameter in parameters),
        **({} if best["sharpe_ratio"] is None else {"best sharpe_ratio": best["sharpe_ratio"]}),
        "configured": ", ".join(f"{parameter} {plan.sets[plan.own][parameter]}" for parameter in parameters),
        "place of the configured": "none" if place is None else f"{place} of {ranked.height} by sharpe_ratio",
        "configured is in the grid": plan.own < plan.of_grid,
        **({} if surface is None else {"surface": picture(surface_picture(surface, name), f"surface of {name}")}),
        "best runs": preview(ranked.select(RUN, *parameters, *figures).head(8)),
    }


sweeps = sweep_asset(SETTINGS.sweep)
