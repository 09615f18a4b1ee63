"""Folds whose training and validation labels share no session."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant_assets.models.splits import Fold, NotEnoughDataError, purged_folds, walk_forward_folds

Splitter = Callable[..., list[Fold]]

SESSIONS = [date(2004, 1, 1) + timedelta(days=3 * number) for number in range(400)]
PLACE = {session: number for number, session in enumerate(SESSIONS)}

cases = st.fixed_dictionaries(
    {"horizon": st.integers(1, 12), "embargo": st.integers(0, 12), "folds": st.integers(2, 6)}
)
counts = st.integers(200, 400)


def places(sessions: tuple[date, ...]) -> list[int]:
    return [PLACE[session] for session in sessions]


@pytest.mark.parametrize("split", [purged_folds, walk_forward_folds])
@given(count=counts, case=cases)
def test_no_training_label_meets_a_validation_label(split: Splitter, count: int, case: dict[str, int]) -> None:
    for fold in split(SESSIONS[:count], **case):
        validated = {at + ahead for at in places(fold.validation) for ahead in range(case["horizon"] + 1)}
        trained = {at + ahead for at in places(fold.train) for ahead in range(case["horizon"] + 1)}
        assert not validated & trained


@given(count=counts, case=cases)
def test_purged_folds_drop_no_more_than_the_purge_and_the_embargo(count: int, case: dict[str, int]) -> None:
    horizon, embargo = case["horizon"], case["embargo"]
    for fold in purged_folds(SESSIONS[:count], **case):
        first, last = places(fold.validation)[0], places(fold.validation)[-1]
        expected = [at for at in range(count) if at < first - horizon or at > last + horizon + embargo]
        assert places(fold.train) == expected


@given(count=counts, case=cases)
def test_walk_forward_validates_strictly_later_with_the_embargo_between(count: int, case: dict[str, int]) -> None:
    for fold in walk_forward_folds(SESSIONS[:count], **case):
        last_label = places(fold.train)[-1] + case["horizon"]
        assert places(fold.validation)[0] - last_label - 1 == case["embargo"]
        assert places(fold.train)[0] == 0


@given(count=counts, case=cases)
def test_purged_folds_validate_each_session_once(count: int, case: dict[str, int]) -> None:
    folds = purged_folds(SESSIONS[:count], **case)
    assert [session for fold in folds for session in fold.validation] == SESSIONS[:count]


@given(count=counts, case=cases)
def test_walk_forward_validates_each_session_after_the_first_block_once(count: int, case: dict[str, int]) -> None:
    folds = walk_forward_folds(SESSIONS[:count], **case)
    validated = [session for fold in folds for session in fold.validation]
    assert len(folds) == case["folds"]
    assert validated == SESSIONS[count - len(validated) : count]
    assert len(validated) >= count * case["folds"] // (case["folds"] + 1)


@pytest.mark.parametrize(
    ("split", "count"),
    [(purged_folds, 0), (purged_folds, 2), (purged_folds, 16), (walk_forward_folds, 0), (walk_forward_folds, 43)],
)
def test_too_few_sessions_are_refused_with_the_numbers(split: Splitter, count: int) -> None:
    message = rf"^{count} labelled sessions are too few for folds=3 with horizon=5 and embargo=5; .*model\.folds"
    with pytest.raises(NotEnoughDataError, match=message):
        split(SESSIONS[:count], horizon=5, embargo=5, folds=3)


def test_just_enough_sessions_are_used() -> None:
    assert [len(fold.train) for fold in walk_forward_folds(SESSIONS[:44], horizon=5, embargo=5, folds=3)] == [1, 12, 23]


@pytest.mark.parametrize("sessions", [[SESSIONS[1], SESSIONS[0]], [SESSIONS[0], SESSIONS[0]]])
def test_sessions_out_of_order_are_refused(sessions: list[date]) -> None:
    with pytest.raises(ValueError, match="sessions must be in order"):
        purged_folds(sessions, horizon=1, embargo=0, folds=2)
