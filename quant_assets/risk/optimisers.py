"""Portfolios by optimisation: returns in, weights by name out. Solved by skfolio; the same input, the same weights.

    weights = minimum_cvar(returns, bounds=Bounds(highest=0.2, sector=0.4, sectors=sectors))

Each takes the returns of the periods that may be known (one column a name) and estimates from nothing else. Units are
those of a period of the returns. Importing this module does not load skfolio.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from quant_assets.risk.bounds import Bounds, nearest
from quant_assets.risk.estimates import (
    CovarianceMethod,
    Floats,
    PortfolioError,
    Returns,
    Sample,
    check_method,
    sample,
    with_covariance,
)

Objective = Literal["minimum_variance", "utility", "sharpe"]

WHOLE = 1e-3
"""How far the market's weights may be from adding up to 1: they may be rounded."""

LOOSER = {"tol_gap_abs": 1e-7, "tol_gap_rel": 1e-7, "tol_feas": 1e-7}
"""Tolerances of a second try where the solver does not come as near as skfolio asks of it (gaps of 1e-9)."""


def mean_variance(
    returns: Returns,
    objective: Objective = "minimum_variance",
    risk_aversion: float = 1.0,
    bounds: Bounds | None = None,
    covariance: CovarianceMethod = "sample",
) -> dict[str, float]:
    """The portfolio of least variance, of most utility (mean - risk_aversion / 2 x variance), or of the largest Sharpe.

    Only the first leaves the past's mean returns out, which are the worst of its estimates.

    Raises PortfolioError on returns that do not serve (not more periods than names, unless shrunk), and on bounds that
    no weights keep, naming them.

    Source: Markowitz (1952), "Portfolio Selection".
    """
    held, _ = with_covariance(returns, covariance)
    if objective not in ("minimum_variance", "utility", "sharpe"):
        raise PortfolioError(f"objective: {objective!r} is not known; use minimum_variance, utility or sharpe")
    if objective == "sharpe" and not (held.mean > 0.0).any() and (bounds or Bounds()).lowest >= 0.0:
        raise PortfolioError("objective sharpe: no name has a positive mean return; use minimum_variance")
    return _solved(held, bounds or Bounds(), objective, risk_aversion, _prior(covariance))


def minimum_cvar(returns: Returns, level: float = 0.95, bounds: Bounds | None = None) -> dict[str, float]:
    """The portfolio whose worst 1 - level share of the periods loses least on average.

    Raises PortfolioError on returns that do not serve (fewer periods than make one in the tail), and on bounds that no
    weights keep, naming them.

    Source: Rockafellar and Uryasev (2000), "Optimization of Conditional Value-at-Risk".
    """
    if not 0.0 < level < 1.0:
        raise PortfolioError(f"level is {level}; it must lie between 0 and 1, for example 0.95")
    held = sample(returns, least=math.ceil(round(1.0 / (1.0 - level), 9)))
    return _solved(held, bounds or Bounds(), "minimum_variance", 1.0, None, cvar=level)


def hierarchical_risk_parity(
    returns: Returns, bounds: Bounds | None = None, covariance: CovarianceMethod = "sample"
) -> dict[str, float]:
    """Hierarchical risk parity: names clustered by correlation, money halved along the tree by inverse variance.

    Inverts no matrix, so it serves with more names than periods. It knows no bounds itself: with some, the weights are
    the nearest that keep them.

    Raises PortfolioError on returns that do not serve (fewer than 3 periods), and on bounds that no weights keep.

    Source: Lopez de Prado (2016), "Building Diversified Portfolios that Outperform Out of Sample".
    """
    from skfolio.optimization import HierarchicalRiskParity

    check_method(covariance)
    held = sample(returns, least=3)
    if len(held.names) == 1:
        weights = {held.names[0]: 1.0}
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of a covariance that is singular, which it may be
            fitted = HierarchicalRiskParity(prior_estimator=_prior(covariance)).fit(held.values / _unit(held))
        weights = held.weights(np.asarray(fitted.weights_))
    return weights if bounds is None else nearest(weights, bounds)


@dataclass(frozen=True, slots=True)
class View:
    """An opinion: the portfolio of these weights will return `expected` a period.

    `View({"AAA": 1, "BBB": -1}, 0.0002)`: AAA will do 2 bps a period better than BBB. Without a confidence (above 0; 1
    is certain) a view is as uncertain as the prior makes its portfolio.
    """

    weights: Mapping[str, float]
    expected: float
    confidence: float | None = None


