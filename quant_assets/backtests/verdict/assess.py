"""From the tests of a backtest to one verdict: proven on this history or not, and which test says so.

A result is proven if every essential test that could be judged is passed, and those in REQUIRED could be judged. Each
test says in a sentence what it found (questions.py); the report, its checks and its caveats repeat these sentences and
have no opinion of their own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import polars as pl

from quant_assets.backtests.engine import by_session
from quant_assets.backtests.verdict import questions
from quant_assets.backtests.verdict.questions import TITLES, Test
from quant_assets.evidence.bootstrap import Interval, intervals
from quant_assets.evidence.inputs import EvidenceError, Values
from quant_assets.evidence.overfitting import Overfitting, pbo
from quant_assets.evidence.sharpe import Moments, moments, standard_error
from quant_assets.evidence.superiority import Superiority, superiority

if TYPE_CHECKING:
    from quant_assets.backtests.engine import BacktestResult
    from quant_assets.evidence.surface import Surface
    from quant_assets.evidence.trials import Counted
    from resources.config import BacktestSettings

__all__ = ["REQUIRED", "TESTS", "TITLES", "Evidence", "Test", "assess"]

Found = TypeVar("Found")

REQUIRED = ("deflated_sharpe", "minimum_track_record", "bootstrap_interval")
"""Without these nothing is proven."""

FIGURES = ("sharpe_ratio", "cagr", "volatility", "max_drawdown")
"""Of which intervals are made."""

ROUNDING = 1e-9
"""Share of a volatility below which what is left over is nothing."""

TESTS = pl.Schema(
    {
        "name": pl.String(),
        "essential": pl.Boolean(),
        "passed": pl.Boolean(),
        "value": pl.Float64(),
        "threshold": pl.Float64(),
        "words": pl.String(),
    }
)
"""A row a test; passed is null where it could not be judged."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that is known of how far a result can be believed."""

    proven: bool
    headline: str
    """The verdict in a sentence. Where evidence is weak it says so first, and names the tests that failed."""

    tests: tuple[Test, ...]
    trials: Counted
    intervals: dict[str, Interval]
    overfitting: Overfitting | None
    superiority: Superiority | None
    stress: pl.DataFrame | None
    surface: Surface | None
    universe_point_in_time: bool
    ambiguous_share: float
    other_path: Mapping[str, float | None] | None
    lucky_sharpe: float | None = None
    """Annual Sharpe ratio that the best of all trials would be expected to show without any skill."""

    def test(self, name: str) -> Test:
        """The test of that name."""
        return next(test for test in self.tests if test.name == name)

    def frame(self) -> pl.DataFrame:
        """The tests as rows of TESTS."""
        return pl.DataFrame([[getattr(test, name) for name in TESTS] for test in self.tests], TESTS, orient="row")


def assess(
    result: BacktestResult,
    trials: Counted,
    *,
    settings: BacktestSettings,
    benchmark: pl.DataFrame | None = None,
    sweep_returns: Values | None = None,
    stress: pl.DataFrame | None = None,
    surface: Surface | None = None,
    unswept: str | None = None,
    other_path: Mapping[str, float | None] | None = None,
    point_in_time: bool = False,
    samples: int = 10_000,
) -> Evidence:
    """Put every test to a backtest's result, and say what follows.

    `trials` is what is on record of its family, this backtest included. `benchmark` (session, return; sessions that it
    lacks count as unchanged) is what anybody could have held without skill. `sweep_returns` are the returns of all
    runs of the sweep that it was chosen from, shape (periods, runs); without them, `unswept` says in a sentence why
    there are none. `stress` is the frame of stress.stress with costs doubled among them, `other_path` the metrics by
    the other path through ambiguous bars. `samples` of the bootstrap. What is not given is not judged.

    Example: `assess(run(bars, orders), trials.counted("momentum"), settings=BacktestSettings()).headline`
    """
    returns = by_session(result.equity, settings.cash)
    values = returns["return"].fill_null(0.0)  # an account that is lost returns nothing more
    year = settings.periods_per_year or (365.0 if (returns["session"].dt.weekday() > 5).any() else 252.0)
    held, excuse = _judged(lambda: _measured(values))
    spans, narrow = _judged(lambda: intervals(values, FIGURES, samples, periods_per_year=year))
    beta, beyond, unmeasured = _beyond(returns, benchmark)
    overfitting, untested = _of_sweep(sweep_returns, pbo, unswept)
    superior, unsearched = _of_sweep(sweep_returns, superiority, unswept)
    tests = (
        questions.deflated_sharpe(held, trials, year, excuse),
        questions.track_record(held, year, excuse),
        questions.bootstrap_interval(spans, narrow),
        questions.alpha(beyond, beta, trials, year, unmeasured),
        questions.cost_stress(stress, year),
        questions.ambiguous_fills(result, other_path, settings.ambiguous),
        questions.overfitting(overfitting, untested),
        questions.superior(superior, unsearched),
        questions.stable(surface, unswept) if unswept else questions.stable(surface),
        *questions.plain(result, point_in_time),
    )
    fills = result.fills["ambiguous"]
    return Evidence(
        proven=_proven(tests),
        headline=_headline(tests),
        tests=tests,
        trials=trials,
        intervals=spans or {},
        overfitting=overfitting,
        superiority=superior,
        stress=stress,
        surface=surface,
        universe_point_in_time=point_in_time,
        ambiguous_share=int(fills.sum()) / max(fills.len(), 1),
        other_path=other_path,
        lucky_sharpe=None if held is None else questions.luck(held, trials) * math.sqrt(year),
    )


