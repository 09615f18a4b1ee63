"""Degrees to metres: the projections that rasters of satellites come in. Pure.

Sources: Karney (2011), "Transverse Mercator with an accuracy of a few nanometers", J. Geodesy 85, eq. 7-11 and 35
(Krueger's series to the fourth order: exact to less than a millimetre within a zone); EPSG 326xx and 327xx.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from resources.alternative.satellite.areas import Box

RADIUS, FLATTENING = 6_378_137.0, 1 / 298.257223563  # WGS 84
SCALE, FALSE_EASTING, FALSE_NORTHING = 0.9996, 500_000.0, 10_000_000.0
N = FLATTENING / (2 - FLATTENING)
RECTIFYING = RADIUS / (1 + N) * (1 + N**2 / 4 + N**4 / 64)
ALPHA = (
    N / 2 - 2 / 3 * N**2 + 5 / 16 * N**3 + 41 / 180 * N**4,
    13 / 48 * N**2 - 3 / 5 * N**3 + 557 / 1440 * N**4,
    61 / 240 * N**3 - 103 / 140 * N**4,
    49561 / 161280 * N**4,
)
POINTS = 9
"""Points of an edge that are projected: a parallel of latitude is curved in metres."""

Point = tuple[float, float]


def projection(epsg: int) -> Callable[[float, float], Point] | None:
    """From longitude and latitude to the coordinates of a reference system; None for one that is not known here.

    Known are degrees (4326) and the zones of Universal Transverse Mercator on WGS 84 (32601-32660, 32701-32760).
    """
    if epsg == 4326:
        return lambda longitude, latitude: (longitude, latitude)
    for first, north in ((32600, 0.0), (32700, FALSE_NORTHING)):
        zone = epsg - first
        if 1 <= zone <= 60:
            return lambda longitude, latitude: _utm(longitude, latitude, zone * 6 - 183, north)
    return None


def bounds(box: Box, project: Callable[[float, float], Point]) -> Box:
    """The smallest box in the projection that holds a box in degrees."""
    west, south, east, north = box
    steps = [at / (POINTS - 1) for at in range(POINTS)]
    edge = [project(west + (east - west) * at, latitude) for at in steps for latitude in (south, north)]
    edge += [project(longitude, south + (north - south) * at) for at in steps for longitude in (west, east)]
    return min(x for x, _ in edge), min(y for _, y in edge), max(x for x, _ in edge), max(y for _, y in edge)


def _utm(longitude: float, latitude: float, meridian: float, false_northing: float) -> Point:
    eccentricity = math.sqrt(FLATTENING * (2 - FLATTENING))
    sine = math.sin(math.radians(latitude))
    east = math.radians(longitude - meridian)
    tangent = math.sinh(math.atanh(sine) - eccentricity * math.atanh(eccentricity * sine))
    xi = math.atan2(tangent, math.cos(east))
    eta = math.asinh(math.sin(east) / math.hypot(tangent, math.cos(east)))
    x = eta + sum(each * math.cos(2 * j * xi) * math.sinh(2 * j * eta) for j, each in enumerate(ALPHA, 1))
    y = xi + sum(each * math.sin(2 * j * xi) * math.cosh(2 * j * eta) for j, each in enumerate(ALPHA, 1))
    return FALSE_EASTING + SCALE * RECTIFYING * x, false_northing + SCALE * RECTIFYING * y