def black_litterman(
    returns: Returns,
    market: Mapping[str, float],
    views: Sequence[View],
    risk_aversion: float = 2.5,
    tau: float = 0.05,
    bounds: Bounds | None = None,
    covariance: CovarianceMethod = "sample",
) -> dict[str, float]:
    """The portfolio of most utility, with mean returns that mix what the market's weights imply with one's views.

    `market` are the weights of all names in equilibrium (market capitalisations as shares), which one without opinion
    would hold; risk_aversion is the market's and one's own. The past's mean returns are not used.

    Raises PortfolioError on returns that do not serve, market weights that are no shares, a tau that is not positive,
    views of other names, views that are none, all
    zero or no numbers, confidences that only some of them have, and on bounds that no weights keep.

    Source: Black and Litterman (1991), "Asset Allocation"; He and Litterman (1999), "The Intuition Behind
    Black-Litterman Model Portfolios"; confidences by Idzorek (2007).
    """
    from skfolio.moments import EquilibriumMu
    from skfolio.prior import BlackLitterman, EmpiricalPrior

    held, _ = with_covariance(returns, covariance)
    if not (math.isfinite(tau) and tau > 0.0):
        raise PortfolioError(f"tau is {tau}; it must be a positive number, for example 0.05")
    _check_market(held, market)
    _check_views(held, views)
    unit = _unit(held)
    implied = EquilibriumMu(
        risk_aversion=risk_aversion * unit,
        weights=np.array([market[name] for name in held.names], float),
        covariance_estimator=_covariance(covariance),
    )
    confident = [view.confidence for view in views if view.confidence is not None]
    prior = BlackLitterman(
        views=[_equation(view, held, unit) for view in views],
        groups=[[f"n{place}" for place in range(len(held.names))]],
        prior_estimator=EmpiricalPrior(mu_estimator=implied, covariance_estimator=_covariance(covariance)),
        tau=tau,
        view_confidences=confident or None,
    )
    return _solved(held, bounds or Bounds(), "utility", risk_aversion, prior)


def _unit(held: Sample) -> float:
    """What returns are counted in for the solver, whose tolerances are made for numbers near 1: a mean volatility."""
    return float(held.values.std(axis=0).mean())


def _equation(view: View, held: Sample, unit: float) -> str:
    """A view in skfolio's words, of names that stand in for the symbols, which may look like formulas (BRK-B)."""
    turned = -1.0 if view.expected < 0.0 else 1.0
    terms = [
        f"{'-' if turned * weight < 0.0 else '+'} {abs(weight):.17g} * n{held.names.index(name)}"
        for name, weight in view.weights.items()
        if weight
    ]
    return f"{' '.join(terms).removeprefix('+ ')} == {abs(view.expected) / unit:.17g}"


def _check_market(held: Sample, market: Mapping[str, float]) -> None:
    if set(market) != set(held.names):
        odd = sorted(set(market) ^ set(held.names))
        raise PortfolioError(f"market: {', '.join(odd)} lack a weight, or returns; give each name one of both")
    for name, weight in market.items():
        if not (math.isfinite(weight) and weight >= 0.0):
            raise PortfolioError(f"market: the weight of {name} is {weight}; it must be a number, 0 or more")
    whole = sum(market.values())
    if abs(whole - 1.0) > WHOLE:
        raise PortfolioError(f"market: the weights add up to {whole:g}; give shares of the market, which add up to 1")


def _check_views(held: Sample, views: Sequence[View]) -> None:
    if not views:
        raise PortfolioError("views: there are none; without an opinion hold the market")
    for number, view in enumerate(views):
        unknown = sorted(set(view.weights) - set(held.names))
        if unknown:
            raise PortfolioError(
                f"view {number}: {', '.join(unknown)} have no returns; give them, or leave the view out"
            )
        numbers = [view.expected, *view.weights.values()]
        if not any(view.weights.values()) or not all(math.isfinite(value) for value in numbers):
            raise PortfolioError(
                f"view {number}: {view}; its weights and what it expects must be numbers, not all zero"
            )
        if view.confidence is not None and not 0.0 < view.confidence <= 1.0:
            raise PortfolioError(f"view {number}: confidence is {view.confidence}; it must be above 0 and at most 1")
    if len({view.confidence is None for view in views}) > 1:
        raise PortfolioError("views: some have a confidence and some have none; give all of them one, or none")


