"""The roof: assembles assets, checks, jobs, schedules, sensors and resources. Nothing else lives here."""

from __future__ import annotations

import gc

import dagster as dg

from quant_assets import jobs
from quant_assets.alternative import assets as alternative_assets
from quant_assets.alternative import checks as alternative_checks
from quant_assets.backtests import assets as backtests_assets
from quant_assets.backtests import checks as backtests_checks
from quant_assets.backtests.sweeps import assets as sweeps_assets
from quant_assets.cleaned import assets as cleaned_assets
from quant_assets.cleaned import checks as cleaned_checks
from quant_assets.features import assets as features_assets
from quant_assets.features import checks as features_checks
from quant_assets.market_data import assets as market_data_assets
from quant_assets.market_data import checks as market_data_checks
from quant_assets.models import assets as models_assets
from quant_assets.models import checks as models_checks
from quant_assets.partitions import SETTINGS
from quant_assets.signals import assets as signals_assets
from quant_assets.signals import checks as signals_checks
from resources.alternative.sources import create as create_sources
from resources.lake import Lake
from resources.lake_io import LakeIOManager
from resources.market_data import create
from resources.tracking import Tracking
from sensors.pipeline import pipeline
from sensors.schedules import after_close
from sensors.universe import universe_sensor

LAKE = Lake(SETTINGS.lake_url)

defs = dg.Definitions(
    assets=dg.load_assets_from_modules(
        [
            *(market_data_assets, alternative_assets, cleaned_assets, features_assets, models_assets),
            *(sweeps_assets, backtests_assets, signals_assets),
        ]
    ),
    asset_checks=[
        check
        for stage in (
            market_data_checks,
            alternative_checks,
            cleaned_checks,
            features_checks,
            models_checks,
            backtests_checks,
            signals_checks,
        )
        for check in stage.checks
    ],
    jobs=jobs.ALL,
    schedules=[after_close],
    sensors=[universe_sensor, pipeline],
    resources={
        # Made when a run asks for it: a missing key must not keep the graph from loading.
        "provider": dg.ResourceDefinition(lambda _: create(SETTINGS)),
        "alternative": dg.ResourceDefinition(lambda _: create_sources(SETTINGS)),
        "tracking": dg.ResourceDefinition.hardcoded_resource(Tracking.of(SETTINGS)),
        "io_manager": LakeIOManager(LAKE, SETTINGS.calendar),
        "lake": dg.ResourceDefinition.hardcoded_resource(LAKE),
        **sweeps_assets.resources(SETTINGS.sweep),
    },
    executor=dg.in_process_executor,
)

# What was loaded stays as long as the process; not to look through it for garbage saves a short run a fifth.
gc.freeze()
