"""Training and validation sessions that share no information through their labels.

A label made at session t with horizon h looks at the sessions t to t + h. Two rows whose label
windows meet tell one story twice, so a training row that meets a validation row is left out (purged),
and an embargo of further sessions covers what serial correlation carries across.

Source: López de Prado (2018), "Advances in Financial Machine Learning", chapter 7.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from itertools import pairwise

from resources.errors import QuantError


class NotEnoughDataError(QuantError):
    """There are too few labelled sessions or rows to train and validate a model."""


@dataclass(frozen=True, slots=True)
class Fold:
    """Sessions to train on and sessions to validate on, each in order."""

    train: tuple[date, ...]
    validation: tuple[date, ...]


def purged_folds(sessions: Sequence[date], horizon: int, embargo: int, folds: int) -> list[Fold]:
    """K-fold: each of `folds` blocks of sessions is validated by a model trained on both sides of it.

    Dropped from training are the `horizon` sessions before the block (their labels reach into it), the
    `horizon` sessions after it (its labels reach into them) and the `embargo` sessions after those.
    Later data trains for earlier validation: use it to compare models, and `walk_forward_folds` to
    estimate what a model would have earned.

    Example: of 30 sessions, `purged_folds(sessions, horizon=5, embargo=5, folds=3)[0].train[0] == sessions[20]`.

    Raises NotEnoughDataError where a fold would have nothing to train on or to validate.
    """
    days = _ordered(sessions)
    made = [
        Fold(
            train=days[: max(first - horizon, 0)] + days[last + horizon + embargo :],
            validation=days[first:last],
        )
        for first, last in _blocks(len(days), folds)
    ]
    return _usable(made, len(days), horizon, embargo, folds)


def walk_forward_folds(sessions: Sequence[date], horizon: int, embargo: int, folds: int) -> list[Fold]:
    """Expanding window: each of `folds` blocks is validated by a model trained on what came before it.

    The sessions are cut into folds + 1 blocks; the first only trains. Between the last label that
    trains and the first session that validates lie `embargo` sessions.

    Example: `walk_forward_folds(sessions, horizon=5, embargo=5, folds=3)[-1].validation[-1] == sessions[-1]`.

    Raises NotEnoughDataError where a fold would have nothing to train on or to validate.
    """
    days = _ordered(sessions)
    made = [
        Fold(train=days[: max(first - horizon - embargo, 0)], validation=days[first:last])
        for first, last in _blocks(len(days), folds + 1)[1:]
    ]
    return _usable(made, len(days), horizon, embargo, folds)


def _ordered(sessions: Sequence[date]) -> tuple[date, ...]:
    for earlier, later in pairwise(sessions):
        if later <= earlier:
            raise ValueError(f"sessions must be in order, each once: {later} follows {earlier}")
    return tuple(sessions)


def _blocks(count: int, blocks: int) -> list[tuple[int, int]]:
    """`blocks` ranges [first, last) of near-equal length that cover range(count)."""
    edges = [count * block // blocks for block in range(blocks + 1)]
    return list(pairwise(edges))


def _usable(made: list[Fold], sessions: int, horizon: int, embargo: int, folds: int) -> list[Fold]:
    if all(fold.train and fold.validation for fold in made):
        return made
    raise NotEnoughDataError(
        f"{sessions} labelled sessions are too few for folds={folds} with horizon={horizon} and embargo={embargo}; "
        "load more history or lower model.folds, model.embargo or model.horizon"
    )
