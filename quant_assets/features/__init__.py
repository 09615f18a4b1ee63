"""Features of cleaned bars: one catalogue, and one way to compute them."""

from __future__ import annotations

import json
from collections.abc import Iterable

import polars as pl

from quant_assets.features.definition import Feature, FeatureSet, evaluate
from quant_assets.features.labels import forward_returns
from quant_assets.features.panel import panel
from quant_assets.features.technical import TECHNICAL

__all__ = ["TECHNICAL", "Feature", "FeatureSet", "catalog", "compute", "forward_returns", "panel"]


def catalog() -> pl.DataFrame:
    """One row a feature: name, group, description, inputs, parameters (JSON), lookback, lower, upper, source.

    Example: `catalog().filter(pl.col("group") == "trend")["name"].to_list()`
    """
    return pl.DataFrame(
        [
            {
                "name": feature.name,
                "group": feature.group,
                "description": feature.description,
                "inputs": list(feature.inputs),
                "parameters": json.dumps(dict(feature.parameters)),
                "lookback": feature.lookback,
                "lower": feature.bounds[0],
                "upper": feature.bounds[1],
                "source": feature.source,
            }
            for feature in TECHNICAL
        ]
    )


def compute(bars: pl.LazyFrame, features: FeatureSet | Iterable[str] | None = None) -> pl.LazyFrame:
    """symbol, ts, session, known_at and a Float64 column a feature, for every row of the cleaned bars.

    All features, or those named. A value is null until the bars hold its look-back, so they must reach back
    `TECHNICAL.lookback` sessions before the first one wanted.

    Raises ConfigError on an unknown name, with the names most like it.

    Example: `compute(cleaned, ["rsi_14", "sma_ratio_50"]).filter(pl.col("session") >= start).collect()`
    """
    if features is None:
        features = TECHNICAL
    return evaluate(features if isinstance(features, FeatureSet) else TECHNICAL.pick(features), bars)