def _covariance(method: CovarianceMethod) -> Any:
    from skfolio.moments import EmpiricalCovariance, LedoitWolf

    return LedoitWolf() if method == "ledoit_wolf" else EmpiricalCovariance()


def _prior(method: CovarianceMethod) -> Any:
    from skfolio.prior import EmpiricalPrior

    return EmpiricalPrior(covariance_estimator=_covariance(method))


def _solved(
    held: Sample, bounds: Bounds, objective: Objective, risk_aversion: float, prior: Any, cvar: float | None = None
) -> dict[str, float]:
    """The weights of skfolio's MeanRisk within bounds, of variance or, where a level is given, of CVaR."""
    from skfolio import RiskMeasure
    from skfolio.exceptions import ConvexOptimizationError
    from skfolio.optimization import MeanRisk, ObjectiveFunction

    if not (math.isfinite(risk_aversion) and risk_aversion > 0.0):
        raise PortfolioError(f"risk_aversion is {risk_aversion}; it must be a positive number")
    bounds.checked(held.names)
    unit = _unit(held)
    goal = {
        "minimum_variance": ObjectiveFunction.MINIMIZE_RISK,
        "utility": ObjectiveFunction.MAXIMIZE_UTILITY,
        "sharpe": ObjectiveFunction.MAXIMIZE_RATIO,
    }[objective]
    model = MeanRisk(
        objective_function=goal,
        risk_measure=RiskMeasure.VARIANCE if cvar is None else RiskMeasure.CVAR,
        risk_aversion=risk_aversion * unit / 2.0,  # skfolio's is of the whole variance
        prior_estimator=prior,
        min_weights=bounds.lowest,
        max_weights=bounds.highest,
        budget=bounds.invested,
        add_constraints=_constraints(bounds, held.names, ratio=objective == "sharpe"),
        cvar_beta=0.95 if cvar is None else cvar,
    )
    try:
        try:
            _fit(model, held.values / unit)
        except (ConvexOptimizationError, UserWarning):
            _fit(model.set_params(solver_params=LOOSER), held.values / unit)
    except np.linalg.LinAlgError as error:
        raise PortfolioError(
            f"{objective}: a matrix is singular ({error}); views that are certain must not contradict each other, and "
            "names must not repeat each other"
        ) from error
    except (ConvexOptimizationError, UserWarning) as error:
        why = bounds.conflict(held.names)
        if why is None and objective == "sharpe" and not _rises(held, bounds):
            why = "objective sharpe: no portfolio within the bounds has a positive mean return; use minimum_variance"
        raise PortfolioError(why or f"{objective}: the solver failed: {error}") from error
    return held.weights(bounds.tidied(np.asarray(model.weights_)))


def _fit(model: Any, values: Floats) -> None:
    """Solve. Raises skfolio's error where there is no solution, UserWarning where the solver calls it inaccurate."""
    with warnings.catch_warnings():
        # A covariance that is singular matters to none of those who take more names than periods.
        warnings.simplefilter("ignore", UserWarning)
        # What the solver itself calls inaccurate is no solution.
        warnings.filterwarnings("error", "Solution may be inaccurate", UserWarning)
        model.fit(values)


def _rises(held: Sample, bounds: Bounds) -> bool:
    """Whether any weights within bounds have a positive mean return: a ratio has no largest value where none has."""
    import cvxpy as cp

    weights = cp.Variable(len(held.names))
    kept = [one for each in bounds.constraints(weights, held.names).values() for one in each]
    return bool(cp.Problem(cp.Maximize((held.mean / _unit(held)) @ weights), kept).solve(solver="CLARABEL") > 0.0)


def _constraints(bounds: Bounds, names: Sequence[str], ratio: bool) -> Callable[[Any], list[Any]]:
    """The bounds that skfolio does not have itself. For a ratio its weights are scaled, as their sum tells."""
    import cvxpy as cp

    if ratio and not bounds.invested:
        raise PortfolioError(
            "bounds.invested: a ratio of return to risk does not say how much; give a sum, for example 1"
        )

    def made(weights: Any) -> list[Any]:
        scale = cp.sum(weights) / bounds.invested if ratio else 1.0
        given = bounds.constraints(weights, names, scale)
        return [one for name in ("gross", "sector", "turnover") for one in given.get(name, [])]

    return made
