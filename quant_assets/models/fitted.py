"""What a fitted model is: trees as text, how it scored on held-out folds, and what its predictions look like."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import date
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import TypeAdapter

from resources.calendars import UTC_MICROS

PREDICTIONS = pl.Schema(
    {
        "symbol": pl.String(),
        "ts": UTC_MICROS,
        "session": pl.Date(),
        "known_at": UTC_MICROS,
        "score": pl.Float64(),
        "confidence": pl.Float64(),
        "model_version": pl.String(),
        "cutoff": pl.Date(),
        "reasons": pl.List(pl.String()),
    }
)
"""Out-of-sample scores: one row a tradable symbol and session, known when its features are."""

FOLD_SCORES = pl.Schema(
    {
        "cutoff": pl.Date,
        "model_version": pl.String,
        "fold": pl.Int64,
        "train_first": pl.Date,
        "train_last": pl.Date,
        "validation_first": pl.Date,
        "validation_last": pl.Date,
        "train_rows": pl.Int64,
        "validation_rows": pl.Int64,
        "ic": pl.Float64,
        "ic_tstat": pl.Float64,
        "hit_rate": pl.Float64,
    }
)
"""How each fold's model ranked the sessions held out from it; what the champion is chosen by."""


def load_lightgbm() -> Any:
    """The lightgbm module, imported on first use."""
    # Its threads wait for each other by spinning unless told otherwise before the library loads: measured with
    # other work on the same two cores, that made training two to seven times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    import lightgbm

    return lightgbm


@dataclass(frozen=True, slots=True)
class FoldScore:
    """One walk-forward fold: its sessions (first and last), its rows, and the held-out results.

    ic: mean daily rank correlation of score and forward return. ic_tstat: of that mean, corrected for overlapping
    labels; None where sessions are too few. hit_rate: share of rows on the side of the mean that the score said.
    """

    train_first: date
    train_last: date
    validation_first: date
    validation_last: date
    train_rows: int
    validation_rows: int
    ic: float
    ic_tstat: float | None
    hit_rate: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """Held-out hit rates by strength: hit_rates[i] is that of the rows with |score| >= edges[i]; edges ascend."""

    edges: tuple[float, ...]
    hit_rates: tuple[float, ...]

    def confidence(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """Hit rate of the strongest class that each score belongs to; weaker than all means the first."""
        place = np.searchsorted(np.asarray(self.edges), np.abs(scores), side="right") - 1
        return np.asarray(self.hit_rates)[np.maximum(place, 0)]


@dataclass(frozen=True, slots=True)
class FeatureSetRecord:
    """Which feature set (configs/features), with which code version."""

    name: str
    version: str

    def __str__(self) -> str:
        return f"feature set {self.name} version {self.version}"


@dataclass(frozen=True)
class FittedModel:
    """A trained model and all that is needed to use, judge and store it.

    rows, symbols: trained on. first_session, last_session: of its features. last_known: when its last label
    became known, always before the cut-off. feature_set: what feature_names are, where that is known.
    """

    cutoff: date
    feature_names: tuple[str, ...]
    booster_text: str
    folds: tuple[FoldScore, ...]
    calibration: Calibration
    rows: int
    symbols: int
    first_session: date
    last_session: date
    last_known: date
    feature_set: FeatureSetRecord | None = None

    @property
    def mean_ic(self) -> float:
        """Mean of the folds' information coefficients."""
        return sum(fold.ic for fold in self.folds) / len(self.folds)

    @cached_property
    def version(self) -> str:
        """Names the content: equal models have equal versions, whichever run made them."""
        content = json.dumps(self.details(), sort_keys=True) + self.booster_text
        return f"{self.cutoff}-{hashlib.sha256(content.encode()).hexdigest()[:10]}"

    def booster(self) -> Any:
        """The LightGBM booster."""
        return load_lightgbm().Booster(model_str=self.booster_text)

    def fold_scores(self) -> pl.DataFrame:
        """The folds in FOLD_SCORES, numbered from 1."""
        rows = [
            {"cutoff": self.cutoff, "model_version": self.version, "fold": number, **asdict(fold)}
            for number, fold in enumerate(self.folds, start=1)
        ]
        return pl.DataFrame(rows, schema=FOLD_SCORES)

    def details(self) -> dict[str, Any]:
        """Everything but the trees, as JSON values; `restore` reads it back."""
        plain: dict[str, Any] = _AS_JSON.dump_python(self, mode="json", exclude={"booster_text"})
        return plain

    @classmethod
    def restore(cls, booster_text: str, details: Mapping[str, Any]) -> FittedModel:
        """The model whose trees and `details` these are.

        Example: `FittedModel.restore(model.booster_text, model.details()) == model`
        """
        return _AS_JSON.validate_python({**details, "booster_text": booster_text})


_AS_JSON = TypeAdapter(FittedModel)
