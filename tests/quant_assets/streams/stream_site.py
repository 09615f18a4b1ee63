"""A code location for real processes: the synthetic market, quickly, in the folder that STREAM_SITE names."""

from __future__ import annotations

import os
from pathlib import Path

import dagster as dg

from quant_assets.streams.assets import specs
from quant_assets.streams.checks import checks
from quant_assets.streams.job import stream_job
from quant_assets.streams.wiring import wire
from resources.config import load
from resources.lake import Lake
from sensors.streaming import stream_supervisor

FOLDER = Path(os.environ["STREAM_SITE"])
SETTINGS = load(FOLDER / "streams.yaml")
LAKE = Lake(str(FOLDER / "lake"))
WORLD = wire(SETTINGS, LAKE, lambda: ["SYN0001", "SYN0002"])
JOB = stream_job(WORLD)

defs = dg.Definitions(
    assets=specs(WORLD.settings),
    asset_checks=checks,
    jobs=[JOB],
    sensors=[stream_supervisor(WORLD, JOB, every=2)],
    resources={"lake": dg.ResourceDefinition.hardcoded_resource(LAKE)},
)
