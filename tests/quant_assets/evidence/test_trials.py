"""The record of trials: counted once each over processes and batches, and not lost by a kill."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from quant_assets.backtests import OnBar, history, run
from quant_assets.backtests.verdict.questions import luck
from quant_assets.evidence.sharpe import Moments, expected_maximum
from quant_assets.evidence.trials import Counted, Trial, TrialError, Trials, configuration
from resources.config import PROJECT, BacktestSettings, load
from resources.exchange import Bar
from resources.exchange.orders import OrderError
from resources.exchange.reacting import position, price, submit
from resources.tracking import Tracking, TrackingError
from tests.quant_assets.backtests.worlds import cleaned, closes

SAMPLE = PROJECT / "configs" / "sample.yaml"


@pytest.fixture(scope="module")
def trials(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trials]:
    """One record for all tests (making its tables takes a second): each test has families of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QUANT_HOME", str(tmp_path_factory.mktemp("home")))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        yield Trials.of(load(SAMPLE))


def grid(count: int, first: int = 0) -> list[str]:
    return [configuration({"fast": number, "slow": 10 * number}) for number in range(first, first + count)]


def figures(texts: list[str], sharpe: list[float | None], **more: float) -> pl.DataFrame:
    rows = pl.DataFrame({"configuration": texts, "sharpe": sharpe}, schema_overrides={"sharpe": pl.Float64})
    return rows.with_columns(periods=pl.lit(2520), **{name: pl.lit(value) for name, value in more.items()})


# ---- what one trial is

SAME = [
    ({"fast": 20, "slow": 100}, {"slow": 100, "fast": 20}),
    ({"fast": 20}, {"fast": 20.0}),
    ({"fast": np.int64(20)}, {"fast": 20}),
    ({"names": ("A", "B")}, {"names": ["A", "B"]}),
    ({"names": {"B", "A"}}, {"names": {"A", "B"}}),
    ({"weights": np.array([0.5, 2.0])}, {"weights": [0.5, 2]}),
    ({"weights": pl.Series([0.5, 2.0])}, {"weights": [0.5, 2]}),
    ({"fast": 10**400}, {"fast": 10**400}),
]
OTHER = [
    ({"fast": 20}, {"fast": 21}),
    ({"fast": 1}, {"fast": True}),
    ({"fast": 0.1}, {"fast": 0.1 + 1e-12}),
    ({"names": ["A", "B"]}, {"names": ["B", "A"]}),
    ({}, {"fast": None}),
    ({"weights": np.array([0.5, 2.0])}, {"weights": np.array([2.0, 0.5])}),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_one_trial_however_it_is_written(one: dict[str, object], other: dict[str, object]) -> None:
    assert configuration(one) == configuration(other)


@pytest.mark.parametrize(("one", "other"), OTHER)
def test_two_trials(one: dict[str, object], other: dict[str, object]) -> None:
    assert configuration(one) != configuration(other)


def test_costs_and_first_session_make_another_trial() -> None:
    plain = BacktestSettings()
    dearer = BacktestSettings(spread={"name": "fixed", "half_bps": 2.0})
    found = {
        configuration({"fast": 20}, costs=plain, start=date(2010, 1, 4)),
        configuration({"fast": 20}, costs=dearer, start=date(2010, 1, 4)),
        configuration({"fast": 20}, costs=plain, start=date(2012, 1, 4)),
        configuration({"fast": 20}, costs=plain),
    }
    assert len(found) == 4
    assert configuration({"fast": 20}, costs=plain, model=None) in found


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object()])
def test_what_has_no_text_is_refused(value: object) -> None:
    with pytest.raises(TrialError, match=r"configuration\.parameters\.fast: "):
        configuration({"fast": value})


# ---- counting


def test_a_family_without_trials_counts_none(trials: Trials) -> None:
    found = trials.counted("never tried")
    assert (found.trials, found.with_result, found.sharpe_variance) == (0, 0, None)
    assert found.tried == found.families


def test_a_plan_counts_before_there_is_any_result(trials: Trials) -> None:
    trials.plan("planned", grid(30), origin="sweep 1")
    assert trials.counted("planned").trials == 30


def test_the_same_configuration_counts_once(trials: Trials) -> None:
    trials.plan("again", grid(30), origin="sweep 1")
    trials.plan("again", [*grid(20, first=20), *grid(5, first=20)], origin="sweep 2")
    trials.plan("again", grid(1, first=39), origin="run")
    assert trials.counted("again").trials == 40


