"""The portfolio of an optimiser, formed anew each month."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from typing import ClassVar, Literal

import numpy as np
import polars as pl
from pydantic import Field, model_validator

from quant_assets.risk.bounds import Bounds, nearest
from quant_assets.risk.estimates import CovarianceMethod, PortfolioError
from quant_assets.risk.optimisers import hierarchical_risk_parity, mean_variance, minimum_cvar
from quant_assets.risk.sizing import equal_risk
from quant_assets.strategies.base import Strategy, monthly, symbols_of, to_intents, universe
from quant_assets.strategies.cointegration import Floats
from quant_assets.strategies.pairs_cointegration import Prices
from quant_assets.strategies.windows import CLOSE

Method = Literal[
    "minimum_variance",
    "maximum_ratio",
    "maximum_utility",
    "minimum_cvar",
    "hierarchical_risk_parity",
    "equal_risk",
]

RECENT = 5
"""Sessions before a decision on one of which a name must have traded, or it may have gone."""

UNCAPPED = 2.0
"""Turnover of who sells all and buys all anew: a bound of it does not bind."""

INSIDE = 1.0 - 1e-6
"""Share of the room inside the bounds that is filled where they leave less than the whole.

At the whole of it all weights are given, and the solver, which approaches from within, fails on a ratio.
"""

_WEIGHTS = pl.Schema({"decided": pl.Date(), "symbol": pl.String(), "target_weight": pl.Float64()})
_SAID = pl.Schema({"decided": pl.Date(), "said": pl.String(), "others": pl.String()})


@dataclass(frozen=True, slots=True)
class _Decision:
    """The weights by name that hold from a session on, and in words how they were found."""

    decided: date
    weights: Mapping[str, float]
    said: str
    others: str
    """What is said of names without a weight."""


class OptimisedPortfolio(Strategy):
    """Hold the portfolio that `method` makes of the last `window` returns, long only, formed anew each month.

    Decided on the first session of each month, from daily returns up to its close. Names that trade on 80% of the
    window's sessions, on the first of them and in the last week take part, or those of them that `symbols` names. No
    weight is above `max_weight`; no sector's above `max_sector`, where `sectors` names them ("tech AAPL MSFT, energy
    XOM"; all others are one sector). Money that these leave no room for is cash.

    `max_turnover` bounds the sum of all changes of target weights in a month. What must be bought or sold because names
    come or go does not count, nor does bringing holdings that have drifted back. Each year's first decision is free
    of it: bounds that follow from bounds without end would hang on years that a daily signal does not read.

    A month without a solution (a window that is too short, a ratio where no portfolio within the limits has risen, not
    more sessions than names with a `sample` covariance, a solver that fails) is cash; under a `max_turnover`, which
    forbids to sell all, the portfolio of the month before is kept, if it is of the same year. The reason says so.
    Without a `max_turnover` no decision knows another.

    Source: Markowitz (1952) for variance, ratio and utility; Rockafellar and Uryasev (2000) for CVaR; Lopez de Prado
    (2016) for the hierarchy; Maillard, Roncalli and Teiletche (2010) for equal risk. The last two know no bounds: what
    is held is the nearest portfolio inside them.
    """

    name: ClassVar[str] = "optimised_portfolio"

    method: Method = Field(default="minimum_variance", description="the optimiser", examples=["minimum_cvar"])
    symbols: str = Field(default="", description="names, by commas; empty is all", examples=['"SPY, TLT, GLD"'])
    window: int = Field(default=252, ge=20, le=2520, description="sessions whose returns are used", examples=[252])
    max_weight: float = Field(default=0.25, gt=0, le=1, description="of a name", examples=[0.1])
    sectors: str = Field(default="", description="each a word and its names", examples=['"tech AAPL MSFT, energy XOM"'])
    max_sector: float = Field(default=1.0, gt=0, le=1, description="sum of a sector's weights", examples=[0.3])
    max_turnover: float = Field(default=UNCAPPED, gt=0, le=2, description="a month; 2 is no bound", examples=[0.3])
    covariance: CovarianceMethod = Field(default="ledoit_wolf", description="its estimate", examples=["sample"])
    risk_aversion: float = Field(default=5.0, gt=0, description="of maximum_utility", examples=[5.0])
    level: float = Field(default=0.95, gt=0, lt=1, description="of minimum_cvar", examples=[0.95])

    @model_validator(mode="after")
    def _possible(self) -> OptimisedPortfolio:
        if self.max_sector < 1.0 and not self.sectors:
            raise ValueError(
                f"max_sector {self.max_sector} needs sectors; for example sectors: 'tech AAPL, energy XOM'"
            )
        if self.method == "minimum_cvar" and round(self.window * (1.0 - self.level), 9) < 1.0:
            raise ValueError(f"level {self.level}: none of {self.window} sessions is in its tail; use a longer window")
        _by_symbol(self.sectors)
        return self

    @property
    def required_features(self) -> tuple[str, ...]:
        return (CLOSE,)

    @property
    def history(self) -> int:
        """The window before the first session of the month, or the year's, in a market of all days."""
        return self.window + (366 if self._bounded else 31)

    @property
    def _bounded(self) -> bool:
        return self.max_turnover < UNCAPPED

    def intents(self, features: pl.LazyFrame) -> pl.LazyFrame:
        frame = universe(self, features, monthly())
        schema = pl.Schema({**frame.collect_schema(), "target_weight": pl.Float64(), "reason": pl.String()})
        # A portfolio hangs on all names and many sessions at once: no part of the frame can be judged alone.
        judged = frame.map_batches(
            self._judged, schema=schema, predicate_pushdown=False, projection_pushdown=False, slice_pushdown=False
        )
        # A name's own first session under the decision, which may come after the day of it.
        moved = pl.col("decided").ne_missing(pl.col("decided").shift()).over("symbol", order_by="ts")
        return to_intents(
            judged.with_columns(score="target_weight", confidence=pl.lit(None, pl.Float64), rebalance=moved)
        )

    def _judged(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The frame with target_weight and reason."""
        decisions = list(self._decisions(frame))
        weights = [(each.decided, name, weight) for each in decisions for name, weight in each.weights.items()]
        asked = symbols_of(self.symbols)
        apart = ~pl.col("symbol").is_in(asked) if asked else pl.lit(False)
        return (
            frame.join(
                pl.DataFrame(weights, _WEIGHTS, orient="row"),
                on=["decided", "symbol"],
                how="left",
                maintain_order="left",
            )
            .join(
                pl.DataFrame([(each.decided, each.said, each.others) for each in decisions], _SAID, orient="row"),
                on="decided",
                how="left",
                maintain_order="left",
            )
            .with_columns(
                pl.col("target_weight").fill_null(0.0),
                reason=pl.when(pl.col("decided").is_null())
                .then(pl.lit("no first session of a month yet"))
                .when(apart)
                .then(pl.lit("not one of symbols"))
                .when(pl.col("target_weight").is_not_null())
                .then(pl.format("{}% {}", (pl.col("target_weight") * 100).round(1), "said"))
                .otherwise("others"),
            )
            .drop("said", "others")
        )

    def _decisions(self, frame: pl.DataFrame) -> Iterator[_Decision]:
        """One a month, in order of time: on its first session on which anything trades."""
        days = frame.drop_nulls("decided").group_by("decided").agg(pl.col("number").min()).sort("decided")
        if days.is_empty():
            return
        prices = _prices(frame, symbols_of(self.symbols))
        year, before = 0, dict[str, float]()
        for decided, day in days.iter_rows():
            if decided.year != year or not self._bounded:
                year, before = decided.year, {}
            found = self._decided(decided, prices, day, before)
            before = dict(found.weights)
            yield found

    def _decided(self, decided: date, prices: Prices, day: int, before: dict[str, float]) -> _Decision:
        """The decision of a session, after target weights under which at most so much may change; {} where all may."""
        names, values = _returns(prices, day, self.window)
        found: tuple[float, ...] | str = f"fewer than {self.window + 1} sessions, or no name that trades in them"
        if names:
            found = _solved(self, names, values.shape, values.tobytes(), tuple(before.items()))
        if isinstance(found, str):
            said = f"{'kept' if before else 'all is cash'}: no {self.method} on {decided}: {found}"
            return _Decision(decided, before, said, others=said)
        said = f"by {self.method} of {len(names)} names over {len(values)} sessions on {decided}"
        others = f"traded too little, or did not move, in the sessions before {decided}"
        return _Decision(decided, dict(zip(names, found, strict=True)), said, others)

    def _bounds(self, names: tuple[str, ...], before: Mapping[str, float]) -> Bounds:
        sectors = _by_symbol(self.sectors)
        members = Counter(sectors.get(name) for name in names)
        most = self.max_sector if self.max_sector < 1.0 else math.inf
        room = sum(min(most, count * self.max_weight) for count in members.values())
        invested = 1.0 if room > 1.0 else room * INSIDE
        held = {name: before.get(name, 0.0) for name in names}
        return Bounds(
            highest=self.max_weight,
            invested=invested,
            sector=self.max_sector if self.max_sector < 1.0 else None,
            sectors=sectors,
            # What went with names that are gone, or found no room, is bought whatever the bound.
            turnover=self.max_turnover + abs(invested - sum(held.values())) if before else None,
            held=held,
        )

    def _optimised(self, returns: pl.DataFrame, bounds: Bounds) -> dict[str, float]:
        match self.method:
            case "minimum_variance":
                return mean_variance(returns, "minimum_variance", bounds=bounds, covariance=self.covariance)
            case "maximum_ratio":
                return mean_variance(returns, "sharpe", bounds=bounds, covariance=self.covariance)
            case "maximum_utility":
                return mean_variance(returns, "utility", self.risk_aversion, bounds, self.covariance)
            case "minimum_cvar":
                return minimum_cvar(returns, self.level, bounds)
            case "hierarchical_risk_parity":
                return hierarchical_risk_parity(returns, bounds, self.covariance)
            case "equal_risk":
                return nearest(equal_risk(returns, covariance=self.covariance), bounds)


# All later sessions of a month ask for its portfolio again, as do those who replay a history day by day.
@lru_cache(maxsize=64)
def _solved(
    rule: OptimisedPortfolio,
    names: tuple[str, ...],
    shape: tuple[int, int],
    returns: bytes,
    before: tuple[tuple[str, float], ...],
) -> tuple[float, ...] | str:
    """Weights in the order of names, adding up to what may be invested or a rounding less; or why there are none."""
    bounds = rule._bounds(names, dict(before))
    frame = pl.DataFrame(np.frombuffer(returns, np.float64).reshape(shape), list(names))
    try:
        found = np.array(list(rule._optimised(frame, bounds).values()))
    except PortfolioError as error:
        return str(error)
    assert bounds.invested is not None
    scaled = found * min(1.0, bounds.invested / found.sum())
    return tuple(scaled.tolist())


def _returns(prices: Prices, day: int, window: int) -> tuple[tuple[str, ...], Floats]:
    """The names that take part in a decision, and their simple returns, one row a session."""
    logs, whole = prices.formed(day, window + 1)
    recent = np.isfinite(prices.logs[max(0, day - RECENT + 1) : day + 1]).sum(axis=0) > 0
    moves = np.diff(logs, axis=0)
    columns = [column for column in whole if recent[column] and len(np.unique(moves[:, column])) > 1]
    return tuple(prices.names[column] for column in columns), np.ascontiguousarray(np.expm1(moves[:, columns]))


def _prices(frame: pl.DataFrame, asked: list[str]) -> Prices:
    """Log prices of the names that are asked for; of all where none are."""
    wide = frame.select("number", "symbol", pl.col(CLOSE).log()).pivot("symbol", index="number", values=CLOSE)
    names = sorted(name for name in wide.columns[1:] if not asked or name in asked)
    rows = wide["number"].to_numpy()
    # Sessions on which nothing at all was traded have no row in the frame.
    logs = np.full((rows.max() + 1, len(names)), np.nan)
    for column, name in enumerate(names):
        logs[rows, column] = wide[name].to_numpy()
    return Prices(logs, names)


def _by_symbol(sectors: str) -> dict[str, str]:
    """Sector by symbol of "tech AAPL MSFT, energy XOM". Raises ValueError where one has no names, or a name has two."""
    found: dict[str, str] = {}
    for part in symbols_of(sectors):
        sector, *names = part.split()
        if not names:
            raise ValueError(f"sectors {part!r} names no symbol; for example sectors: 'tech AAPL MSFT, energy XOM'")
        for name in names:
            if found.setdefault(name, sector) != sector:
                raise ValueError(f"sectors: {name} is in {found[name]} and in {sector}; leave it in one")
    return found
