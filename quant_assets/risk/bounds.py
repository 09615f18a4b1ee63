"""What the weights of a portfolio may be, and the nearest portfolio that keeps to it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from quant_assets.risk.estimates import Floats, PortfolioError
from quant_assets.risk.limits import NO_SECTOR

NOTHING = 1e-7
"""Weights smaller than this are what the solver leaves of zero."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """Bounds of a portfolio's weights, which are fractions of equity. The default is long only and fully invested.

    Long-short: `Bounds(lowest=-0.1, highest=0.1, invested=0.0, gross=1.0)`.
    """

    lowest: float = 0.0
    """Of each weight; negative lets names be short."""
    highest: float = 1.0
    """Of each weight."""
    invested: float | None = 1.0
    """What the weights add up to; None leaves it open."""
    gross: float | None = None
    """Most that the weights may add up to without their signs."""
    sector: float | None = None
    """Most that the weights of a sector may add up to, without their signs."""
    sectors: Mapping[str, str] = field(default_factory=dict)
    """Sector by name; names without one are one sector."""
    turnover: float | None = None
    """Most that may be traded: the sum of abs(weight - held)."""
    held: Mapping[str, float] = field(default_factory=dict)
    """Weights held now; 0.0 for names that are not named."""

    def checked(self, names: Sequence[str]) -> None:
        """Raise PortfolioError where a bound is no number, or contradicts another by itself."""
        numbers = {
            name: getattr(self, name) for name in ("lowest", "highest", "invested", "gross", "sector", "turnover")
        }
        for name, value in numbers.items():
            if value is not None and not math.isfinite(value):
                raise PortfolioError(f"bounds.{name} is {value}; it must be a number")
        for name, weight in self.held.items():
            if not math.isfinite(weight):
                raise PortfolioError(f"bounds.held: {name} is {weight}; it must be a number")
        for name in ("gross", "sector", "turnover"):
            if numbers[name] is not None and numbers[name] < 0.0:
                raise PortfolioError(f"bounds.{name} is {numbers[name]:g}; it must not be negative")
        if self.lowest > self.highest:
            raise PortfolioError(f"bounds: lowest {self.lowest:g} is above highest {self.highest:g}")
        if self.sector is not None and not self.sectors:
            raise PortfolioError(f"bounds.sector is {self.sector:g}, and no sectors are given: name each one's sector")
        gone = sorted(name for name, weight in self.held.items() if weight and name not in names)
        if self.turnover is not None and gone:
            raise PortfolioError(
                f"bounds.held: {', '.join(gone)} have no returns; give them, or sell those names first"
            )

    def constraints(self, weights: Any, names: Sequence[str], scale: Any = 1.0) -> dict[str, list[Any]]:
        """Each bound as cvxpy takes it, of weights that are `scale` times too large."""
        import cvxpy as cp

        found: dict[str, list[Any]] = {
            "lowest": [weights >= self.lowest * scale],
            "highest": [weights <= self.highest * scale],
        }
        if self.invested is not None:
            found["invested"] = [cp.sum(weights) == self.invested * scale]
        if self.gross is not None:
            found["gross"] = [cp.norm1(weights) <= self.gross * scale]
        if self.sector is not None:
            members = self._members(names).values()
            found["sector"] = [cp.norm1(weights[places]) <= self.sector * scale for places in members]
        if self.turnover is not None:
            held = np.array([self.held.get(name, 0.0) for name in names])
            found["turnover"] = [cp.norm1(weights - held * scale) <= self.turnover * scale]
        return found

    def _members(self, names: Sequence[str]) -> dict[str, list[int]]:
        members: dict[str, list[int]] = {}
        for place, name in enumerate(names):
            members.setdefault(self.sectors.get(name) or NO_SECTOR, []).append(place)
        return members

    def conflict(self, names: Sequence[str]) -> str | None:
        """In words, which bounds no weights keep at once; None where some do."""
        import cvxpy as cp

        weights = cp.Variable(len(names))
        bounds = self.constraints(weights, names)

        def possible(left_out: str = "") -> bool:
            kept = [one for name, each in bounds.items() if name != left_out for one in each]
            problem = cp.Problem(cp.Minimize(0), kept)
            problem.solve(solver="CLARABEL")
            return bool(problem.status in (cp.OPTIMAL, cp.OPTIMAL_INACCURATE))

        if possible():
            return None
        told = ", ".join(f"{name} {getattr(self, name):g}" for name in bounds)
        freeing = [name for name in bounds if possible(left_out=name)]
        mend = f"; there are some without {' or without '.join(freeing)}" if freeing else ""
        return f"no weights of {len(names)} names keep all of: {told}{mend}"

    def tidied(self, values: Floats) -> Floats:
        """A solver's weights without its crumbs."""
        within = np.clip(values, self.lowest, self.highest)
        whole: Floats = (
            np.where(np.abs(within) < NOTHING, 0.0, within) if self.lowest <= 0.0 <= self.highest else within
        )
        return whole


def nearest(weights: Mapping[str, float], bounds: Bounds) -> dict[str, float]:
    """The weights within bounds that differ least from these, by the sum of squares.

    Brings what knows no bounds, as equal risk or a hierarchy, inside them. A name that may be bought has a weight, 0.0
    or another.

    Raises PortfolioError naming the bounds that no weights keep at once.
    """
    import cvxpy as cp

    names = list(weights)
    bounds.checked(names)
    wanted = np.array([weights[name] for name in names], float)
    if not names or not np.isfinite(wanted).all():
        raise PortfolioError(f"weights {dict(weights)}: give a number for each name")
    found = cp.Variable(len(names))
    kept = [one for each in bounds.constraints(found, names).values() for one in each]
    problem = cp.Problem(cp.Minimize(cp.sum_squares(found - wanted)), kept)
    problem.solve(solver="CLARABEL")
    if problem.status != cp.OPTIMAL:
        raise PortfolioError(bounds.conflict(names) or f"nearest: the solver came to no end ({problem.status})")
    return dict(zip(names, bounds.tidied(np.asarray(found.value)).tolist(), strict=True))
