"""Items of a STAC catalogue as scenes: what was seen, when, since when it is known, and where its rasters lie. Pure.

Of an item's times, `datetime` (or the end of its span) is that of the event. `updated`, else `created`, says since when
the catalogue holds it as it is; what it held before an update is not known, so the update counts. Catalogues that say
neither are known since they were asked. An item that is `deprecated` is withdrawn.

Sources: STAC 1.0 and 1.1 (item, common metadata), extensions eo, raster 1 and 2, version.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from resources.alternative.satellite.areas import Box


@dataclass(frozen=True, slots=True)
class Band:
    """The first band of an asset. What is seen is `scale` * its number + `offset`; `mean` is that of its numbers."""

    href: str
    scale: float = 1.0
    offset: float = 0.0
    nodata: float | None = None
    mean: float | None = None
    valid_percent: float | None = None


@dataclass(frozen=True, slots=True)
class Scene:
    """`cloud_cover` is in percent of the scene, None where it does not say. `box` is in degrees."""

    id: str
    collection: str
    ts: datetime
    known_at: datetime | None
    withdrawn: bool
    box: Box
    cloud_cover: float | None
    bands: Mapping[str, Band]


def scene(item: Mapping[str, Any]) -> Scene:
    """A scene from an item. Raises ValueError, LookupError or TypeError on what is not laid out as an item is."""
    said = item["properties"]
    # A composite has been seen when its last picture has; its datetime may be that of the first.
    ts = max(_instant(said[name]) for name in ("datetime", "end_datetime") if said.get(name))
    stated = said.get("updated") or said.get("created")
    # A catalogue that says it held the item before it was seen has carried the stamp over from elsewhere.
    known_at = max(_instant(stated), ts) if stated else None
    cover = said.get("eo:cloud_cover")
    box = [_present(each) for each in item["bbox"]]
    west, south, east, north = box if len(box) == 4 else (*box[:2], *box[3:5])  # six where heights are told
    applied = bool(said.get("earthsearch:boa_offset_applied"))
    return Scene(
        str(item["id"]), str(item["collection"]), ts, known_at, bool(said.get("deprecated")),
        (west, south, east, north), _number(cover),
        {name: _band(asset, applied) for name, asset in item["assets"].items()},
    )  # fmt: skip


def _band(asset: Mapping[str, Any], applied: bool) -> Band:
    """The first band, as raster 1 tells it in raster:bands, or STAC 1.1 in bands or in the asset itself.

    Earth Search's sentinel-2-l2a tells an offset also where it has been worked into the numbers, and says so in
    earthsearch:boa_offset_applied (github.com/Element84/earth-search/issues/9).
    """
    first: Mapping[str, Any] = next(iter(asset.get("raster:bands") or asset.get("bands") or ()), {})
    told = {name.removeprefix("raster:"): value for name, value in {**asset, **first}.items()}
    nodata, scale, statistics = told.get("nodata"), _number(told.get("scale")), told.get("statistics") or {}
    return Band(
        str(asset["href"]),
        scale=1.0 if scale is None else scale,
        offset=0.0 if applied else _number(told.get("offset")) or 0.0,
        nodata=float(nodata) if isinstance(nodata, str) else _number(nodata),  # "nan" and "inf" come as text
        mean=_number(statistics.get("mean")),
        valid_percent=_number(statistics.get("valid_percent")),
    )


def _number(told: Any) -> float | None:
    if told is None:
        return None
    if isinstance(told, bool) or not isinstance(told, int | float) or not math.isfinite(told):
        raise ValueError(f"{str(told)[:40]!r} is no finite number")
    return float(told)


def _present(told: Any) -> float:
    number = _number(told)
    if number is None:
        raise ValueError("a number is missing")
    return number


def _instant(told: str) -> datetime:
    at = datetime.fromisoformat(told)
    if at.tzinfo is None:
        raise ValueError(f"the time {told} has no zone")
    return at.astimezone(UTC)
