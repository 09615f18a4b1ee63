"""White's reality check and Hansen's SPA: against arch, against the definitions, and as the papers describe them.

The papers' empirical examples need data that are not printed in them (S&P 500 forecasts, US inflation). Hansen's
simulations do not: his table of how often White's check and his own tests reject is made again. A published example of
arch is run again, and what the papers state is tested: order of the p-values, and what poor alternatives do.
"""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import polars as pl
import pytest
from arch.bootstrap import SPA, StationaryBootstrap
from hypothesis import given, settings
from hypothesis import strategies as st

from quant_assets.evidence import EvidenceError, superiority
from quant_assets.evidence.bootstrap import long_run_variance


def trials(seed: int, periods: int = 250, count: int = 12) -> np.ndarray:
    return np.random.default_rng(seed).normal(0.0, 0.01, (periods, count))


@pytest.mark.parametrize("block", [1, 4, 15])
def test_the_same_samples_as_arch_give_the_same_probabilities(block: int) -> None:
    """arch works with losses. It divides none of the means by its standard error, although it computes them: so that
    White's check is its upper p-value as it is, and Hansen's are those of losses that were divided before."""
    returns, against = trials(1), trials(2)[:, 0]
    returns[:, 3] += 0.0012
    returns[:, 5] -= 0.0040
    ours = superiority(returns, against, samples=400, block=block, seed=7)
    white = SPA(-against, -returns, block_size=block, reps=400, seed=7)
    white.compute()
    assert ours.reality_check == white.pvalues["upper"]
    # Divided by their standard errors before: arch's own, of the root of the periods times the mean.
    scale = np.sqrt(white._loss_diff_var)
    hansen = SPA(np.zeros(250), -(returns - against[:, None]) / scale, block_size=block, reps=400, seed=7)
    hansen.compute()
    assert [ours.spa_lower, ours.spa_consistent, ours.spa_upper] == hansen.pvalues.to_list()
    assert 0 < ours.spa_lower < ours.spa_upper


def test_published_example_of_arch():
    """arch's notebook multiple-comparison_examples, cells 2 to 5: 500 regressions on predictors that are as noisy as
    those of the benchmark, 500 squared errors of each. Printed: lower 0.520, consistent 0.723, upper 0.733, the last of
    which is White's."""
    random = np.random.RandomState(23456)
    seed = random.randint(0, 2**31 - 1)
    factors = random.randn(1000, 3)
    random.randn(1000)
    target = factors @ [1, 0.5, 0.1]

    def squared_errors() -> np.ndarray:
        measured = factors + random.randn(1000, 3)
        coefficients = np.linalg.lstsq(measured[:500], target[:500], rcond=None)[0]
        return (target[500:] - measured[500:] @ coefficients) ** 2

    benchmark = squared_errors()
    models = np.column_stack([squared_errors() for _ in range(500)])
    ours = superiority(-models, -benchmark, block=22, seed=np.random.RandomState(seed))
    assert ours.reality_check == 0.733
    theirs = SPA(benchmark, models, seed=np.random.RandomState(seed))
    theirs.compute()
    assert theirs.pvalues.to_list() == [0.520, 0.723, 0.733]


def test_the_definitions_word_by_word():
    """White (2000), section 2, and Hansen (2005), section 2: one sample after the other, one trial at a time."""
    returns, periods, samples, block = trials(5, periods=120, count=4), 120, 50, 3.0
    returns[:, 2] += 0.0015
    returns[:, 0] -= 0.0060
    means = returns.mean(axis=0)
    error = np.sqrt(long_run_variance(returns - means, block))
    root = np.sqrt(periods)
    clearly_worse = [root * means[k] / error[k] <= -np.sqrt(2 * np.log(np.log(periods))) for k in range(4)]
    assert clearly_worse == [True, False, False, False]
    observed = root * max(means), max(root * means / error)
    counts = np.zeros(4)
    for drawn, _ in StationaryBootstrap(block, np.arange(periods), seed=3).bootstrap(samples):
        star = returns[drawn[0]].mean(axis=0)
        counts[0] += max(root * (star - means)) > observed[0]
        for which in (1, 2, 3):
            best = 0.0
            for k in range(4):
                centre = [max(means[k], 0.0), 0.0 if clearly_worse[k] else means[k], means[k]][which - 1]
                best = max(best, root * (star[k] - centre) / error[k])
            counts[which] += best > observed[1]
    found = superiority(returns, samples=samples, block=block, seed=3)
    shares = [found.reality_check, found.spa_lower, found.spa_consistent, found.spa_upper]
    assert shares == pytest.approx(counts / samples)
    assert (found.best, found.statistic) == (2, pytest.approx(observed[1]))


