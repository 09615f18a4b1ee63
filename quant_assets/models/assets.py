"""The model on its walk-forward: fitted at each cut-off, judged on held-out folds, scored only on what came later."""

from collections.abc import Iterator
from datetime import date
from typing import Any

import dagster as dg
import polars as pl

from quant_assets.features import training
from quant_assets.features.sets import configured
from quant_assets.metadata import columns, picture, preview, show, watched
from quant_assets.models import champion, contributions, fitted, gradient_boosting, splits
from quant_assets.models.champion import CHAMPIONS, champions
from quant_assets.models.fitted import FOLD_SCORES, PREDICTIONS, FeatureSetRecord, FittedModel
from quant_assets.models.gradient_boosting import check_features, fit, predict
from quant_assets.partitions import CUTOFFS, SESSIONS, SETTINGS, date_keys, in_partitions
from quant_assets.plots import ic_picture
from quant_assets.versions import code_version
from resources.lake_io import PARTITION_COLUMN, Frames, Table
from resources.tracking import Tracking, TrackingError

MODEL = "lightgbm"

_SET = configured(SETTINGS).model
_RECORD = FeatureSetRecord(_SET.name, _SET.version)

_COMMON: dict[str, Any] = {"key_prefix": "models", "group_name": "models", "owners": ["team:research"]}
_TRAINING = dg.TimeWindowPartitionMapping(
    # Whole cut-off windows before this one: nothing of the cut-off's own window can be seen.
    start_offset=-(SETTINGS.model.train_years * 12 // SETTINGS.model.retrain_months + 1),
    end_offset=-1,
    allow_nonexistent_upstream_partitions=True,
)
_SO_FAR = dg.TimeWindowPartitionMapping(
    start_offset=-1200 // SETTINGS.model.retrain_months, allow_nonexistent_upstream_partitions=True
)


@dg.asset(
    **_COMMON,
    name=MODEL,
    kinds={"lightgbm", "mlflow"},
    partitions_def=CUTOFFS,
    backfill_policy=dg.BackfillPolicy.single_run(),
    ins={
        "panel": dg.AssetIn(["features", "panel"], partition_mapping=_TRAINING),
        "labels": dg.AssetIn(["features", "labels"], partition_mapping=_TRAINING),
    },
    code_version=code_version(gradient_boosting, splits, fitted, training, SETTINGS.model, _RECORD),
    metadata={PARTITION_COLUMN: "cutoff", **columns(FOLD_SCORES)},
)
def lightgbm_asset(
    context: dg.AssetExecutionContext, panel: Table, labels: Table, tracking: dg.ResourceParam[Tracking]
) -> pl.DataFrame:
    """One model a training cut-off, in MLflow's registry; here its scores on purged, embargoed folds."""
    scores = []
    for key in date_keys(context):
        cutoff = date.fromisoformat(key)
        oldest = f"{cutoff.year - SETTINGS.model.train_years}{key[4:]}"
        rows, known = _window(panel, oldest, key), _window(labels, oldest, key)
        model = fit(rows, known, SETTINGS.model, cutoff, _SET.names, feature_set=_RECORD)
        _record(context, tracking, model)
        scores.append(model.fold_scores())
        context.log.info(f"cut-off {cutoff}: {model.rows} rows, IC on held-out folds {model.mean_ic:+.4f}")
    frame = pl.concat(scores)
    show(
        context,
        {
            "feature set": _RECORD.name,
            "feature set version": _RECORD.version,
            "features": len(_SET.names),
            "IC on held-out folds": picture(ic_picture(frame), "IC by fold"),
            "preview": preview(frame),
        },
    )
    return frame


@dg.asset(
    **_COMMON,
    name="champion",
    kinds={"polars", "mlflow"},
    partitions_def=CUTOFFS,
    backfill_policy=dg.BackfillPolicy.single_run(),
    ins={"scores": dg.AssetIn(["models", MODEL], partition_mapping=_SO_FAR)},
    code_version=code_version(champion),
    metadata={PARTITION_COLUMN: "cutoff", **columns(CHAMPIONS)},
)
def champion_asset(
    context: dg.AssetExecutionContext, scores: pl.LazyFrame, tracking: dg.ResourceParam[Tracking]
) -> pl.DataFrame:
    """Which model serves from each cut-off on: a challenger takes over unless its held-out folds look clearly worse."""
    decisions = champions(scores.collect())
    versions = scores.select("model_version", champion_cutoff="cutoff").unique().collect()
    frame = decisions.join(versions, on="champion_cutoff", how="left").filter(in_partitions(context, "cutoff"))
    newest = decisions.filter(pl.col("cutoff") == pl.col("cutoff").max())
    for alias, column in (("champion", "champion_cutoff"), ("challenger", "cutoff")):
        tracking.set_alias(MODEL, alias, _version(tracking, str(newest[column][0])))
    show(context, {"preview": preview(frame, 12), "champion": str(newest["champion_cutoff"][0])})
    return frame


@dg.asset(
    **_COMMON,
    name="predictions",
    kinds={"lightgbm", "polars"},
    partitions_def=SESSIONS,
    backfill_policy=dg.BackfillPolicy.single_run(),
    ins={
        "panel": dg.AssetIn(["features", "panel"]),
        "champions": dg.AssetIn(
            ["models", "champion"],
            partition_mapping=dg.TimeWindowPartitionMapping(allow_nonexistent_upstream_partitions=True),
        ),
    },
    code_version=code_version(predict, contributions, fitted),
    metadata=columns(
        PREDICTIONS,
        {
            "score": "expected forward return in excess of the session's mean",
            "confidence": "hit rate of held-out rows this far from zero; 0.5 is a coin's",
            "cutoff": "training cut-off of the model, never later than the session",
        },
    ),
)
def predictions_asset(
    context: dg.AssetExecutionContext, panel: Table, champions: Table, tracking: dg.ResourceParam[Tracking]
) -> Frames:
    """Scores of the model that was champion on each session: strictly out of sample, with reasons.

    A model that was trained on another feature set, or another version of it, is refused.
    """
    serving = _serving(champions)

    def parts() -> Iterator[pl.LazyFrame]:
        yield pl.LazyFrame(schema=PREDICTIONS)
        keys = panel.dates
        for position, (since, model_cutoff) in enumerate(serving):
            until = serving[position + 1][0] if position + 1 < len(serving) else "9999"
            window = [key for key in keys if since <= key < until]
            if window:
                stored = tracking.load(MODEL, _version(tracking, model_cutoff))
                model = FittedModel.restore(stored.booster_text, stored.details)
                check_features(model, _RECORD)
                yield predict(model, panel.scan(dates=window))
                context.log.info(f"{window[0]} to {window[-1]} scored by the model of {model_cutoff}")

    return watched(context, parts(), lambda last, rows: {"rows": rows, "preview": preview(last.drop("ts", "known_at"))})


def _serving(champions: Table) -> list[tuple[str, str]]:
    """(cut-off, cut-off of the champion that serves from it on), in order; empty before the first cut-off."""
    if not champions.dates:
        return []
    frame = champions.scan().select("cutoff", "champion_cutoff").sort("cutoff").collect()
    return [(str(cutoff), str(serving)) for cutoff, serving in frame.iter_rows()]


def _version(tracking: Tracking, cutoff: str) -> int:
    version = tracking.find(MODEL, cutoff)
    if version is None:
        raise TrackingError(
            f"model {MODEL} of cut-off {cutoff} is not in MLflow; materialize models/{MODEL} for {cutoff}"
        )
    return version


def _window(table: Table, first: str, until: str) -> pl.LazyFrame:
    return table.scan(dates=[key for key in table.dates if first <= key < until])


def _record(context: dg.AssetExecutionContext, tracking: Tracking, model: FittedModel) -> None:
    """The model, its settings and its fold scores in MLflow: one run a cut-off."""
    with tracking.run(
        f"models/{MODEL}",
        str(model.cutoff),
        dagster_run_id=context.run_id,
        data_version=model.version,
        code_version=context.assets_def.code_versions_by_key[context.asset_key],
    ) as run:
        settings = SETTINGS.model.model_dump(mode="json", exclude={"features"})
        used = {"feature_set": _RECORD.name, "feature_set_version": _RECORD.version, "features": len(_SET.names)}
        run.params({**settings, **used, "rows": model.rows, "symbols": model.symbols})
        run.metrics({"mean_ic": model.mean_ic})
        for number, fold in enumerate(model.folds, 1):
            run.metrics({"ic": fold.ic, "ic_tstat": fold.ic_tstat, "hit_rate": fold.hit_rate}, step=number)
        run.model(MODEL, model.booster_text, model.details())
