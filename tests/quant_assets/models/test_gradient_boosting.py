"""The model learns what is there, only from what was known, and says so."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date

import numpy as np
import polars as pl
import pytest

from quant_assets.models.fitted import FOLD_SCORES, PREDICTIONS, Calibration, FeatureSetRecord, FittedModel
from quant_assets.models.gradient_boosting import (
    FeatureMissingError,
    FeatureSetError,
    InSampleError,
    check_features,
    fit,
    information_coefficients,
    newey_west_t,
    predict,
    training_rows,
)
from quant_assets.models.splits import NotEnoughDataError
from resources.config import ModelSettings

SETTINGS = ModelSettings(start=date(2004, 1, 1), train_years=2, trees=20, learning_rate=0.1, leaves=7)
CUTOFF = date(2004, 5, 3)


def fitted(market, cutoff: date = CUTOFF, settings: ModelSettings = SETTINGS, **changed: pl.DataFrame) -> FittedModel:
    panel, labels = changed.get("panel", market.panel), changed.get("labels", market.labels)
    return fit(panel.lazy(), labels.lazy(), settings, cutoff, market.features, threads=1)


def later_panel(market, model: FittedModel) -> pl.DataFrame:
    return market.panel.filter(pl.col("session") >= model.cutoff)


@pytest.fixture(scope="module")
def model(planted) -> FittedModel:
    return fitted(planted)


# What it learns


def test_it_finds_a_planted_signal(model: FittedModel, planted) -> None:
    assert model.mean_ic > 0.2
    assert all(fold.ic_tstat > 5 and fold.hit_rate > 0.55 for fold in model.folds)
    scored = predict(model, later_panel(planted, model).lazy(), threads=1).collect()
    outcome = scored.join(planted.labels.select("symbol", "session", "forward_return"), on=["symbol", "session"])
    assert information_coefficients(outcome)["ic"].mean() > 0.2


def test_it_finds_nothing_in_noise(make: Callable) -> None:
    model = fitted(make(strength=0.0))
    assert abs(model.mean_ic) < 0.05
    assert all(abs(fold.ic_tstat) < 3 for fold in model.folds)
    assert all(0.45 < rate < 0.55 for rate in model.calibration.hit_rates)


def test_the_score_is_an_excess_return(model: FittedModel, planted) -> None:
    # The planted market moves 3 % a session for all symbols alike; the signal's share is 1 % a deviation.
    scored = predict(model, later_panel(planted, model).lazy()).collect()
    assert 0.004 < scored["score"].std() < 0.012
    assert abs(scored["score"].mean()) < 0.002


# What it may know


def test_nothing_known_at_or_after_the_cutoff_reaches_the_model(model: FittedModel, planted) -> None:
    late_label = pl.col("known_session") >= CUTOFF
    late_row = pl.col("session") >= CUTOFF
    spoilt = pl.when(late_label).then(1e6).otherwise("forward_return")
    spoilt_labels = planted.labels.with_columns(forward_return=spoilt)
    spoilt_panel = planted.panel.with_columns(
        pl.when(late_row).then(float("nan")).otherwise(name).alias(name) for name in planted.features
    ).with_columns(tradable=~late_row)
    assert fitted(planted, labels=spoilt_labels, panel=spoilt_panel) == model
    assert fitted(planted, labels=planted.labels.filter(~late_label), panel=planted.panel.filter(~late_row)) == model


def test_the_last_label_known_before_the_cutoff_does_reach_it(model: FittedModel, planted) -> None:
    last = planted.labels.filter(pl.col("known_session") < CUTOFF)["known_session"].max()
    assert model.last_known == last
    shifted = pl.when(pl.col("known_session") == last).then(-pl.col("forward_return")).otherwise("forward_return")
    other = fitted(planted, labels=planted.labels.with_columns(forward_return=shifted))
    assert other.booster_text != model.booster_text


@pytest.mark.parametrize("cutoff", [date(2004, 2, 2), date(2004, 2, 7), CUTOFF])
def test_training_rows_are_of_the_window_and_known(planted, cutoff: date) -> None:
    settings = SETTINGS.model_copy(update={"train_years": 1})
    rows = training_rows(planted.panel.lazy(), planted.labels.lazy(), settings, cutoff, planted.features)
    assert rows["known_session"].max() < cutoff
    assert rows["session"].min() >= cutoff.replace(year=cutoff.year - 1)
    assert rows.group_by("session").agg(pl.col("excess_return").mean().abs())["excess_return"].max() < 1e-12


def test_each_fold_is_trained_on_labels_known_before_it(model: FittedModel, planted) -> None:
    known = dict(planted.labels.select("session", "known_session").iter_rows())
    assert len(model.folds) == SETTINGS.folds
    for fold in model.folds:
        assert known[fold.train_last] < fold.validation_first <= fold.validation_last < CUTOFF


def test_later_labels_do_not_touch_an_earlier_fold(model: FittedModel, planted) -> None:
    later = pl.col("session") >= model.folds[-1].validation_first
    flipped = pl.when(later).then(-pl.col("forward_return")).otherwise("forward_return")
    changed = fitted(planted, labels=planted.labels.with_columns(forward_return=flipped))
    assert changed.folds[:-1] == model.folds[:-1]
    assert changed.folds[-1].ic == pytest.approx(-model.folds[-1].ic)


def test_it_refuses_to_score_its_own_past(model: FittedModel, planted) -> None:
    with pytest.raises(InSampleError, match=r"session 2003-01-01 is before the training cut-off 2004-05-03"):
        predict(model, planted.panel.lazy())


# The same every time


def test_the_same_rows_in_any_order_give_the_same_model(model: FittedModel, planted) -> None:
    panel = planted.panel.sample(fraction=1, shuffle=True, seed=5)
    shuffled = fitted(planted, panel=panel, labels=planted.labels.reverse())
    assert shuffled == model
    assert shuffled.version == model.version


def test_another_seed_is_another_version(model: FittedModel, planted) -> None:
    assert fitted(planted, settings=SETTINGS.model_copy(update={"seed": 8})).version != model.version


def test_a_model_survives_being_stored(model: FittedModel, planted) -> None:
    restored = FittedModel.restore(model.booster_text, model.details())
    assert restored == model
    panel = later_panel(planted, model).lazy()
    assert predict(restored, panel).collect().equals(predict(model, panel).collect())


# What it says


def test_predictions_have_the_contract(model: FittedModel, planted) -> None:
    panel = later_panel(planted, model).with_columns(tradable=pl.col("symbol") != "S03")
    made = predict(model, panel.lazy()).collect()
    assert made.schema == PREDICTIONS
    assert made.select("session", "symbol").rows() == sorted(
        panel.filter(pl.col("tradable")).select("session", "symbol").rows()
    )
    assert made["confidence"].is_between(0, 1).all()
    assert made["cutoff"].unique().to_list() == [CUTOFF]
    assert made["model_version"].unique().to_list() == [model.version]


def test_reasons_are_the_largest_contributions(model: FittedModel, planted) -> None:
    panel = later_panel(planted, model).sort("session", "symbol").head(40)
    made = predict(model, panel.lazy()).collect()
    matrix = panel.select(pl.col(planted.features).cast(pl.Float32)).to_numpy()
    explained = model.booster().predict(matrix, pred_contrib=True)[:, :-1]
    for shares, reasons in zip(explained, made["reasons"], strict=True):
        largest = sorted(range(len(shares)), key=lambda place: -abs(shares[place]))[:3]
        assert reasons.to_list() == [f"{planted.features[place]} {shares[place]:+.5f}" for place in largest]


def test_rows_explained_in_parts_are_the_same(model: FittedModel, planted, monkeypatch: pytest.MonkeyPatch) -> None:
    panel = later_panel(planted, model).lazy()
    whole = predict(model, panel).collect()
    monkeypatch.setattr("quant_assets.models.gradient_boosting.CHUNK", 500)
    assert predict(model, panel).collect().equals(whole)


def test_no_tradable_row_is_no_prediction(model: FittedModel, planted) -> None:
    made = predict(model, planted.panel.with_columns(tradable=pl.lit(False)).lazy()).collect()
    assert made.schema == PREDICTIONS
    assert made.height == 0


def test_confidence_is_the_hit_rate_of_rows_as_strong() -> None:
    calibration = Calibration(edges=(0.0, 0.01, 0.02), hit_rates=(0.5, 0.55, 0.6))
    scores = np.array([0.0, 0.009, 0.01, -0.015, -0.02, 9.0])
    assert calibration.confidence(scores).tolist() == [0.5, 0.5, 0.55, 0.55, 0.6, 0.6]


def test_the_weakest_class_holds_all_held_out_rows(model: FittedModel) -> None:
    right = sum(fold.hit_rate * fold.validation_rows for fold in model.folds)
    assert model.calibration.hit_rates[0] == pytest.approx(right / sum(fold.validation_rows for fold in model.folds))


def test_folds_too_short_for_their_overlapping_labels_have_no_t_statistic(planted) -> None:
    # About 85 sessions a fold: fewer than four horizons of 25.
    settings = SETTINGS.model_copy(update={"horizon": 25})
    assert [fold.ic_tstat for fold in fitted(planted, settings=settings).folds] == [None, None, None]


def test_strong_scores_of_a_real_signal_earn_more_confidence(model: FittedModel) -> None:
    rates = model.calibration.hit_rates
    assert rates[-1] > rates[0] + 0.05
    assert list(model.calibration.edges) == sorted(model.calibration.edges)


def test_fold_scores_are_a_frame(model: FittedModel) -> None:
    frame = model.fold_scores()
    assert frame.schema == FOLD_SCORES
    assert frame["fold"].to_list() == [1, 2, 3]
    assert frame["ic"].mean() == pytest.approx(model.mean_ic)


# What it refuses


@pytest.mark.parametrize(
    ("cutoff", "found"),
    [(date(1999, 1, 1), 0), (date(2003, 1, 1), 0), (date(2003, 1, 20), 160)],
)
def test_too_little_history_is_one_clear_error(planted, cutoff: date, found: int) -> None:
    message = rf"training cut-off {cutoff}: {found} labelled rows .*load more history.*model\.start"
    with pytest.raises(NotEnoughDataError, match=message):
        fitted(planted, cutoff=cutoff)


def test_a_single_symbol_has_no_cross_section(planted) -> None:
    alone = planted.panel.with_columns(tradable=pl.col("symbol") == "S00")
    with pytest.raises(NotEnoughDataError, match=r"0 labelled rows of tradable symbols \(two or more a session\)"):
        fitted(planted, panel=alone)


def test_a_missing_feature_is_named(model: FittedModel, planted) -> None:
    with pytest.raises(FeatureMissingError, match="no column for signal, third"):
        predict(model, planted.panel.drop("signal", "third").lazy())
    with pytest.raises(FeatureMissingError, match="none was named"):
        fit(planted.panel.lazy(), planted.labels.lazy(), SETTINGS, CUTOFF, [])


@pytest.mark.parametrize("bad", [None, float("nan"), float("inf")])
def test_rows_without_a_usable_label_are_left_out(planted, model: FittedModel, bad: float | None) -> None:
    one = (pl.col("symbol") == "S05") & (pl.col("session") == date(2003, 6, 2))
    value = pl.when(one).then(pl.lit(bad, dtype=pl.Float64)).otherwise("forward_return")
    assert fitted(planted, labels=planted.labels.with_columns(forward_return=value)).rows == model.rows - 1


# Its figures


def test_information_coefficients_by_hand() -> None:
    frame = pl.DataFrame(
        {
            "session": [date(2004, 1, 2)] * 3 + [date(2004, 1, 1)] * 4 + [date(2004, 1, 5)] * 2,
            "score": [1.0, 2.0, 3.0, 1.0, 2.0, 3.0, 4.0, 0.5, 0.5],
            "forward_return": [0.1, 0.2, 9.0, 4.0, 3.0, 1.0, 2.0, 0.1, 0.2],
        }
    )
    # Ranks against ranks: 1 - 6 * sum(d^2) / (n (n^2 - 1)), and 0 where the scores are all alike.
    made = information_coefficients(frame)
    assert made["session"].to_list() == [date(2004, 1, 1), date(2004, 1, 2), date(2004, 1, 5)]
    assert made["ic"].to_list() == pytest.approx([1 - 6 * 18 / 60, 1.0, 0.0])


@pytest.mark.parametrize("lags", [0, 1, 6])
def test_newey_west_is_the_double_sum_of_autocovariances(lags: int) -> None:
    values = np.convolve(np.random.default_rng(2).normal(0.1, 1, size=80), np.ones(4), mode="valid")
    centred, count = values - values.mean(), len(values)
    variance = (
        sum(
            max(0.0, 1 - abs(one - other) / (lags + 1)) * centred[one] * centred[other]
            for one in range(count)
            for other in range(count)
        )
        / count**2
    )
    assert newey_west_t(values, lags) == pytest.approx(values.mean() / variance**0.5)


@pytest.mark.parametrize(
    ("values", "lags"), [([0.1] * 9, 5), ([0.3] * 50, 5), ([0.1], 0), ([], 0)], ids=["short", "constant", "one", "none"]
)
def test_no_t_statistic_without_evidence(values: list[float], lags: int) -> None:
    assert newey_west_t(np.array(values), lags) is None


# Which features it knows

CORE = FeatureSetRecord("core", "abc")


def test_a_model_keeps_the_feature_set_it_was_trained_on(planted) -> None:
    made = fit(planted.panel.lazy(), planted.labels.lazy(), SETTINGS, CUTOFF, planted.features, feature_set=CORE)
    kept = FittedModel.restore(made.booster_text, made.details())
    assert kept == made
    assert kept.feature_set == CORE
    check_features(kept, CORE)


@pytest.mark.parametrize("held", [FeatureSetRecord("core", "abd"), FeatureSetRecord("broad", "abc")])
def test_features_of_another_set_or_version_are_refused(planted, held: FeatureSetRecord) -> None:
    made = fit(planted.panel.lazy(), planted.labels.lazy(), SETTINGS, CUTOFF, planted.features, feature_set=CORE)
    with pytest.raises(FeatureSetError, match=f"2004-05-03 was trained on feature set core version abc, .* {held}"):
        check_features(made, held)


def test_a_model_that_does_not_say_its_set_is_refused(model: FittedModel) -> None:
    with pytest.raises(FeatureSetError, match="trained on an unknown set"):
        check_features(model, CORE)