# Hansen (2005), section 4 and table 2: 100 alternatives, 200 periods, independent losses, 10,000 histories. Shares that
# are rejected at the 5% level: columns RCu (White's reality check), SPAl, SPAc, SPAu of the rows (Lambda 0, Lambda 1).
TABLE_2 = {
    (0, 0): (0.053, 0.062, 0.060, 0.060),
    (0, -3): (0.470, 0.848, 0.764, 0.761),
    (2, -3): (0.073, 0.881, 0.745, 0.721),
    (5, -3): (0.017, 0.929, 0.787, 0.710),
    (10, 0): (0.000, 0.016, 0.007, 0.002),
    (10, -3): (0.006, 0.953, 0.843, 0.703),
}
HISTORIES = 120


def hansens_losses(random: np.random.Generator, poorest: float, first: float) -> np.ndarray:
    """The benchmark's losses and those of 100 alternatives: the first is better by Lambda 1, the others are worse by
    even steps up to Lambda 0, and the worse the more erratic."""
    means = np.concatenate([[0.0, first], poorest * np.arange(1, 100) / 99])
    return means / np.sqrt(200) + np.sqrt(np.exp(np.arctan(means)) / 2) * random.standard_normal((200, 101))


@pytest.mark.parametrize(("poorest", "first"), TABLE_2)
def test_published_simulations_of_hansen(poorest: float, first: float) -> None:
    """Size where no alternative is better (Lambda 1 is 0), and power where one is."""
    random, rejected = np.random.default_rng(2005), np.zeros(4)
    for seed in range(HISTORIES):
        losses = hansens_losses(random, poorest, first)
        # With 199 samples a true null hypothesis is rejected in 10 of 200 cases.
        found = superiority(-losses[:, 1:], -losses[:, 0], samples=199, block=1, seed=seed)
        shares = (found.reality_check, found.spa_lower, found.spa_consistent, found.spa_upper)
        rejected += np.array(shares) < 0.05
    published = np.array(TABLE_2[poorest, first])
    error = np.sqrt(published * (1 - published) * (1 / HISTORIES + 1 / 10_000))
    # Where next to nothing is rejected, one of 120 is already 0.008.
    assert (np.abs(rejected / HISTORIES - published) <= 3 * error + 1 / HISTORIES).all()


def test_the_best_is_the_one_of_which_there_is_least_doubt():
    """Twice the mean with eight times the deviation is less convincing."""
    returns = trials(41, count=3)
    returns = returns - returns.mean(axis=0)
    returns = np.column_stack([8 * returns[:, 0] + 0.004, returns[:, 1], returns[:, 2] + 0.002])
    found = superiority(returns, samples=20, block=1)
    deviations = returns.std(axis=0)
    assert found.best == 2
    assert found.statistic == pytest.approx(np.sqrt(250) * 0.002 / deviations[2])


def test_one_trial_is_a_test_of_its_mean():
    returns = trials(11, periods=400, count=1) + 0.0007
    found = superiority(returns, samples=4000, block=1)
    normal = 1 - NormalDist().cdf(found.statistic)
    assert found.reality_check == pytest.approx(normal, abs=0.015)
    assert found.spa_consistent == found.reality_check


def test_poor_and_erratic_trials_hide_a_good_one_from_the_reality_check_only():
    """Hansen (2005), section 2: the reality check can be driven to no power by poor alternatives, the SPA is hardly
    sensitive to them."""
    good = trials(21, count=1) + 0.0030
    poor = 5.0 * trials(22, count=30) - 0.010
    alone, among = (superiority(of, block=1, samples=500) for of in (good, np.hstack([good, poor])))
    assert alone.reality_check < 0.02
    assert among.reality_check > 0.2
    assert among.spa_consistent < 0.03
    assert among.best == 0


def test_searching_longer_makes_the_same_best_less_remarkable():
    one = trials(31, count=1) + 0.0016
    probabilities = [
        superiority(np.hstack([one, trials(32, count=more)]), block=1, samples=400).spa_consistent
        for more in (1, 20, 200)
    ]
    assert probabilities[0] < probabilities[1] < probabilities[2]


