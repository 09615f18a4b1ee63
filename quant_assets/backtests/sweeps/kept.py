"""A sweep as the lake keeps it: figures a row a run, returns beside them, and what it was all made from.

The report of the same strategy and month reads it, if it was made from what the report is made from.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from quant_assets import strategies
from quant_assets.backtests import engine, market, metrics, simulation
from quant_assets.backtests.as_of import World
from quant_assets.backtests.sweeps import preparing, runs
from quant_assets.backtests.sweeps.configured import Plan
from quant_assets.backtests.sweeps.store import RUN, digest
from quant_assets.evidence.inputs import EvidenceError
from quant_assets.evidence.surface import Surface, surface
from quant_assets.versions import code_version, modules_of
from resources import exchange
from resources.config import BacktestSettings
from resources.lake import Lake, content_version

RETURNS, MADE_FROM, FAILED, SURFACE, SESSIONS = "returns.npy", "made_from.json", "failed", "surface", "sessions"
CODE = (engine, preparing, runs, *(one for room in (market, simulation, metrics, exchange) for one in modules_of(room)))
"""What a run's returns come from, but for the strategy's own."""

SAME = 1e-5
"""How far the return of a session may be from another's that was computed alike: figures of single precision."""

NAMES = {
    "bars": "bars or instruments",
    "features": "features",
    "benchmark": "benchmark",
    "settings": "settings of the backtest",
    "grid": "grid or parameters",
    "code": "code",
}
"""What a sweep is made from, in words."""


def made_from(world: World, plan: Plan, settings: BacktestSettings) -> dict[str, str]:
    """A digest of each of NAMES: alike for the report and the sweep of the same thing."""
    past = world.past
    return {
        "bars": digest(*(part.tobytes() for part in past.market), json.dumps(past.symbols), repr(past.listings)),
        "features": content_version(world.features),
        "benchmark": content_version(world.benchmark),
        "settings": digest(settings.model_dump_json()),
        "grid": digest(json.dumps([*plan.sets, plan.own, plan.of_grid])),
        "code": code_version(*CODE, *strategies.code(plan.strategy)),
    }


@dataclass(frozen=True, slots=True)
class Kept:
    """A sweep that was materialized."""

    results: pl.DataFrame
    """A row a run that came to its end."""
    returns: npt.NDArray[np.float32]
    """(sessions, runs) in the order of `results`; 0.0 where an account had nothing left."""
    sessions: pl.Series
    made_from: Mapping[str, str]

    @property
    def frames(self) -> dict[str, pl.DataFrame]:
        """What lies beside the results, as frames."""
        return {SESSIONS: self.sessions.to_frame("session")}

    @property
    def files(self) -> dict[str, bytes]:
        """What lies beside the results, as files."""
        file = io.BytesIO()
        np.save(file, self.returns, allow_pickle=False)
        return {RETURNS: file.getvalue(), MADE_FROM: json.dumps(self.made_from).encode()}

    @staticmethod
    def read(lake: Lake, asset: Sequence[str], partition: Mapping[str, str]) -> Kept | None:
        """The sweep of a partition; None where there is none. Raises LakeError for one that is damaged."""
        if not lake.exists(asset, partition):
            return None
        beside = {name: lake.read_bytes(asset, partition, name) for name in (RETURNS, MADE_FROM, f"{SESSIONS}.parquet")}
        return Kept(
            results=lake.read(asset, partition),
            returns=np.load(io.BytesIO(beside[RETURNS]), allow_pickle=False),
            sessions=pl.read_parquet(io.BytesIO(beside[f"{SESSIONS}.parquet"]))["session"],
            made_from=json.loads(beside[MADE_FROM]),
        )

    def surface(self, plan: Plan) -> Surface | None:
        """The yearly Sharpe ratio over the grid; None where no run of it has one.

        Without the configured set where that is no combination of the grid: it would lie between its neighbours.
        """
        try:
            return surface(self.results.filter(pl.col(RUN) < plan.of_grid), plan.axes)
        except EvidenceError:
            return None

    def place(self, plan: Plan) -> int | None:
        """Where the configured set stands by its yearly Sharpe ratio, 1 the best; None where it has none."""
        ranked = self.results.filter(pl.col("sharpe_ratio").is_not_null()).sort("sharpe_ratio", descending=True)
        found = ranked[RUN].index_of(plan.own)
        return None if found is None else found + 1

    def unlike(self, wanted: Mapping[str, str], returns: pl.DataFrame, plan: Plan) -> str:
        """What this sweep was made from that a report was not, in words; nothing where the two belong together.

        `wanted` is what the report was made from, `returns` are its own (session, return), which the sweep's run of
        the same parameters has to repeat.
        """
        others = [name for digested, name in NAMES.items() if self.made_from.get(digested) != wanted[digested]]
        if others:
            return f"other {' and '.join(others)}"
        if not self.sessions.equals(returns["session"], check_dtypes=True):
            return "other sessions"
        mine = self.results.with_row_index("column").filter(pl.col(RUN) == plan.own)["column"]
        own = returns["return"].fill_null(0.0).to_numpy()
        if mine.is_empty() or not np.allclose(self.returns[:, mine[0]], own, rtol=0.0, atol=SAME):
            return "something else: its run of these parameters returned otherwise"
        return ""