def test_results_come_batch_by_batch_and_again(trials: Trials) -> None:
    texts, sharpes = grid(1_000), np.random.default_rng(1).normal(0, 0.03, 1_000)
    plan = trials.plan("batches", texts, origin="sweep")
    for first in (0, 400, 400):  # a batch that is done again after a kill changes nothing
        trials.results(plan, figures(texts[first : first + 400], list(sharpes[first : first + 400])))
    found = trials.counted("batches")
    assert (found.trials, found.with_result) == (1_000, 800)
    assert found.sharpe_variance == pytest.approx(sharpes[:800].var(ddof=1), rel=1e-6)


def test_the_last_result_of_a_configuration_holds(trials: Trials) -> None:
    texts = grid(2)
    for sharpes in ([0.1, 0.3], [0.1, 0.2]):
        plan = trials.plan("revised", texts, origin="sweep")
        trials.results(plan, figures(texts, sharpes))
    found = trials.counted("revised")
    assert (found.trials, found.with_result) == (2, 2)
    assert found.sharpe_variance == pytest.approx(0.005)


def test_a_ratio_that_is_not_defined_is_a_trial_without_result(trials: Trials) -> None:
    texts = grid(4)
    plan = trials.plan("undefined", texts, origin="sweep")
    trials.results(plan, figures(texts, [0.1, None, float("nan"), float("inf")]))
    found = trials.counted("undefined")
    assert (found.trials, found.with_result, found.sharpe_variance) == (4, 1, None)


def test_other_families_are_counted_as_choices(trials: Trials) -> None:
    before = trials.counted("own").families
    for family in ("own", "other one", "other two"):
        trials.plan(family, grid(10), origin="run")
    found = trials.counted("own")
    assert (found.trials, found.families) == (10, before + 2)  # it counted itself before it was tried
    assert found.tried == 10 + found.families - 1
    assert Counted(0).tried == 1


def test_what_was_tried_is_there_to_read(trials: Trials) -> None:
    from mlflow import MlflowClient

    (text,) = grid(1)
    plan = trials.plan("read", [text], origin="a notebook")
    trials.results(plan, figures([text], [0.05], cagr=0.07))
    run = MlflowClient(tracking_uri=trials.tracking.uri).get_run(plan)
    assert run.info.status == "FINISHED"
    assert run.data.params == {"configuration": text}
    assert run.data.metrics == {"sharpe": 0.05, "periods": 2520.0, "cagr": 0.07}
    assert (run.data.tags["family"], run.data.tags["origin"], run.data.tags["trials"]) == ("read", "a notebook", "1")


def test_a_plan_that_is_deleted_in_mlflow_still_counts(trials: Trials) -> None:
    from mlflow import MlflowClient

    plan = trials.plan("deleted", grid(5), origin="an embarrassment")
    MlflowClient(tracking_uri=trials.tracking.uri).delete_run(plan)
    assert trials.counted("deleted").trials == 5


def test_a_record_that_is_deleted_in_mlflow_says_how_to_bring_it_back(trials: Trials) -> None:
    from mlflow import MlflowClient

    own = Trials(replace(trials.tracking, experiment="a record of its own"))
    own.plan("kept", grid(5), origin="run")
    client = MlflowClient(tracking_uri=trials.tracking.uri)
    [record] = [one for one in client.search_experiments() if one.name.startswith("a record of its own")]
    client.delete_experiment(record.experiment_id)
    assert own.counted("kept").trials == 5
    with pytest.raises(TrackingError, match=f"mlflow experiments restore --experiment-id {record.experiment_id}"):
        own.plan("kept", grid(6), origin="run")
    client.restore_experiment(record.experiment_id)
    own.plan("kept", grid(6), origin="run")
    assert own.counted("kept").trials == 6


def test_installations_do_not_mix(trials: Trials) -> None:
    trials.plan("shared", grid(5), origin="run")
    other = Trials(replace(trials.tracking, experiment="another"))
    assert (other.counted("shared").trials, other.counted("shared").families) == (0, 1)


REFUSED = [
    ("it's mine", grid(1), 'family "it\'s mine"'),
    ("", grid(1), "family ''"),
    (None, grid(1), "family None"),
    ("fine", [], "one or more"),
    ("fine", [""], "one or more"),
]


@pytest.mark.parametrize(("family", "texts", "says"), REFUSED)
def test_what_cannot_be_recorded_is_refused(trials: Trials, family: str, texts: list[str], says: str) -> None:
    with pytest.raises(TrialError, match=says):
        trials.plan(family, texts, origin="run")


