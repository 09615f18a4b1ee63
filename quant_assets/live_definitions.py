"""The second roof: live trading as a code location of its own, so that reloading the graph never touches it."""

from __future__ import annotations

import dagster as dg

from quant_assets.live import assets
from quant_assets.live.job import live_job
from quant_assets.live.wiring import wire
from quant_assets.partitions import PARTITIONS, SESSIONS, SETTINGS
from resources.lake import Lake
from resources.market_data import universe
from sensors.supervisor import supervisor

WORLD = wire(SETTINGS, Lake(SETTINGS.lake_url), lambda: universe(SETTINGS), PARTITIONS.date_key)

live_trading = live_job(WORLD)

defs = dg.Definitions(
    assets=assets.specs(SESSIONS),
    jobs=[live_trading],
    sensors=[supervisor(WORLD, live_trading)],
)
