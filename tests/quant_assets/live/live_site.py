"""A code location for real processes: live trading of twelve symbols in the folder LIVE_SITE names.

The venue takes half a second for each order, so that a worker can be killed between two of them; each worker
leaves its process id in the folder.
"""

from __future__ import annotations

import os
import time
from datetime import date
from pathlib import Path

import dagster as dg
import polars as pl
from stage import FRIDAY, MONDAY, bars, opens, signals

from quant_assets.live import assets
from quant_assets.live.job import live_job
from quant_assets.live.sessions import Turn
from quant_assets.live.world import World
from resources.brokers.base import Order, OrderStatus
from resources.brokers.paper import Feed, PaperBroker
from resources.config import BacktestSettings, LiveSettings
from sensors.supervisor import supervisor

FOLDER = Path(os.environ["LIVE_SITE"])
SYMBOLS = tuple(f"SYM{number:02d}" for number in range(12))


class SlowBroker(PaperBroker):
    def submit(self, order: Order) -> OrderStatus:
        (FOLDER / "workers" / str(os.getpid())).touch()
        status = super().submit(order)
        time.sleep(0.5)
        return status


def day(session: date) -> pl.DataFrame:
    return bars(session, SYMBOLS)


def venue() -> PaperBroker:
    terms = BacktestSettings(cash=100_000)
    return SlowBroker(FOLDER / "paper.sqlite", Feed(day, seconds=4.0), terms, replay=True)


WORLD = World(
    settings=LiveSettings(strategy="test", cash=100_000, heartbeat_seconds=1),
    journal=FOLDER / "journal.sqlite",
    turn=lambda now: Turn(FRIDAY, MONDAY, opens(MONDAY), None),
    has_signals=lambda instance, session: True,
    signals=lambda session: signals(session, dict.fromkeys(SYMBOLS, 0.08)),
    bars=day,
    venue=venue,
    write=lambda asset, session, frame: frame.write_parquet(FOLDER / f"{asset[-1]}.parquet"),
)
JOB = live_job(WORLD)

defs = dg.Definitions(
    assets=assets.specs(dg.DailyPartitionsDefinition("2013-02-01", end_date="2013-03-01")),
    jobs=[JOB],
    sensors=[supervisor(WORLD, JOB, every=2)],
)
