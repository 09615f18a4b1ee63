"""What the tests of a verdict look at: the attacks that once made something proven which was not."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from quant_assets.backtests import BacktestResult, history, run, sweep
from quant_assets.backtests.verdict.assess import Evidence, assess
from quant_assets.backtests.verdict.judged import COVERED, judged, of_sweep
from quant_assets.backtests.verdict.questions import luck
from quant_assets.evidence.inputs import EvidenceError
from quant_assets.evidence.sharpe import expected_maximum, moments, standard_error
from quant_assets.evidence.trials import Counted, Trial, Trials
from resources.config import BacktestSettings, load

SETTINGS = BacktestSettings(cash=1_000_000)
SESSIONS = 2_520


def days(count: int) -> list[date]:
    every = (date(2005, 1, 3) + timedelta(number) for number in range(2 * count + 7))
    return [day for day in every if day.weekday() < 5][:count]


def a_result(values: np.ndarray) -> BacktestResult:
    wealth = 1_000_000 * np.cumprod(1 + values)
    traded = pl.DataFrame({"ambiguous": [False] * 200}, {"ambiguous": pl.Boolean})
    figures: dict[str, float | None] = {
        "total_return": float(wealth[-1] / 1e6 - 1),
        "cagr": 0.10,
        "benchmark_cagr": 0.05,
    }
    equity = pl.DataFrame({"session": days(len(values)), "equity": wealth})
    return BacktestResult(equity, traded, pl.DataFrame(), pl.DataFrame(), figures)


def frame(values: np.ndarray) -> pl.DataFrame:
    return pl.DataFrame({"session": days(len(values)), "return": values})


def found(values: np.ndarray, benchmark: object, settings: BacktestSettings = SETTINGS, **more: object) -> Evidence:
    return assess(
        a_result(values),
        Counted(1),
        settings=settings,
        benchmark=benchmark,  # type: ignore[arg-type]
        samples=200,
        **more,  # type: ignore[arg-type]
    )


RANDOM = np.random.default_rng(0)
BULL = RANDOM.normal(0.0008, 0.01, SESSIONS)
HELD = BULL + RANDOM.normal(0, 0.001, SESSIONS)
"""Bought and held: the market and a little noise."""
MARKET = frame(BULL)


# ---- a benchmark that is none (G3)

NOT_COVERING = {
    "other dates": (MARKET.with_columns(pl.col("session") + pl.duration(days=20_000)), "of 0 of the 2,520 sessions"),
    "the beginning only": (MARKET.head(400), "of 400 of the 2,520 sessions"),
    "empty": (MARKET.clear(), "of 0 of the 2,520 sessions"),
    "not a number": (MARKET.with_columns(pl.col("return") * float("nan")), "of 0 of the 2,520 sessions"),
    "missing": (MARKET.with_columns(pl.lit(None, pl.Float64).alias("return")), "of 0 of the 2,520 sessions"),
    "a little too few": (MARKET.head(int(COVERED * SESSIONS) - 1), "of 2,393 of the 2,520 sessions"),
    "zero": (MARKET.with_columns(pl.lit(0.0).alias("return")), "never moves"),
    "the same each day": (MARKET.with_columns(pl.lit(0.0003).alias("return")), "never moves"),
    "none": (None, 'no benchmark was given, .* or, to compare with cash alone, benchmark="cash"'),
}


@pytest.mark.parametrize("what", NOT_COVERING)
def test_a_benchmark_that_does_not_cover_the_sessions_is_not_judged_by(what: str) -> None:
    benchmark, says = NOT_COVERING[what]
    evidence = found(HELD, benchmark)
    assert evidence.test("alpha").passed is None
    assert pl.Series([evidence.test("alpha").words]).str.contains(says).all(), evidence.test("alpha").words
    assert evidence.test("benchmark").passed is None
    assert evidence.headline == "Unproven: skill beyond the benchmark could not be judged."


def test_what_the_benchmark_lacks_is_left_out() -> None:
    evidence = found(HELD, MARKET.tail(2_400))
    assert evidence.test("alpha").passed is False
    assert "It moves with 1.00 times the benchmark" in evidence.test("alpha").words


@pytest.mark.parametrize("lag", [-1, 0, 1])
def test_a_benchmark_off_by_a_session_leaves_no_market_behind(lag: int) -> None:
    words = found(HELD, MARKET.with_columns(pl.col("return").shift(lag))).test("alpha")
    assert words.passed is False
    assert (words.value or 1.0) < 0.9
    assert ("neighbouring session" in words.words) == (lag != 0)


@pytest.mark.parametrize("sessions", [3, 5, 10, 21])
def test_marks_that_follow_the_market_late_leave_no_market_behind(sessions: int) -> None:
    """A fund whose price is a mean of the market's last days: its beta is 0.9 and its own skill nothing."""
    smoothed = 0.9 * np.convolve(BULL, np.full(sessions, 1 / sessions))[:SESSIONS]
    alpha = found(smoothed + np.random.default_rng(3).normal(0, 0.0005, SESSIONS), MARKET).test("alpha")
    assert alpha.passed is False
    assert (alpha.value or 1.0) < 0.9
    assert float(alpha.words.split()[3]) == pytest.approx(0.9, abs=0.03)


