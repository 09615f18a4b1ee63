"""A LightGBM model of next week's winners, trained only on labels that were known before its cut-off.

Target: the forward return in excess of the session's mean over tradable symbols. Strategies choose among
symbols, and the market's own move is most of a stock's variance and the same for all of them; demeaning
removes it and, unlike a rank, keeps the score in units of return. For training only, targets are cut at
the 0.5 % and 99.5 % quantiles of the rows trained on, because squared loss would follow single crashes.

Honesty of a model with cut-off C: it sees labels with known_session < C, hence features of sessions
< C - horizon, and may score sessions >= C. Its fold scores come from walk-forward folds inside that window.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from quant_assets.features.training import training_frame
from quant_assets.models.contributions import Floats, contributions
from quant_assets.models.fitted import (
    PREDICTIONS,
    Calibration,
    FeatureSetRecord,
    FittedModel,
    FoldScore,
    load_lightgbm,
)
from quant_assets.models.splits import Fold, NotEnoughDataError, walk_forward_folds
from resources.config import ModelSettings
from resources.errors import QuantError

REASONS = 3
"""How many feature contributions a prediction names."""

CHUNK = 131_072
"""Rows explained at once: bounds memory at about 8 bytes x rows x features, a few times over."""


class FeatureMissingError(QuantError):
    """The panel lacks a feature that the model is trained on."""


class FeatureSetError(QuantError):
    """A model is asked to score features that are not those it was trained on."""


class InSampleError(QuantError):
    """A model was asked to score sessions before its training cut-off."""


def fit(
    panel: pl.LazyFrame,
    labels: pl.LazyFrame,
    settings: ModelSettings,
    cutoff: date,
    feature_names: Sequence[str],
    *,
    feature_set: FeatureSetRecord | None = None,
    threads: int = 2,
) -> FittedModel:
    """Train on the labels known strictly before `cutoff`, at most `settings.train_years` old.

    panel: symbol, session, known_at, tradable and the features; labels: in LABEL_SCHEMA.
    Rows count where the symbol was tradable and its label is a finite number, on sessions with at least two
    of them. The same rows and settings give the same model, byte for byte, whatever `threads` is: so many
    boosters are grown side by side, each by one thread.

    `feature_set` names the set that the features are, and its version: the model keeps it.

    Raises FeatureMissingError naming the features, and NotEnoughDataError naming the cut-off and the rows found.

    Example: `fit(panel, labels, settings.model, date(2005, 1, 1), ["rsi_14", "roc_20"]).mean_ic`
    """
    names = tuple(feature_names)
    rows = training_rows(panel, labels, settings, cutoff, names)
    sessions = rows["session"].unique().sort().to_list()
    try:
        folds = walk_forward_folds(sessions, settings.horizon, settings.embargo, settings.folds)
    except NotEnoughDataError as error:
        raise NotEnoughDataError(
            f"training cut-off {cutoff}: {rows.height} labelled rows of tradable symbols (two or more a session) are "
            f"known before it within train_years={settings.train_years}. {error}, or start later (model.start)"
        ) from error
    data = _TrainingData.of(rows, names)
    grown = _grow(data, settings, names, [data.until(fold.train[-1]) for fold in folds] + [rows.height], threads)
    validated = [_validate(rows, data, fold, settings, booster) for fold, booster in zip(folds, grown, strict=False)]
    held_out = pl.concat([scored for scored, _ in validated])
    return FittedModel(
        cutoff=cutoff,
        feature_names=names,
        feature_set=feature_set,
        booster_text=grown[-1].model_to_string(),
        folds=tuple(score for _, score in validated),
        calibration=_calibrate(held_out),
        rows=rows.height,
        symbols=rows["symbol"].n_unique(),
        first_session=sessions[0],
        last_session=sessions[-1],
        last_known=rows["known_session"].max(),  # type: ignore[arg-type]  # a Date column, not empty
    )


def check_features(model: FittedModel, held: FeatureSetRecord) -> None:
    """Raise FeatureSetError, saying how to mend it, unless the model was trained on this version of this set.

    A model that does not say what it was trained on (of an older installation) is refused, too.
    """
    if model.feature_set == held:
        return
    was = "an unknown set" if model.feature_set is None else str(model.feature_set)
    raise FeatureSetError(
        f"the model of cut-off {model.cutoff} was trained on {was}, and the panel is made with {held}: the same column "
        f"may mean something else. Materialize models/lightgbm for {model.cutoff}, or name the set that it knows "
        "(model.features)"
    )


def predict(model: FittedModel, panel: pl.LazyFrame, *, threads: int = 2) -> pl.LazyFrame:
    """Score every tradable row of `panel` in PREDICTIONS, sorted by session and symbol.

    score: expected forward return in excess of the session's mean, as a fraction.
    confidence: share of the model's held-out rows, among those with a score at least as far from zero as this
    one's decile edge, that came out on the side of the mean that the score said. 0.5 is a coin's; it is
    measured on past folds, and rows of one session are not independent, so it is no probability.
    reasons: the largest contributions to the score, such as "rsi_14 +0.00120", in the score's unit.

    Raises InSampleError where the panel holds a session before the cut-off.

    Example: `predict(model, panel.filter(pl.col("session") >= model.cutoff)).collect()`
    """
    keys = ("symbol", "ts", "session", "known_at")
    rows = (
        _with_features(panel, model.feature_names)
        .filter(pl.col("tradable"))
        .select(*keys, *(pl.col(name).cast(pl.Float32) for name in model.feature_names))
        .sort("session", "symbol")
        .collect()
    )
    if rows.height == 0:
        return pl.LazyFrame(schema=PREDICTIONS)
    first = rows["session"][0]
    if first < model.cutoff:
        raise InSampleError(
            f"session {first} is before the training cut-off {model.cutoff}: its score would know its future. "
            "Score it with a model of an earlier cut-off, or filter the panel to session >= cutoff"
        )
    booster = model.booster()
    parts = [
        _score(booster, model, part.drop(keys).to_numpy(order="c"), threads).hstack(part.select(keys))
        for part in rows.iter_slices(CHUNK)
    ]
    return pl.concat(parts).select(PREDICTIONS.names()).cast(dict(PREDICTIONS)).lazy()  # type: ignore[arg-type]


def training_rows(
    panel: pl.LazyFrame, labels: pl.LazyFrame, settings: ModelSettings, cutoff: date, feature_names: Sequence[str]
) -> pl.DataFrame:
    """What a model of this cut-off may learn from, sorted by session and symbol.

    Columns: those of `training_frame`, and excess_return (the target before it is cut).
    """
    tradable = _with_features(panel, feature_names).filter(pl.col("tradable"))
    oldest = pl.select(pl.lit(cutoff).dt.offset_by(f"-{settings.train_years}y")).item()
    mean = pl.col("forward_return").mean().over("session")
    return (
        training_frame(feature_names, [tradable], labels, cutoff, since=oldest)
        .filter(pl.len().over("session") >= 2)
        .with_columns(excess_return=pl.col("forward_return") - mean)
    )


def _with_features(panel: pl.LazyFrame, feature_names: Sequence[str]) -> pl.LazyFrame:
    missing = sorted(set(feature_names) - set(panel.collect_schema().names()))
    if missing or not feature_names:
        raise FeatureMissingError(
            f"the panel has no column for {', '.join(missing) or 'any feature: none was named'}. "
            "Materialize features/panel anew, or retrain with the features that it holds"
        )
    return panel


@dataclass(frozen=True, slots=True)
class _TrainingData:
    """Rows in the order of their sessions: those that a fold trains on are the first ones, and need no copy."""

    features: Floats
    target: Floats
    sessions: NDArray[np.datetime64]

    @classmethod
    def of(cls, rows: pl.DataFrame, names: Sequence[str]) -> _TrainingData:
        # By rows, as LightGBM reads them: handed columns, it makes a dataset three times as slowly.
        features = rows.select(names).to_numpy(order="c")
        return cls(features, rows["excess_return"].to_numpy(), rows["session"].to_numpy())

    def until(self, session: date) -> int:
        """How many rows are of sessions up to and including this one."""
        return int(np.searchsorted(self.sessions, np.datetime64(session), side="right"))


def _grow(
    data: _TrainingData, settings: ModelSettings, names: Sequence[str], heights: Sequence[int], threads: int
) -> list[Any]:
    """A booster on the first rows of `data` for each of `heights`, `threads` of them at a time.

    Half of LightGBM's time goes into work that one thread does alone (binning), so two boosters side by side
    take two cores further than one booster with two threads does.
    """
    load_lightgbm()
    with ThreadPoolExecutor(threads) as pool:
        # The longest first, so that the cores are busy to the end.
        order = sorted(range(len(heights)), key=lambda place: -heights[place])
        begun = {place: pool.submit(_train, data, heights[place], settings, names) for place in order}
        return [begun[place].result() for place in range(len(heights))]


def _train(data: _TrainingData, height: int, settings: ModelSettings, names: Sequence[str]) -> Any:
    """A booster of `settings.trees` trees on the first `height` rows."""
    lightgbm = load_lightgbm()
    target = data.target[:height]
    target = np.clip(target, *np.quantile(target, (0.005, 0.995)))
    parameters = {
        "objective": "regression",
        "learning_rate": settings.learning_rate,
        "num_leaves": settings.leaves,
        # A leaf's mean over fewer rows than this is noise: daily returns hold little signal.
        "min_data_in_leaf": max(20, height // 200),
        "feature_fraction": 0.7,
        "bagging_fraction": 0.7,
        "bagging_freq": 1,
        "seed": settings.seed,
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": 1,
        "verbosity": -1,
    }
    dataset = lightgbm.Dataset(data.features[:height], target, feature_name=list(names), params=parameters)
    return lightgbm.train(parameters, dataset, num_boost_round=settings.trees)


def _validate(
    rows: pl.DataFrame, data: _TrainingData, fold: Fold, settings: ModelSettings, booster: Any
) -> tuple[pl.DataFrame, FoldScore]:
    """Held-out rows (score, excess_return) of one fold, and how well the model trained before them ranked them."""
    trained = data.until(fold.train[-1])
    first = int(np.searchsorted(data.sessions, np.datetime64(fold.validation[0])))
    last = data.until(fold.validation[-1])
    held_out = rows[first:last].select("session", "forward_return", "excess_return")
    scored = held_out.with_columns(score=pl.Series(booster.predict(data.features[first:last])))
    daily = information_coefficients(scored)["ic"]
    return scored.select("score", "excess_return"), FoldScore(
        train_first=fold.train[0],
        train_last=fold.train[-1],
        validation_first=fold.validation[0],
        validation_last=fold.validation[-1],
        train_rows=trained,
        validation_rows=last - first,
        ic=float(daily.mean()),  # type: ignore[arg-type]  # floats, never empty
        ic_tstat=newey_west_t(daily.to_numpy(), lags=2 * settings.horizon),
        hit_rate=float(scored.select(_right().mean()).item()),
    )


def information_coefficients(scored: pl.DataFrame) -> pl.DataFrame:
    """Spearman correlation of score and forward_return across the symbols of each session: session, ic.

    A session whose scores (or returns) are all alike counts as 0: it ranked nothing, and leaving it out would
    flatter a model that seldom speaks.

    Source: Grinold and Kahn (1999), "Active Portfolio Management", chapter 6.
    """
    correlation = pl.corr("score", "forward_return", method="spearman")
    return (
        scored.group_by("session")
        .agg(ic=correlation)
        .with_columns(pl.col("ic").fill_nan(0.0).fill_null(0.0))
        .sort("session")
    )


def newey_west_t(values: Floats, lags: int) -> float | None:
    """t statistic of the mean of serially correlated values; None where they are too few to tell.

    Labels of neighbouring sessions overlap, so daily coefficients are correlated over the horizon and the
    plain t statistic would be about sqrt(horizon) too large. Bartlett weights over `lags` values.

    Source: Newey and West (1987), "A Simple, Positive Semi-Definite, Heteroskedasticity and Autocorrelation
    Consistent Covariance Matrix".
    """
    count = len(values)
    if count < max(2 * lags, 2):
        return None
    centred = values - values.mean()
    variance = centred @ centred
    for lag in range(1, lags + 1):
        variance += 2 * (1 - lag / (lags + 1)) * (centred[lag:] @ centred[:-lag])
    # Below this the values are equal but for rounding.
    if variance <= count * 1e-24:
        return None
    return float(values.mean() / np.sqrt(variance / count**2))


def _right() -> pl.Expr:
    """Whether the row came out on the side of the mean that its score said; no side is not right."""
    return pl.col("score") * pl.col("excess_return") > 0


def _calibrate(held_out: pl.DataFrame) -> Calibration:
    """Hit rates of the held-out rows at or beyond each decile of |score|, so at least a tenth of them backs each."""
    strength = pl.col("score").abs()
    edges = [float(held_out.select(strength.quantile(step / 10)).item()) for step in range(10)]
    rates = [float(held_out.filter(strength >= edge).select(_right().mean()).item()) for edge in edges]
    return Calibration(edges=tuple(edges), hit_rates=tuple(rates))


def _score(booster: Any, model: FittedModel, matrix: Floats, threads: int) -> pl.DataFrame:
    scores = booster.predict(matrix, num_threads=threads)
    return pl.DataFrame(
        {
            "score": scores,
            "confidence": model.calibration.confidence(scores),
            "reasons": _reasons(contributions(booster, matrix, threads=threads), model.feature_names),
        }
    ).with_columns(model_version=pl.lit(model.version), cutoff=pl.lit(model.cutoff))


def _reasons(shares: Floats, names: Sequence[str]) -> pl.Series:
    """The largest contributions of each row, largest first, as text; none that is zero."""
    # Ties keep the features' order, so that the words are the same every time.
    top = np.argsort(-np.abs(shares), axis=1, kind="stable")[:, :REASONS]
    values = np.take_along_axis(shares, top, axis=1)
    words = pl.Series(names, dtype=pl.String)
    told = pl.DataFrame({f"name{place}": words[top[:, place]] for place in range(REASONS)}).with_columns(
        pl.Series(f"value{place}", values[:, place]) for place in range(REASONS)
    )
    return told.select(
        reasons=pl.concat_list(_reason(f"name{place}", f"value{place}") for place in range(REASONS)).list.drop_nulls()
    )["reasons"]


def _reason(name: str, value: str) -> pl.Expr:
    """Text such as "rsi_14 +0.00120"; null where the value is zero."""
    size = pl.col(value).abs().round(5).cast(pl.Decimal(38, 5)).cast(pl.String)
    sign = pl.when(pl.col(value) < 0).then(pl.lit("-")).otherwise(pl.lit("+"))
    return pl.when(pl.col(value) != 0).then(pl.format("{} {}{}", name, sign, size))
