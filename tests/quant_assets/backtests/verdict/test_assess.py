"""The verdict: each test by itself, what they come to together, and what is said."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from statistics import NormalDist

import numpy as np
import polars as pl
import pytest

from quant_assets.backtests.engine import BacktestResult
from quant_assets.backtests.verdict import questions
from quant_assets.backtests.verdict.assess import REQUIRED, TITLES, assess
from quant_assets.backtests.verdict.judged import judged
from quant_assets.evidence.bootstrap import Interval
from quant_assets.evidence.overfitting import pbo
from quant_assets.evidence.sharpe import Moments, deflated_sharpe, moments
from quant_assets.evidence.superiority import Superiority
from quant_assets.evidence.surface import surface
from quant_assets.evidence.trials import Counted
from resources.config import BacktestSettings

SETTINGS = BacktestSettings(cash=1_000_000)
ALONE = Counted(1, 1, None, 1)
STRESSED = pl.DataFrame({"times": [1.0, 2.0, 3.0], "mean_return": [0.001, 0.0005, -0.0001]})


def days(count: int) -> list[date]:
    every = (date(2005, 1, 3) + timedelta(number) for number in range(2 * count + 7))
    return [day for day in every if day.weekday() < 5][:count]


def returns(sharpe: float, sessions: int, seed: int = 3) -> np.ndarray:
    """Normal returns whose annual Sharpe ratio is exactly this."""
    drawn = np.random.default_rng(seed).normal(0, 1, sessions)
    drawn = (drawn - drawn.mean()) / drawn.std(ddof=1)
    return 0.01 * (drawn + sharpe / 252**0.5)


def a_result(values: np.ndarray, fills: int = 200, ambiguous: int = 0, **metrics: float | None) -> BacktestResult:
    wealth = 1_000_000 * np.cumprod(1 + values)
    equity = pl.DataFrame({"session": days(len(values)), "equity": wealth})
    traded = pl.DataFrame({"ambiguous": [True] * ambiguous + [False] * (fills - ambiguous)}, {"ambiguous": pl.Boolean})
    figures = {"total_return": float(wealth[-1] / 1e6 - 1), "cagr": 0.10, "benchmark_cagr": 0.05, **metrics}
    return BacktestResult(equity, traded, pl.DataFrame(), pl.DataFrame(), figures)


def a_benchmark(values: np.ndarray) -> pl.DataFrame:
    return pl.DataFrame({"session": days(len(values)), "return": values})


GOOD = returns(1.5, 2_520)
MARKET = returns(0.5, 2_520, seed=8)
OF = judged(a_result(GOOD).equity, SETTINGS)


def good(**changes: object) -> dict[str, object]:
    """Arguments of assess under which everything speaks for the result."""
    return {
        "trials": ALONE,
        "settings": SETTINGS,
        "benchmark": a_benchmark(MARKET),
        "stress": STRESSED,
        "point_in_time": True,
        "samples": 200,
        **changes,
    }


def a_sweep(edge: float) -> np.ndarray:
    sweep = np.random.default_rng(5).normal(0, 0.01, (1_000, 12))
    sweep[:, 4] += edge
    return sweep


# ---- the verdict

HEADLINES = [  # returns, fills, arguments: how the headline begins
    (
        GOOD,
        200,
        {},
        "Proven on this history: it passes all 7 essential tests that could be judged; not judged: the pro",
    ),
    (
        GOOD,
        200,
        {"trials": Counted(20_000, 0, None, 1)},
        "Unproven: it fails on the deflated Sharpe ratio and skill beyond",
    ),
    (returns(0.3, 2_520), 200, {}, "Unproven: it fails on the deflated Sharpe ratio, the minimum track record, the bo"),
    (returns(-1.0, 2_520), 200, {}, "Unproven: it fails on the deflated Sharpe ratio, the minimum track record, the b"),
    (
        GOOD,
        200,
        {"benchmark": a_benchmark(GOOD)},
        "Unproven: it fails on skill beyond the benchmark.",
    ),
    (0.9 * GOOD, 200, {"benchmark": a_benchmark(GOOD + 0.1 * MARKET)}, "Unproven: it fails on skill"),
    (GOOD, 200, {"stress": STRESSED.with_columns(mean_return=-0.001)}, "Unproven: it fails on doubled costs."),
    (GOOD, 200, {"sweep_returns": a_sweep(0.0)}, "Unproven: it fails on the probability of overfitting and superior"),
    (GOOD, 200, {"sweep_returns": a_sweep(0.003)}, "Proven on this history: it passes all 9 essential tests that cou"),
    (GOOD, 29, {}, "Unproven: it fails on the length of its history."),
    (GOOD[:200], 200, {}, "Unproven: it fails on the "),
    (GOOD, 200, {"point_in_time": False}, "Proven on this history: it passes all 7 essential"),
    (np.zeros(500), 0, {}, "Unproven: it fails on the length of its history."),
    (np.zeros(500), 40, {}, "Unproven: the deflated Sharpe ratio, the minimum track record, the bootstrap interval"),
    (np.append(GOOD[:500], [-1.0, 0.0, 0.0]), 200, {}, "Unproven: it fails on the survival of the account, the "),
    (GOOD, 200, {"benchmark": None}, "Unproven: skill beyond the benchmark could not be judged."),
    (GOOD, 200, {"benchmark": "cash"}, "Proven on this history: it passes all 7 essential tests"),
]


@pytest.mark.parametrize(("values", "fills", "changes", "begins"), HEADLINES)
def test_the_headline(values: np.ndarray, fills: int, changes: dict[str, object], begins: str) -> None:
    found = assess(a_result(values, fills), **good(**changes))  # type: ignore[arg-type]
    assert found.headline.startswith(begins)
    assert found.proven == begins.startswith("Proven")


def test_all_that_was_found_is_kept() -> None:
    result = a_result(GOOD, ambiguous=50)
    found = assess(result, **good(other_path={"total_return": 0.1}, sweep_returns=a_sweep(0.003)))  # type: ignore[arg-type]
    assert [test.name for test in found.tests] == list(TITLES)
    assert found.ambiguous_share == 0.25
    assert found.intervals["sharpe_ratio"].estimate == pytest.approx(1.5, rel=1e-6)
    assert found.overfitting is not None
    assert found.superiority is not None
    assert found.superiority.best == 4
    assert found.lucky_sharpe == 0.0
    frame = found.frame()
    assert frame.rows(named=True)[1] == {
        "name": "deflated_sharpe",
        "essential": True,
        "passed": True,
        "value": found.test("deflated_sharpe").value,
        "threshold": 0.95,
        "words": found.test("deflated_sharpe").words,
    }
    assert not any("nan" in words or "None" in words for words in frame["words"])


@pytest.mark.parametrize("name", REQUIRED)
def test_without_the_required_tests_nothing_is_proven(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    where = {"deflated_sharpe": "deflated_sharpe", "minimum_track_record": "track_record"}.get(name, name)
    unjudged = questions.Test(name, None, None, None, "It could not be judged: too short.")
    monkeypatch.setattr(questions, where, lambda *rest: unjudged)
    found = assess(a_result(GOOD), **good())  # type: ignore[arg-type]
    assert not found.proven
    assert found.headline.startswith(f"Unproven: {TITLES[name]}")


def test_what_cannot_be_computed_says_why() -> None:
    found = assess(a_result(np.zeros(500), 40), **good())  # type: ignore[arg-type]
    assert "without variation there is no Sharpe ratio" in found.test("deflated_sharpe").words
    assert found.intervals == {}
    assert found.lucky_sharpe is None


def test_a_benchmark_traded_as_it_is_shows_no_skill() -> None:
    for held in (GOOD, 2 * GOOD):
        found = assess(a_result(held), **good(benchmark=a_benchmark(GOOD))).test("alpha")  # type: ignore[arg-type]
        assert (found.passed, found.value) == (False, 0.5)


def test_two_returns_only_do_not_break_it() -> None:
    """Their skew and kurtosis lie on the border of what a distribution can have."""
    for rare in range(1, 40):
        values = np.full(400, 0.001)
        values[: rare * 10] = 0.0
        found = assess(a_result(values), **good())  # type: ignore[arg-type]
        told = [found.test(name) for name in REQUIRED]
        assert all(test.value is None or np.isfinite(test.value) for test in told)


def test_a_week_of_seven_sessions_has_a_year_of_365() -> None:
    values = returns(1.0, 800)
    whole = pl.DataFrame({"session": [date(2020, 1, 1) + timedelta(number) for number in range(800)]})
    result = a_result(values)
    result = replace(result, equity=result.equity.with_columns(whole["session"]))
    ratio = assess(result, **good()).intervals["sharpe_ratio"].estimate  # type: ignore[arg-type]
    assert ratio == pytest.approx(moments(values).sharpe * 365**0.5)


# ---- luck


def test_the_luck_of_the_trials_is_theirs_or_that_of_families() -> None:
    held = Moments(2_520, 0.05, 0.0, 3.0)
    sampling = (1 + 0.05**2 / 2) / 2_519
    assert questions.luck(held, ALONE) == 0.0
    wide = Counted(100, 100, 0.04, 1)
    assert deflated_sharpe(held, 100, 0.04) == pytest.approx(
        NormalDist().cdf((0.05 - questions.luck(held, wide)) / sampling**0.5)
    )
    unknown = Counted(100, 1, None, 1)
    copies = Counted(100, 100, 1e-12, 20)
    spread = Counted(20, 20, sampling, 1)
    assert questions.luck(held, unknown) > questions.luck(held, spread) > 0
    assert questions.luck(held, copies) == pytest.approx(questions.luck(held, spread))


def test_another_family_is_a_trial_more() -> None:
    held = Moments(2_520, 0.05, 0.0, 3.0)
    bars = [questions.luck(held, Counted(10, 0, None, families)) for families in (1, 2, 10, 100)]
    assert bars == sorted(bars)
    assert questions.luck(held, Counted(10, 0, None, 91)) == questions.luck(held, Counted(100, 0, None, 1))


# ---- the questions one by one

STRESSES = [
    (STRESSED, True, "With costs doubled it still earns 12.6% a year before compounding."),
    (STRESSED.with_columns(mean_return=-0.0005), False, "With costs doubled it loses 12.6% a year before compounding."),
    (STRESSED.filter(pl.col("times") != 2), None, "It was not run with doubled costs."),
    (None, None, "It was not run with doubled costs."),
]


@pytest.mark.parametrize(("stress", "passed", "words"), STRESSES)
def test_doubled_costs(stress: pl.DataFrame | None, passed: bool | None, words: str) -> None:
    found = questions.cost_stress(stress, OF)
    assert (found.passed, found.words) == (passed, words)


PATHS = [  # ambiguous fills, our total return, theirs: passed, the value
    (0, -0.1, None, True, None),
    (3, 0.2, 0.1, True, 0.1),
    (3, 0.2, -0.1, False, -0.1),
    (3, -0.2, 0.1, False, -0.2),
    (3, 0.2, None, None, None),
]


@pytest.mark.parametrize(("count", "mine", "theirs", "passed", "value"), PATHS)
def test_both_paths(count: int, mine: float, theirs: float | None, passed: bool | None, value: float | None) -> None:
    result = a_result(GOOD, ambiguous=count, total_return=mine)
    found = questions.ambiguous_fills(result, None if theirs is None else {"total_return": theirs}, "worse", OF)
    assert (found.passed, found.value) == (passed, value)


RATIOS = [
    (Interval(0.1, 0.9, 0.5, 3), True, "0.10 to 0.90: zero is outside"),
    (Interval(0.0, 0.9, 0.5, 3), False, "zero is inside, so this history does not show that it earns anything"),
    (Interval(-0.9, -0.1, -0.5, 3), False, "the strategy lost money, and not by chance alone"),
]


@pytest.mark.parametrize(("interval", "passed", "says"), RATIOS)
def test_the_interval(interval: Interval, passed: bool, says: str) -> None:
    found = questions.bootstrap_interval({"sharpe_ratio": interval}, OF, "")
    assert found.passed is passed
    assert says in found.words


PROBABILITIES = [(0.1, True, "seldom enough"), (0.35, True, "uneasily often"), (0.5, False, "no merit")]


@pytest.mark.parametrize(("probability", "passed", "says"), PROBABILITIES)
def test_the_probability_of_overfitting(probability: float, passed: bool, says: str) -> None:
    found = questions.overfitting(replace(pbo(a_sweep(0.0), blocks=4), probability=probability), "")
    assert found.passed is passed
    assert says in found.words


@pytest.mark.parametrize(
    ("value", "passed", "says"), [(0.0, True, "<0.1%"), (0.049, True, "4.9%"), (0.05, False, "5.0%")]
)
def test_superiority_is_judged_by_the_consistent_one(value: float, passed: bool, says: str) -> None:
    found = questions.superior(Superiority(0.9, 0.0, value, 0.9, 0, 2.0, 1000, 3.0), "")
    assert found.passed is passed
    assert says in found.words


@pytest.mark.parametrize(("middle", "passed"), [([0.5, 1.0, 0.6], True), ([0.1, 1.0, 0.4], False)])
def test_a_lone_peak(middle: list[float], passed: bool) -> None:
    found = questions.stable(surface(pl.DataFrame({"window": [1, 2, 3], "sharpe_ratio": middle}), ["window"]))
    assert found.passed is passed
    assert not found.essential


LENGTHS = [  # sessions, fills: passed, essential
    (2_520, 50, True, False),
    (2_520, 49, False, False),
    (1_000, 500, False, False),
    (2_520, 29, False, True),
    (200, 500, False, True),
]


@pytest.mark.parametrize(("sessions", "fills", "passed", "essential"), LENGTHS)
def test_the_length_of_its_history(sessions: int, fills: int, passed: bool, essential: bool) -> None:
    found = questions.sample(a_result(GOOD[:sessions], fills))
    assert (found.passed, found.essential) == (passed, essential)


def test_a_loss_never_has_history_enough() -> None:
    found = questions.track_record(Moments(2_520, -0.01, 0.0, 3.0), OF, "")
    assert found.passed is False
    assert found.words == "The Sharpe ratio is not above zero: no history would be long enough to show that it is; " + (
        "the history has 10.0 years."
    )


def test_a_chance_is_never_certain() -> None:
    assert [questions.chance(value) for value in (1.0, 0.9991, 0.95, 0.0)] == [">99.9%", ">99.9%", "95.0%", "<0.1%"]


def test_what_was_tried_under_other_names_is_said() -> None:
    found = assess(a_result(GOOD), **good(trials=Counted(3, elsewhere=1_200, also=("old name",))))  # type: ignore[arg-type]
    words = found.test("deflated_sharpe").words
    assert "The trials of old name are counted with it" in words
    assert words.endswith("1,200 trials of other families are on record, which count as one a family here.")


def test_the_bar_is_never_below_what_the_record_had_reached() -> None:
    held = Moments(2_520, 0.05, 0.0, 3.0)
    copies = Counted(1_000, 1_000, 1e-12, 1, highest=0.07)
    assert questions.luck(held, copies) == 0.07
