"""Which asset holds which features, and how an asset's partitions are computed so that any run gives the same bytes.

- A group's asset, features/<group>, holds the features that one symbol's bars give, cut by date and symbol.
- features/cross_section holds every feature that depends on the other symbols present, whatever its group: such a
  value cannot be computed from one symbol's partitions, so it is cut by session.
- A feature is in no asset as long as nothing brings a column that it reads: a table of nulls would say otherwise. The
  catalogue has it, and `compute` gives it to whoever has the column.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from fnmatch import fnmatchcase

import numpy as np
import polars as pl

from quant_assets.cleaned import CLEANED_SCHEMA
from quant_assets.features.alternative.said import BROUGHT
from quant_assets.features.context import Context
from quant_assets.features.definition import Across, Coarse, Feature, FeatureSet
from quant_assets.features.derived import DERIVED
from quant_assets.features.engine import by_symbol, evaluate
from quant_assets.features.groups import GROUPS
from quant_assets.features.inputs import KEYS, needed, prepared

ACROSS = "cross_section"
"""The asset of the features that look across symbols."""


DO_WITHOUT = (
    *("kyle_lambda_*", "hasbrouck_lambda_*", "pastor_stambaugh_gamma_*", "flow_imbalance_*", "vpin_*"),
    *("vwap_distance_*", "spread_21", "alpha158_vwap_0"),
)
"""Features (names, or patterns) that make do with bars alone where a column of trades, quotes or VWAP is missing."""


def missing_columns(feature: Feature) -> list[str]:
    """Columns that neither cleaned/bars has nor alternative records bring, and without which it has no value."""
    if any(fnmatchcase(feature.name, pattern) for pattern in DO_WITHOUT):
        return []
    return [name for name in needed(feature.inputs) if name not in CLEANED_SCHEMA and name not in BROUGHT]


def kinds_read(feature: Feature) -> set[str]:
    """The kinds of alternative records that the feature reads; it is stored where the configuration has sources."""
    return {BROUGHT[name] for name in needed(feature.inputs) if name in BROUGHT}


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
    places = {key: place for place, key in enumerate(there)}
    numbered = window.replace_strict(places, default=None, return_dtype=pl.Int64).fill_null(-1)
    place = bars.select(numbered.alias(_PLACE))[_PLACE].to_numpy()
    reaches: dict[tuple[int, bool], list[Feature]] = {}
    for feature in features:
        reaches.setdefault((before(feature.lookback), _by_itself(feature)), []).append(feature)
    keys = bars.select([name for name in KEYS if name in bars.columns])
    made = []
    for some in _at_once([places[key] for key in wanted], place, before(features.lookback)):
        parts = [keys[np.concatenate([np.flatnonzero(place == each) for each in some])]]
        for (reach, alone), held in reaches.items():
            group = FeatureSet(features.name, tuple(held))
            if alone:
                parts.append(_together(bars, group, place, some, reach))
            else:
                parts.append(pl.concat(_apart(bars, group, place, each, reach, context) for each in some))
        made.append(pl.concat(parts, how="horizontal").select(*keys.columns, *features.names))
    return pl.concat(made)


_PLACE = "__place"

_ROWS = 2_000_000
"""About so many rows, look-backs included, are computed at once."""


def _by_itself(feature: Feature) -> bool:
    """Whether it reads nothing but columns of its symbol's bars, as they are."""
    return not isinstance(feature.build, Across | Coarse) and not {"symbol", *DERIVED} & {*feature.inputs}


def _at_once(wanted: Sequence[int], place: np.ndarray, reach: int) -> Iterator[list[int]]:
    """The wanted windows, some at a time: as many as have _ROWS rows with what lies before them, but one at least."""
    some: list[int] = []
    rows = 0
    for each in wanted:
        own = int(np.count_nonzero(_near(place, each, reach)))
        if some and rows + own > _ROWS:
            yield some
            some, rows = [], 0
        some.append(each)
        rows += own
    if some:
        yield some


def _near(place: np.ndarray, each: int, reach: int) -> np.ndarray:
    """Which rows lie in a window or in the `reach` windows before it."""
    near: np.ndarray = (place >= max(0, each - reach)) & (place <= each)
    return near


def _together(
    bars: pl.DataFrame, features: FeatureSet, place: np.ndarray, some: Sequence[int], reach: int
) -> pl.DataFrame:
    """The features of some windows' rows, computed at once: each symbol's window as a symbol of its own."""
    inputs = sorted({"adj_close", *(name for feature in features for name in feature.inputs)})
    frame = prepared(bars.lazy(), inputs, Context())
    rows = [np.flatnonzero(_near(place, each, reach)) for each in some]
    window = np.repeat(some, [each.size for each in rows])
    taken = np.concatenate(rows)
    own = pl.Series(place[taken] == window)
    apart = pl.format("{} {}", pl.Series(window), "symbol").alias("symbol")
    made, start = [], 0
    for frames in by_symbol(features.features, frame[taken].with_columns(apart)):
        made.append(frames.select(features.names).filter(own.slice(start, frames.height)))
        start += frames.height
    return pl.concat(made)


def _apart(
    bars: pl.DataFrame, features: FeatureSet, place: np.ndarray, each: int, reach: int, context: Context | None
) -> pl.DataFrame:
    """The features of a window's rows, computed from nothing but it and those before it."""
    near = _near(place, each, reach)
    own = pl.Series(place[near] == each)
    return evaluate(features, bars.filter(near).lazy(), context).collect().select(features.names).filter(own)
