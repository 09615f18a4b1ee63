"""Walk-forward and combinatorial purged cross-validation: no training label meets a test label."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from skfolio.model_selection import CombinatorialPurgedCV

from quant_assets.evidence import EvidenceError, combinatorial_purged, purged, spans, walk_forward
from quant_assets.models.splits import purged_folds

# Lopez de Prado (2018), "Advances in Financial Machine Learning", section 12.4 and figures 12.1 and 12.2: 6 groups of
# which 2 are tested make 15 splits and 5 paths. A row a group: the splits that test it, in the order of the paths.
FIGURE_12_1 = [
    [1, 2, 3, 4, 5],
    [1, 6, 7, 8, 9],
    [2, 6, 10, 11, 12],
    [3, 7, 10, 13, 14],
    [4, 8, 11, 13, 15],
    [5, 9, 12, 14, 15],
]


def test_published_splits_and_paths():
    found = combinatorial_purged(*spans(60, horizon=0), groups=6, tests=2)
    assert len(found.folds) == 15
    assert (found.paths.T + 1).tolist() == FIGURE_12_1
    assert {fold.train.size for fold in found.folds} == {40}


@given(st.integers(2, 9), st.data())
def test_as_many_folds_and_paths_as_the_formula_says(groups: int, data: st.DataObject) -> None:
    tests = data.draw(st.integers(1, groups - 1))
    found = combinatorial_purged(*spans(groups * 3, horizon=0), groups=groups, tests=tests)
    folds = math.comb(groups, tests)
    assert len(found.folds) == len(found.tested) == folds
    assert found.paths.shape == (folds * tests // groups, groups)


def test_folds_and_paths_are_those_of_skfolio():
    """skfolio purges a number of observations on both sides of a test; with spans that is the horizon."""
    found = combinatorial_purged(*spans(120, horizon=4), groups=8, tests=3, embargo=2)
    theirs = CombinatorialPurgedCV(n_folds=8, n_test_folds=3, purged_size=4, embargo_size=2)
    assert (theirs.recombined_paths == found.paths.T).all()
    for fold, (train, tests) in zip(found.folds, theirs.split(np.zeros((120, 1))), strict=True):
        assert (fold.test == np.concatenate(tests)).all()
        assert (fold.train == train).all()


samples = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 12)), min_size=12, max_size=60)


@given(samples, st.integers(2, 6), st.data())
def test_no_training_label_meets_a_test_label_and_none_is_left_out_without_need(steps, groups, data) -> None:
    """Spans of any length, with several samples at one instant: by a definition that looks at every pair."""
    tests, embargo = data.draw(st.integers(1, groups - 1)), data.draw(st.integers(0, 5))
    starts = np.cumsum([step for step, _ in steps])
    ends = starts + [length for _, length in steps]
    try:
        found = combinatorial_purged(starts, ends, groups, tests, embargo)
    except EvidenceError as error:
        assume("nothing is left to train on" not in str(error))
        raise
    for fold, chosen in zip(found.folds, found.tested, strict=True):
        last_ends = [ends[found.groups[group]].max() for group in chosen]
        for sample in range(starts.size):
            meets = ((starts[sample] <= ends[fold.test]) & (starts[fold.test] <= ends[sample])).any()
            soon = any(end < starts[sample] <= end + embargo for end in last_ends)
            tested = sample in fold.test
            assert (sample in fold.train) == (not meets and not soon and not tested)
        assert np.concatenate([fold.train, fold.test]).size == len({*fold.train, *fold.test})


@given(samples, st.integers(2, 5), st.data())
def test_every_history_tests_every_sample_once(steps, groups: int, data) -> None:
    tests = data.draw(st.integers(1, groups - 1))
    starts = np.arange(len(steps)) * 20
    found = combinatorial_purged(starts, starts, groups, tests)
    # An outcome names its fold and its sample, so that a joined history shows where each number came from.
    outcomes = [1000.0 * number + fold.test for number, fold in enumerate(found.folds)]
    histories = found.histories(outcomes)
    assert histories.shape == (len(found.paths), len(steps))
    assert (histories % 1000 == np.arange(len(steps))).all()
    for group, positions in enumerate(found.groups):
        used = histories[:, positions] // 1000
        assert (used == used[:, :1]).all()
        assert sorted(used[:, 0]) == [number for number, row in enumerate(found.tested) if group in row]


@given(st.integers(150, 300), st.integers(1, 12), st.integers(0, 12), st.integers(2, 6))
def test_one_test_group_is_the_k_fold_that_models_use(count: int, horizon: int, embargo: int, folds: int) -> None:
    sessions = [date(2004, 1, 1) + timedelta(days=number) for number in range(count)]
    ours = combinatorial_purged(*spans(count, horizon), groups=folds, tests=1, embargo=embargo)
    for fold, theirs in zip(ours.folds, purged_folds(sessions, horizon, embargo, folds), strict=True):
        assert [sessions[at] for at in fold.train] == list(theirs.train)
        assert [sessions[at] for at in fold.test] == list(theirs.validation)


INSTANTS = pl.Series([datetime(2024, 1, day, tzinfo=UTC) for day in range(1, 13)])
DATES = [date(2024, 1, day) for day in range(1, 13)]


@pytest.mark.parametrize("starts", [INSTANTS, DATES], ids=["instants", "dates"])
def test_spans_of_time_are_taken(starts) -> None:
    """Labels that look two days ahead; the middle third is tested: two before it overlap, two after it, then a day."""
    ends = starts.dt.offset_by("2d") if isinstance(starts, pl.Series) else [day + timedelta(days=2) for day in starts]
    assert purged(starts, ends, [range(4, 8)], timedelta(days=1)).tolist() == [0, 1, 11]
    assert purged(starts, ends, [range(4, 8)]).tolist() == [0, 1, 10, 11]


WALKS = [
    ("one after the other", {"train": 4, "test": 2}, [("0123", "45"), ("2345", "67"), ("4567", "89")]),
    ("from the first on", {"train": 4, "test": 3, "anchored": True}, [("0123", "456"), ("0123456", "789")]),
    ("the last is cut off", {"train": 5, "test": 3}, [("01234", "567"), ("34567", "89")]),
    ("with a gap", {"train": 3, "test": 3, "gap": 2}, [("012", "567"), ("345", "89")]),
    ("overlapping", {"train": 5, "test": 3, "step": 1}, [("01234", "567"), ("12345", "678"), ("23456", "789")]),
    ("now and then", {"train": 2, "test": 2, "step": 5}, [("01", "23"), ("56", "78")]),
]


@pytest.mark.parametrize(("_", "options", "expected"), WALKS)
def test_walks_forward(_: str, options: dict, expected: list[tuple[str, str]]) -> None:
    for sessions in (10, DATES[:10]):
        folds = walk_forward(sessions, **options)
        assert [("".join(map(str, fold.train)), "".join(map(str, fold.test))) for fold in folds] == expected


@given(st.integers(1, 200), st.integers(1, 50), st.integers(1, 40), st.integers(0, 20), st.booleans())
def test_walking_forward_never_looks_ahead(count: int, train: int, test: int, gap: int, anchored: bool) -> None:
    if count <= train + gap:
        with pytest.raises(EvidenceError, match=f"^{count} sessions are too few for train={train} and gap={gap}"):
            walk_forward(count, train, test, gap=gap, anchored=anchored)
        return
    folds = walk_forward(count, train, test, gap=gap, anchored=anchored)
    for number, fold in enumerate(folds):
        assert fold.test[0] - fold.train[-1] == gap + 1
        assert fold.train.size == train + (number * test if anchored else 0)
    assert np.concatenate([fold.test for fold in folds]).tolist() == list(range(train + gap, count))


TEN = spans(10, 1)
REFUSED = [
    (lambda: walk_forward(3, train=3, test=1), "3 sessions are too few for train=3 and gap=0"),
    (lambda: walk_forward(30, train=0, test=1), "train is 0; it must be at least 1"),
    (lambda: walk_forward(30, train=3, test=1, gap=-1), "gap is -1; it must be at least 0"),
    (lambda: walk_forward(30, train=3, test=1, step=0), "step is 0; it must be at least 1"),
    (lambda: walk_forward([*DATES, DATES[0]], 3, 1), "sessions must be in order, each once: 2024-01-01 follows"),
    (lambda: combinatorial_purged(*TEN, groups=4, tests=4), "tests is 4; it must lie between 1 and groups - 1 = 3"),
    (lambda: combinatorial_purged(*TEN, groups=1), "groups is 1; it must be at least 2"),
    (lambda: combinatorial_purged(*TEN, groups=11), "10 samples are too few for groups=11"),
    (lambda: combinatorial_purged(*spans(99, 1), groups=30, tests=9), "groups=30 with tests=9 make 14,307,150 folds"),
    (lambda: combinatorial_purged(*TEN, embargo=-1), "embargo is -1; it must not be negative"),
    (lambda: combinatorial_purged(*spans(10, 9)), "nothing is left to train on where groups"),
    (lambda: purged([1, 0], [2, 2], [[0]]), "samples must be in order of start: 0 follows 1"),
    (lambda: purged([1, 2], [2, 1], [[0]]), "sample 1 ends at 1, before it starts at 2"),
    (lambda: purged([1, 2], [2], [[0]]), r"starts have the shape \(2,\), ends \(1,\)"),
    (lambda: purged([1, 2], [2, 3], [[]]), "a test has no samples"),
    (lambda: purged(DATES, DATES, [[0]], embargo=3), "embargo is 3; spans of dates or times need a timedelta"),
    (lambda: purged([1, 2], [2, 3], [[0]], embargo=timedelta(1)), "embargo is 1 day, 0:00:00; spans of positions need"),
    (lambda: purged([1.0, np.nan], [2.0, 3.0], [[0]]), "sample 1 has no start or end; leave out"),
    (lambda: purged(DATES, [*DATES[:-1], None], [[0]]), f"sample {len(DATES) - 1} has no start or end"),
    (lambda: walk_forward(np.int64(3), train=3, test=1), "3 sessions are too few for train=3 and gap=0"),
    (lambda: combinatorial_purged(*spans(60, 1)).histories([[0.0]]), "there are outcomes of 1 folds; there are 15"),
    (lambda: combinatorial_purged(*spans(60, 1)).histories([[0.0]] * 15), "fold 0 tests 20 samples; its outcome has"),
]


@pytest.mark.parametrize(("call", "message"), REFUSED)
def test_what_cannot_be_split_is_refused(call, message: str) -> None:
    with pytest.raises(EvidenceError, match=message):
        call()
