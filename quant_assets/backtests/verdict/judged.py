"""The returns that the tests of a verdict look at: in excess of cash, until an account is lost, beside a benchmark.

Interest on idle cash is nobody's skill: Sharpe ratios are of returns in excess of what cash earned, as the field
defines them. Source: Sharpe (1994), "The Sharpe Ratio", Journal of Portfolio Management 21(1).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Literal

import numpy as np
import polars as pl

from quant_assets.backtests.engine import by_session
from quant_assets.backtests.metrics.year import sessions_a_year
from quant_assets.evidence.excess import earned_by_cash, over_cash
from quant_assets.evidence.inputs import EvidenceError, Floats, Values, series
from quant_assets.evidence.sharpe import Moments, moments, probabilistic_sharpe, standard_error
from resources.config import BacktestSettings

Benchmark = pl.DataFrame | Literal["cash"] | None

COVERED = 0.95
"""Share of the sessions that a benchmark must have a return of: what it lacks would count as skill."""

ROUNDING = 1e-9
"""Share of a volatility below which what is left over is nothing."""

NEAR = ((-1, -1), (0, 0), (1, 1))
"""Sessions of the benchmark that a session's return is compared with, counted back from its own, first and last of
each column: the one after, its own, the one before."""

FAR = (*NEAR, (2, 5), (6, 10), (11, 21))
"""And those of the month before, which stale marks may lag behind."""

ROOM = 12
"""Sessions of history for each that is looked back."""


@dataclass(frozen=True, slots=True)
class Judged:
    """A result's returns by session, up to the one in which the account was lost, if it was."""

    sessions: pl.Series
    returns: Floats
    """As the metrics have them."""
    values: Floats
    """The same in excess of cash."""
    cash: Floats
    """What cash earned in each session of the history, also of those after the account was lost."""
    yields: bool
    """Whether cash earns anything at all."""
    year: float

    @property
    def cash_total(self) -> float:
        """What cash alone would have earned over the history."""
        return float(np.prod(1.0 + self.cash) - 1.0)


@dataclass(frozen=True, slots=True)
class Beyond:
    """What is left of the returns after beta times a benchmark."""

    held: Moments
    beta: float
    displaced: bool = False
    """Whether the benchmark explains more by a neighbouring session than by the same one."""


def judged(equity: pl.DataFrame, settings: BacktestSettings) -> Judged:
    """Of the equity of a result, a row a step."""
    every = by_session(equity, settings.cash)
    cash = earned_by_cash(every["session"].to_numpy(), settings.cash_yield_bps_per_year)
    alive = every["return"].is_not_null().to_numpy()
    returns = every["return"].drop_nulls().to_numpy()
    return Judged(
        sessions=every["session"].filter(pl.Series(alive)),
        returns=returns,
        values=over_cash(returns, cash[alive]),
        cash=cash,
        yields=settings.cash_yield_bps_per_year > 0,
        year=settings.periods_per_year or sessions_a_year(every["session"]),
    )


def lost(equity: pl.DataFrame) -> tuple[date, float] | None:
    """The session in which nothing was left of an account, and its equity then; None if that never happened."""
    gone = equity.filter(pl.col("equity") <= 0).head(1)
    return None if gone.is_empty() else (gone["session"][0], float(gone["equity"][0]))


def measured(values: Values) -> Moments:
    """The moments, with how much the returns of neighbouring sessions have in common.

    Raises EvidenceError also for those that leave the Sharpe ratio without a standard error.
    """
    found = moments(values, dependent=True)
    standard_error(found)
    return found


def checked(benchmark: Benchmark) -> None:
    """Raise EvidenceError for what is no benchmark: other columns or types, or a session twice."""
    if benchmark is None or (isinstance(benchmark, str) and benchmark == "cash"):
        return
    if not isinstance(benchmark, pl.DataFrame):
        raise EvidenceError(
            f"benchmark is {benchmark if isinstance(benchmark, str) else type(benchmark).__name__!r}; give a polars "
            'DataFrame with session and return, or "cash"'
        )
    missing = [name for name in ("session", "return") if name not in benchmark.columns]
    if missing:
        raise EvidenceError(f"benchmark lacks {missing}; it has {benchmark.columns}. Give session and return")
    if benchmark["session"].dtype != pl.Date or not benchmark["return"].dtype.is_numeric():
        raise EvidenceError(
            f"benchmark has a session of {benchmark['session'].dtype} and a return of {benchmark['return'].dtype}; "
            "give dates and numbers"
        )
    twice = benchmark.filter(pl.col("session").is_duplicated())
    if twice.height:
        raise EvidenceError(
            f"benchmark has the session {twice['session'][0]} more than once, which would multiply the evidence; give "
            "one return a session"
        )


