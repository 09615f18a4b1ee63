"""How much to hold: from what may be lost, from volatility, from an edge, or so that every name bears the same risk.

Weights are fractions of equity, negative to be short, as `target_weight` in orders; means and variances are those of a
period of the returns given. Estimates are of the past: point in time is what the caller hands in.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from quant_assets.risk.estimates import CovarianceMethod, Floats, PortfolioError, Returns, with_covariance

CONVERGED = 1e-12
"""Relative difference of risk contributions at which they are equal."""

ROUNDS = 10_000


def fixed_fraction(fraction: float, price: float, stop: float) -> float:
    """The weight at which a position entered at `price` loses `fraction` of equity where it is stopped at `stop`.

    Long where the stop is below the price, short where it is above. Gaps through the stop and costs lose more.

    Source: Vince (1990), "Portfolio Management Formulas", fixed fractional trading.

    Example: `fixed_fraction(0.01, price=50.0, stop=45.0)` is 0.1.
    """
    _in_bounds("fraction", fraction, 0.0, 1.0)
    _in_bounds("price", price, 0.0)
    _in_bounds("stop", stop, 0.0)
    if stop == price:
        raise PortfolioError(f"stop is {stop}, the price itself; a position needs a distance to be stopped at")
    return fraction * price / (price - stop)


def volatility_target(
    returns: Returns,
    weights: Mapping[str, float],
    target: float,
    periods_per_year: float,
    gross: float | None = None,
    covariance: CovarianceMethod = "sample",
) -> dict[str, float]:
    """The weights, all scaled alike so that together they have the volatility `target` a year.

    Of one name, {name: 1.0} gives target / its volatility. Scaled down where they would add up to more than `gross`.

    Raises PortfolioError on returns that do not serve, weights of other names, and weights without risk.

    Source: Moreira and Muir (2017), "Volatility-Managed Portfolios".
    """
    _in_bounds("target", target, 0.0)
    _in_bounds("periods_per_year", periods_per_year, 0.0)
    held, matrix = with_covariance(returns, covariance)
    asked = _by_name(held.names, weights)
    risk = math.sqrt(asked @ matrix @ asked * periods_per_year)
    if risk == 0.0:
        raise PortfolioError("weights: all are zero, which no scale brings to a volatility; give one that is not")
    return held.weights(_within(asked * (target / risk), gross))


def kelly_bet(probability: float, payoff: float, fraction: float = 1.0) -> float:
    """The share of equity to stake on a bet that wins `payoff` times the stake with `probability`, else loses it.

    0.0 where the bet is not worth taking.

    Source: Kelly (1956), "A New Interpretation of Information Rate".
    """
    _in_bounds("probability", probability, 0.0, 1.0)
    _in_bounds("payoff", payoff, 0.0)
    _in_bounds("fraction", fraction, 0.0)
    return fraction * max(probability - (1.0 - probability) / payoff, 0.0)


def kelly(
    returns: Returns,
    fraction: float = 1.0,
    riskless: float = 0.0,
    gross: float | None = None,
    covariance: CovarianceMethod = "sample",
) -> dict[str, float]:
    """Weights that make equity grow fastest: covariance^-1 x (mean - riskless); of one name mean / variance.

    The past's mean is taken for the truth, which it is not: a `fraction` (0.5 is half Kelly) keeps most of the growth
    at far less risk. Neither sign nor sum of the weights is bounded, but by `gross`, to which they are scaled down.

    Raises PortfolioError on returns that do not serve, and a riskless that is no number.

    Source: Thorp (2006), "The Kelly Criterion in Blackjack, Sports Betting, and the Stock Market", section 7.
    """
    _in_bounds("fraction", fraction, 0.0)
    if not math.isfinite(riskless):
        raise PortfolioError(f"riskless is {riskless}; it must be a number, the return of a period without risk")
    held, matrix = with_covariance(returns, covariance)
    fastest = np.asarray(np.linalg.solve(matrix, held.mean - riskless), np.float64)
    return held.weights(_within(fraction * fastest, gross))


def equal_risk(
    returns: Returns, budgets: Mapping[str, float] | None = None, covariance: CovarianceMethod = "sample"
) -> dict[str, float]:
    """Long weights, adding up to 1, that each contribute the same to the portfolio's variance, or their budget of it.

    `budgets` are positive shares by name, in any unit.

    Raises PortfolioError on returns that do not serve, and budgets that are not positive numbers of just these names.

    Source: Maillard, Roncalli and Teiletche (2010), "The Properties of Equally Weighted Risk Contribution Portfolios";
    solved by cyclical coordinate descent, Griveau-Billion, Richard and Roncalli (2013).
    """
    held, matrix = with_covariance(returns, covariance)
    shares = np.full(len(held.names), 1.0) if budgets is None else _by_name(held.names, budgets)
    if not (shares > 0.0).all():
        raise PortfolioError("budgets: each name needs a positive one")
    return held.weights(_equal_risk(matrix, shares / shares.sum()))


def _equal_risk(covariance: Floats, budgets: Floats) -> Floats:
    """Weights with these shares of the variance: minimises w'Cw / 2 - sum(budget x log(w)), a name at a time."""
    scale = np.sqrt(np.diag(covariance))
    correlation = covariance / np.outer(scale, scale)
    weights = np.sqrt(budgets)
    for _ in range(ROUNDS):
        for name in range(weights.size):
            others = correlation[name] @ weights - weights[name]  # its own variance is 1 here
            weights[name] = (-others + math.sqrt(others**2 + 4.0 * budgets[name])) / 2.0
        parts = weights * (correlation @ weights) / budgets
        if np.ptp(parts) <= CONVERGED * parts.max():
            break
    else:
        raise PortfolioError("equal_risk: no weights were found; the covariance is close to singular: use ledoit_wolf")
    amounts = weights / scale
    found: Floats = amounts / amounts.sum()
    return found


def risk_shares(
    returns: Returns, weights: Mapping[str, float], covariance: CovarianceMethod = "sample"
) -> dict[str, float]:
    """What each name contributes to the variance of a portfolio, as shares that add up to 1."""
    held, matrix = with_covariance(returns, covariance)
    asked = _by_name(held.names, weights)
    parts = asked * (matrix @ asked)
    if not parts.sum() > 0.0:
        raise PortfolioError("weights: all are zero, so there is no risk to share; give one that is not")
    return held.weights(parts / parts.sum())


def _by_name(names: tuple[str, ...], given: Mapping[str, float]) -> Floats:
    """Numbers in the order of the names; 0.0 for those that are not given."""
    unknown = sorted(set(given) - set(names))
    if unknown:
        raise PortfolioError(f"weights of {', '.join(unknown)}: there are no returns of them; add them, or leave out")
    values = np.array([given.get(name, 0.0) for name in names], float)
    if not np.isfinite(values).all():
        raise PortfolioError(f"weights: {names[int(np.argmin(np.isfinite(values)))]} has none that is a number")
    return values


def _within(weights: Floats, gross: float | None) -> Floats:
    """The weights, scaled down where they add up to more than `gross`."""
    if gross is None:
        return weights
    _in_bounds("gross", gross, 0.0)
    return weights * min(1.0, gross / max(float(np.abs(weights).sum()), gross))


def _in_bounds(field: str, value: float, above: float, most: float = math.inf) -> None:
    if not (math.isfinite(value) and above < value <= most):
        bounds = f"above {above:g}" + (f" and at most {most:g}" if math.isfinite(most) else "")
        raise PortfolioError(f"{field} is {value}; it must be a number {bounds}")
