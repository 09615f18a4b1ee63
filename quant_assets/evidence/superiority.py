"""Whether the best of many trials beats a benchmark by more than the search for it explains.

White's reality check compares the best trial's mean difference from the benchmark with what the best of all trials
would show by luck, were none better. Hansen's test of superior predictive ability (SPA) divides each difference by its
standard error first and lets trials that are clearly worse than the benchmark count for less, so that trying more bad
ideas does not hide a good one.

Sources: White (2000), "A Reality Check for Data Snooping", Econometrica 68(5); Hansen (2005), "A Test for Superior
Predictive Ability", Journal of Business & Economic Statistics 23(4); Politis and Romano (1994), "The Stationary
Bootstrap", Journal of the American Statistical Association 89(428).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from quant_assets.evidence.bootstrap import AT_ONCE, block_length, long_run_variance
from quant_assets.evidence.inputs import EvidenceError, Floats, Integers, Values, matrix, moving, series, whole

Seed = int | np.random.Generator | np.random.RandomState
"""What arch draws from."""

LEAST = 100
"""Periods. Standard errors of few are too small too often: of 20 trials without an edge the best is called superior at
the 5% level in 8% of histories of 100 periods, in 10% of 60, in some 20% of 24 and 40% of 12."""

LOOKED_AT = 50
"""Trials whose serial dependence sets the length of blocks, spread over all of them."""


@dataclass(frozen=True, slots=True)
class Superiority:
    """Probabilities of a best trial as good as this one if none were better than the benchmark: small is good.

    A probability is a share of the bootstrap samples, so 0 means less than one in `samples`.
    """

    reality_check: float
    """White's: of the mean difference, with every trial taken to be as good as the benchmark."""

    spa_lower: float
    """Hansen's, with every trial that did worse than the benchmark taken to be as bad as it looks: too low."""

    spa_consistent: float
    """Hansen's, with only the trials that did clearly worse taken to be as bad as they look: the one to use."""

    spa_upper: float
    """Hansen's, with every trial taken to be as good as the benchmark: too high."""

    best: int
    """Column of the trial whose mean difference is the most standard errors above the benchmark."""

    statistic: float
    """That number of standard errors."""

    samples: int
    block: float
    """Mean length of the blocks, in periods."""


def superiority(
    returns: Values, benchmark: Values = 0.0, samples: int = 1_000, block: float | None = None, seed: Seed = 0
) -> Superiority:
    """Test the best of the trials against a benchmark, by the stationary bootstrap of arch.

    `returns` has the shape (periods, trials), all trials that were tried included; `benchmark` is one return a period,
    or one number for all of them. `block` is the mean length of a block in periods, by default the automatic one of
    Politis and White (`bootstrap.block_length`), averaged over trials. A trial whose difference from the benchmark
    never changes (one that never trades, against 0) has no standard error and is left out. Where no trial did better
    than the benchmark, every probability is 1. `seed` is a number, or a
    generator of numpy, as arch takes it. Memory follows the size of `returns`, not `samples`.

    Raises EvidenceError for missing returns, fewer than 100 periods, a benchmark of another length, a block that is
    shorter than 1 or longer than the history, and where every trial is left out.
    """
    whole(samples, "samples", 1)
    if isinstance(seed, int):
        whole(seed, "seed", 0)
    differences, used = _differences(returns, benchmark)
    if not used.size:
        raise EvidenceError("no trial's return ever differs from the benchmark's by another amount than before")
    if used.size < differences.shape[1]:
        differences = differences[:, used]
    length = _length(differences) if block is None else float(block)
    if not 1 <= length <= differences.shape[0]:
        raise EvidenceError(f"block is {block}; it must lie between 1 and the {differences.shape[0]} periods")
    means = differences.mean(axis=0)
    differences -= means
    errors = np.sqrt(long_run_variance(differences, length) / differences.shape[0])
    best = int((means / errors).argmax())
    shares = _shares(differences, means, errors, samples, length, seed) if means.max() > 0 else np.ones(4)
    return Superiority(
        reality_check=float(shares[0]),
        spa_lower=float(shares[1]),
        spa_consistent=float(shares[2]),
        spa_upper=float(shares[3]),
        best=int(used[best]),
        statistic=float(means[best] / errors[best]),
        samples=samples,
        block=length,
    )


def _differences(returns: Values, benchmark: Values) -> tuple[Floats, Integers]:
    """Of the trials' returns from the benchmark's, in an array of their own; and which trials' differences vary."""
    found = matrix(returns, least=LEAST)
    against = np.asarray(benchmark, dtype=np.float64)
    if against.ndim:
        against = series(benchmark, "benchmark")[:, None]
        if against.size != found.shape[0]:
            raise EvidenceError(f"benchmark has {against.size} periods, returns have {found.shape[0]}")
    differences = np.subtract(found, against, dtype=np.float64, order="C")
    # What differs from the benchmark by rounding alone is the benchmark.
    size = np.abs(found).max(axis=0) + np.abs(against).max()
    return differences, np.flatnonzero(moving(differences, size))


def _length(differences: Floats) -> float:
    spread = np.linspace(0, differences.shape[1] - 1, min(LOOKED_AT, differences.shape[1])).astype(np.int64)
    return float(np.mean([block_length(differences[:, trial]) for trial in spread]))


def _shares(centred: Floats, means: Floats, errors: Floats, samples: int, block: float, seed: Seed) -> Floats:
    """Share of the bootstrap samples whose best trial is above the observed best: White's, then Hansen's three.

    The mean of a sample is a product of how often it takes each period with the differences, so that a matrix product
    does many samples at once.
    """
    from arch.bootstrap import StationaryBootstrap

    periods, trials = centred.shape
    threshold = -errors * math.sqrt(2.0 * math.log(math.log(periods)))
    kept = [np.maximum(means, 0.0), np.where(means >= threshold, means, 0.0), means]
    shifts = [(means - mean) / errors for mean in kept]
    observed = [means.max(), *[(means / errors).max()] * 3]
    # Its annotation says int, its arithmetic takes the reciprocal.
    draws = StationaryBootstrap(block, np.arange(periods), seed=seed).bootstrap(samples)  # type: ignore[arg-type]
    above = np.zeros(4)
    step = max(1, AT_ONCE // max(periods, trials))
    for first in range(0, samples, step):
        taken = [np.bincount(next(draws)[0][0], minlength=periods) for _ in range(min(step, samples - first))]
        moved = np.array(taken, dtype=np.float64) @ centred / periods
        above[0] += np.count_nonzero(moved.max(axis=1) > observed[0])
        moved /= errors
        for number, shift in enumerate(shifts, start=1):
            above[number] += np.count_nonzero((moved + shift).max(axis=1) > observed[number])
    return above / samples
