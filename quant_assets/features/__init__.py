"""Features of bars: one catalogue, one way to compute them, in whole or bar by bar."""

from __future__ import annotations

import json
from collections.abc import Iterable

import polars as pl

from quant_assets.features.context import Context
from quant_assets.features.definition import Across, Feature, FeatureSet
from quant_assets.features.engine import evaluate
from quant_assets.features.groups import ALL, GROUPS, chosen
from quant_assets.features.labels import forward_returns
from quant_assets.features.panel import panel
from quant_assets.features.stream import Stream

__all__ = [
    "ALL", "GROUPS", "Across", "Context", "Feature", "FeatureSet", "Stream", "catalog", "compute", "forward_returns",
    "panel", "stream",
]  # fmt: skip


def catalog() -> pl.DataFrame:
    """One row a feature: name, group, family, description, inputs, parameters (JSON), lookback, lower, upper, scope,
    streaming, source.

    lookback is in bars before the current one; lower and upper are the range; scope is `universe` where the value
    depends on the other symbols; streaming says how a stream computes it, or why it has no streaming form.

    Example: `catalog().filter(pl.col("family") == "trend")["name"].to_list()`
    """
    return pl.DataFrame(
        [
            {
                "name": feature.name,
                "group": group.name,
                "family": feature.family,
                "description": feature.description,
                "inputs": list(feature.inputs),
                "parameters": json.dumps(dict(feature.parameters)),
                "lookback": feature.lookback,
                "lower": feature.bounds[0],
                "upper": feature.bounds[1],
                "scope": feature.scope,
                "streaming": feature.streaming,
                "source": feature.source or f"by definition: {feature.formula}",
            }
            for group in GROUPS.values()
            for feature in group
        ]
    )


def compute(
    bars: pl.LazyFrame | pl.DataFrame,
    features: FeatureSet | Iterable[str] | None = None,
    *,
    instruments: pl.DataFrame | None = None,
    calendar: str = "XNYS",
    benchmark: str | None = None,
) -> pl.LazyFrame:
    """The keys of the bars (symbol, ts, and session and known_at if they have them) and a Float64 column a feature.

    All features, or those named. `bars` of any size: cleaned ones (adj_open … adj_volume), or plain open, high, low,
    close, volume, which then count as adjusted; each symbol's rows in order of ts. A value is null until the bars hold
    its look-back, so they must reach back that many bars before the first one wanted. `instruments` brings sectors,
    calendars and expiries; `calendar` is that of symbols whose instrument names none; `benchmark` the symbol whose
    return is the market's (the equal-weighted mean by default).

    A name may ask for coarser bars: `rsi_14@1h` on 1-minute bars, `sma_ratio_20@1w` on daily ones. Only coarse bars
    that have closed count.

    Lazy: only the columns asked for are computed, when the frame is collected, and on the streaming engine
    (`collect(engine="streaming")`, `sink_parquet`) in bounded memory.

    Raises ConfigError on an unknown name, with the names most like it, and BarSchemaError on missing columns and on
    repeated or unordered keys (these when it is collected).

    Example: `compute(cleaned, ["rsi_14", "sma_ratio_50"]).filter(pl.col("session") >= start).collect()`
    """
    return evaluate(chosen(features), bars.lazy(), Context(instruments, calendar, benchmark))


def stream(
    features: FeatureSet | Iterable[str],
    history: pl.LazyFrame | pl.DataFrame,
    *,
    instruments: pl.DataFrame | None = None,
    calendar: str = "XNYS",
) -> Stream:
    """Features bar by bar: `update(bar)` returns what `compute` would for that bar, by name, None where it is null.

    `history` are the bars before, of any number of symbols; a feature is None until there is its look-back.

    Raises ConfigError on an unknown name and on a feature without a streaming form (the catalogue says why).

    Example: `stream(["rsi_14"], history).update({"symbol": "AAPL", "ts": ts, "open": 1, "high": 2, ...})`
    """
    made = Stream(chosen(features), Context(instruments, calendar))
    made.start(history)
    return made