@settings(max_examples=25)
@given(st.integers(0, 10_000), st.floats(-0.003, 0.003), st.integers(1, 30))
def test_consistent_lies_between_lower_and_upper(seed: int, edge: float, block: int) -> None:
    returns = trials(seed, periods=100, count=5)
    found = superiority(returns + edge * np.arange(5), samples=50, block=block)
    assert 0 <= found.spa_lower <= found.spa_consistent <= found.spa_upper <= 1
    assert 0 <= found.reality_check <= 1


@pytest.mark.parametrize("block", [1.0, 2.5, 20.0])
def test_long_run_variance_is_the_weighted_sum_of_autocovariances(block: int) -> None:
    """Politis and Romano (1994), summed lag by lag as arch does."""
    returns = trials(3, periods=90, count=3)
    arch = SPA(np.zeros(90), -returns, block_size=block)
    arch._compute_variance()
    assert long_run_variance(returns - returns.mean(axis=0), block) == pytest.approx(arch._loss_diff_var)


def test_long_run_variance_of_trending_returns():
    """An AR(1) with coefficient 0.5 and shocks of variance 1 has the long-run variance 1 / (1 - 0.5)^2 = 4."""
    shocks = np.random.default_rng(4).standard_normal(20_000)
    series = np.empty_like(shocks)
    series[0] = shocks[0]
    for at in range(1, shocks.size):
        series[at] = 0.5 * series[at - 1] + shocks[at]
    assert long_run_variance((series - series.mean())[:, None], 50.0)[0] == pytest.approx(4.0, rel=0.15)


def test_no_better_trial_no_evidence():
    found = superiority(-np.abs(trials(1)), samples=20)
    assert (found.reality_check, found.spa_lower, found.spa_consistent, found.spa_upper) == (1, 1, 1, 1)


def test_a_trial_that_never_trades_is_left_out():
    returns = trials(6, count=3)
    returns[:, 1] += 0.002
    idle = np.insert(returns, 0, 0.0, axis=1)
    with_idle, without = superiority(idle, samples=100, block=2), superiority(returns, samples=100, block=2)
    assert (with_idle.best, without.best) == (2, 1)
    assert with_idle.spa_consistent == without.spa_consistent


def test_the_benchmark_itself_is_no_trial():
    """Nor is it one where rounding is all that sets it apart."""
    market = trials(6, count=1)[:, 0]
    mine = np.column_stack([np.log(np.exp(market)), trials(7, count=1) + 0.001])
    assert (mine[:, 0] != market).any()
    found = superiority(mine, market, samples=50)
    assert found.best == 1
    with pytest.raises(EvidenceError, match="no trial's return ever differs"):
        superiority(mine[:, :1], market)


def test_same_seed_same_answer_and_frames_are_taken():
    returns = trials(8)
    frame = pl.DataFrame(returns, schema=[f"t{number}" for number in range(12)])
    assert superiority(returns, samples=50, seed=4) == superiority(frame, samples=50, seed=4)
    assert superiority(returns, samples=50, seed=4) != superiority(returns, samples=50, seed=5)


REFUSED = [
    (lambda: superiority(trials(1), trials(1, periods=249)[:, 0]), "benchmark has 249 periods, returns have 250"),
    (lambda: superiority(trials(1, periods=99)), "returns have 99 periods; at least 100"),
    (lambda: superiority(np.zeros((100, 3))), "no trial's return ever differs"),
    (lambda: superiority(np.full((100, 3), np.inf)), r"returns\[0, 0\] is not a finite number"),
    (lambda: superiority(trials(1), block=0.5), "block is 0.5; it must lie between 1 and the 250 periods"),
    (lambda: superiority(trials(1), block=251), "block is 251"),
    (lambda: superiority(trials(1), samples=0), "samples is 0; it must be at least 1"),
    (lambda: superiority(trials(1), seed=-1), "seed is -1; it must be at least 0"),
    (lambda: superiority(trials(1)[:, 0]), "give a row a period and a column a trial"),
]


@pytest.mark.parametrize(("call", "message"), REFUSED)
def test_what_cannot_be_judged_is_refused(call, message: str) -> None:
    with pytest.raises(EvidenceError, match=message):
        call()
