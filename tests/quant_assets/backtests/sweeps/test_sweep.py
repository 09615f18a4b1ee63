"""A sweep says of each parameter set what `run` says, whoever works it and however it is cut."""

from __future__ import annotations

import fcntl

import numpy as np
import polars as pl
import pytest

from quant_assets.backtests import history, run, sweep
from quant_assets.backtests.engine import by_session
from quant_assets.backtests.sweeps import SweepError, preparing
from quant_assets.backtests.sweeps.runs import BESIDE, FIGURES
from quant_assets.backtests.sweeps.store import Store
from quant_assets.strategies import MovingAverageCross, orders
from resources.config import BacktestSettings
from resources.errors import QuantError
from tests.quant_assets.backtests.sweeps.world import GRID, SETTINGS, Cross, averages, market
from tests.quant_assets.backtests.worlds import cleaned, sent, sized
from tests.resources.exchange.cases import account, flat

BARS = market()
FEATURES = averages(BARS)
KEPT = [name for name in FIGURES if name not in ("sharpe", "periods", "lost")]


def swept(grid=GRID, strategy=Cross, **options):
    return sweep(
        BARS, strategy, grid, SETTINGS, **({"features": FEATURES, "progress": False, "trials": None} | options)
    )


def plain(strategy, benchmark=None):
    return run(BARS, orders(strategy.intents(FEATURES.lazy())), SETTINGS, benchmark=benchmark)


def test_figures_and_returns_are_those_of_run():
    benchmark = pl.DataFrame({"session": BARS["session"].unique().sort()}).with_columns(
        **{"return": pl.int_range(pl.len()).cast(pl.Float64) * 1e-4 - 0.004}
    )
    result = swept({"fast": [2, 3], "slow": [8], "stop": [None, 0.02]}, benchmark=benchmark)
    assert result.results.height == 4
    for row in result.results.iter_rows(named=True):
        expected = plain(Cross(fast=row["fast"], slow=8, stop=row["stop"]), benchmark)
        for name in (*KEPT, *BESIDE):
            assert row[name] == pytest.approx(expected.metrics[name], rel=1e-9, abs=1e-12), name
        own = by_session(expected.equity, SETTINGS.cash)["return"].to_numpy()
        assert np.array_equal(result.returns[:, row["run"]], own.astype(np.float32))
        assert (row["sharpe"], row["periods"]) == (pytest.approx(own.mean() / own.std(ddof=1)), own.size)
        assert row["lost"] is False
        assert result.backtest(row["run"]).equity.equals(expected.equity)
    assert result.results["fills"].n_unique() > 1, "all alike would prove nothing"
    assert result.sessions.equals(BARS["session"].unique().sort())


def test_an_account_that_is_lost_is_told_and_ends_there():
    closes = [100, 100, 120, 126, 124, 60, 60, 61, 60]
    bars = cleaned({"X": [flat(close) for close in closes]})
    settings = account(cash=10_000, max_gross=10, margin={"name": "leverage", "leverage": 10})
    shorts = {"shares": [400, 100]}
    result = sweep(
        bars, lambda shares: sent(sized(0, "X", "sell", shares)), shorts, settings, progress=False, trials=None
    )
    assert result.results["lost"].to_list() == [True, False]
    assert result.results["periods"].to_list() == [4, 9]
    assert result.results["total_return"].to_list() == pytest.approx([-1.04, 0.4])
    assert result.results["cagr"].is_null().to_list() == [True, False]
    for number in (0, 1):
        own = by_session(result.backtest(number).equity, 10_000)["return"].to_numpy()
        assert np.array_equal(result.returns[:, number], own.astype(np.float32), equal_nan=True)


def test_what_cannot_be_run_is_told_beside_what_ran():
    result = swept()
    assert result.failed.rows() == [(6, 5, 5, "parameters", "fast 5 must be smaller than slow 5")]
    assert result.results["run"].to_list() == [0, 1, 2, 3, 4, 5, 7, 8]
    assert result.results.select("fast", "slow").rows()[-1] == (5, 13)
    assert result.returns.shape == (90, 8)
    assert np.isfinite(result.returns).all()


