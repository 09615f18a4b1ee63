"""The promise: of a hundred strategies without skill 95 or more are called unproven, and one with a true edge proven.

500 made-up symbols over five years in a market that rises (a Sharpe ratio of about 1), so that a strategy without skill
has something to look good with; half of the hundred only buy, half are long and short. All by `run`, with costs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest

from quant_assets.backtests import BacktestResult, History, history, run
from quant_assets.backtests.verdict.assess import Evidence, assess
from quant_assets.backtests.verdict.stress import stress
from quant_assets.evidence.sharpe import moments
from quant_assets.evidence.trials import Counted
from resources.config import BacktestSettings

SYMBOLS, SESSIONS, NOISE = 500, 1_260, 100
SETTINGS = BacktestSettings()
SAMPLES = 1_000

Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True)
class World:
    past: History
    closes: Sequence[datetime]
    foreseen: Numbers
    """The part of each session's log return that the one with skill knows before."""

    benchmark: pl.DataFrame

    def orders(self, score: Numbers, every: int, names: int, short: bool) -> pl.DataFrame:
        """Hold the highest `names` of a score in equal weights, and the lowest short, chosen anew so often."""
        days = np.arange(0, SESSIONS - 1, every)
        place = score[days].argsort(axis=1).argsort(axis=1)
        weights = np.where(place >= SYMBOLS - names, 1.0, 0.0) - (np.where(place < names, 1.0, 0.0) if short else 0.0)
        weights /= np.abs(weights).sum(axis=1, keepdims=True)
        left = np.zeros_like(weights, bool)
        left[1:] = (weights[:-1] != 0) & (weights[1:] == 0)
        row, symbol = np.nonzero((weights != 0) | left)
        return pl.DataFrame(
            {
                "ts": pl.Series([self.closes[day] for day in days]).gather(row),
                "symbol": pl.Series(self.past.symbols).gather(symbol),
                "target_weight": weights[row, symbol],
            }
        )


pytestmark = pytest.mark.xdist_group("noise")  # what they share takes long to make


@pytest.fixture(scope="module")
def world() -> World:
    random = np.random.default_rng(2024)
    every = (date(2015, 1, 5) + timedelta(days=number) for number in range(2 * SESSIONS))
    days = [day for day in every if day.weekday() < 5][:SESSIONS]
    opens = [datetime(day.year, day.month, day.day, 14, 30, tzinfo=UTC) for day in days]
    foreseen = random.normal(0, 0.0004, (SESSIONS, SYMBOLS))
    market = random.normal(0.0005, 0.0085, (SESSIONS, 1))
    market += 0.0005 - market.mean()  # the seed shall not decide how well the market does
    change = market + random.normal(0, 0.016, (SESSIONS, SYMBOLS)) + foreseen
    close = 50 * np.exp(change.cumsum(axis=0))
    opened = np.vstack([np.full((1, SYMBOLS), 50.0), close[:-1]]) * np.exp(random.normal(0, 0.002, close.shape))
    bars = pl.DataFrame(
        {
            "ts": pl.Series(opens).gather(np.repeat(np.arange(SESSIONS), SYMBOLS)),
            "symbol": [f"S{number:03d}" for number in range(SYMBOLS)] * SESSIONS,
            "open": opened.ravel(),
            "high": np.maximum(opened, close).ravel() * 1.001,
            "low": np.minimum(opened, close).ravel() * 0.999,
            "close": close.ravel(),
            "volume": 1e6,
        }
    ).with_columns(session=pl.col("ts").dt.date(), known_at=pl.col("ts") + timedelta(hours=6.5))
    held = np.expm1(change).mean(axis=1)
    return World(
        history(bars),
        [start + timedelta(hours=6.5) for start in opens],
        foreseen,
        pl.DataFrame({"session": days, "return": held}),
    )


@pytest.fixture(scope="module")
def noise(world: World) -> list[BacktestResult]:
    found = []
    for seed in range(NOISE):
        random = np.random.default_rng(seed)
        every, names = int(random.choice([10, 21, 63])), int(random.choice([10, 20, 50]))
        sent = world.orders(random.normal(size=(SESSIONS, SYMBOLS)), every, names, short=seed % 2 == 0)
        found.append(run(world.past, sent, SETTINGS, benchmark=world.benchmark))
    return found


def sharpes(results: Sequence[BacktestResult]) -> Numbers:
    return np.array([moments(result.equity["return"]).sharpe for result in results])


def judged(results: Sequence[BacktestResult], trials: Counted, world: World) -> list[Evidence]:
    return [assess(result, trials, settings=SETTINGS, benchmark=world.benchmark, samples=SAMPLES) for result in results]


def one_family(noise: Sequence[BacktestResult]) -> Counted:
    return Counted(NOISE, NOISE, float(sharpes(noise).var(ddof=1)), 1)


FAMILIES = {
    "each the only trial ever": lambda noise: Counted(1, 1, None, 1),
    "each a family of its own": lambda noise: Counted(1, 1, None, NOISE),
    "all of one family": one_family,
}


@pytest.mark.parametrize("how", FAMILIES)
def test_noise_is_unproven(how: str, world: World, noise: list[BacktestResult]) -> None:
    found = judged(noise, FAMILIES[how](noise), world)
    assert sum(not evidence.proven for evidence in found) >= 95
    assert all(evidence.headline.startswith("Unproven: it fails on ") for evidence in found if not evidence.proven)


def test_the_noise_is_not_unproven_for_losing(noise: list[BacktestResult]) -> None:
    """Half of the hundred look good: they bought, and the market rose."""
    annual = sharpes(noise) * 252**0.5
    assert (annual[1::2] > 0.5).mean() > 0.9


def test_a_true_edge_is_proven(world: World, noise: list[BacktestResult]) -> None:
    """The sum of what the next five sessions are known to bring, traded each week, among fifty trials like it."""
    total = world.foreseen.cumsum(axis=0)
    ahead = np.vstack([total[5:], np.repeat(total[-1:], 5, axis=0)]) - total
    sent = world.orders(ahead, every=5, names=50, short=True)
    result = run(world.past, sent, SETTINGS, benchmark=world.benchmark)
    assert 2 < float(result.metrics["sharpe_ratio"] or 0) < 4
    family = [*noise[::2], result]
    trials = Counted(len(family), len(family), float(sharpes(family).var(ddof=1)), 20)
    stressed = stress(world.past, sent, SETTINGS, world.benchmark, known=result)
    evidence = assess(result, trials, settings=SETTINGS, benchmark=world.benchmark, stress=stressed)
    assert evidence.proven, evidence.headline
    assert evidence.headline.startswith("Proven on this history: it passes all 7 essential tests")