def test_results_without_their_columns_or_plan_are_refused(trials: Trials) -> None:
    with pytest.raises(TrialError, match="a has a Sharpe ratio and no periods; say over how many"):
        trials.results("any", pl.DataFrame({"configuration": ["a"], "sharpe": [0.1], "periods": [None]}))
    with pytest.raises(TrialError, match=r"lack \['periods', 'sharpe'\]"):
        trials.results("x", pl.DataFrame({"configuration": grid(1)}))
    with pytest.raises(TrackingError, match=r"no note '0123456789abcdef0123456789abcdef'; write it first"):
        trials.results("0123456789abcdef" * 2, figures(grid(1), [0.1]))


def test_a_store_that_does_not_answer_stops_the_trial(tmp_path: Path) -> None:
    broken = Trials(Tracking("x", tmp_path, str(tmp_path / "mlruns")))
    with pytest.raises(TrackingError, match="MLflow cannot be used"):
        broken.plan("family", grid(1), origin="run")


# ---- many processes, and one that is killed

WORKER = """
import sys
from quant_assets.evidence.trials import Trials, configuration
from resources.config import load
number, trials = int(sys.argv[1]), Trials.of(load(sys.argv[2]))
for step in range(8):
    texts = [configuration({"step": step, "place": place, "worker": number}) for place in range(20)]
    shared = [configuration({"step": step, "place": place}) for place in range(5)]
    plan = trials.plan("concurrent", texts + shared, origin=f"worker {number}")
print("planned", flush=True)
sys.stdin.read()  # the simulation
trials.results(plan, ...)
"""


@pytest.mark.slow
def test_processes_at_once_lose_nothing_even_when_they_are_killed(trials: Trials) -> None:
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, str(number), str(SAMPLE)],
            cwd=PROJECT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(3)
    ]
    try:
        for worker in workers:
            assert worker.stdout is not None
            assert worker.stdout.readline() == "planned\n"
    finally:
        for worker in workers:
            worker.kill()  # SIGKILL: nothing is tidied up
    assert [worker.wait() for worker in workers] == [-9, -9, -9]
    assert trials.counted("concurrent").trials == 3 * 8 * 20 + 8 * 5
    assert trials.counted("concurrent").with_result == 0


def test_ten_thousand_are_quick(trials: Trials) -> None:
    """0.1 s to plan and 0.02 s to count here; the bounds are for a busy machine."""
    import time

    texts = grid(10_000)
    began = time.process_time()
    trials.plan("many", texts, origin="sweep")
    planned = time.process_time()
    assert trials.counted("many").trials == 10_000
    assert planned - began < 2
    assert time.process_time() - planned < 1


# ---- plain backtests

BARS = cleaned(
    {"AAA": [Bar(price, price + 1, price - 1, price, volume=1e6) for price in (100, 101, 103, 102, 105, 104)]}
)
LONG = cleaned({"AAA": [Bar(price, price + 1, price - 1, price, volume=1e6) for price in range(100, 130)]})
ORDERS = pl.DataFrame({"ts": [closes(0)], "symbol": ["AAA"], "side": ["buy"], "quantity": [10.0]})


def test_a_backtest_counts_by_its_orders(trials: Trials) -> None:
    trial = Trial(trials, "by orders")
    first = run(BARS, ORDERS, trial=trial)
    run(BARS, ORDERS.lazy(), trial=trial)
    run(history(BARS), ORDERS, trial=trial)
    assert trials.counted("by orders").trials == 1
    run(BARS, ORDERS.with_columns(quantity=pl.lit(11.0)), trial=trial)
    run(BARS, ORDERS, BacktestSettings(cash=5_000), trial=trial)
    run(BARS.filter(pl.col("session") > BARS["session"][0]), ORDERS.with_columns(ts=pl.lit(closes(1))), trial=trial)
    found = trials.counted("by orders")
    assert (found.trials, found.with_result) == (4, 4)
    assert first.metrics == run(BARS, ORDERS).metrics


def test_history_that_grows_at_its_end_is_no_other_trial(trials: Trials) -> None:
    trial = Trial(trials, "grows", {"fast": 20})
    for last in (21, 24, 30):
        run(LONG.head(last), ORDERS, trial=trial)
    assert trials.counted("grows").trials == 1


def nothing(view: object) -> None:
    pass