@pytest.mark.parametrize(("workers", "batch"), [(1, 1), (3, 2), (2, 100), (4, None)])
def test_workers_and_batches_change_nothing(workers, batch):
    expected, found = swept(workers=1, batch=100), swept(workers=workers, batch=batch)
    assert found.results.equals(expected.results)
    assert found.failed.equals(expected.failed)
    assert np.array_equal(found.returns, expected.returns)


def test_features_of_the_catalogue_are_computed_from_the_bars_once(monkeypatch):
    from quant_assets import features

    asked = []
    monkeypatch.setattr(
        features, "compute", lambda *args, of=features.compute, **more: asked.append(args) or of(*args, **more)
    )
    bars = market(days=160)
    result = sweep(
        bars, MovingAverageCross, {"fast": [10, 20], "slow": [20, 50]}, SETTINGS, progress=False, trials=None
    )
    assert len(asked) == 1
    assert sorted(asked[0][1]) == ["sma_ratio_10", "sma_ratio_20", "sma_ratio_50"]
    panel = features.compute(bars, ["sma_ratio_10", "sma_ratio_50"]).with_columns(tradable=pl.lit(True))
    expected = run(bars, orders(MovingAverageCross(fast=10, slow=50).intents(panel)), SETTINGS)
    assert result.results.filter(slow=50, fast=10)["total_return"][0] == expected.metrics["total_return"]
    assert expected.metrics["fills"] > 10
    assert result.failed["reason"].to_list() == [
        "fast 20 must be smaller than slow 20; for example fast: 50, slow: 200"
    ]


def test_bars_without_session_and_end_give_their_features_those_of_the_backtest():
    bars = BARS.drop("session", "known_at")
    result = sweep(
        bars, Cross, GRID, SETTINGS, features=averages(BARS).drop("session", "known_at"), progress=False, trials=None
    )
    given = sweep(
        bars,
        Cross,
        GRID,
        SETTINGS,
        features=preparing._keyed(averages(BARS).drop("session", "known_at"), history(bars)),
        progress=False,
    )
    assert result.results.equals(given.results)
    assert result.results["fills"].min() > 0


def test_a_function_may_give_the_strategy_or_the_orders():
    def chosen(fast: int, slow: int) -> Cross:
        return Cross(fast=fast, slow=slow)

    def sent(fast: int, slow: int) -> pl.LazyFrame:
        return orders(Cross(fast=fast, slow=slow).intents(FEATURES.lazy()))

    expected = swept()
    assert swept(strategy=chosen).results.equals(expected.results)
    by_orders = swept(strategy=sent)
    assert by_orders.results.equals(expected.results)
    assert by_orders.failed["stage"].to_list() == ["run"], "orders are made as the run begins"
    assert (swept(strategy=chosen).family, by_orders.family, expected.family) == ("chosen", "sent", "cross")


def test_one_run_that_the_exchange_refuses_does_not_stop_the_others():
    def sent(symbol: str) -> pl.DataFrame:
        return BARS.filter(symbol="S0").head(1).select(ts="known_at", symbol=pl.lit(symbol), target_weight=0.5)

    result = swept({"symbol": ["S0", "XX", "S1"]}, strategy=sent)
    assert result.results["symbol"].to_list() == ["S0", "S1"]
    assert result.failed.select("run", "stage").rows() == [(1, "run")]
    assert "there are no bars of it" in result.failed["reason"][0]


@pytest.mark.parametrize("error", [KeyError("unlucky"), ZeroDivisionError(), RuntimeError("no"), MemoryError("full")])
@pytest.mark.parametrize("unlucky", ["first", "later"])
def test_an_error_of_any_kind_is_that_of_its_own_run(error, unlucky):
    at = 1 if unlucky == "first" else 2

    def sent(number: int) -> pl.DataFrame:
        if number == at:
            raise error
        return BARS.filter(symbol="S0").head(1).select(ts="known_at", symbol="symbol", target_weight=0.5)

    result = swept({"number": [1, 2, 3]}, strategy=sent)
    assert result.results["number"].to_list() == [number for number in (1, 2, 3) if number != at]
    assert result.failed["number"].to_list() == [at]
    assert type(error).__name__ in result.failed["reason"][0]