def beyond(of: Judged, benchmark: Benchmark) -> Beyond:
    """What a benchmark does not explain: returns less beta times the benchmark's, both in excess of cash.

    Beta is summed over the benchmark's sessions before, at and after each, so that a benchmark whose day ends at
    another hour, or that is off by a session, does not leave the market's rise over as skill; and once more over those
    of the month before (less in a history shorter than a year), for prices that follow the market late or smoothed.
    What is left by the less favourable of the two is told. "cash" as a benchmark explains nothing.

    Sources: Treynor and Black (1973), "How to Use Security Analysis to Improve Portfolio Selection"; Dimson (1979),
    "Risk Measurement When Shares are Subject to Infrequent Trading", Journal of Financial Economics 7.

    Raises EvidenceError where a benchmark has no return of 95% of the sessions, never moves, or is None.
    """
    if benchmark is None:
        raise EvidenceError(
            "no benchmark was given, so what merely rose with the market would count as earned: give "
            'benchmark= its returns by session or, to compare with cash alone, benchmark="cash"'
        )
    if isinstance(benchmark, str):
        return Beyond(measured(of.values), 0.0)
    own, market = _in_common(of, benchmark)
    near, far = _left(own, market, NEAR), _left(own, market, FAR)
    return far if probabilistic_sharpe(far.held) < probabilistic_sharpe(near.held) else near


def _left(own: Floats, market: Floats, spans: Sequence[tuple[int, int]]) -> Beyond:
    """What is left after beta times the benchmark's sessions in these spans, as far as the history is long enough."""
    own, beside = _neighbouring(own, market, [span for span in spans if span[1] <= max(1, own.size // ROOM)])
    betas, *_ = np.linalg.lstsq(beside - beside.mean(axis=0), own - own.mean(), rcond=None)
    left, beta = own - beside @ betas, float(betas.sum())
    if own.std() > 0 and left.std() <= ROUNDING * own.std():
        # It is the benchmark: what is left is rounding, and says nothing.
        return Beyond(Moments(own.size, 0.0, 0.0, 3.0), beta)
    after, same, before, *_ = np.abs(betas)
    return Beyond(measured(left), beta, displaced=bool(max(before, after) > same and abs(beta) > 0.1))


def _neighbouring(own: Floats, market: Floats, spans: Sequence[tuple[int, int]]) -> tuple[Floats, Floats]:
    """The returns that have all their neighbours, and those: a column a span, the mean of its sessions.

    So a column's coefficient is the beta of all its sessions together.
    """
    sums = np.append(0.0, np.cumsum(market))
    at = np.arange(max(last for _, last in spans), own.size - 1)
    means = [(sums[at - first + 1] - sums[at - last]) / (last - first + 1) for first, last in spans]
    return own[at], np.column_stack(means)


def _in_common(of: Judged, benchmark: pl.DataFrame) -> tuple[Floats, Floats]:
    """Both in excess of cash, over the sessions of which the benchmark has a return."""
    alive = of.cash[: of.values.size]
    mine = pl.DataFrame({"session": of.sessions, "own": of.values, "cash": alive})
    other = benchmark.select("session", market=pl.col("return").cast(pl.Float64)).filter(pl.col("market").is_finite())
    both = mine.join(other, on="session", how="inner", maintain_order="left", validate="1:1")
    if both.height < COVERED * mine.height:
        raise EvidenceError(
            f"the benchmark has a return of {both.height:,} of the {mine.height:,} sessions, and what it lacks would "
            f"count as skill; give one that covers {COVERED:.0%} of them"
        )
    held = series(both["market"].to_numpy(), "benchmark", least=10)
    if np.ptp(held) <= ROUNDING * max(np.abs(held).max(), ROUNDING):
        raise EvidenceError(
            "the benchmark never moves, so it explains nothing: give the returns of what could have been held instead "
            'or, to compare with cash alone, benchmark="cash"'
        )
    return both["own"].to_numpy(), over_cash(held, both["cash"].to_numpy())


def of_sweep(returns: Values, cash: Floats) -> Values:
    """A sweep's returns (periods, runs) in excess of cash; a run that lost its account returns nothing from then on.

    Raises EvidenceError where cash earned something and the sweep has other sessions.
    """
    found = np.asarray(returns)
    if found.ndim != 2 or found.dtype.kind != "f":
        return returns
    ended = np.isnan(found)
    # Missing before a return is no ruin: that stays missing, and is refused by name.
    ruined = ended & (np.logical_and.accumulate(ended[::-1], axis=0)[::-1]) & ~ended[:1]
    if cash.any():
        if found.shape[0] != cash.size:
            raise EvidenceError(
                f"the sweep has {found.shape[0]:,} periods and the result {cash.size:,}, so that what cash earned "
                "cannot be taken off; give the returns of the same sessions"
            )
        found = found - cash[:, None].astype(found.dtype)
    return np.where(ruined, found.dtype.type(0.0), found) if ruined.any() else found