def test_a_function_counts_by_what_it_does(trials: Trials) -> None:
    trial = Trial(trials, "function")
    for parameters in ((1.0,), (1.0,), (2.0,)):
        run(BARS, OnBar(nothing, parameters=parameters), trial=trial)
    assert trials.counted("function").trials == 2


def test_the_ratio_on_record_is_that_of_a_session(trials: Trials) -> None:
    """The metrics have a `sharpe` of their own, which is a year's."""
    ratios = []
    for number in (6.0, 12.0, 41.0):
        orders = ORDERS.with_columns(quantity=pl.lit(number))
        result = run(BARS, orders, trial=Trial(trials, "of a session"))
        earned = result.equity["return"].to_numpy()
        ratios.append(earned.mean() / earned.std(ddof=1))
    assert trials.counted("of a session").sharpe_variance == pytest.approx(np.var(ratios, ddof=1), rel=1e-6)


def test_the_ratio_on_record_is_in_excess_of_cash(trials: Trials) -> None:
    settings = BacktestSettings(cash_yield_bps_per_year=400)
    for number in (5.0, 10.0):
        run(LONG, ORDERS.with_columns(quantity=pl.lit(number)), settings, trial=Trial(trials, "idle cash"))
    plain = Trial(trials, "idle cash none paid")
    for number in (5.0, 10.0):
        run(LONG, ORDERS.with_columns(quantity=pl.lit(number)), trial=plain)
    known = [trials._ledger.read(family=family) for family in ("idle cash", "idle cash none paid")]
    told = [
        [float(text.split(" ")[1]) for note in notes for name, text in note.tags.items() if name.startswith("results")]
        for notes in known
    ]
    assert np.allclose(told[0], told[1], rtol=0.02)  # and not the hundredfold that interest would make of it


# ---- other code, other data (attack a6, G4)


def _rules() -> list[Callable[[int], pl.DataFrame]]:
    """Two functions whose code differs in a closure only."""

    def made(times: float) -> Callable[[int], pl.DataFrame]:
        return lambda quantity: ORDERS.with_columns(quantity=pl.lit(quantity * times))

    return [made(1.0), made(2.0)]


def test_other_code_is_another_trial(trials: Trials) -> None:
    for rule in (*_rules(), *_rules()):
        run(LONG, rule(3), trial=Trial(trials, "code", {"quantity": 3}, code=rule))
    assert trials.counted("code").trials == 2


def test_without_code_the_first_orders_tell_one_rule_from_another(trials: Trials) -> None:
    for rule in (*_rules(), *_rules()):
        run(LONG, rule(3), trial=Trial(trials, "no code", {"quantity": 3}))
    assert trials.counted("no code").trials == 2


def test_orders_in_another_order_of_rows_or_columns_are_the_same(trials: Trials) -> None:
    both = pl.concat([ORDERS, ORDERS.with_columns(ts=pl.lit(closes(2)))])
    for orders in (both, both.reverse(), both.select(sorted(both.columns))):
        run(LONG, orders, trial=Trial(trials, "row order"))
    assert trials.counted("row order").trials == 1


def _above(least: float) -> Callable[[object], None]:
    def rule(view: Any) -> None:
        if position(view, 0) < 1.0 and price(view, 0) > least:
            submit(view, 0, 1, 1.0)

    return rule


def test_a_function_counts_by_its_closure(trials: Trials) -> None:
    for least in (101.0, 105.0, 110.0, 101.0):
        run(LONG, OnBar(_above(least)), trial=Trial(trials, "closure"))
    assert trials.counted("closure").trials == 3


def test_a_function_counts_by_the_features_that_it_reads(trials: Trials) -> None:
    keys = LONG.select("ts", "symbol")
    for value in (1.0, 2.0, 1.0):
        features = keys.with_columns(x=pl.lit(value))
        run(LONG, OnBar(nothing, features, ["x"]), trial=Trial(trials, "features"))
    run(LONG.head(25), OnBar(nothing, keys.with_columns(x=pl.lit(1.0)), ["x"]), trial=Trial(trials, "features"))
    assert trials.counted("features").trials == 2


OTHER_BARS = {
    "other prices": LONG.with_columns(pl.col("close") + 0.25),
    "every second bar": LONG.gather_every(2),
    "another volume": LONG.with_columns(pl.col("volume") * 2),
    "a correction in the first month": LONG.with_columns(
        high=pl.when(pl.col("ts") == LONG["ts"][15]).then(pl.col("high") + 1).otherwise("high")
    ),
}