@pytest.mark.parametrize("nothing", [None, 5])
@pytest.mark.parametrize("at", [1, 2])
def test_a_run_that_gives_no_orders_at_all_is_named(nothing, at):
    def sent(number: int) -> pl.DataFrame:
        orders = BARS.filter(symbol="S0").head(1).select(ts="known_at", symbol="symbol", target_weight=0.5)
        return nothing if number == at else orders

    result = swept({"number": [1, 2, 3]}, strategy=sent)
    assert result.failed["number"].to_list() == [at]
    assert f"gives a {type(nothing).__name__}; a" in result.failed["reason"][0]


REFUSED = [  # what, options, words of the message
    (
        "nothing runs",
        {"grid": {"fast": [8], "slow": [2, 3]}},
        "every one of 2 parameter sets is refused; set 0: fast 8",
    ),
    ("a missing feature", {"grid": {"fast": [2], "slow": [99]}}, r"lacks \['sma_99'\], which cross reads"),
    (
        "a column's name",
        {"grid": {"fills": [1]}, "strategy": lambda fills: BARS.head(0)},
        "fills is the name of a column",
    ),
    ("no strategy", {"strategy": lambda fast, slow: 5}, "gives a int"),
    ("an executor", {"executor": "cluster"}, "executor is 'cluster'"),
    ("no workers", {"workers": 0}, "workers is 0"),
    ("half a worker", {"workers": 1.5}, "workers is 1.5"),
    ("a worker that is true", {"workers": True}, "workers is True"),
    ("a record that is a word", {"trials": "yes"}, "trials is 'yes'; give evidence.trials.Trials, or None"),
    ("a family without a name", {"family": ""}, "family is empty"),
    ("no features", {"features": FEATURES.clear()}, "features: no rows"),
]


@pytest.mark.parametrize(("what", "options", "words"), REFUSED, ids=[case[0] for case in REFUSED])
def test_what_cannot_be_swept_is_refused(what, options, words):
    with pytest.raises(SweepError, match=words):
        swept(**options)


def test_a_history_serves_and_wants_its_features():
    past = history(BARS)
    found = sweep(past, Cross, GRID, SETTINGS, features=FEATURES, progress=False, trials=None)
    assert found.results.equals(swept().results)
    with pytest.raises(SweepError, match="give features="):
        sweep(past, Cross, GRID, SETTINGS, progress=False, trials=None)


@pytest.mark.parametrize("bars", [None, BARS.to_dict(as_series=False)])
def test_what_is_no_frame_of_bars_is_refused_as_by_run(bars):
    for call in (lambda: run(bars, made(1)), lambda: sweep(bars, Cross, GRID, features=FEATURES, trials=None)):
        with pytest.raises(QuantError, match=r"bars: a .*; give a polars frame"):
            call()


def test_costs_and_the_first_session_come_from_the_settings():
    late = BacktestSettings(cash=100_000, start=BARS["session"].unique().sort()[30])
    found = sweep(BARS, Cross, {"fast": [2], "slow": [8]}, late, features=FEATURES, progress=False, trials=None)
    expected = run(BARS, orders(Cross(fast=2, slow=8).intents(FEATURES.lazy())), late)
    assert found.returns.shape == (60, 1)
    assert found.results["turnover"][0] == pytest.approx(expected.metrics["turnover"], rel=1e-12)


class Ledger:
    """Remembers what it is told, in order; a plan's results come after it."""

    def __init__(self) -> None:
        self.told: list[tuple[str, object]] = []

    def lacking(self, family, configurations):
        known = {text for what, told in self.told if what == "plan" and told[0] == family for text in told[1]}
        return [text for text in configurations if text not in known]

    def plan(self, family, configurations, *, origin, symbols=None):
        self.told.append(("plan", (family, list(configurations))))
        return f"plan-{len(self.told)}"

    def results(self, plan_id, figures):
        self.told.append((plan_id, figures))


