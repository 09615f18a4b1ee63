"""Every feature there is, by group. A group is computed, stored and versioned together."""

from __future__ import annotations

from collections.abc import Iterable

from quant_assets.features.alpha158 import ALPHA158
from quant_assets.features.alternative import ALTERNATIVE
from quant_assets.features.cross_section import CROSS_SECTION
from quant_assets.features.definition import FeatureSet
from quant_assets.features.microstructure import MICROSTRUCTURE
from quant_assets.features.statistical import STATISTICAL
from quant_assets.features.technical import TECHNICAL
from quant_assets.features.temporal import TEMPORAL

GROUPS = {
    group.name: group
    for group in (TECHNICAL, ALPHA158, STATISTICAL, MICROSTRUCTURE, TEMPORAL, CROSS_SECTION, ALTERNATIVE)
}
"""Adding a group's FeatureSet here is all that its catalogue entries, proofs, assets and checks need."""

ALL = FeatureSet("all", tuple(feature for group in GROUPS.values() for feature in group))


def chosen(features: FeatureSet | Iterable[str] | None) -> FeatureSet:
    """The features meant: a set, names of the catalogue, or all. Raises ConfigError on an unknown name."""
    if features is None:
        return ALL
    return (
        features
        if isinstance(features, FeatureSet)
        else ALL.pick([features] if isinstance(features, str) else features)
    )
