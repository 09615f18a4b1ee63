"""Ways to divide a history for training and testing, so that a test knows nothing of what trained.

A sample is a row whose label looks at a span of time, from `starts` to `ends`, both included: a label made at session t
with horizon h spans t to t + h. Two samples whose spans meet tell one story twice, so a training sample that meets a
test sample is left out (purged); an embargo leaves out those that begin soon after one as well, for what serial
correlation carries across. `walk_forward` tests each period once, as it would have been lived through.
`combinatorial_purged` tests every choice of some groups on all others, which makes several complete histories out of
one. Folds hold positions, so that they fit frames, arrays and lists alike.

Source: Lopez de Prado (2018), "Advances in Financial Machine Learning", chapters 7 and 12.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from quant_assets.evidence.inputs import EvidenceError, Integers, Values, whole

Times = npt.NDArray[Any]

MOST_FOLDS = 10_000
"""A model is fitted for every fold."""


@dataclass(frozen=True, slots=True)
class Fold:
    """Positions of the samples to train on and of those to test on, each in order."""

    train: Integers
    test: Integers


@dataclass(frozen=True, slots=True)
class Combinations:
    """Folds, and how their tests join to histories."""

    folds: tuple[Fold, ...]
    groups: tuple[Integers, ...]
    """Positions of the samples of each group, in order."""

    tested: Integers
    """Groups that a fold tests, shape (folds, tests)."""

    paths: Integers
    """Fold from which a history takes each group, shape (histories, groups)."""

    def histories(self, outcomes: Sequence[Values]) -> npt.NDArray[np.float64]:
        """Join what the folds gave for their test samples: shape (histories, samples).

        `outcomes` has an entry a fold, one number for every position of its `test`. Raises EvidenceError where one has
        another length.
        """
        if len(outcomes) != len(self.folds):
            raise EvidenceError(f"there are outcomes of {len(outcomes)} folds; there are {len(self.folds)} folds")
        whole_history = np.empty((len(self.folds), sum(group.size for group in self.groups)))
        for number, (fold, outcome) in enumerate(zip(self.folds, outcomes, strict=True)):
            values = np.asarray(outcome, dtype=np.float64)
            if values.shape != fold.test.shape:
                raise EvidenceError(f"fold {number} tests {fold.test.size} samples; its outcome has {values.shape}")
            whole_history[number, fold.test] = values
        joined = [
            np.concatenate([whole_history[fold, group] for fold, group in zip(path, self.groups, strict=True)])
            for path in self.paths
        ]
        return np.array(joined)


def walk_forward(
    sessions: int | Sequence[Any],
    train: int,
    test: int,
    step: int | None = None,
    gap: int = 0,
    anchored: bool = False,
) -> list[Fold]:
    """Train on `train` sessions, leave out `gap`, test the next `test`; move on by `step` and do it again.

    `sessions` are the sessions in order, or how many there are; folds hold their positions. `gap` is the label's
    horizon and the embargo together. `step` is `test` by default, which tests every session once from the first test
    on; the last test is cut off where the history ends. `anchored` trains from the first session on, so that the
    training grows.

    Example: `walk_forward(10, train=4, test=3, gap=1)[0].test.tolist()` is [5, 6, 7].

    Raises EvidenceError for sessions out of order, counts below one, a negative gap, and where there are too few
    sessions for a single test.
    """
    count = _ordered(sessions)
    step = test if step is None else step
    for name, value, least in (("train", train, 1), ("test", test, 1), ("step", step, 1), ("gap", gap, 0)):
        whole(value, name, least)
    folds = []
    for first in range(train + gap, count, step):
        end = first - gap
        begin = 0 if anchored else end - train
        folds.append(Fold(np.arange(begin, end), np.arange(first, min(first + test, count))))
        if first + test >= count:
            break
    if not folds:
        raise EvidenceError(
            f"{count} sessions are too few for train={train} and gap={gap} with a test after them; load more history "
            "or lower train or gap"
        )
    return folds


def combinatorial_purged(
    starts: Values, ends: Values, groups: int = 6, tests: int = 2, embargo: Any = 0
) -> Combinations:
    """Combinatorial purged cross-validation: every choice of `tests` among `groups` is tested once by the others.

    `starts` and `ends` are the spans of the samples' labels, in order of start: positions, dates or times of one kind
    (`spans` makes them for a fixed horizon). Samples are cut into groups of near-equal size. There are C(groups, tests)
    folds, and C(groups, tests) x tests / groups histories, each of which has every sample tested once. `embargo` is in
    units of the spans (sessions, or a timedelta): samples that start within it after the end of a test group's last
    label do not train. With `tests=1` it is purged k-fold, with one history.

    Raises EvidenceError for spans that are out of order or end before they start, fewer samples than groups, `tests`
    that leave no group to train on, more than 10,000 folds, and a fold that purging leaves without training samples.

    Example: `len(combinatorial_purged(*spans(60, horizon=5)).paths)` is 5.
    """
    begins, finishes = _spans(starts, ends)
    whole(groups, "groups", 2)
    if not 1 <= tests < groups:
        raise EvidenceError(f"tests is {tests}; it must lie between 1 and groups - 1 = {groups - 1}")
    if begins.size < groups:
        raise EvidenceError(f"{begins.size} samples are too few for groups={groups}")
    if math.comb(groups, tests) > MOST_FOLDS:
        raise EvidenceError(
            f"groups={groups} with tests={tests} make {math.comb(groups, tests):,} folds, more than {MOST_FOLDS:,}"
        )
    edges = begins.size * np.arange(groups + 1) // groups
    pieces = tuple(np.arange(first, last) for first, last in pairwise(edges))
    tested = np.array(list(itertools.combinations(range(groups), tests)))
    folds = []
    for chosen in tested:
        runs = [pieces[group] for group in chosen]
        fold = Fold(purged(begins, finishes, runs, embargo), np.concatenate(runs))
        if not fold.train.size:
            raise EvidenceError(
                f"nothing is left to train on where groups {chosen.tolist()} of {groups} are tested; shorten the "
                "labels or the embargo, or choose fewer groups or tests"
            )
        folds.append(fold)
    paths = np.array([np.flatnonzero((tested == group).any(axis=1)) for group in range(groups)]).T
    return Combinations(tuple(folds), pieces, tested, paths)


def purged(starts: Values, ends: Values, tests: Sequence[Values], embargo: Any = 0) -> Integers:
    """Positions that may train beside `tests`, each of which is a run of consecutive positions.

    Left out are the tests, the samples whose spans meet one of a test's, and those that start within `embargo` after
    the last end of a test's spans.

    Raises EvidenceError for spans that are out of order or end before they start, a test without samples, and an
    embargo that is negative or not in their units.
    """
    begins, finishes = _spans(starts, ends)
    lasting, stamped = isinstance(embargo, timedelta | np.timedelta64), begins.dtype.kind == "M"
    if embargo and lasting != stamped:
        needed = "dates or times need a timedelta" if stamped else "positions need a number of them"
        raise EvidenceError(f"embargo is {embargo}; spans of {needed}")
    if embargo < type(embargo)(0):
        raise EvidenceError(f"embargo is {embargo}; it must not be negative")
    train = np.ones(begins.size, dtype=bool)
    for test in tests:
        run = np.asarray(test, dtype=np.int64)
        if not run.size:
            raise EvidenceError("a test has no samples; leave it out")
        # Starts are in order: what meets the stretch from the run's first start to its last end meets one of its spans,
        # and each of its own samples does.
        train &= (finishes < begins[run].min()) | (begins > finishes[run].max() + embargo)
    return np.flatnonzero(train)


def spans(samples: int, horizon: int) -> tuple[Integers, Integers]:
    """Spans of one sample a session, each of whose labels looks `horizon` sessions ahead, as positions of sessions."""
    starts = np.arange(whole(samples, "samples", 1))
    return starts, starts + whole(horizon, "horizon", 0)


def _ordered(sessions: int | Sequence[Any]) -> int:
    if isinstance(sessions, int | np.integer):
        return whole(int(sessions), "sessions", 1)
    for earlier, later in pairwise(sessions):
        if not earlier < later:
            raise EvidenceError(f"sessions must be in order, each once: {later} follows {earlier}")
    return len(sessions)


def _spans(starts: Values, ends: Values) -> tuple[Times, Times]:
    begins, finishes = _times(starts), _times(ends)
    if begins.ndim != 1 or begins.shape != finishes.shape:
        raise EvidenceError(f"starts have the shape {begins.shape}, ends {finishes.shape}; give one of each a sample")
    backward = np.flatnonzero(finishes < begins)
    if backward.size:
        at = backward[0]
        raise EvidenceError(f"sample {at} ends at {finishes[at]}, before it starts at {begins[at]}")
    unordered = np.flatnonzero(begins[1:] < begins[:-1])
    if unordered.size:
        at = unordered[0]
        raise EvidenceError(f"samples must be in order of start: {begins[at + 1]} follows {begins[at]}")
    return begins, finishes


def _times(values: Values) -> Times:
    found = np.asarray(values)
    found = found.astype("datetime64[us]") if found.dtype == object else found
    if found.dtype.kind in "fM":
        unknown = np.flatnonzero(np.isnan(found) if found.dtype.kind == "f" else np.isnat(found))
        if unknown.size:
            raise EvidenceError(f"sample {unknown[0]} has no start or end; leave out samples without a label")
    return found