@pytest.mark.parametrize("what", OTHER_BARS)
def test_other_bars_are_another_trial(trials: Trials, what: str) -> None:
    for bars in (LONG, OTHER_BARS[what], history(LONG)):
        run(bars, ORDERS, trial=Trial(trials, what, {"bars": what}))
    assert trials.counted(what).trials == 2


# ---- more trials never lower the bar, another name does not lose them


def luckiest(trials: Trials, family: str) -> float:
    """The largest Sharpe ratio to expect of luck, for an estimate of 1,260 sessions."""
    return luck(Moments(1_260, 0.05, 0.0, 3.0), trials.counted(family))


def test_near_copies_of_the_best_do_not_lower_the_bar(trials: Trials) -> None:
    random = np.random.default_rng(6)
    drawn = random.normal(0, 1_260**-0.5, 100)
    plan = trials.plan("refined", grid(100), origin="sweep")
    trials.results(plan, figures(grid(100), list(drawn)))
    bars = [luckiest(trials, "refined")]
    for number in range(4):
        texts = grid(400, first=1_000 + 400 * number)
        plan = trials.plan("refined", texts, origin="a finer sweep")
        trials.results(plan, figures(texts, list(drawn.max() + random.normal(0, 0.001, 400))))
        bars.append(luckiest(trials, "refined"))
    assert bars == sorted(bars)
    found = trials.counted("refined")
    assert found.sharpe_variance is not None
    assert expected_maximum(found.tried, found.sharpe_variance) < 0.7 * bars[-1]


def test_results_that_come_late_do_not_lower_the_bar(trials: Trials) -> None:
    """Of near copies that were planned before others, whose results were there first."""
    random = np.random.default_rng(0)
    copies, others = grid(500), grid(20, first=500)
    late, early = trials.plan("race", copies, origin="one"), trials.plan("race", others, origin="another")
    trials.results(early, figures(others, list(random.normal(0, 0.03, 20))))
    before = luckiest(trials, "race")
    trials.results(late, figures(copies, list(random.normal(0.05, 0.0005, 500))))
    assert luckiest(trials, "race") >= before


def test_single_runs_raise_the_bar_as_one_sweep_does(trials: Trials) -> None:
    drawn = np.random.default_rng(7).normal(0, 0.03, 30)
    for number, ratio in enumerate(drawn):
        (text,) = grid(1, first=number)
        trials.results(trials.plan("one by one", [text], origin="run"), figures([text], [ratio]))
    trials.results(trials.plan("at once", grid(30), origin="sweep"), figures(grid(30), list(drawn)))
    one, whole = trials.counted("one by one"), trials.counted("at once")
    assert one.sharpe_variance == pytest.approx(whole.sharpe_variance)
    assert whole.highest <= one.highest < 1.25 * whole.highest


def test_a_plan_without_results_does_not_make_two_results_a_scatter_of_thousands(trials: Trials) -> None:
    plan = trials.plan("killed", grid(1_000), origin="sweep")
    trials.results(plan, figures(grid(2), [-0.05, 0.05]))
    assert trials.counted("killed").highest < 0.1


def test_the_same_backtest_under_another_name_brings_its_trials_along(trials: Trials) -> None:
    rule = _rules()[0]
    for quantity in range(11, 16):
        run(LONG, rule(quantity), trial=Trial(trials, "momentum", {"quantity": quantity}, code=rule))
    run(LONG, rule(13), trial=Trial(trials, "better momentum", {"quantity": 13}, code=rule))
    run(LONG, rule(19), trial=Trial(trials, "value", {"quantity": 19}, code=rule))
    renamed, other = trials.counted("better momentum"), trials.counted("value")
    assert (renamed.trials, renamed.also) == (5, ("momentum",))
    assert (other.trials, other.also) == (1, ())
    assert other.elsewhere >= 6


def test_what_is_lacking_on_record(trials: Trials) -> None:
    trials.plan("lacks", grid(3), origin="run")
    assert trials.lacking("lacks", grid(5)) == grid(5)[3:]


def test_a_backtest_that_fails_has_counted(trials: Trials) -> None:
    with pytest.raises(OrderError):
        run(BARS, ORDERS.with_columns(quantity=pl.lit(-1.0)), trial=Trial(trials, "fails"))
    found = trials.counted("fails")
    assert (found.trials, found.with_result) == (1, 0)


def test_half_a_character_is_refused() -> None:
    with pytest.raises(TrialError, match="a lone surrogate"):
        configuration({"name": "\ud800"})