def test_every_batch_is_on_record_before_it_runs_and_has_its_results_afterwards(tmp_path):
    from quant_assets.evidence.trials import configuration

    ledger = Ledger()

    def chosen(fast: int, slow: int) -> pl.LazyFrame:
        ledger.told.append(("run", (fast, slow)))
        return orders(Cross(fast=fast, slow=slow).intents(FEATURES.lazy()))

    result = swept({"fast": [2, 3], "slow": [8, 13]}, strategy=chosen, trials=ledger, family="mine", batch=2, workers=1)
    # The first set is looked at once to see what the function gives.
    assert [what for what, _ in ledger.told] == ["run", "plan", "run", "run", "plan-2", "plan", "run", "run", "plan-6"]
    family, texts = ledger.told[1][1]
    assert family == "mine"
    assert len(set(texts)) == 2
    figures = ledger.told[4][1]
    assert figures["configuration"].to_list() == texts
    assert figures["sharpe"].equals(result.results["sharpe"].head(2))
    assert result.plans == ("plan-2", "plan-6")
    assert '"fast":2' in texts[0]
    assert texts[0] != configuration({"fast": 2, "slow": 8}), "costs, symbols and the first session count too"


def test_without_a_record_nothing_is_planned():
    assert swept().plans == ()


def test_what_is_tried_counts_on_the_installation_and_once():
    """Nothing is to be asked for: eight sets, whatever batches they come in, and the same eight when tried again."""
    from quant_assets.evidence.trials import Trials
    from resources.config import load

    for batch in (3, 8):
        assert swept(trials="installation", family="counted by itself", batch=batch).plans
    counted = Trials.of(load()).counted("counted by itself")
    assert (counted.trials, counted.with_result) == (8, 8)


def made(count: int) -> pl.DataFrame:
    return pl.DataFrame({"ts": [BARS["known_at"][0]], "symbol": ["AAA"], "side": ["buy"], "quantity": [float(count)]})


def test_a_limit_that_cannot_bind_is_refused_before_it_counts(tmp_path):
    from quant_assets.evidence.trials import Trial, Trials
    from resources.config import LimitSettings
    from resources.tracking import Tracking

    trials = Trials(Tracking("refused", tmp_path, f"sqlite:///{tmp_path / 'mlflow.db'}"))
    limited = BacktestSettings(limits=LimitSettings(sector=0.5))
    with pytest.raises(QuantError, match="no symbol has a sector"):
        sweep(BARS, Cross, GRID, limited, features=FEATURES, trials=trials, family="refused", progress=False)
    with pytest.raises(QuantError, match="no symbol has a sector"):
        run(BARS, made(1), limited, trial=Trial(trials, "refused"))
    assert trials.counted("refused").trials == 0


def test_a_sweep_and_a_single_backtest_of_the_same_strategy_are_one_trial(tmp_path):
    from quant_assets.backtests import run
    from quant_assets.evidence.trials import Trial, Trials
    from resources.tracking import Tracking

    trials = Trials(Tracking("alike", tmp_path, f"sqlite:///{tmp_path / 'mlflow.db'}"))
    swept({"fast": [2], "slow": [8]}, trials=trials, family="alike")
    one = Cross(fast=2, slow=8)
    run(
        BARS, orders(one.intents(FEATURES.lazy())), SETTINGS, trial=Trial(trials, "alike", one.model_dump(), code=Cross)
    )
    assert trials.counted("alike").trials == 1


def test_a_finished_sweep_is_read_and_not_run_again(tmp_path):
    first = swept(folder=tmp_path, batch=4)
    again = swept(folder=tmp_path)
    assert again.results.equals(first.results)
    assert again.failed.equals(first.failed)
    assert np.array_equal(again.returns, first.returns)
    assert again.folder == first.folder