def test_skill_of_late_marks_is_seen() -> None:
    smoothed = 0.9 * np.convolve(BULL, np.full(5, 0.2))[:SESSIONS] + np.random.default_rng(3).normal(
        2e-4, 0.002, SESSIONS
    )
    assert found(smoothed, MARKET).test("alpha").passed is True


@pytest.mark.parametrize("sessions", [14, 60, 200])
def test_a_short_history_is_compared_with_fewer_sessions(sessions: int) -> None:
    assert found(HELD[:sessions], MARKET).test("alpha").passed is False


def test_against_cash_says_so() -> None:
    words = found(HELD, "cash").test("alpha").words
    assert words.startswith("It was compared with cash alone, so that a rise of the market counts as earned")


REFUSED = {
    "a session twice": (pl.concat([MARKET, MARKET.head(1)]), "the session 2005-01-03 more than once"),
    "instants": (MARKET.with_columns(pl.col("session").cast(pl.Datetime("us"))), "a session of Datetime"),
    "no return": (MARKET.rename({"return": "gain"}), r"lacks \['return'\]"),
    "texts": (MARKET.with_columns(pl.col("return").cast(pl.String)), "a return of String"),
    "lazy": (MARKET.lazy(), "benchmark is 'LazyFrame'"),
    "a word": ("SPY", "benchmark is 'SPY'; give a polars DataFrame with session and return, or .cash."),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_no_benchmark_is_refused(what: str) -> None:
    benchmark, says = REFUSED[what]
    with pytest.raises(EvidenceError, match=says):
        found(HELD, benchmark)


# ---- interest on idle cash (G2)

YIELDING = SETTINGS.model_copy(update={"cash_yield_bps_per_year": 400.0})


def bars(closes: np.ndarray) -> pl.DataFrame:
    opens = [datetime(day.year, day.month, day.day, 14, 30, tzinfo=UTC) for day in days(len(closes))]
    prices = dict.fromkeys(("open", "high", "low", "close"), closes)
    return pl.DataFrame({"ts": opens, "symbol": "AAA", **prices, "volume": 1e9})


def test_an_account_of_cash_earns_nothing_beyond_cash() -> None:
    orders = pl.DataFrame({"ts": [datetime(2005, 1, 4, tzinfo=UTC)], "symbol": ["AAA"], "target_weight": [0.0]})
    result = run(bars(np.full(500, 50.0)), orders, YIELDING)
    of = judged(result.equity, YIELDING)
    assert of.returns.sum() > 0.07
    assert of.values == pytest.approx(np.zeros(500), abs=1e-12)
    evidence = assess(result, Counted(1), settings=YIELDING, benchmark="cash", samples=200)
    assert evidence.test("deflated_sharpe").passed is None


def test_interest_is_no_skill() -> None:
    """Coin flips with a twentieth of the account: nearly all that it earns is interest."""
    random = np.random.default_rng(1)
    changes = random.normal(0, 0.01, 1_500)
    sent = [datetime(day.year, day.month, day.day, 21, 30, tzinfo=UTC) for day in days(1_500)[:-1:10]]
    orders = pl.DataFrame({"ts": sent, "symbol": "AAA", "target_weight": random.choice([0.0, 0.06], len(sent))})
    past = history(bars(50 * np.exp(changes.cumsum())))
    result = run(past, orders, YIELDING)
    assert float(result.metrics["sharpe_ratio"] or 0) > 4
    evidence = assess(result, Counted(1), settings=YIELDING, benchmark="cash", samples=500)
    failing = ("deflated_sharpe", "minimum_track_record", "bootstrap_interval", "alpha")
    assert [evidence.test(name).passed for name in failing] == [False] * 4
    assert evidence.test("deflated_sharpe").words.startswith("The Sharpe ratio in excess of cash is ")
    assert evidence.intervals["cagr"].estimate == pytest.approx(result.metrics["cagr"])


def test_doubled_costs_and_both_paths_have_to_beat_cash() -> None:
    stress = pl.DataFrame({"times": [2.0], "mean_return": [0.04 / 252 * 0.5]})
    result = replace(a_result(np.full(SESSIONS, 0.0001) + BULL - BULL.mean()), metrics={"total_return": 0.2})
    result = replace(result, fills=result.fills.with_columns(ambiguous=pl.lit(True)))
    for settings, passed in ((SETTINGS, True), (YIELDING, False)):
        evidence = assess(
            result, Counted(1), settings=settings, benchmark=MARKET, stress=stress, other_path={"total_return": 0.1}
        )
        assert (evidence.test("cost_stress").passed, evidence.test("ambiguous_fills").passed) == (passed, passed)
    assert evidence.test("cost_stress").words.endswith("than cash before compounding.")
    assert "cash alone earned +" in evidence.test("ambiguous_fills").words


# ---- ruin (S3, and an account that is lost)


def test_a_lost_account_is_never_proven() -> None:
    values = np.append(np.random.default_rng(1).normal(0.002, 0.002, SESSIONS), -1.2)
    result = a_result(values)
    evidence = found(values, "cash")
    assert evidence.headline.startswith("Unproven: it fails on the survival of the account")
    assert f"The account was lost on {days(SESSIONS + 1)[-1]}: its equity was -" in evidence.tests[0].words
    assert evidence.tests[0].name == "survival"
    assert result.equity["equity"][-1] < 0


def test_evidence_and_metrics_state_the_same_ratio_of_a_lost_account() -> None:
    closes = 100 * np.exp(np.random.default_rng(1).normal(0, 0.01, 300).cumsum())
    closes[150:] *= 20
    orders = pl.DataFrame({"ts": [datetime(2005, 1, 20, tzinfo=UTC)], "symbol": ["AAA"], "target_weight": [-0.9]})
    result = run(bars(closes), orders, SETTINGS)
    evidence = assess(result, Counted(1), settings=SETTINGS, benchmark="cash", samples=200)
    assert not evidence.proven
    assert evidence.intervals["sharpe_ratio"].estimate == pytest.approx(result.metrics["sharpe_ratio"])


def test_a_ruined_run_does_not_switch_off_what_judges_the_sweep() -> None:
    sweep = np.random.default_rng(2).normal(-0.0001, 0.01, (SESSIONS, 20))
    ruined = sweep.copy()
    ruined[700, 3], ruined[701:, 3] = -1.0, np.nan
    evidence = found(HELD, MARKET, sweep_returns=ruined)
    assert evidence.test("superiority").passed is False
    assert evidence.overfitting is not None
    assert of_sweep(ruined, np.zeros(SESSIONS))[701:, 3].tolist() == [0.0] * (SESSIONS - 701)
    assert np.isnan(ruined[-1, 3])  # what was given is left as it is


def test_a_return_that_is_missing_elsewhere_is_no_ruin() -> None:
    sweep = np.random.default_rng(2).normal(0, 0.01, (SESSIONS, 5))
    sweep[10, 3] = np.nan
    evidence = found(HELD, MARKET, sweep_returns=sweep)
    assert "returns[10, 3] is not a finite number" in evidence.test("overfitting").words


@pytest.mark.parametrize(
    ("sweep", "begins"),
    [
        (None, "Proven on this history"),
        (np.random.default_rng(2).normal(np.arange(5) / 1e3, 0.01, (SESSIONS, 5)), "Proven on this history"),
        (
            np.full((SESSIONS, 5), np.nan),
            "Unproven: the probability of overfitting and superior predictive ability could",
        ),
        (np.zeros((SESSIONS, 5)), "Unproven: the probability of overfitting and superior predictive ability could"),
        (np.random.default_rng(2).normal(0.001, 0.01, SESSIONS), "Unproven: the probability of overfitting and"),
    ],
    ids=["no sweep", "a good one", "all missing", "never traded", "no matrix"],
)
def test_a_sweep_that_cannot_be_judged_proves_nothing(sweep: np.ndarray | None, begins: str) -> None:
    skilled = np.random.default_rng(5).normal(0.002, 0.01, SESSIONS)
    evidence = found(skilled, "cash", sweep_returns=sweep)
    assert evidence.headline.startswith(begins)
    assert evidence.proven is begins.startswith("Proven")


@pytest.mark.parametrize(
    ("trials", "with_result", "unknown"), [(602, 2, True), (602, 9, True), (602, 10, False), (12, 7, False)]
)
def test_trials_without_a_result_are_not_taken_for_copies_of_two_that_have_one(
    trials: int, with_result: int, unknown: bool
) -> None:
    held = moments(np.random.default_rng(0).normal(0.0005, 0.01, SESSIONS))
    found = luck(held, Counted(trials, with_result, sharpe_variance=1e-9))
    expected = expected_maximum(trials, standard_error(held) ** 2 if unknown else 1e-9)
    assert found == pytest.approx(expected)


def test_a_sweep_is_judged_beyond_cash() -> None:
    """All of it earns less than cash does, and more than nothing."""
    random = np.random.default_rng(4)
    sweep = 0.04 / 252 * 0.9 + random.normal(0, 0.0002, (SESSIONS, 10)).astype(np.float32)
    assert found(HELD, MARKET, sweep_returns=sweep).test("superiority").passed is True
    assert found(HELD, MARKET, YIELDING, sweep_returns=sweep).test("superiority").passed is False
    words = found(HELD, MARKET, YIELDING, sweep_returns=sweep[:500]).test("superiority").words
    assert "the sweep has 500 periods and the result 2,520" in words


# ---- the record of trials


def test_a_run_that_is_not_on_record_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUANT_HOME", str(tmp_path))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    trials = Trials.of(load())
    closes = bars(100 * np.exp(np.random.default_rng(1).normal(0, 0.01, 300).cumsum()))

    def weighted(weight: float) -> pl.DataFrame:
        return pl.DataFrame({"ts": [datetime(2005, 1, 20, tzinfo=UTC)], "symbol": ["AAA"], "target_weight": [weight]})

    def swept(record: Trials | None) -> BacktestResult:
        return sweep(closes, weighted, {"weight": [0.5]}, SETTINGS, trials=record, progress=False).backtest(0)

    plain = run(closes, weighted(0.9), SETTINGS)
    recorded = run(closes, weighted(0.9), SETTINGS, trial=Trial(trials, "held"))
    for result, silent in ((plain, False), (recorded, True), (swept(None), False), (swept(trials), True)):
        words = assess(result, Counted(1), settings=SETTINGS, samples=200).test("deflated_sharpe").words
        assert ("This run is not on record itself" in words) is not silent
