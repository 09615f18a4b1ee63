"""Which asset holds which features, and how an asset's partitions are computed so that any run gives the same bytes.

- A group's asset, features/<group>, holds the features that one symbol's bars give, cut by date and symbol.
- features/cross_section holds every feature that depends on the other symbols present, whatever its group: such a
  value cannot be computed from one symbol's partitions, so it is cut by session.
- A feature is in no asset as long as nothing brings a column that it reads: a table of nulls would say otherwise. The
  catalogue has it, and `compute` gives it to whoever has the column.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase

import polars as pl

from quant_assets.cleaned import CLEANED_SCHEMA
from quant_assets.features.context import Context
from quant_assets.features.definition import Feature, FeatureSet
from quant_assets.features.derived import DERIVED
from quant_assets.features.engine import evaluate
from quant_assets.features.groups import GROUPS
from quant_assets.features.inputs import KEYS, needed

ACROSS = "cross_section"
"""The asset of the features that look across symbols."""


DO_WITHOUT = (
    *("kyle_lambda_*", "hasbrouck_lambda_*", "pastor_stambaugh_gamma_*", "flow_imbalance_*", "vpin_*"),
    *("vwap_distance_*", "spread_21", "alpha158_vwap_0"),
)
"""Features (names, or patterns) that make do with bars alone where a column of trades, quotes or VWAP is missing."""


def missing_columns(feature: Feature) -> list[str]:
    """Columns that cleaned/bars does not have and without which the feature has no value."""
    if any(fnmatchcase(feature.name, pattern) for pattern in DO_WITHOUT):
        return []
    return [name for name in needed(feature.inputs) if name not in CLEANED_SCHEMA]


def _stored() -> dict[str, FeatureSet]:
    held: dict[str, list[Feature]] = {name: [] for name in (*(name for name in GROUPS if name != ACROSS), ACROSS)}
    for name, group in GROUPS.items():
        for feature in group:
            if not missing_columns(feature):
                held[name if feature.scope == "symbol" else ACROSS].append(feature)
    return {name: FeatureSet(name, tuple(features)) for name, features in held.items() if features}


STORED = _stored()
"""The features of each asset, by the asset's name; features/cross_section, where there is one, last."""

HOLDER = {feature.name: name for name, held in STORED.items() for feature in held}
"""The asset that holds a feature."""


def knows_instruments(features: FeatureSet) -> bool:
    """Whether columns are derived before these features, which may ask for the table of instruments."""
    return any(name in DERIVED for feature in features for name in feature.inputs)


def in_windows(
    bars: pl.DataFrame,
    features: FeatureSet,
    window: pl.Expr,
    wanted: Sequence[str],
    there: Sequence[str],
    before: Callable[[int], int],
    context: Context | None = None,
) -> pl.DataFrame:
    """The features of the wanted windows of time, each computed from itself and the windows that its look-back needs.

    `window` gives a row's window, `there` are those that `bars` (sorted by symbol and ts) may hold, in order;
    `before(lookback)` is how many windows hold so many bars. A value that has settled to a relative 1e-12 still
    differs in its last digits with where its history began. Here that is the same whatever else the run asks for, so
    one window and the whole range give the same bytes.

    Columns: the keys and the features in their order; rows by window, symbol and ts.
    """
    reaches: dict[int, list[Feature]] = {}
    for feature in features:
        reaches.setdefault(before(feature.lookback), []).append(feature)
    keyed = bars.with_columns(__window=window)
    made = []
    for key in wanted:
        place = there.index(key)
        parts = []
        for reach, some in reaches.items():
            near = keyed.filter(pl.col("__window").is_in(there[max(0, place - reach) : place + 1]))
            own = near["__window"] == key
            found = evaluate(FeatureSet(features.name, tuple(some)), near.drop("__window").lazy(), context).collect()
            parts.append(found.filter(own))
        keys = [name for name in KEYS if name in parts[0].columns]
        wide = pl.concat([parts[0], *(part.drop(keys) for part in parts[1:])], how="horizontal")
        made.append(wide.select(*keys, *features.names))
    return pl.concat(made)
