"""The second roof: live trading and the stream job as a code location of their own, which reloads never touch."""

from __future__ import annotations

import gc

import dagster as dg

from quant_assets.live import assets
from quant_assets.live.job import live_job
from quant_assets.live.wiring import wire
from quant_assets.partitions import PARTITIONS, SESSIONS, SETTINGS
from quant_assets.streams import assets as streams_assets
from quant_assets.streams import checks as streams_checks
from quant_assets.streams.job import stream_job
from quant_assets.streams.wiring import wire as wire_streams
from resources.config import Settings
from resources.lake import Lake
from resources.market_data import universe
from sensors.streaming import stream_supervisor
from sensors.supervisor import supervisor

LAKE = Lake(SETTINGS.lake_url)
WORLD = wire(SETTINGS, LAKE, lambda: universe(SETTINGS), PARTITIONS.date_key)

live_trading = live_job(WORLD)


def streams(settings: Settings, lake: Lake) -> dg.Definitions:
    """The stream job, its assets, check and supervisor; nothing where the configuration follows no stream."""
    if settings.streams is None:
        return dg.Definitions()
    world = wire_streams(settings, lake, lambda: universe(settings))
    job = stream_job(world)
    return dg.Definitions(
        assets=streams_assets.specs(settings.streams),
        asset_checks=streams_checks.checks,
        jobs=[job],
        sensors=[stream_supervisor(world, job)],
        resources={"lake": dg.ResourceDefinition.hardcoded_resource(lake)},
    )


defs = dg.Definitions.merge(
    dg.Definitions(assets=assets.specs(SESSIONS), jobs=[live_trading], sensors=[supervisor(WORLD, live_trading)]),
    streams(SETTINGS, LAKE),
)

# What was loaded stays as long as the process; not to look through it for garbage saves a short run a fifth.
gc.freeze()
