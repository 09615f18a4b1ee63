"""Indices of what goes on in an area, from a scene's own statistics or from its pixels. Pure but for `fetch`.

Statistics are those of the whole scene: they are the area's only where the scene is cut to the area. Else the area's
pixels are read. A pixel counts where every band has a value and the scene's classes (Sentinel-2's SCL) call it clear;
the index is computed pixel by pixel and then averaged, which is not the index of averages.

Sources: Rouse et al. (1974), "Monitoring vegetation systems in the Great Plains with ERTS" (NDVI); Sentinel-2 Products
Specification (scene classification: 4 vegetation, 5 bare, 6 water, 7 unclassified, 11 snow are clear; 0, 1 no data or
defective, 2, 3 shadows, 8, 9, 10 clouds).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from resources.alternative.satellite.areas import Area, Box
from resources.alternative.satellite.scenes import Band, Scene
from resources.alternative.satellite.tiff import Fetch, Window, header, window
from resources.alternative.satellite.utm import bounds, projection
from resources.errors import BadAnswerError, ConfigError, NotOfferedError

CLEAR = (4, 5, 6, 7, 11)
CUT_TO_AREA = 0.9
"""A scene's statistics are taken for an area's where they share so much of the ground that either covers."""
ALL_VALID_PERCENT = 100.0


@dataclass(frozen=True, slots=True)
class Index:
    """`bands` are the roles of the bands that `compute` takes, in its order."""

    name: str
    bands: tuple[str, ...]
    compute: Callable[..., np.ndarray]


def _ndvi(nir: np.ndarray, red: np.ndarray) -> np.ndarray:
    """Normalised difference vegetation index, -1 to 1; NaN where both reflect nothing or less."""
    total = nir + red
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where((total > 0) & (nir >= 0) & (red >= 0), (nir - red) / total, np.nan)


INDICES = {
    each.name: each
    for each in (
        Index("vegetation", ("nir", "red"), _ndvi),
        Index("night_lights", ("radiance",), lambda radiance: radiance),
    )
}
"""vegetation: NDVI, from -1 to 1. night_lights: radiance as the catalogue scales it (nW/cm2/sr of VIIRS)."""

READY, CLOUDS = "index", "clouds"
"""Roles of an asset that holds the index itself, and of one that holds the classes of pixels."""

ROLES = {
    "vegetation": {"nir": "nir", "red": "red", CLOUDS: "scl"},
    "night_lights": {"radiance": "avg_rad"},
}
"""The names of assets by role where the user names none: those of Sentinel-2 on Earth Search, and VIIRS."""


def index(name: str) -> Index:
    """Raises ConfigError on an unknown name."""
    if name not in INDICES:
        raise ConfigError(f"index: {name!r} is no index; there are {', '.join(INDICES)}")
    return INDICES[name]


def measure(
    which: Index,
    scene: Scene,
    area: Area,
    roles: Mapping[str, str],
    fetch: Callable[[str], Fetch],
    clear_share: float,
) -> float | None:
    """The index of an area in a scene; None where less than `clear_share` of it has values and is clear.

    It is a share of the whole area: what of it lies beyond the scene was not seen.

    `fetch` gives the reader of an asset by its address. Raises NotOfferedError, naming the scene and the asset, on
    assets that are missing or not read here; ConfigError where two bands are not of one grid.
    """
    bands = {role: _band(scene, name) for role, name in roles.items() if role != CLOUDS or name in scene.bands}
    if READY in bands and overlap(scene.box, area.box) >= CUT_TO_AREA and bands[READY].mean is not None:
        ready = bands[READY]
        whole = ready.valid_percent if ready.valid_percent is not None else ALL_VALID_PERCENT
        seen = whole * shared(scene.box, area.box) / _size(area.box)
        return ready.scale * float(ready.mean or 0.0) + ready.offset if seen >= 100 * clear_share else None
    wanted = (READY,) if READY in bands else which.bands
    missing = [role for role in wanted if role not in bands]
    if missing:
        raise ConfigError(f"{which.name}: assets name none for {missing[0]}; needed are {', '.join(which.bands)}")
    read = {
        role: _window(scene, area, bands[role], fetch(bands[role].href), 1 if role == CLOUDS else 0)
        for role in (*wanted, CLOUDS)
        if role in bands
    }
    first, epsg = read[wanted[0]]
    for role in wanted[1:]:
        if read[role][1] != epsg or read[role][0].values.shape != first.values.shape:
            raise NotOfferedError(f"{scene.id}: {role} and {wanted[0]} are not of one grid")
    values = [_scaled(read[role][0], bands[role]) for role in wanted]
    pixels = values[0] if READY in wanted else which.compute(*values)
    if CLOUDS in read:
        classes, other = read[CLOUDS]
        if other != epsg:
            raise NotOfferedError(f"{scene.id}: the classes are in EPSG:{other}, the bands in EPSG:{epsg}")
        pixels = np.where(np.isin(classes.at(first.x, first.y), CLEAR), pixels, np.nan)
    clear = pixels[np.isfinite(pixels)]
    return float(clear.mean()) if clear.size and clear.size >= clear_share * first.wanted else None


def overlap(one: Box, other: Box) -> float:
    """The ground that two boxes share, as a share of what either covers."""
    both = shared(one, other)
    return both / (_size(one) + _size(other) - both)


def shared(one: Box, other: Box) -> float:
    """The ground that two boxes share."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return max(width, 0.0) * max(height, 0.0)


def _size(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def _band(scene: Scene, name: str) -> Band:
    if name not in scene.bands:
        raise NotOfferedError(
            f"{scene.id}: the scene has no asset {name!r}; it has {', '.join(sorted(scene.bands))}. Set assets."
        )
    return scene.bands[name]


def _window(scene: Scene, area: Area, band: Band, fetch: Fetch, around: int) -> tuple[Window, int]:
    """The pixels of an area, and so many around it, and the reference system of their coordinates."""
    try:
        raster = header(fetch)
        project = projection(raster.epsg)
        if project is None:
            raise NotOfferedError(f"it is in EPSG:{raster.epsg}; degrees (4326) and UTM on WGS 84 are read")
        west, south, east, north = bounds(area.box, project)
        x, y = around * raster.dx, around * raster.dy
        return window(raster, fetch, (west - x, south - y, east + x, north + y)), raster.epsg
    except NotOfferedError as error:
        raise NotOfferedError(f"{scene.id}, area {area.name}: {band.href} is not read: {error}") from error
    except (ValueError, LookupError, struct.error) as error:
        raise BadAnswerError(
            f"{scene.id}, area {area.name}: {band.href} is no GeoTIFF: {error!r}. Try later."
        ) from error


def _scaled(found: Window, band: Band) -> np.ndarray:
    values = found.values if band.nodata is None else np.where(found.values == band.nodata, np.nan, found.values)
    return band.scale * values + band.offset
