"""From the tests of a backtest to one verdict: proven on this history or not, and which test says so.

A result is proven if every essential test that could be judged is passed, and those in REQUIRED could be judged; those
in OF_SWEEP as well, where the sweep that it was chosen from is at hand. Each test says in a sentence what it found
(questions.py); the report, its checks and its caveats repeat these sentences and have no opinion of their own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import polars as pl

from quant_assets.backtests.verdict import questions
from quant_assets.backtests.verdict.judged import Benchmark, Judged, beyond, checked, judged, lost, measured, of_sweep
from quant_assets.backtests.verdict.questions import TITLES, Test
from quant_assets.evidence.bootstrap import Interval, intervals
from quant_assets.evidence.inputs import EvidenceError, Floats, Values
from quant_assets.evidence.overfitting import Overfitting, pbo
from quant_assets.evidence.superiority import Superiority, superiority

if TYPE_CHECKING:
    from quant_assets.backtests.engine import BacktestResult
    from quant_assets.evidence.surface import Surface
    from quant_assets.evidence.trials import Counted
    from resources.config import BacktestSettings

__all__ = ["REQUIRED", "TESTS", "TITLES", "Evidence", "Test", "assess"]

Found = TypeVar("Found")

REQUIRED = ("deflated_sharpe", "minimum_track_record", "bootstrap_interval", "alpha")
"""Without these nothing is proven."""

OF_SWEEP = ("overfitting", "superiority")
"""Without these neither, where there is a sweep to judge."""

FIGURES = ("sharpe_ratio", "cagr", "volatility", "max_drawdown")
"""Of which intervals are made."""

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
    benchmark: Benchmark = None,
    sweep_returns: Values | None = None,
    stress: pl.DataFrame | None = None,
    surface: Surface | None = None,
    sweep_note: str | None = None,
    other_path: Mapping[str, float | None] | None = None,
    point_in_time: bool = False,
    samples: int = 10_000,
) -> Evidence:
    """Put every test to a backtest's result, and say what follows.

    `trials` is what is on record of its family, this backtest included. `benchmark` (session, return) is what anybody
    could have held without skill, or "cash" where that was really the only other choice; without it nothing is proven.
    Only sessions that both have are compared, and 95% of them must be. Ratios are of returns in excess of what the
    account's cash earns (settings.cash_yield_bps_per_year). `sweep_returns` are the returns of all
    runs of the sweep that it was chosen from, shape (periods, runs); `sweep_note` says in a sentence why there are
    none or, with a `surface`, where on it this result stands. `stress` is the frame of stress.stress with costs doubled
    among them, `other_path` the metrics by the other path through ambiguous bars. `samples` of the bootstrap.
    What is not given is not judged.

    Example: `assess(run(bars, orders), trials.counted("momentum"), settings=BacktestSettings()).headline`
    """
    checked(benchmark)
    of = judged(result.equity, settings)
    held, excuse = _judged(lambda: measured(of.values))
    spans, narrow = _judged(lambda: _intervals(of, samples))
    found, unmeasured = _judged(lambda: beyond(of, benchmark))
    overfitting, untested = _of_sweep(sweep_returns, of.cash, pbo, sweep_note)
    superior, unsearched = _of_sweep(sweep_returns, of.cash, superiority, sweep_note)
    tests = (
        questions.survival(result.equity, lost(result.equity)),
        questions.deflated_sharpe(held, trials, of, excuse, result.on_record),
        questions.track_record(held, of, excuse),
        questions.bootstrap_interval(spans, of, narrow),
        questions.alpha(found, trials, of, "cash" if isinstance(benchmark, str) else "benchmark", unmeasured),
        questions.cost_stress(stress, of),
        questions.ambiguous_fills(result, other_path, settings.ambiguous, of),
        questions.overfitting(overfitting, untested),
        questions.superior(superior, unsearched),
        questions.stable(surface, sweep_note),
        questions.point_in_time(point_in_time),
        questions.sample(result),
        questions.benchmark(result, unmeasured),
    )
    fills = result.fills["ambiguous"]
    needed = REQUIRED if sweep_returns is None else (*REQUIRED, *OF_SWEEP)
    return Evidence(
        proven=_proven(tests, needed),
        headline=_headline(tests, needed),
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
        lucky_sharpe=None if held is None else questions.luck(held, trials) * math.sqrt(of.year),
    )


def _judged(statistic: Callable[[], Found]) -> tuple[Found | None, str]:
    """What a statistic found; or None and why it cannot be computed, which is then what the test says."""
    try:
        return statistic(), ""
    except EvidenceError as error:
        return None, f"It could not be judged: {error}."


def _intervals(of: Judged, samples: int) -> dict[str, Interval]:
    """Intervals of FIGURES: the Sharpe ratio of returns in excess of cash, the others of the account's own."""
    found = intervals(of.returns, FIGURES, samples, periods_per_year=of.year)
    if of.yields:
        found |= intervals(of.values, ("sharpe_ratio",), samples, periods_per_year=of.year)
    return found


def _of_sweep(
    returns: Values | None, cash: Floats, statistic: Callable[[Values], Found], why: str | None
) -> tuple[Found | None, str]:
    if returns is None:
        return None, why or "No sweep of this strategy is at hand, so the choice of its parameters was not tested."
    return _judged(lambda: statistic(of_sweep(returns, cash)))


def _proven(tests: Sequence[Test], needed: Sequence[str]) -> bool:
    failed = any(test.essential and test.passed is False for test in tests)
    return not failed and all(test.passed is True for test in tests if test.name in needed)


def _headline(tests: Sequence[Test], needed: Sequence[str]) -> str:
    essential = [test for test in tests if test.essential]
    failed = [test for test in essential if test.passed is False]
    unjudged = [test for test in essential if test.passed is None]
    if failed:
        return f"Unproven: it fails on {_listed(failed)}."
    if not _proven(tests, needed):
        missing = [test for test in unjudged if test.name in needed]
        return f"Unproven: {_listed(missing)} could not be judged."
    doubts = [test for test in tests if not test.essential and test.passed is False]
    passed = sum(test.passed is True for test in essential)
    left = f"; not judged: {_listed(unjudged)}" if unjudged else ""
    but = f"; against it: {_listed(doubts)}" if doubts else ""
    return f"Proven on this history: it passes all {passed} essential tests that could be judged{left}{but}."


def _listed(tests: Sequence[Test]) -> str:
    titles = [test.title for test in tests]
    return titles[0] if len(titles) == 1 else f"{', '.join(titles[:-1])} and {titles[-1]}"