def _judged(statistic: Callable[[], Found]) -> tuple[Found | None, str]:
    """What a statistic found; or None and why it cannot be computed, which is then what the test says."""
    try:
        return statistic(), ""
    except EvidenceError as error:
        return None, f"It could not be judged: {error}."


def _measured(values: Values) -> Moments:
    """The moments. Raises EvidenceError also for those that leave the Sharpe ratio without a standard error."""
    found = moments(values)
    standard_error(found)
    return found


def _beyond(returns: pl.DataFrame, benchmark: pl.DataFrame | None) -> tuple[float | None, Moments | None, str]:
    """Beta, moments of the returns less beta times the benchmark's, and why there are none.

    Source: Treynor and Black (1973), "How to Use Security Analysis to Improve Portfolio Selection": the appraisal ratio
    is the Sharpe ratio of what is left over.
    """
    if benchmark is None:
        return None, None, "No benchmark was given, so what merely rose with the market counts as earned."
    other = benchmark.select("session", market=pl.col("return").cast(pl.Float64))
    both = returns.join(other, on="session", how="left", maintain_order="left").fill_nan(None).fill_null(0.0)
    own, market = both["return"].to_numpy(), both["market"].to_numpy()
    spread = float(market.var())
    beta = float(((own - own.mean()) * (market - market.mean())).mean() / spread) if spread > 0 else 0.0
    left = own - beta * market
    if (
        own.std() > 0 and left.std() <= ROUNDING * own.std()
    ):  # it is the benchmark: what is left is rounding, and says nothing
        return beta, Moments(own.size, 0.0, 0.0, 3.0), ""
    held, excuse = _judged(lambda: _measured(left))
    return beta, held, excuse


def _of_sweep(
    returns: Values | None, statistic: Callable[[Values], Found], why: str | None
) -> tuple[Found | None, str]:
    if returns is None:
        return None, why or "No sweep of this strategy is at hand, so the choice of its parameters was not tested."
    return _judged(lambda: statistic(returns))


def _proven(tests: Sequence[Test]) -> bool:
    failed = any(test.essential and test.passed is False for test in tests)
    return not failed and all(test.passed is True for test in tests if test.name in REQUIRED)


def _headline(tests: Sequence[Test]) -> str:
    essential = [test for test in tests if test.essential]
    failed = [test for test in essential if test.passed is False]
    unjudged = [test for test in essential if test.passed is None]
    if failed:
        return f"Unproven: it fails on {_listed(failed)}."
    if not _proven(tests):
        return f"Unproven: {_listed(unjudged)} could not be judged."
    doubts = [test for test in tests if not test.essential and test.passed is False]
    passed = sum(test.passed is True for test in essential)
    left = f"; not judged: {_listed(unjudged)}" if unjudged else ""
    but = f"; against it: {_listed(doubts)}" if doubts else ""
    return f"Proven on this history: it passes all {passed} essential tests that could be judged{left}{but}."


def _listed(tests: Sequence[Test]) -> str:
    titles = [test.title for test in tests]
    return titles[0] if len(titles) == 1 else f"{', '.join(titles[:-1])} and {titles[-1]}"