def test_what_is_read_back_from_a_folder_is_put_on_record_once(tmp_path):
    """Who looks at it now has tried it, whoever ran it and on whatever record."""
    first = swept(folder=tmp_path, batch=4)
    ledger = Ledger()
    assert swept(folder=tmp_path, trials=ledger, family="mine").plans == ("plan-1",)
    (_, (family, texts)), (plan, figures) = ledger.told
    assert (family, plan, len(texts)) == ("mine", "plan-1", 8)
    assert figures["configuration"].to_list() == texts
    assert figures["sharpe"].equals(first.results["sharpe"])
    assert swept(folder=tmp_path, trials=ledger, family="mine").plans == ()
    assert swept(folder=tmp_path, trials=ledger, family="yours").plans == ("plan-3",)


def _cut(first):
    if first:
        raise KeyboardInterrupt


def test_of_a_sweep_cut_short_all_is_on_record(tmp_path, monkeypatch):
    """Some of it read back, the rest run."""
    add = Store.add
    with monkeypatch.context() as patch:
        patch.setattr(Store, "add", lambda self, first, answers: _cut(first) or add(self, first, answers))
        with pytest.raises(KeyboardInterrupt):
            swept(folder=tmp_path, batch=4)
    ledger = Ledger()
    swept(folder=tmp_path, trials=ledger, family="mine", batch=8)
    planned = [text for what, told in ledger.told if what == "plan" for text in told[1]]
    assert len(planned) == len(set(planned)) == 8


def test_the_ratio_on_record_is_in_excess_of_cash(tmp_path):
    ledger, settings = Ledger(), SETTINGS.model_copy(update={"cash_yield_bps_per_year": 5_000.0})
    found = sweep(BARS, Cross, GRID, settings, features=FEATURES, progress=False, trials=ledger, workers=1, batch=9)
    recorded = ledger.told[1][1]["sharpe"].to_numpy()
    assert (recorded < found.results["sharpe"].to_numpy() - 0.05).all()
    beyond = found.returns - np.append(0.0, np.full(found.returns.shape[0] - 1, 0.5 / 365))[:, None]
    assert recorded == pytest.approx(beyond.mean(axis=0) / beyond.std(axis=0, ddof=1), rel=1e-4)


def test_a_lambda_has_to_be_given_a_family():
    rule = lambda fast, slow: orders(Cross(fast=fast, slow=slow).intents(FEATURES.lazy()))  # noqa: E731
    with pytest.raises(SweepError, match=r"a lambda has no name.*give family="):
        swept(strategy=rule, trials=Ledger())
    assert swept(strategy=rule, trials=Ledger(), family="crossing").plans
    assert swept(strategy=rule).results.height == 8


class Other(Cross):
    """The same parameters, other code."""

    def intents(self, features: pl.LazyFrame) -> pl.LazyFrame:
        return super().intents(features.with_columns(sma_8=pl.col("sma_8") * 1.01))


CHANGES = {
    "another grid": {"grid": {"fast": [2, 3], "slow": [8]}},
    "other features": {"features": FEATURES.with_columns(pl.col("sma_2") * 1.5)},
    "a benchmark": {"benchmark": pl.DataFrame({"session": [BARS["session"][0]], "return": [0.1]})},
    "other code": {"strategy": Other},
}


@pytest.mark.parametrize("changed", CHANGES.values(), ids=CHANGES)
def test_another_sweep_has_another_folder(tmp_path, changed):
    first = swept(folder=tmp_path)
    assert swept(**({"folder": tmp_path} | changed)).folder != first.folder
    assert swept(folder=tmp_path, workers=3, batch=1).folder == first.folder


def test_two_processes_do_not_work_on_one_sweep(tmp_path):
    place = swept(folder=tmp_path).folder
    with (place / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(SweepError, match="another process is working on this sweep"):
            swept(folder=tmp_path)


def test_a_temporary_folder_goes_with_the_result():
    result = swept()
    place = result.folder
    assert place.is_dir()
    result._kept.cleanup()
    assert not place.exists()


def test_a_sweep_error_is_one_of_ours():
    assert issubclass(SweepError, QuantError)
